import threading

import pytest
import torch

from lm_pipeline.generation.threads import FIRST_INTERVAL, MeasuredThreads, threads


@pytest.fixture(autouse=True)
def _as_many_as_the_machine_has():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(monkeypatch):
    """Threads of each step, of work that takes so long with so many, by a clock that other work does not disturb."""
    now = 0.0

    def inner(team: MeasuredThreads, steps: int, seconds: dict[int, float]) -> list[int]:
        nonlocal now
        used = []
        for _ in range(steps):
            with team.step():
                used.append(torch.get_num_threads())
                now += seconds[used[-1]]
        return used

    monkeypatch.setattr("lm_pipeline.generation.threads.time.perf_counter", lambda: now)
    return inner


def test_the_faster_number_of_threads_is_found_in_four_steps_and_kept(run):
    assert run(MeasuredThreads(2), 30, {1: 0.004, 2: 0.001}) == [1, 1] + [2] * 28
    assert run(MeasuredThreads(2), 30, {1: 0.001, 2: 0.004}) == [1, 1, 2, 2] + [1] * 26


def test_the_slower_number_is_tried_again_ever_more_seldom(run):
    used = run(MeasuredThreads(2), 4 * FIRST_INTERVAL, {1: 0.0002, 2: 0.002})
    tried = [step for step, number in enumerate(used) if number == 2]
    assert tried == [2, 3, 4 + 2 * FIRST_INTERVAL, 5 + 2 * FIRST_INTERVAL]


def test_threads_that_are_disturbed_give_way_at_once(run):
    team = MeasuredThreads(2)
    assert run(team, 10, {1: 0.004, 2: 0.001})[-1] == 2
    assert run(team, 10, {1: 0.004, 2: 0.02}) == [2] + [1] * 9


def test_with_one_thread_there_is_nothing_to_try_and_the_number_outside_stays(run):
    torch.set_num_threads(2)
    assert set(run(MeasuredThreads(1), 2 * FIRST_INTERVAL, {1: 0})) == {1}
    assert torch.get_num_threads() == 2


def test_two_at_the_same_time_leave_the_number_outside_as_it_was():
    torch.set_num_threads(2)
    with threads(1):
        pass  # the program's number is known from here on
    first_is_in, second_is_in, seen = threading.Event(), threading.Event(), {}

    def first() -> None:
        with threads(1):
            first_is_in.set()
            assert second_is_in.wait(10)
        seen["first"] = torch.get_num_threads()

    def second() -> None:
        assert first_is_in.wait(10)
        seen["inside"] = torch.get_num_threads()
        with threads(1):
            second_is_in.set()
            beginning.join(10)
        seen["second"] = torch.get_num_threads()

    beginning, following = threading.Thread(target=first), threading.Thread(target=second)
    later = threading.Thread(target=lambda: seen.update(later=torch.get_num_threads()))
    for thread in (beginning, following):
        thread.start()
    for thread in (beginning, following):
        thread.join(10)
    later.start()
    later.join(10)
    assert seen == {"first": 2, "inside": 1, "second": 2, "later": 2}
    assert torch.get_num_threads() == 2
