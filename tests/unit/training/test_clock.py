import time

import pytest

from lm_pipeline.training.clock import PARTS, Clock


def test_every_moment_is_charged_to_one_part():
    begin = time.perf_counter()
    clock = Clock()
    for part in PARTS:
        time.sleep(0.002)
        clock.lap(part)
    assert clock.total == pytest.approx(time.perf_counter() - begin, abs=0.002)
    assert all(seconds >= 0.002 for seconds in clock.seconds.values())
    assert sum(clock.shares().values()) == pytest.approx(1)


def test_a_resumed_clock_goes_on_from_what_was_charged():
    clock = Clock({"forward": 5.0})
    clock.lap("forward")
    assert 5.0 < clock.seconds["forward"] < 5.1
    assert clock.training == clock.total
