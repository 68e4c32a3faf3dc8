"""The leaderboard: order, JSON, page and terminal table."""

import dataclasses
import json

import pytest

from lm_pipeline.reports.leaderboard import Entry, Row, leaderboard_rows, terminal_table, write_leaderboard


def entry(name: str, bits_per_byte: float | None, status="built", message="", **more) -> Entry:
    evaluation = None
    if bits_per_byte is not None:
        evaluation = {
            "bits_per_byte": bits_per_byte,
            "bits_per_byte_interval": [bits_per_byte - 0.02, bits_per_byte + 0.03],
            "perplexity": 40 * bits_per_byte,
            "perplexity_interval": [39 * bits_per_byte, 41 * bits_per_byte],
        }
    return Entry(name, "lstm", status, message, 1_400_000, 4_096_000, 71.0, 57_000.0, "cpu", evaluation, **more)


@pytest.fixture
def rows(report_data) -> list[Row]:
    entries = [
        entry("zeta", None, "not materialized"),
        entry("broken", None, "failed", "the training process ended with code 1"),
        entry("gru_small", 2.0),
        entry("lstm_small", 1.873),
        entry("cnn_old", 1.9, "stale", "model.width changed"),
    ]
    return leaderboard_rows(entries, report_data.baselines)


def test_best_first_with_baselines_between_and_failures_last(rows):
    order = [(row.rank, row.experiment) for row in rows]
    assert order == [
        (1, "lstm_small"),
        (2, "cnn_old"),
        (None, "Kneser-Ney 5-gram"),
        (3, "gru_small"),
        (None, "Unigram"),
        (None, "broken"),
        (None, "zeta"),
    ]


def test_an_older_version_does_not_lend_its_numbers_to_one_that_failed():
    (row,) = leaderboard_rows([entry("x", 1.5, "failed", "loss is nan")])
    assert row.bits_per_byte is None
    assert row.rank is None


def test_ties_are_ordered_by_name():
    rows = leaderboard_rows([entry("b", 2.0), entry("a", 2.0)])
    assert [row.experiment for row in rows] == ["a", "b"]


def test_an_infinite_result_is_last_of_the_measured_and_null_in_json(tmp_path):
    rows = leaderboard_rows([entry("infinite", float("inf")), entry("fine", 2.0)])
    assert [row.experiment for row in rows] == ["fine", "infinite"]
    write_leaderboard("d", rows, tmp_path)
    assert json.loads((tmp_path / "leaderboard.json").read_text("utf-8"))["rows"][1]["bits_per_byte"] is None


def test_json_has_the_documented_keys(rows, tmp_path):
    summary = write_leaderboard("mixed", rows, tmp_path)
    value = json.loads((tmp_path / "leaderboard.json").read_text("utf-8"))
    assert value["dataset"] == "mixed"
    assert {field.name for field in dataclasses.fields(Row)} == set(value["rows"][0])
    assert value["rows"][0]["bits_per_byte_interval"] == [1.853, 1.903]
    assert summary == {"num_experiments": 5, "num_failed": 1, "best": "lstm_small", "best_bits_per_byte": 1.873}


def test_page_shows_every_row_and_loads_nothing(rows, tmp_path):
    write_leaderboard("mixed", rows, tmp_path)
    html = (tmp_path / "leaderboard.html").read_text("utf-8")
    for row in rows:
        assert row.experiment in html
    assert "the training process ended with code 1" in html
    assert 'role="img"' in html
    for forbidden in ("http://", "https://", "<script", "url("):
        assert forbidden not in html


def test_page_escapes_messages(tmp_path):
    rows = leaderboard_rows([entry("x", None, "failed", "<script>alert(1)</script>")])
    write_leaderboard("d", rows, tmp_path)
    html = (tmp_path / "leaderboard.html").read_text("utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "No experiment has been measured" in html


def test_same_rows_give_the_same_bytes(rows, tmp_path):
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_leaderboard("mixed", rows, tmp_path / name)
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert written[0] == written[1]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_terminal_table_fits_and_cuts_nothing(rows, width):
    table = terminal_table(rows, width).split("\n\n")[0]
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in table
    assert "\x1b" not in table
    for row in rows:
        (line,) = [line for line in lines if f" {row.experiment} " in line or f"({row.experiment})" in line]
        if row.bits_per_byte is not None:
            assert f"{row.bits_per_byte:.3f}" in line
    assert ("family" in lines[0]) <= (width >= 100)


def test_terminal_table_ends_with_messages_taken_literally():
    rows = leaderboard_rows([entry("x", None, "failed", "bad [bold]value[/bold] :smile:")])
    assert terminal_table(rows).endswith("x (failed): bad [bold]value[/bold] :smile:")


def test_terminal_table_of_nothing_is_a_heading():
    assert "bits/byte" in terminal_table([])


def test_a_model_that_fills_gaps_has_no_rank_and_says_why(report_data):
    masked = {"bits_per_byte": None, "perplexity": None, "masked_perplexity": 9.5}
    encoder = dataclasses.replace(entry("bert", 1.0), family="encoder", evaluation=masked)
    rows = leaderboard_rows([encoder, entry("gru_small", 2.0)], report_data.baselines)
    assert {row.experiment: row.rank for row in rows if row.status == "built"} == {"gru_small": 1, "bert": None}
    table = terminal_table(rows, 100)
    assert "bert (built): masked perplexity 9.50, not comparable: it sees both sides" in table
    assert "9.5" not in "".join(line for line in table.splitlines() if "lstm" in line)
