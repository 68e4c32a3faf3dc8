"""What is done with personal data: counted always, and masked or hashed in the text where the spec says so."""

import hashlib
from collections import Counter

import polars as pl

from lm_pipeline.corpus.personal_data.find import KINDS, Span, find, narrowed
from lm_pipeline.specs.cleaning import PersonalData

COUNTS = pl.Schema({f"num_{kind.name}": pl.Int64 for kind in KINDS})
"""Columns with the number of spans of each kind in a document."""

_PROSE = ("text", "target", "title")
_IN_ADDRESSES = tuple(kind for kind in KINDS if kind.name in {"secret", "url_with_token", "email"})


def redacted(documents: pl.DataFrame, spec: PersonalData) -> pl.DataFrame:
    """Count personal data, and replace it where its action is `mask` or `hash`.

    Args:
        documents: with `text`, `target`, `title` and `url`, normalised. In addresses only secrets, tokens and e-mail
            addresses are looked for: numbers in them are numbers of pages.
        spec: actions by kind.

    Returns:
        The same rows with the columns `COUNTS` (over all four columns) and the texts replaced.
    """
    counts = {name: [0] * len(documents) for name in COUNTS}
    columns = []
    for name in (*_PROSE, "url"):
        column = documents[name]
        found = find(column, _IN_ADDRESSES if name == "url" else KINDS)
        for index, spans in found.items():
            for kind, number in Counter(span.kind.name for span in spans).items():
                counts[f"num_{kind}"][index] += number
        rewritten = {index: _rewritten(column[index], spans, spec) for index, spans in found.items()}
        if rewritten:
            columns.append(column.clone().scatter(list(rewritten), list(rewritten.values())))
    return documents.with_columns(*columns, *(pl.Series(name, counts[name], COUNTS[name]) for name in COUNTS))


def _rewritten(text: str, spans: list[Span], spec: PersonalData) -> str:
    pieces = []
    at = 0
    for start, end, kind in spans:
        action = getattr(spec, kind.name)
        if action in {"mask", "hash"}:
            label = kind.name.upper()
            if action == "hash":
                label += f":{pseudonym(kind.canonical(narrowed(text[start:end])), spec.salt)}"
            pieces += [text[at:start], f"<{label}>"]
            at = end
    return "".join([*pieces, text[at:]])


def pseudonym(value: str, salt: str) -> str:
    """16 hex digits that stand for a value: keyed BLAKE2b, the same wherever the value stands.

    >>> pseudonym("li@example.cn", "") == pseudonym("li@example.cn", "")
    True
    >>> pseudonym("li@example.cn", "") == pseudonym("li@example.cn", "another project")
    False
    """
    key = hashlib.blake2b(salt.encode()).digest()
    return hashlib.blake2b(value.encode(), digest_size=8, key=key).hexdigest()
