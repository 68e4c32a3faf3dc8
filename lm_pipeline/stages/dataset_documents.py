"""The documents of a dataset, as its stages read them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lm_pipeline.artifacts import Artifact
from lm_pipeline.digests import digest_file, digest_of
from lm_pipeline.graph import Build
from lm_pipeline.specs import DatasetSpec

if TYPE_CHECKING:
    import polars as pl

REPEATED = "repeated.parquet"
"""File of `splits` that says which text of its documents other ones have and is cut."""


def documents_of(spec: DatasetSpec, build: Build) -> "pl.LazyFrame":
    """All kept documents of the dataset in canonical order: corpora as the spec names them, then file, then record."""
    return read_corpora(build, spec.corpora)


def read_corpora(build: Build, roles: Iterable[str]) -> "pl.LazyFrame":
    """The kept documents of some inputs, one corpus after another."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_documents

    corpora = [build.inputs[role] for role in roles]
    return pl.concat(read_documents(clean_parts(corpus, build.store.open_parts(corpus))) for corpus in corpora)


def as_cut(documents: "pl.LazyFrame", splits: Artifact) -> "pl.LazyFrame":
    """Documents without the text that other ones have, where the splits say what that is."""
    import polars as pl

    from lm_pipeline.corpus.division.cuts import without_cuts

    has_cuts = REPEATED in splits.manifest["files"]
    return without_cuts(documents, pl.scan_parquet(splits.path(REPEATED))) if has_cuts else documents


def documents_with_splits(spec: DatasetSpec, build: Build, *columns: str) -> "Iterator[pl.DataFrame]":
    """Documents that have a split, with it, in canonical order, a bounded number at a time.

    Raises:
        InputError: the splits are not those of the documents as they are now.
    """
    import polars as pl

    from lm_pipeline.corpus.division.splits import with_splits

    splits = build.inputs["splits"]
    documents = as_cut(documents_of(spec, build), splits).select("document_id", *columns)
    for batch in with_splits(documents, splits.path("splits.parquet")):
        yield batch.filter(pl.col("split").is_not_null())


def file_digest(build: Build, name: str) -> str:
    """Digest of a file that a stage has written."""
    return digest_file(build.staging.path / name)


def files_digest(build: Build, names: Sequence[str]) -> str:
    """Content digest of a stage for which these of its files count, and no others."""
    return digest_of({name: file_digest(build, name) for name in names})
