"""One batch of records: normalised, identified by language and measured."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import polars as pl
import xxhash

from lm_pipeline.corpus.document_tables import DOCUMENTS, REMOVAL, ROW_DIGEST, STATISTICS, row_digests
from lm_pipeline.corpus.extraction.parsed import Removal
from lm_pipeline.corpus.personal_data.redaction import redacted
from lm_pipeline.corpus.quality.blocklist import count_blocked
from lm_pipeline.corpus.quality.filters import choose_profile, with_statistics
from lm_pipeline.corpus.quality.line_rules import without_lines
from lm_pipeline.corpus.quality.list_columns import empty_lists, lists_by_row
from lm_pipeline.corpus.quality.url_rules import measure_urls
from lm_pipeline.corpus.readers.records import ROLES, Record
from lm_pipeline.corpus.text.chinese_script import chinese_script, converted
from lm_pipeline.corpus.text.language import identify_language
from lm_pipeline.corpus.text.mojibake import mended
from lm_pipeline.corpus.text.normalisation import normalised
from lm_pipeline.corpus.text.scripts import count_scripts
from lm_pipeline.specs.cleaning import Blocklist, Cleaning, UrlRules
from lm_pipeline.specs.corpus import CorpusSpec

_RAW_COLUMNS = ("document_id", "file", "record", "byte_offset", "byte_length", *ROLES)


def document_id(corpus: str, file: str, record: int) -> str:
    """Name a document by where it comes from: 32 hex digits, unchanged by cleaning, order and layout.

    >>> document_id("notes", "a.txt", 0)
    'd129ae5d03d91f0e693dc3122c899bf8'
    """
    return xxhash.xxh3_128_hexdigest(f"{corpus}\0{file}\0{record}".encode())


def clean_records(corpus: str, records: Sequence[tuple[str, Record]], spec: CorpusSpec) -> pl.DataFrame:
    """One row a record: the columns of `DOCUMENTS` and `STATISTICS`, and the row's digest."""
    raw = pl.DataFrame(
        {
            "document_id": [document_id(corpus, file, record.record) for file, record in records],
            "file": [file for file, _ in records],
            **{
                name: [getattr(record, name) for _, record in records]
                for name in ("record", "byte_offset", "byte_length", *ROLES)
            },
        },
        schema_overrides={name: dtype for name, dtype in DOCUMENTS.items() if name in _RAW_COLUMNS},
    )
    prose = ("text", "target", "title")
    if spec.cleaning.fix_encoding:
        raw = raw.with_columns(mended(raw[name]) for name in prose)
    clean = raw.with_columns(
        *(normalised(pl.col(name), spec.cleaning.width) for name in prose), corpus=pl.lit(corpus, dtype=pl.String)
    )
    clean = _with_removals([record.removals for _, record in records], without_rule_lines(clean, spec.cleaning))
    identified = _in_one_script(_identified(clean, spec), spec.cleaning)
    searched = _searched(identified, spec.cleaning).with_columns(
        num_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        profile=choose_profile(pl.col("language"), spec.cleaning),
    )
    measured = with_statistics(searched).cast({name: STATISTICS[name] for name in STATISTICS})  # pyright: ignore[reportArgumentType]
    rows = measured.select(*DOCUMENTS, *STATISTICS)
    return rows.with_columns(row_digests(rows).alias(ROW_DIGEST))


def without_rule_lines(documents: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Apply the line rules. Adds `removals`."""
    if cleaning.lines is None:
        return documents.with_columns(empty_lists("removals", REMOVAL, len(documents)))
    text, removals = without_lines(documents["text"], cleaning.lines)
    return documents.with_columns(text.alias("text"), removals)


def _with_removals(of_readers: Sequence[Sequence[Removal]], documents: pl.DataFrame) -> pl.DataFrame:
    """Put what readers took out before what line rules did. Adds `num_removed_characters`."""
    removals = documents["removals"]
    if any(of_readers):
        rows = np.repeat(np.arange(len(of_readers)), [len(found) for found in of_readers])
        items = pl.DataFrame(list(chain.from_iterable(of_readers)), schema=REMOVAL.to_schema(), orient="row")
        removals = pl.select(
            pl.concat_list(lists_by_row("removals", rows, items, len(of_readers)), removals)
        ).to_series()
    characters = removals.list.eval(pl.element().struct.field("characters")).list.sum()
    return documents.with_columns(removals, num_removed_characters=characters)


def _identified(clean: pl.DataFrame, spec: CorpusSpec) -> pl.DataFrame:
    """Add `language`, `language_confidence` and `chinese_script`."""
    scripts = count_scripts(clean["text"])
    if spec.language == "auto":
        answers = identify_language(clean["text"].to_list(), scripts)
    else:
        answers = [(spec.language, 1.0)] * len(clean)
    language = pl.Series("language", [code for code, _ in answers], dtype=pl.String)
    return clean.with_columns(
        language,
        pl.Series("language_confidence", [confidence for _, confidence in answers], dtype=pl.Float32),
        scripts.with_columns(language).select(chinese_script=chinese_script())["chinese_script"],
    )


def _searched(documents: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Add what is looked for in texts and addresses; personal data is replaced last, so that all of it is seen."""
    blocklist = cleaning.blocklist or Blocklist()
    measured = documents.with_columns(
        count_blocked(documents["text"], blocklist.terms, cleaning.width),
        *measure_urls(documents["url"], cleaning.urls or UrlRules()),
    )
    return redacted(measured, cleaning.personal_data)


def _in_one_script(documents: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    if cleaning.chinese_script == "keep":
        return documents
    found = documents["chinese_script"]
    return documents.with_columns(
        converted(documents[name], found, cleaning.chinese_script) for name in ("text", "target", "title")
    )
