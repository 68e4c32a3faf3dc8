"""`python -m lm_pipeline clean` with instants, in itself and in the processes that it starts: they import this as well.

All of them count together. At an instant with an odd number the process that has come to it is killed, and the others
see it; at one with an even number whoever started all this is killed too.
"""

import fcntl
import os
import signal
import sys
from pathlib import Path

from lm_pipeline.__main__ import main
from tests.faults.data_child import note_builds, watch
from tests.faults.killing import Killer

_LINE = 64


class SharedKiller(Killer):
    """Counts the instants of several processes in a file, a line of fixed length each."""

    def __init__(self, at: int, path: Path) -> None:
        super().__init__(at)
        self._path = path

    def instant(self, kind: str) -> bool:
        with open(self._path, "ab") as file:  # noqa: PTH123 - Path.open has instants itself
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{kind:<{_LINE - 1}}\n".encode())
            return file.tell() // _LINE == self.at

    def kill(self) -> None:
        if self.at % 2 == 0:
            os.kill(int(os.environ["KILL_MAIN"]), signal.SIGKILL)
        super().kill()


def _watch() -> None:
    folder = Path(os.environ["KILL_FOLDER"])
    note_builds(folder / "built.log")
    watch(SharedKiller(int(os.environ["KILL_AT"]), folder / "instants"))


_watch()

if __name__ == "__main__":
    sys.exit(main(["clean", *sys.argv[1:]]))
