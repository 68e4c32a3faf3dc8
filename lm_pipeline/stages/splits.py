"""`<dataset>/splits`: which documents train, validate and test, by a ledger that only grows."""

import shutil
import time
from typing import TYPE_CHECKING

from lm_pipeline import locks
from lm_pipeline.allocator import return_memory
from lm_pipeline.artifacts import Artifact, Staging
from lm_pipeline.errors import MissingArtifactError
from lm_pipeline.graph import Build, numbers
from lm_pipeline.provenance import provenance
from lm_pipeline.specs import DatasetSpec
from lm_pipeline.stages import versions
from lm_pipeline.stages.dataset_documents import REPEATED, as_cut, documents_of, file_digest, files_digest, read_corpora

if TYPE_CHECKING:
    import polars as pl

AGAINST = "against:"
"""How the roles of corpora begin that are searched for and are not part of the dataset."""


def write_splits(name: str, spec: DatasetSpec, build: Build) -> None:
    """Split what is unique. The ledger, which only grows, has a ref of its own and goes into the lineage by digest."""
    from lm_pipeline.corpus.splits import split_documents

    return_memory()
    unique = build.inputs["unique"]
    # A ref of its own for each seed: who tries another seed and comes back finds the splits that were decided.
    ledger_ref = f"{name}/split_ledger/{spec.split.seed}"
    lock = build.store.root / "work" / f"{ledger_ref}.lock"
    with locks.exclusive(lock, f"The split ledger of {name}", wait_seconds=600):
        ledger = _before_these_splits(_ledger(ledger_ref, build), build)
        summary = split_documents(
            unique.path("unique.parquet"),
            as_cut(documents_of(spec, build), unique),
            ledger.path("ledger.parquet") if ledger else None,
            spec.split,
            spec.decontamination,
            build.staging.path,
            against=_against(build),
        )
        grown = _grow_ledger(name, spec, ledger, build)
        build.store.set_ref(ledger_ref, grown)
    build.staging.parts = [grown]
    content = ["splits.parquet"]
    if REPEATED in build.inputs["unique"].manifest["files"]:  # whoever reads split documents applies the cuts
        shutil.copyfile(build.inputs["unique"].path(REPEATED), build.staging.path / REPEATED)
        content.append(REPEATED)
    build.staging.content_digest = files_digest(build, content)
    build.staging.summary = summary
    build.log(f"train {summary['train']:,}, validation {summary['validation']:,}, test {summary['test']:,} documents")
    build.spool.metrics(0, numbers(summary))


def _against(build: Build) -> "pl.LazyFrame | None":
    """The documents of further corpora whose text must not be trained on."""
    roles = [role for role in build.inputs if role.startswith(AGAINST)]
    return read_corpora(build, roles) if roles else None


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
