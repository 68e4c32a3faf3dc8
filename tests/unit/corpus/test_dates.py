import polars as pl
import pytest

from lm_pipeline.corpus.dates import microseconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("1970-01-02", 86400),
        ("1970-01-01T00:00:05Z", 5),
        ("1970-01-01 01:00:05.000000+01:00", 5),
        ("1970-01-01T00:01", 60),
        ("1970-02", 31 * 86400),
        ("1971", 365 * 86400),
        ("Thu, 01 Jan 1970 00:00:07 GMT", 7),
        ("Thu, 01 Jan 1970 08:00:07 +0800", 7),
        *((written, 63 * 86400) for written in ("1970年3月5日", "1970/03/05", "1970/3/5", "1970.03.05", "1970-3-5")),
        *((written, 63 * 86400) for written in ("19700305", "5 March 1970", "Mar 5, 1970", "March 05, 1970")),
        ("1970年3月", 59 * 86400),
        ("1970年", 0),
        ("1970-03-05T10:00Z", 63 * 86400 + 36000),
        ("1970-03-05 10:00:00 UTC", 63 * 86400 + 36000),
        ("19700305T10:00:00+0800", 63 * 86400 + 7200),
        ("19700305T100000Z", 63 * 86400 + 36000),
        ("19700305T1000", 63 * 86400 + 36000),
        ("1970-03-05 10:00:00+00", 63 * 86400 + 36000),
        ("197003051000", None),  # a minute, and no milliseconds
        ("1970年3月5日 10:00", 63 * 86400 + 36000),
        ("1970-03-05T10:00:00.123456789Z", 63 * 86400 + 36000.123456),
        ("1614900000", 1614900000),
        ("1614900000123", 1614900000.123),
        ("一九七〇年", None),
        ("05/03/2021", None),  # which one is the month?
        ("2021-02-30", None),
        ("20211332", None),
        ("123", None),
        ("1970-03-05T10", None),
        ("1970-13-01", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_read_in_the_forms_of_records(date: str | None, seconds: float | None) -> None:
    value = microseconds(pl.Series([date], dtype=pl.String)).item()
    assert value == (None if seconds is None else round(seconds * 1_000_000))
