import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lm_pipeline.errors import ChildError
from lm_pipeline.launch import supervise

ROOT = Path(__file__).resolve().parents[2]

TRAINER = """
import sys, time
from pathlib import Path
from lm_pipeline.launch import die_with_parent
die_with_parent()
folder = Path(sys.argv[1])
try:
    (folder / "started").touch()
    print("started", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    (folder / "saved").touch()
    print("saved at step 7", flush=True)
    sys.exit(130)
"""

STUBBORN = """
import signal, sys, time, subprocess
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
(Path(sys.argv[1]) / "pids").write_text(f"{grandchild.pid}")
print("started", flush=True)
time.sleep(120)
"""

PARENT = """
import os, sys
from pathlib import Path
if sys.argv[3] == "polars":
    import polars
    polars.DataFrame({"a": [1]}).lazy().select("a").collect()
from lm_pipeline.launch import supervise
(Path(sys.argv[2]) / "parent").write_text(str(os.getpid()))
def tell(line):
    print(line, flush=True)
supervise([sys.executable, "-c", sys.argv[1], sys.argv[2]], on_line=tell, grace_seconds=5)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return [pid for pid in found if alive(pid)]


def start_parent(program: str, folder: Path, preload: str = "none") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, program, str(folder), preload],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_lines_of_both_streams_arrive_in_the_callers_thread():
    lines, threads = [], set()

    def tell(line):
        lines.append(line)
        threads.add(threading.current_thread())

    supervise(
        [sys.executable, "-c", "import sys; print('out\\nmore'); print('fehler ü', file=sys.stderr)"], on_line=tell
    )
    assert sorted(lines) == ["fehler ü", "more", "out"]
    assert threads == {threading.current_thread()}


def test_a_failing_child_is_reported_with_its_code_and_the_end_of_its_stderr():
    program = "import sys\nfor i in range(100): print('line', i, file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(ChildError) as caught:
        supervise([sys.executable, "-c", program])
    text = str(caught.value)
    assert "exited with code 3" in text
    assert "line 99" in text
    assert "line 60" in text
    assert "line 59" not in text


def test_a_child_killed_from_outside_is_reported_with_its_signal():
    with pytest.raises(ChildError, match=r"was killed by SIGKILL.*out of memory"):
        supervise([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])


def test_a_hundred_megabytes_of_output_do_not_deadlock():
    program = (
        "import sys\nline = 'x' * 999 + '\\n'\n"
        "for i in range(50_000):\n    sys.stdout.write(line)\n    sys.stderr.write(line)"
    )
    count = 0

    def tell(line):
        nonlocal count
        count += len(line) + 1

    supervise([sys.executable, "-c", program], on_line=tell)
    assert count == 100_000_000


def test_output_without_a_newline_neither_deadlocks_nor_fills_the_memory():
    longest = 0

    def tell(line):
        nonlocal longest
        longest = max(longest, len(line))

    supervise([sys.executable, "-c", "import sys; sys.stdout.write('x' * 20_000_000)"], on_line=tell)
    assert longest == 65536


def test_an_error_of_the_listener_stops_the_child_and_is_passed_on(tmp_path):
    def refuse(line):
        raise RuntimeError(f"cannot take {line}")

    with pytest.raises(RuntimeError, match="cannot take started"):
        supervise([sys.executable, "-c", TRAINER, str(tmp_path)], on_line=refuse, cwd=ROOT)
    assert (tmp_path / "saved").exists()
    assert processes_naming(str(tmp_path)) == []


def test_what_a_finished_child_left_behind_is_killed(tmp_path):
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)']);"
        "print(p.pid, flush=True)"
    )
    pids = []
    supervise([sys.executable, "-c", program], on_line=lambda line: pids.append(int(line)))
    assert wait_until(lambda: not alive(pids[0]), 2)


@pytest.mark.parametrize("preload", ["none", "polars"])
def test_an_interrupted_parent_lets_the_child_save_and_ends(tmp_path, preload):
    parent = start_parent(TRAINER, tmp_path, preload)
    start = time.monotonic()
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert (tmp_path / "saved").exists()
    assert out == "saved at step 7\n"
    assert "KeyboardInterrupt" in err
    assert processes_naming(str(tmp_path)) == []


def test_a_child_that_ignores_sigint_is_killed_after_the_grace_with_its_children(tmp_path):
    parent = start_parent(STUBBORN, tmp_path)
    start = time.monotonic()
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=20)
    assert 4 < time.monotonic() - start < 12
    assert not alive(int((tmp_path / "pids").read_text()))
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize("program", [TRAINER, STUBBORN], ids=["trainer", "stubborn"])
def test_kill_9_of_the_parent_leaves_no_child_and_no_grandchild(tmp_path, program):
    parent = start_parent(program, tmp_path)
    assert len(processes_naming(str(tmp_path))) == 2
    parent.kill()
    parent.communicate(timeout=20)
    assert wait_until(lambda: processes_naming(str(tmp_path)) == [], 5)
    if program is STUBBORN:
        assert wait_until(lambda: not alive(int((tmp_path / "pids").read_text())), 5)


def test_a_child_started_where_sigint_is_ignored_still_saves(tmp_path):
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c",
         "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n" + PARENT,
         TRAINER, str(tmp_path), "none"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert wait_until((tmp_path / "started").exists, 20)
    process.terminate()
    process.communicate(timeout=20)
    assert (tmp_path / "saved").exists()


def test_supervise_works_outside_the_main_thread(tmp_path):
    lines = []
    thread = threading.Thread(target=supervise, args=([sys.executable, "-c", "print('hello')"], None, lines.append))
    thread.start()
    thread.join(timeout=20)
    assert lines == ["hello"]


def test_the_environment_and_the_folder_are_the_childs_own(tmp_path):
    lines = []
    supervise(
        [sys.executable, "-c", "import os; print(os.environ.get('COLOUR'), os.getcwd())"],
        env={**os.environ, "COLOUR": "red"},
        on_line=lines.append,
        cwd=tmp_path,
    )
    assert lines == [f"red {tmp_path}"]
