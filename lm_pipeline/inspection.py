"""What `lm-pipeline inspect` shows: a corpus in numbers, and documents of any fate."""

import json
from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import InputError, MissingArtifactError, nearest
from lm_pipeline.project import Project


def inspect_corpus(project: Project, name: str) -> dict[str, Any]:
    """A corpus in numbers.

    Returns:
        `corpus`, `summary` (of its documents) and `profile` (see `corpus.quality.profile.profile_corpus`).

    Raises:
        MissingArtifactError: there is no such corpus, or it is not materialized.
    """
    from lm_pipeline.corpus.documents import clean_parts
    from lm_pipeline.corpus.quality.profile import profile_corpus

    artifact, parts = _cleaned(project, name)
    page = Store(project.home.artifacts).ref(f"corpus_statistics/{name}")
    if page is not None and page.inputs["documents"]["key"] == artifact.key:
        profile = json.loads(page.path("statistics.json").read_text("utf-8"))
    else:  # the page is behind, or was never asked for
        profile = profile_corpus(clean_parts(artifact, parts), [part.path("quarantine.parquet") for part in parts])
    return {"corpus": name, "summary": artifact.summary, "profile": profile}


def inspect_documents(
    project: Project, name: str, num: int, rejected: str | None = None, quarantined: str | None = None
) -> list[dict[str, Any]]:
    """Samples of a corpus: kept documents, those that a rule rejected, or records quarantined for a reason.

    Raises:
        InputError: nothing was rejected or quarantined for that reason; the text says which there are.
        MissingArtifactError: there is no such corpus, or it is not materialized.
    """
    from lm_pipeline.corpus.documents import clean_parts
    from lm_pipeline.corpus.quality.profile import draw_documents, draw_quarantined

    artifact, parts = _cleaned(project, name)
    if rejected is not None:
        _check_reason(rejected, artifact.summary["reasons"], f"No document of {name!r} was rejected by")
    if quarantined is not None:
        _check_reason(quarantined, artifact.summary["quarantine_reasons"], f"No record of {name!r} is quarantined for")
        return draw_quarantined([part.path("quarantine.parquet") for part in parts], num, quarantined)
    return draw_documents(clean_parts(artifact, parts), num, rejected)


def _check_reason(reason: str, known: dict[str, int], message: str) -> None:
    if reason not in known:
        raise InputError(f"{message} {reason!r}. {nearest(reason, known)}" if known else f"{message} any reason.")


def _cleaned(project: Project, name: str) -> tuple[Artifact, list[Artifact]]:
    if name not in project.declarations.corpora:
        if name in project.declarations.datasets:
            raise MissingArtifactError(
                f"{name!r} is a dataset: `lm-pipeline status` counts its documents, and {name}/statistics has its page"
                f" in Dagster. Name a corpus of it: {', '.join(project.declarations.datasets[name].corpora)}."
            )
        raise MissingArtifactError(f"There is no corpus {name!r}. {nearest(name, project.declarations.corpora)}")
    store = Store(project.home.require_initialised().artifacts)
    artifact = store.ref(f"documents/{name}")
    if artifact is None:
        raise MissingArtifactError(f"{name} is not cleaned. Run `lm-pipeline materialize {name}` first.")
    return artifact, store.open_parts(artifact)
