"""The image's recipe: nobody builds it here, so its steps are scripts, and the scripts are run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
KNOWN = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def arguments(name: str) -> list[str]:
    return [text for instruction, text in instructions() if instruction == name]


def run(script: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "docker" / script, *args],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )


def test_only_known_instructions_in_a_valid_order():
    names = [name for name, _ in instructions()]
    assert set(names) <= KNOWN
    assert names.index("FROM") == 1
    assert names[0] == "ARG"


def test_every_copied_path_exists():
    for text in arguments("COPY"):
        *sources, _ = shlex.split(text)
        for source in sources:
            assert (ROOT / source).exists(), f"COPY {text}: there is no {source}"


def test_copied_paths_are_let_through_to_the_builder():
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for text in arguments("COPY"):
        *sources, _ = shlex.split(text)
        assert {source.split("/")[0] for source in sources} <= allowed


def test_steps_are_scripts_that_exist_and_are_copied_before_they_run():
    copied: set[str] = set()
    steps = []
    for name, text in instructions():
        if name == "COPY":
            copied |= set(shlex.split(text)[:-1])
        elif name == "RUN" and not text.startswith("useradd "):
            script = shlex.split(text)[0]
            steps.append(text)
            assert script in copied
            assert os.access(ROOT / script, os.X_OK)
    assert steps == ["docker/install.sh packages", "docker/install.sh project", "docker/smoke.sh"]


def test_runs_as_a_user_without_rights_and_enters_the_command():
    assert arguments("USER") == ["lm"]
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert arguments("ENTRYPOINT") == ['["lm-pipeline"]']


def test_cpu_by_default_cuda_by_argument():
    assert "TORCH=cpu" in arguments("ARG")


def test_says_that_nobody_has_built_it():
    assert "unbuilt: nobody has built this image yet" in DOCKERFILE.read_text("utf-8")


@pytest.mark.parametrize("script", ["install.sh", "smoke.sh"])
def test_scripts_parse_and_stop_at_the_first_error(script):
    path = ROOT / "docker" / script
    subprocess.run(["/bin/sh", "-n", path], check=True)
    assert "\nset -eu\n" in path.read_text("utf-8")


@pytest.mark.parametrize(("args", "torch"), [([], "cpu"), (["everything"], "cpu"), (["packages"], "rocm")])
def test_wrong_use_is_refused_before_anything_happens(args, torch, tmp_path):
    done = run("install.sh", *args, TORCH=torch, VENV=str(tmp_path / "venv"))
    assert done.returncode == 2
    assert "usage" in done.stderr or "must be cpu or cuda" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_scripts_install_and_smoke_test_a_clean_environment(tmp_path):
    # pip's own configuration decides the index: what is shown is that the steps work, not that an index can be reached.
    environment = {"VENV": str(tmp_path / "venv"), "PYTHON": sys.executable, "TORCH_INDEX": ""}
    for script, *args in (("install.sh", "packages"), ("install.sh", "project"), ("smoke.sh",)):
        done = run(script, *args, **environment)
        assert done.returncode == 0, f"{script} {args}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "smoke test passed" in done.stdout
