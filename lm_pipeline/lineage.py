"""Where a model and each of its tokens come from, following manifest digests only."""

from typing import Any

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.errors import InputError, MissingArtifactError

PARTS = ("document_part", "signatures", "text_units", "quality_scores")
"""Artifacts that others are made up of; they are counted, not listed."""


def lineage_table(store: Store, artifact: Artifact) -> list[dict[str, Any]]:
    """Every ancestor of an artifact, itself first: address, digest, code version, time, spec; raw files with SHA-256.

    Raises:
        MissingArtifactError: an ancestor was deleted.
    """
    rows = []
    for item in store.ancestors(artifact):
        if item.stage in PARTS:
            continue
        made = item.manifest["provenance"]
        row = {
            "stage": item.stage,
            "asset": made.get("asset"),
            "key": item.key,
            "digest": item.digest,
            "code_version": made["code_version"],
            "created": made["created"],
            "spec": item.manifest["spec"],
        }
        if item.stage == "documents":
            row |= {"corpus": item.manifest["spec"]["corpus"], "summary": item.summary}
        if item.stage == "raw_documents":
            row["files"] = raw_file_table(item)
        rows.append(row)
    return rows


def raw_file_table(raw: Artifact) -> list[dict[str, Any]]:
    """Path, size in bytes and SHA-256 of every raw file."""
    import polars as pl

    return pl.read_parquet(raw.path("files.parquet"), columns=["path", "bytes", "sha256"]).to_dicts()


def trace_token(store: Store, shards: Artifact, offset: int) -> dict[str, Any]:
    """The document and the raw file that a training token comes from.

    Args:
        offset: position in the training split's token file, in tokens.

    Raises:
        InputError: there is no such token.
    """
    from lm_pipeline.corpus.raw.raw_files import raw_path
    from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file
    from lm_pipeline.tokenization.shards import Shard

    shard = Shard.open(shards.files_dir, "train")
    if not 0 <= offset < len(shard.tokens):
        raise InputError(
            f"There is no token {offset} in the training split; it has tokens 0 to {len(shard.tokens) - 1}."
        )
    document = shard.document_of(offset)
    ancestors = list(store.ancestors(shards))
    tokenizer = next(item for item in ancestors if item.stage == "tokenizer")
    token_id = int(shard.tokens[offset])
    for item in ancestors:
        if item.stage == "documents" and item.manifest["spec"]["corpus"] == document["corpus"]:
            entry = item.inputs["raw"]
            files = {row["path"]: row for row in raw_file_table(store.open(entry["stage"], entry["key"]))}
            return {
                "token": offset,
                "token_id": token_id,
                "piece": load_tokenizer(tokenizer_file(tokenizer)).piece(token_id),
                "document": document,
                "raw_file": files[raw_path(document["file"])],
            }
    raise MissingArtifactError(f"The corpus {document['corpus']!r} is not among the ancestors of these shards.")
