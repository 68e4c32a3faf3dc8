"""Lists that a declaration keeps in files: blocked terms and blocked domains, one a line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lm_pipeline.errors import InputError
from lm_pipeline.home import Home
from lm_pipeline.specs.cleaning import Cleaning


def list_digests(cleaning: Cleaning, home: Home) -> Mapping[str, str]:
    """The SHA-256 of every file of lists that the cleaning names, by the path that it is named by."""
    names = [name for rules in (cleaning.blocklist, cleaning.urls) if rules for name in rules.files]
    return {name: hashlib.sha256(_read(name, home)).hexdigest() for name in names}


def with_lists(cleaning: Cleaning, home: Home) -> Cleaning:
    """The same cleaning with what its files list written out.

    Raises:
        InputError: a file is missing or is no UTF-8.
    """
    update = {}
    if cleaning.blocklist:
        terms = (*cleaning.blocklist.terms, *_lines(cleaning.blocklist.files, home))
        update["blocklist"] = cleaning.blocklist.model_copy(update={"terms": terms, "files": ()})
    if cleaning.urls:
        domains = (*cleaning.urls.blocked_domains, *_lines(cleaning.urls.files, home))
        update["urls"] = cleaning.urls.model_copy(update={"blocked_domains": domains, "files": ()})
    return cleaning.model_copy(update=update)


def _lines(names: tuple[str, ...], home: Home) -> list[str]:
    lines = []
    for name in names:
        try:
            text = _read(name, home).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"The list {_path(name, home)} is no UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
            ) from None
        lines += [stripped for line in text.splitlines() if (stripped := line.strip())]
    return lines


def _read(name: str, home: Home) -> bytes:
    path = _path(name, home)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The list {path} cannot be read: {error.strerror}. `cleaning` names it {name!r}; relative paths start"
            f" at {home.root.parent}."
        ) from None


def _path(name: str, home: Home) -> Path:
    return home.root.parent / Path(name).expanduser()
