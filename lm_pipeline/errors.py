"""Errors that say what was given, what was expected and what to do."""

import difflib
from collections.abc import Iterable


class LmPipelineError(ValueError):
    """Base of every error that a user can cause and mend.

    The command prints its text without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class SpecError(LmPipelineError):
    """A declaration in YAML is wrong: unknown key, wrong type, unknown name."""

    exit_code = 2


class HomeError(LmPipelineError):
    """The home folder is missing, uninitialised or not writable."""

    exit_code = 3


class MissingArtifactError(LmPipelineError):
    """An artifact that a step reads has not been materialized."""

    exit_code = 4


class CorruptArtifactError(LmPipelineError):
    """Bytes on disk are not the bytes that the manifest names."""

    exit_code = 5


class InputError(LmPipelineError):
    """A source or an input file cannot be had or read."""

    exit_code = 6


class UnavailableError(InputError):
    """A source cannot be reached now, or is offered nowhere; nothing is wrong with what was declared."""

    exit_code = 9


class BusyError(LmPipelineError):
    """Another living process is building the same artifact."""

    exit_code = 7


class ChildError(LmPipelineError):
    """A supervised child process failed; the text ends with the last lines of its stderr."""

    exit_code = 8


def nearest(given: str, known: Iterable[str]) -> str:
    """Suggest what a misspelt name may have meant.

    >>> nearest("transfomer", ["lstm", "transformer"])
    "Did you mean 'transformer'? Available: lstm, transformer."
    >>> nearest("x", ["lstm"])
    'Available: lstm.'
    """
    names = sorted(known)
    if not names:
        return "Available: none."
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Available: {', '.join(names)}."
