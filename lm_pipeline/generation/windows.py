"""Which context a model with a bounded context sees in a document longer than that: sliding windows.

A window is `context_length` inputs; the next one begins half a window later. Each window predicts only what the one
before did not reach, so that every target is predicted exactly once, from half a window of context at least.
Scoring and generation both go by this rule, hence agree. Torch-free.
"""

from typing import NamedTuple


class Window(NamedTuple):
    """Input positions [start, stop) of a document; those from `first_scored` on predict their next token."""

    start: int
    stop: int
    first_scored: int


def sliding_windows(num_inputs: int, context_length: int) -> list[Window]:
    """Windows over a document.

    Args:
        num_inputs: tokens that predict another one: all but the document's last.
        context_length: inputs that the model can see at once, at least 2.

    >>> sliding_windows(3, 4)
    [Window(start=0, stop=3, first_scored=0)]
    >>> [tuple(window) for window in sliding_windows(7, 4)]
    [(0, 4, 0), (2, 6, 4), (4, 7, 6)]
    """
    if num_inputs == 0:
        return []
    windows = [Window(0, min(num_inputs, context_length), 0)]
    while (done := windows[-1].stop) < num_inputs:
        start = windows[-1].start + window_stride(context_length)
        windows.append(Window(start, min(start + context_length, num_inputs), done))
    return windows


def window_stride(context_length: int) -> int:
    """Tokens from one window's start to the next one's."""
    return context_length // 2
