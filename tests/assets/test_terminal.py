import pytest

from assets import terminal

STEPS = [f"step {number}/40  loss 3.1000" for number in (10, 20, 30, 40)]


@pytest.mark.parametrize("asset", ["english_lstm/checkpoint", "中文/checkpoint"])
def test_without_a_terminal_a_step_is_said_now_and_then_and_the_last_one_always(asset, capsys, monkeypatch):
    times = iter([100.0, 110.0, 131.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(times))
    for line in STEPS:
        terminal.say(asset, line)
    assert capsys.readouterr().err.splitlines() == [f"  {asset}: {STEPS[index]}" for index in (0, 2, 3)]


def test_what_is_no_step_is_always_said(capsys):
    terminal.say("a/checkpoint", "times a few steps")
    terminal.say("a/checkpoint", "times a few steps")
    assert len(capsys.readouterr().err.splitlines()) == 2
