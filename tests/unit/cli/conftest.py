"""Commands run in this process, on tiny projects."""

import pytest

from lm_pipeline.cli import main


@pytest.fixture
def built(tiny_project, environment_of):
    """The tiny project, not to be changed, as the one that commands work on."""
    return environment_of(tiny_project)


@pytest.fixture
def copy(tiny_copy, environment_of):
    """A tiny project that may be changed."""
    return environment_of(tiny_copy)


@pytest.fixture
def run(capsys):
    """Runs a command in this process; gives its exit code, its stdout and its stderr."""

    def inner(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return inner
