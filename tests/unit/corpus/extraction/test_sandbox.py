import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from lm_pipeline.corpus.extraction import sandbox
from lm_pipeline.corpus.extraction.sandbox import Failure, Job, Limits, parse_all

LIMITS = Limits(seconds=30, bytes=256 << 20)
PAGE = Job("html", "<p>你好，世界。</p>".encode(), {})


def probe(fault: str) -> Job:
    return Job("probe", options={"fault": fault})


def outcomes(jobs, limits=LIMITS):
    answers = [answer for _, answer in parse_all(((None, job) for job in jobs), limits)]
    return [answer.reason if isinstance(answer, Failure) else answer[0]["text"] for answer in answers]


@pytest.mark.parametrize(
    ("fault", "reason"), [("crash", "parser_crash"), ("memory", "memory_limit"), ("abort", "memory_limit")]
)
def test_a_record_that_kills_the_parser_costs_only_itself(fault, reason):
    assert outcomes([PAGE, probe(fault), PAGE, probe(fault), PAGE]) == [
        "你好，世界。",
        reason,
        "你好，世界。",
        reason,
        "你好，世界。",
    ]


def test_a_record_that_hangs_costs_its_time_and_only_itself():
    before = time.monotonic()
    limits = Limits(seconds=0.5, bytes=256 << 20)
    assert outcomes([probe("fine"), probe("hang"), probe("fine")], limits) == ["fine", "timeout", "fine"]
    assert time.monotonic() - before < 20


def test_pages_nested_without_end_are_bounded():
    deep = Job("html", b"<div>" * 200_000 + b"x")
    (_, first), (_, second) = parse_all([(0, deep), (1, PAGE)], Limits(2, 256 << 20))
    assert isinstance(first, Failure)
    assert first.reason in {"timeout", "memory_limit", "parser_crash"}
    assert second == [{"text": "你好，世界。", "title": None, "url": None, "date": None, "removals": []}]


def test_one_child_serves_many_calls():
    outcomes([PAGE])
    children = {child.pid for child in psutil.Process().children()}
    for _ in range(3):
        assert outcomes([PAGE]) == ["你好，世界。"]
    assert {child.pid for child in psutil.Process().children()} == children


def test_answers_come_in_order_and_with_what_was_handed_in():
    jobs = [(n, Job("html", f"<p>{n}</p>".encode()) if n % 3 else None) for n in range(500)]
    found = list(parse_all(jobs, LIMITS))
    assert [given for given, _ in found] == list(range(500))
    assert all(answer is None if n % 3 == 0 else answer[0]["text"] == str(n) for n, answer in found)


def test_large_pages_go_through_the_pipes():
    big = Job("html", b"<p>" + b"A sentence of some length. " * 400_000 + b"</p>")
    assert [len(text) for text in outcomes([big, big])] == [10_799_999] * 2


def test_threads_have_children_of_their_own():
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: outcomes([Job("html", f"<p>{n}</p>".encode())] * 20), range(8)))
    assert results == [[str(n)] * 20 for n in range(8)]


def test_an_error_in_between_leaves_no_answers_behind():
    jobs = ((n, Job("html", f"<p>{n}</p>".encode())) for n in range(64))
    given, _ = next(iter(parse_all(jobs, LIMITS)))
    assert given == 0
    assert outcomes([PAGE]) == ["你好，世界。"]


def test_the_child_dies_with_its_parent():
    script = (
        "import os, sys\n"
        "from lm_pipeline.corpus.extraction.sandbox import Job, Limits, parse_all\n"
        "jobs = [(0, Job('probe', options={'fault': 'fine'})), (1, Job('probe', options={'fault': 'hang'}))]\n"
        "answers = parse_all(jobs, Limits(100, 1 << 28))\n"
        "next(answers)\n"
        "import psutil\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "next(answers)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait(30)
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_child_is_light():
    code = "import sys, lm_pipeline.corpus.extraction.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "polars", "pyarrow", "numpy", "pydantic", "dagster"} & set(done.stdout.split())


def test_idle_children_end_on_request():
    outcomes([PAGE])
    assert psutil.Process().children()
    sandbox.close_idle()
    workers = [child for child in psutil.Process().children() if "extraction.worker" in " ".join(child.cmdline())]
    assert not workers
