"""Work on all cores, where it gives the interpreter's lock back: compiled kernels, libraries that read and unpack."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def in_threads(work: Callable[[Any], Any], items: Iterable[Any], most: int | None = None) -> Iterator[Any]:
    """Results in the order of the items, with a few at work at a time: memory does not depend on how many come.

    Args:
        work: what makes a result of an item, in a thread.
        items: they are drawn in the caller's thread.
        most: threads at most, where an item takes much memory; as many as there are cores otherwise.

    >>> list(in_threads(str.upper, ["a", "b", "c"]))
    ['A', 'B', 'C']
    """
    pending: deque[Future[Any]] = deque()
    num_threads = min(os.cpu_count() or 1, most or sys.maxsize)
    with ThreadPoolExecutor(num_threads) as threads:
        for item in items:
            pending.append(threads.submit(work, item))
            if len(pending) > num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
