"""When a document was written, from the ways in which records write dates."""

import polars as pl

_WRITTEN = (
    r"^(\d{4})(?:年|[-/.年](\d{1,2})(?:月|[-/.月](\d{1,2})日?)?)?"
    r"(?:[T ]*(\d{1,2}):(\d\d)(:\d\d)?(\.\d{1,6})?\d* ?(?:Z|UTC|GMT|([+-]\d\d)(?::?(\d\d))?)?)?$"
)
_LATE_YEAR = r"^([A-Z][a-z]{2}) ([A-Z][a-z]{2}) +(\d{1,2}) ([\d:]{8})(?: ([+-]\d{4}))? (\d{4})$"
_COMPACT = r"^(\d{4})(\d\d)(\d\d)(?:T(\d\d):?(\d\d)(?::?(\d\d))?([Z.+-].*)?)?$"


def microseconds(dates: pl.Series) -> pl.Series:
    """Dates as text, in microseconds since 1970 (UTC where one names no zone); null where it cannot be read.

    What can be read: ISO 8601 down to a year alone, also with slashes, dots or 年月日; the form of HTTP and mail
    (RFC 9110, RFC 5322) and that with the year at its end, as tweets have it; a day with the English name of its month;
    14 digits, as archives write them; and seconds or milliseconds since 1970. Days that begin with the month or the day
    in figures (05/03/2021) could be either.

    >>> microseconds(pl.Series(["1970-01-01T01:00+01:00", "1970年1月1日", "1970", "0000000001", "yesterday"])).to_list()
    [0, 0, 0, 1000000, None]
    """
    text = pl.col("text")
    named = text.str.replace(_LATE_YEAR, "$1, $3 $2 $6 $4 $5").str.replace(r" ?(?:GMT|UTC|UT)$| $", " +0000")
    forms = (
        _written(pl.col("spaced")),
        named.str.to_datetime("%a, %d %b %Y %H:%M:%S %z", strict=False, time_unit="us"),
        text.str.to_date("%d %B %Y", strict=False).cast(pl.Datetime("us")),
        text.str.to_date("%B %d, %Y", strict=False).cast(pl.Datetime("us")),
    )
    since_1970 = [
        (text.str.extract(rf"^(\d{{{digits}}}(?:\.\d*)?)$").cast(pl.Float64) * scale).round().cast(pl.Int64)
        for digits, scale in (("9,10", 1_000_000), ("13", 1_000))
    ]
    stripped = dates.cast(pl.String).str.strip_chars().alias("text").to_frame()
    # Not one expression: its regular expressions would run once for every part of a date that refers to them.
    written = stripped.with_columns(spaced=_spaced(text))
    return written.select(pl.coalesce([*(form.cast(pl.Int64) for form in forms), *since_1970])).to_series()


def _spaced(text: pl.Expr) -> pl.Expr:
    """ISO 8601's basic form (20210305T103000Z) in its extended one; other text as it is."""
    year, month, day, hour, minute, second, rest = (
        text.str.replace(r"^(\d{8})(\d{6})$", "${1}T$2").str.extract_groups(_COMPACT).struct.field(str(group))
        for group in range(1, 8)
    )
    clock = pl.concat_str([pl.lit("T"), hour, pl.lit(":"), minute, pl.lit(":"), second.fill_null("00")])
    whole = pl.concat_str([year, pl.lit("-"), month, pl.lit("-"), day, clock.fill_null(""), rest.fill_null("")])
    return pl.when(year.is_null()).then(text).otherwise(whole)


def _written(text: pl.Expr) -> pl.Expr:
    """From the year on, as far as it goes; what is left out is the first there is."""
    parts = text.str.extract_groups(_WRITTEN).struct
    year, month, day, hour, minute, second, fraction, zone_hours, zone_minutes = (
        parts.field(str(group)) for group in range(1, 10)
    )
    month, day = (part.fill_null("1").str.zfill(2) for part in (month, day))
    clock = [hour.fill_null("0").str.zfill(2), pl.lit(":"), minute.fill_null("00"), second.fill_null(":00")]
    zone = [zone_hours.fill_null("+00"), pl.lit(":"), zone_minutes.fill_null("00")]
    iso = pl.concat_str(
        [year, pl.lit("-"), month, pl.lit("-"), day, pl.lit("T"), *clock, fraction.fill_null(".0"), *zone]
    )
    return iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="us")
