import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.errors import LmPipelineError
from lm_pipeline.home import Home
from lm_pipeline.tracking.spool import SpoolWriter
from lm_pipeline.tracking.spool_events import last_status, read_events
from lm_pipeline.tracking.spool_files import find_or_new_spool, is_held

KEY = "0123456789abcdef0123456789abcdef01234567"


def test_events_come_back_in_order_with_their_times_and_values(tmp_path):
    path = tmp_path / "a.jsonl"
    with SpoolWriter(path) as spool:
        spool.open("docs", run_name="lstm", tags={"asset": "lstm/checkpoint"})
        spool.params({"model": {"width": 8, "tie": True}, "schedule": "cosine"})
        spool.metrics(3, {"loss": 1.5}, time_ms=1234)
        spool.input("docs", "f" * 64, "/artifacts/docs")
    bodies = [event.body for event in read_events(path)]
    assert [body["event"] for body in bodies] == ["open", "params", "metrics", "input"]
    assert bodies[1]["values"] == {"model.width": "8", "model.tie": "true", "schedule": "cosine"}
    assert (bodies[2]["step"], bodies[2]["time_ms"], bodies[2]["values"]) == (3, 1234, {"loss": 1.5})
    assert bodies[3]["digest"] == "f" * 36


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.data())
def test_a_line_cut_anywhere_by_a_crash_is_removed_and_the_whole_lines_stay(tmp_path_factory, notes, data):
    path = tmp_path_factory.mktemp("spool") / "a.jsonl"
    with SpoolWriter(path) as spool:
        for note in notes:
            spool.note(note)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    survivors = whole[:cut].count(b"\n")
    assert len(list(read_events(path))) == survivors
    with SpoolWriter(path) as spool:
        spool.note("after")
    assert [event.body["markdown"] for event in read_events(path)] == [*notes[:survivors], "after"]


def test_a_damaged_line_is_reported_and_does_not_hide_what_follows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"event": "note", "markdown": "1"}\n\xff\xfe garbage\n{"event": "note", "markdown": "2"}\n')
    assert [event.body["event"] for event in read_events(path)] == ["note", "unreadable", "note"]


def test_reading_goes_on_from_an_offset(tmp_path):
    path = tmp_path / "a.jsonl"
    with SpoolWriter(path) as spool:
        spool.note("1")
        first = next(read_events(path)).end
        spool.note("2")
    assert [event.body["markdown"] for event in read_events(path, first)] == ["2"]


def _write_many(path: Path, writer: int) -> None:
    with SpoolWriter(path) as spool:
        for step in range(200):
            spool.metrics(step, {f"metric_{writer}": step})


def test_several_processes_write_to_one_spool_without_tearing_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(path, index)) for index in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(bodies) == 600
    for index in range(3):
        assert [b["step"] for b in bodies if f"metric_{index}" in b["values"]] == list(range(200))


def test_an_unfinished_spool_is_taken_up_again_and_a_finished_one_is_followed_by_the_next(tmp_path):
    home = Home(tmp_path)
    first = find_or_new_spool(home, "checkpoint", KEY)
    assert first.name == "checkpoint-0123456789abcdef-1.jsonl"
    for status in (None, "RUNNING", "KILLED", "FAILED"):
        with SpoolWriter(first) as spool:
            spool.open("docs", run_name="lstm")
            if status:
                spool.status(status)
        assert find_or_new_spool(home, "checkpoint", KEY) == first
    with SpoolWriter(first) as spool:
        spool.status("FINISHED")
        spool.note("an evaluation that comes later")
    assert last_status(first) == "FINISHED"
    assert find_or_new_spool(home, "checkpoint", KEY).name == "checkpoint-0123456789abcdef-2.jsonl"
    assert find_or_new_spool(home, "documents", KEY).name == "documents-0123456789abcdef-1.jsonl"


def test_a_spool_is_held_while_any_writer_has_it_open(tmp_path):
    path = tmp_path / "a.jsonl"
    assert not is_held(path)
    one, two = SpoolWriter(path), SpoolWriter(path)
    assert is_held(path)
    one.close()
    assert is_held(path)
    two.close()
    assert not is_held(path)


def test_wrong_use_is_refused_with_what_was_expected(tmp_path):
    with SpoolWriter(tmp_path / "a.jsonl") as spool:
        with pytest.raises(LmPipelineError, match="Expected one of: RUNNING, FINISHED"):
            spool.status("DONE")  # pyright: ignore[reportArgumentType]
        with pytest.raises(LmPipelineError, match="give both, or neither"):
            spool.model("lstm", "/x", dataset_name="docs")
        with pytest.raises(LmPipelineError, match="not a file"):
            spool.artifact(tmp_path / "absent.html")


def test_writing_costs_less_than_a_millisecond(tmp_path):
    import time

    with SpoolWriter(tmp_path / "a.jsonl") as spool:
        start = time.perf_counter()
        for step in range(1000):
            spool.metrics(step, {"loss": 1.0, "rate": 2.0})
        assert (time.perf_counter() - start) / 1000 < 1e-3
    assert (tmp_path / "a.jsonl").stat().st_size > 1000
