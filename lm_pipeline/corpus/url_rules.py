"""What is measured on a document's address, for the rules that reject by it."""

import re
from collections.abc import Collection

import polars as pl

from lm_pipeline.specs.cleaning import UrlRules

COLUMNS = pl.Schema({"url_characters": pl.Int64, "blocked_domain": pl.Boolean, "num_blocked_url_words": pl.Int64})
"""Null for a document without an address."""

_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@]*@)?(\[[^\]]*\]|[^/:?#]*)"
_BETWEEN_WORDS = r"[^\p{L}\p{N}\p{M}]+"


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
    words = urls.str.to_lowercase().str.replace_all(_BETWEEN_WORDS, " ")
    wanted = sorted({word.lower() for word in rules.blocked_words if word})
    counts = [words.str.count_matches(rf"(?:^| ){re.escape(word)}(?:$|\b)") for word in wanted]
    return pl.DataFrame(
        {
            "url_characters": urls.str.len_chars(),
            "blocked_domain": hosts.replace_strict(blocked, return_dtype=pl.Boolean),
            "num_blocked_url_words": sum(counts, pl.zeros(len(urls), pl.Int64, eager=True)),
        },
        schema_overrides=COLUMNS,
    ).with_columns(pl.when(urls.is_not_null()).then(pl.all()))


def canonical_host(name: str) -> str:
    """A host in the form in which hosts are compared: ASCII, lower case, without the root's dot and a `*.` before it.

    >>> canonical_host("*.Example.COM."), canonical_host("例子.中国")
    ('example.com', 'xn--fsqu00a.xn--fiqs8s')
    """
    host = name.strip().lower().removeprefix("*.").strip(".")
    try:
        return host.encode("idna").decode()
    except UnicodeError:  # no name that a server can have
        return host


def _is_blocked(host: str, domains: Collection[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))
