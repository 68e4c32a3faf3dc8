import subprocess
import sys
import threading
from pathlib import Path

from lm_pipeline.scratch import scratch_folder

HOLDER = """
import sys
from pathlib import Path
from lm_pipeline.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "content").write_bytes(b"1")
    print("ready", flush=True)
    sys.stdin.read()
"""


def start_holder(parent: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path):
    (tmp_path / "lm-pipeline-notes").mkdir()  # somebody's own
    with start_holder(tmp_path) as living, start_holder(tmp_path) as killed:
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob(".*/content"))) == 2
        with scratch_folder(tmp_path) as folder:
            assert list(folder.iterdir()) == []
            assert len(list(tmp_path.glob(".*/content"))) == 1
        living.communicate("")
    assert [path.name for path in tmp_path.iterdir()] == ["lm-pipeline-notes"]


def test_many_at_once_do_not_take_each_others_folders(tmp_path):
    lost = []

    def work(number):
        for _ in range(50):
            with scratch_folder(tmp_path) as folder:
                (folder / "own").write_text(str(number))
                if (folder / "own").read_text() != str(number):
                    lost.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert list(tmp_path.iterdir()) == []


def test_it_lies_in_the_temporary_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
