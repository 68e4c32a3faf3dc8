"""`<dataset>/splits`: which documents train, validate and test, by a ledger that only grows."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lm_pipeline import locks
from lm_pipeline.allocator import return_memory
from lm_pipeline.artifacts import Artifact, Staging, Store
from lm_pipeline.errors import InputError, MissingArtifactError
from lm_pipeline.graph import Build, numbers
from lm_pipeline.home import Home
from lm_pipeline.provenance import provenance
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.dataset_documents import REPEATED, documents_of, file_digest, files_digest
from lm_pipeline.stages.unique_documents import REPEATED_UNITS

if TYPE_CHECKING:
    import polars as pl

AGAINST = "against:"
"""How the roles of corpora begin that are searched for and are not part of the dataset."""


def write_splits(name: str, spec: DatasetSpec, build: Build) -> None:
    """Split what is unique. The ledger, which only grows, has a ref of its own and goes into the lineage by digest."""
    from lm_pipeline.corpus.division.splits import split_documents

    return_memory()
    unique, evaluation = build.inputs["unique"], _evaluation_corpora(build)
    # A ref of its own for each seed: who tries another seed and comes back finds the splits that were decided.
    ledger_ref = f"{name}/split_ledger/{spec.split.seed}"
    lock = build.store.root / "work" / f"{ledger_ref}.lock"
    with locks.exclusive(lock, f"The split ledger of {name}", wait_seconds=600):
        ledger = _before_these_splits(_ledger(ledger_ref, build), build)
        summary = split_documents(
            unique.path("unique.parquet"),
            documents_of(spec, build),
            ledger.path("ledger.parquet") if ledger else None,
            spec.split,
            spec.decontamination,
            build.staging.path,
            against=_against(evaluation, build) if evaluation else None,
            repeated=unique.path(REPEATED_UNITS) if REPEATED_UNITS in unique.manifest["files"] else None,
        )
        summary["warnings"] += _not_searched_for(evaluation, build)
        grown = _grow_ledger(name, spec, ledger, build)
        build.store.set_ref(ledger_ref, grown)
    build.staging.parts = [grown]
    content = ["splits.parquet"]
    if (build.staging.path / REPEATED).exists():  # whoever reads split documents applies the cuts
        content.append(REPEATED)
    build.staging.content_digest = files_digest(build, content)
    build.staging.summary = summary
    for warning in summary["warnings"]:
        build.log(warning)
    build.log(f"train {summary['train']:,}, validation {summary['validation']:,}, test {summary['test']:,} documents")
    build.spool.metrics(0, numbers(summary))


def rejected_evaluation(corpora: Sequence[str], home: Home) -> dict[str, str]:
    """Digests of what cleaning rejected of evaluation corpora, which is searched for as well.

    The content of a corpus as other stages read it, and so its digest among the inputs, is what it kept.
    """
    store = Store(home.artifacts)
    found = {corpus: store.ref(f"documents/{corpus}") for corpus in corpora}
    return {name: corpus.summary["row_digests"]["rejected"] for name, corpus in found.items() if corpus}


def _evaluation_corpora(build: Build) -> dict[str, Artifact]:
    """The corpora that are searched for and are not part of the dataset, by name.

    Raises:
        InputError: one of them has no document.
    """
    roles = [role for role in build.inputs if role.startswith(AGAINST)]
    corpora = {role.removeprefix(AGAINST): build.inputs[role] for role in roles}
    for name, corpus in corpora.items():
        if corpus.summary["documents"] == 0:
            raise InputError(
                f"decontamination.against names the corpus {name!r}, which has no document to search for: of its"
                f" {corpus.summary['records_in']:,} records {corpus.summary['quarantined']:,} could not be read"
                f" (`lm-pipeline inspect {name}` says why). Mend its source, or take it out of `against`."
            )
    return corpora


def _against(corpora: Mapping[str, Artifact], build: Build) -> "pl.LazyFrame":
    """All documents of the evaluation corpora: what is too short to train on is a question all the same."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_kept_and_rejected

    parts = [clean_parts(corpus, build.store.open_parts(corpus)) for corpus in corpora.values()]
    return pl.concat(read_kept_and_rejected(own) for own in parts)


def _not_searched_for(corpora: Mapping[str, Artifact], build: Build) -> list[str]:
    """What to say about evaluation text that could not be searched for."""
    import polars as pl

    table = pl.read_parquet(build.staging.path / "evaluation_documents.parquet", columns=["corpus", "searchable"])
    searchable = dict(table.group_by("corpus").agg(pl.col("searchable").any()).iter_rows())
    unreadable = {name: corpus.summary["quarantined"] for name, corpus in corpora.items()}
    return [
        f"Records of the evaluation corpus {name!r} that could not be read and are not searched for: {number:,}"
        f" (`lm-pipeline inspect {name}` says why)."
        for name, number in unreadable.items()
        if number
    ] + [
        f"Nothing of the evaluation corpus {name!r} can be searched for: its documents have fewer than 3 words or no"
        " letter. Does a rule of its cleaning remove the lines?"
        for name in corpora
        if not searchable[name]
    ]


def _ledger(ref: str, build: Build) -> Artifact | None:
    """The ledger as it is now, verified; None only where there never was one.

    Raises:
        MissingArtifactError: there was one and it is gone: to begin anew would move documents between splits.
    """
    ledger, address = build.store.ref(ref), build.store.ref_address(ref)
    if ledger is None and address is not None:
        raise MissingArtifactError(
            f"The split ledger {'/'.join(address)} is gone: which side its documents were on is not known. Restore it"
            " from a backup; or set another split.seed, which begins a new ledger and new splits."
        )
    return ledger.verify() if ledger else None


def _before_these_splits(ledger: Artifact | None, build: Build) -> Artifact | None:
    """The ledger that the splits are decided from.

    A build of these very splits that was killed before it published them has left its ledger: it is made again from the
    one before, with the same bytes.
    """
    if ledger is None or ledger.manifest["spec"].get("splits") != build.staging.key:
        return ledger
    previous = ledger.inputs.get("previous")
    if previous is None:
        return None
    found = build.store.find(previous["stage"], previous["key"])
    return found.verify() if found else ledger


def _grow_ledger(name: str, spec: DatasetSpec, previous: Artifact | None, build: Build) -> Artifact:
    """Publish the ledger that a split has left in the staging folder."""
    started = time.time()
    written = build.staging.path / "ledger.parquet"

    def write(staging: Staging) -> None:
        written.rename(staging.path / "ledger.parquet")
        staging.provenance = provenance(started)

    digest = file_digest(build, "ledger.parquet")
    content = {"digest": digest, "dataset": name, "seed": spec.split.seed, "splits": build.staging.key}
    grown, _ = build.store.build(versions.SPLIT_LEDGER, {"previous": previous} if previous else {}, content, write)
    written.unlink(missing_ok=True)
    return grown
