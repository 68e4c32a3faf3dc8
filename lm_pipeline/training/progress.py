"""Who trains sees how far it is: in Dagster's log, as a bar in a terminal, or a line at a time."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lm_pipeline.tracking.spool import SpoolWriter


class Reporter:
    """Tells a training's progress to whoever is there, and its metrics to the tracking spool.

    Under Dagster (`DAGSTER_PIPES_CONTEXT` is set) lines go to its log; else, if stderr is a terminal, a bar is drawn;
    else lines go to stderr.

    Args:
        num_steps: steps in all.
        spool: the tracking spool's file; None writes no metrics.
        quiet: whether only warnings are told, and to stderr: of several processes, one reports.
    """

    def __init__(self, num_steps: int, spool: Path | None = None, *, quiet: bool = False) -> None:
        self.num_steps = num_steps
        self.quiet = quiet
        self._spool_path = spool
        self._spool: SpoolWriter | None = None
        self._pipes: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        if self.quiet:
            return self
        if self._spool_path is not None:
            self._spool = self._exits.enter_context(SpoolWriter(self._spool_path))
        if os.environ.get("DAGSTER_PIPES_CONTEXT"):
            from dagster_pipes import open_dagster_pipes

            self._pipes = self._exits.enter_context(open_dagster_pipes())
        elif sys.stderr.isatty():
            self._bar = self._exits.enter_context(_bar())
            self._task = self._bar.add_task("training", total=self.num_steps)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    def begin(self, step: int) -> None:
        """Training starts after this many steps."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def info(self, text: str) -> None:
        """A line for people."""
        if self.quiet:
            return
        if self._pipes is not None:
            self._pipes.log.info(text)
        else:
            self._print(text)

    def warn(self, text: str) -> None:
        """A line about something that went wrong and was survived."""
        if self._pipes is not None:
            self._pipes.log.warning(text)
        else:
            self._print(f"warning: {text}")

    def point(self, step: int, values: dict[str, float], seconds_per_step: float | None = None) -> None:
        """Metrics of a step, and how long a step takes."""
        if self._spool is not None:
            self._spool.metrics(step=step, values=values)
        line = describe(step, self.num_steps, values, seconds_per_step)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=line)
        else:
            self.info(line)

    def rolled_back(self, step: int, to: int, why: str) -> None:
        """The training went back, and reads on behind the data that it stumbled over."""
        if self._spool is not None:
            self._spool.rollback(step=step, to=to)
        self.warn(f"went back from step {step} to step {to}, reading on behind the data that was skipped: {why}")

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def describe(step: int, num_steps: int, values: dict[str, float], seconds_per_step: float | None) -> str:
    """One line for people.

    >>> describe(20, 100, {"train_loss": 5.25, "tokens_per_second": 12345.6}, 0.5)
    'step 20/100  loss 5.2500  12,346 tokens/s  40 s left'
    >>> describe(20, 100, {"validation_loss": 5.5}, None)
    'step 20/100  validation loss 5.5000'
    """
    parts = [f"step {step}/{num_steps}"]
    if "train_loss" in values:
        parts.append(f"loss {values['train_loss']:.4f}")
    if "validation_loss" in values:
        parts.append(f"validation loss {values['validation_loss']:.4f}")
    if "tokens_per_second" in values:
        parts.append(f"{values['tokens_per_second']:,.0f} tokens/s")
    if "mfu" in values:
        parts.append(f"{values['mfu']:.0%} of peak")
    if seconds_per_step is not None:
        parts.append(f"{(num_steps - step) * seconds_per_step:,.0f} s left")
    return "  ".join(parts)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.description}"), console=Console(stderr=True)
    )
