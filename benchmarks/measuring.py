"""What the benchmarks share: the clock, where results go and how a table gets into a page."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from lm_pipeline.provenance import processor

ROOT = Path(__file__).resolve().parents[1]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Seconds of processor time of this process, all threads: others on the same machine do not disturb it."""
    started = time.process_time()
    work()
    return max(time.process_time() - started, 1e-9)


def peer_python(name: str, *requirements: str) -> Path:
    """Python of a peer's environment in `build/peers`, installed from the package index where these are not in it."""
    folder = ROOT / "build/peers" / name
    installed, wanted = folder / "installed", "\n".join(requirements)
    if not installed.exists() or installed.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *requirements], check=True)
        installed.write_text(wanted, "utf-8")
    return folder / "bin/python"


def write_result(name: str, result: object) -> None:
    """Write `benchmarks/results/<name>.json` with machine, commit and command."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    record = {
        "machine": f"{os.cpu_count()} x {processor()}, Python {platform.python_version()}",
        "commit": commit.stdout.strip(),
        "command": shlex.join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "result": result,
    }
    path = ROOT / "benchmarks/results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", "utf-8")


def replace_table(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put the lines between `<!-- name -->` and `<!-- /name -->` of a page."""
    text = (ROOT / page).read_text("utf-8")
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in text or end not in text:
        raise SystemExit(f"{page} has no {start} … {end} to put the table between")
    before, after = text.split(start)[0], text.split(end)[1]
    (ROOT / page).write_text("\n".join([before + start, *lines, end]) + after, "utf-8")
