"""Lists that a declaration keeps in files: blocked terms and blocked domains, one a line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lm_pipeline.corpus.quality.url_rules import listed_hosts
from lm_pipeline.errors import InputError, SpecError
from lm_pipeline.home import Home
from lm_pipeline.specs.cleaning import Cleaning


def list_digests(cleaning: Cleaning, home: Home) -> Mapping[str, str]:
    """The SHA-256 of every file of lists that the cleaning names, by the path that it is named by."""
    names = [name for rules in (cleaning.blocklist, cleaning.urls) if rules for name in rules.files]
    return {name: hashlib.sha256(_read(name, home)).hexdigest() for name in names}


def with_lists(cleaning: Cleaning, home: Home) -> Cleaning:
    """The same cleaning with what its files list written out.

    Raises:
        InputError: a file is missing, is no UTF-8 or, of domains, has a line that names no host.
        SpecError: a domain that the cleaning itself names is no host.
    """
    update = {}
    if cleaning.blocklist:
        terms = (*cleaning.blocklist.terms, *(line for _, line in _lines(cleaning.blocklist.files, home)))
        update["blocklist"] = cleaning.blocklist.model_copy(update={"terms": terms, "files": ()})
    if cleaning.urls:
        domains = [host for name in cleaning.urls.blocked_domains for host in listed_hosts(name)]
        domains += [host for where, line in _lines(cleaning.urls.files, home) for host in _hosts(where, line)]
        update["urls"] = cleaning.urls.model_copy(update={"blocked_domains": tuple(domains), "files": ()})
    return cleaning.model_copy(update=update)


def _hosts(where: str, line: str) -> list[str]:
    try:
        return listed_hosts(line)
    except SpecError as error:
        raise InputError(f"{where}: {error}") from None


def _lines(names: tuple[str, ...], home: Home) -> list[tuple[str, str]]:
    """Every line that is not blank, after its file and number."""
    lines = []
    for name in names:
        try:
            text = _read(name, home).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"The list {_path(name, home)} is no UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."
            ) from None
        lines += [
            (f"{_path(name, home)}:{number}", stripped)
            for number, line in enumerate(text.splitlines(), 1)
            if (stripped := line.strip())
        ]
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
