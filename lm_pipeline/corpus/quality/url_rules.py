"""What is measured on a document's address, for the rules that reject by it."""

import re
from collections.abc import Collection
from urllib.parse import unquote

import polars as pl

from lm_pipeline.corpus.quality.blocklist import count_blocked
from lm_pipeline.errors import SpecError
from lm_pipeline.specs.cleaning import UrlRules

COLUMNS = pl.Schema({"url_characters": pl.Int64, "blocked_domain": pl.Boolean, "num_blocked_url_words": pl.Int64})
"""Null for a document without an address."""

_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\[[^\]]*\]|[^/:?#]*)"
_BETWEEN_WORDS = r"[^\p{L}\p{N}\p{M}]+"
_LISTED_HOST = re.compile(
    r"(?:\|\||[a-z][a-z0-9+.-]*://)?"  # Adblock's mark, or a scheme
    r"(\[[0-9a-f:.]+\]|[^\s/:?#^|@$\[\]]+|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*)"
    r"(?::\d+)?/?(?:\^(?:\$\S*)?)?",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f]*:[0-9a-f:.]*(?:%\w+)?", re.IGNORECASE)
_NOWHERE = ("0.0.0.0", "127.0.0.1", "::", "::1")  # noqa: S104 - where a hosts file sends what it blocks; nothing binds


def measure_urls(urls: pl.Series, rules: UrlRules) -> pl.DataFrame:
    """Measure addresses: the columns `COLUMNS`.

    Args:
        urls: addresses or nulls.
        rules: the domains and words to look for; its files have been read.

    >>> measure_urls(pl.Series(["https://www.Bad.example/free-casino"]), UrlRules(
    ...     blocked_domains=("bad.example",), blocked_words=("casino",))).rows()
    [(35, True, 1)]
    """
    domains = {host for name in rules.blocked_domains if (host := canonical_host(name))}
    hosts = urls.str.extract(_HOST).fill_null("")
    blocked = {host: _is_blocked(canonical_host(host), domains) for host in hosts.unique()}
    wanted = _words(pl.Series(rules.blocked_words, dtype=pl.String)).to_list()
    return pl.DataFrame(
        {
            "url_characters": urls.str.len_chars(),
            "blocked_domain": hosts.replace_strict(blocked, return_dtype=pl.Boolean),
            "num_blocked_url_words": count_blocked(_words(urls), wanted)
            if wanted
            else pl.zeros(len(urls), pl.Int64, eager=True),
        },
        schema_overrides=COLUMNS,
    ).with_columns(pl.when(urls.is_not_null()).then(pl.all()))


def listed_hosts(entry: str) -> list[str]:
    """The hosts that a line of a list of domains names, in the forms in which such lists come; none for a comment.

    Raises:
        SpecError: it is no host: a page, a pattern or several words.

    >>> listed_hosts("||bad.example^"), listed_hosts("0.0.0.0 a.example b.example  # both"), listed_hosts("! a comment")
    (['bad.example'], ['a.example', 'b.example'], [])
    """
    text = re.sub(r"(?:^|\s)#.*", "", entry).strip()
    if not text or text.startswith(("!", "[Adblock")):  # a comment, or a list's first line
        return []
    names = text.split()
    if len(names) > 1 and _ADDRESS.fullmatch(names[0]):  # a hosts file blocks what it sends nowhere
        names = names[1:] if names[0] in _NOWHERE else []
    elif len(names) > 1:
        names = [text]
    found = [_LISTED_HOST.fullmatch(name) for name in names]
    hosts = [canonical_host(match[1]) for match in found if match]
    if len(hosts) < len(names) or not all(hosts) or "*" in "".join(hosts):
        raise SpecError(
            f"{entry!r} names no host. Write a domain, as `bad.example`; a scheme, a port, `||…^` and `0.0.0.0` before"
            " it are understood, paths and patterns are not."
        )
    return hosts


def _words(urls: pl.Series) -> pl.Series:
    """Addresses with their escapes undone and a space for all that is no letter or digit."""
    escaped = urls.str.contains("%", literal=True).fill_null(value=False).arg_true()
    plain = urls.clone().scatter(escaped, [unquote(url) for url in urls.gather(escaped)]) if len(escaped) else urls
    return plain.str.replace_all(_BETWEEN_WORDS, " ")


def canonical_host(name: str) -> str:
    """A host in the form in which hosts are compared: ASCII, lower case, without the root's dot and a `*.` before it.

    >>> canonical_host("*.Example.COM."), canonical_host("例子.中国")
    ('example.com', 'xn--fsqu00a.xn--fiqs8s')
    """
    host = name.strip().lower().strip("[]").removeprefix("*.").strip(".")
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # no name that a server can have
        return host


def _is_blocked(host: str, domains: Collection[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))
