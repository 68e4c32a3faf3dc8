"""Asset checks: each reads a published artifact and says whether it holds. Blocking where going on would be wrong."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lm_pipeline.artifacts import Artifact, Store
from lm_pipeline.stages.splits import AGAINST

Verdict = tuple[bool, dict[str, Any]]


@dataclass(frozen=True)
class Check:
    """A check of one stage's artifacts. `examine` returns whether it holds and what was seen."""

    name: str
    description: str
    examine: Callable[[Artifact], Verdict]
    blocking: bool = True


def _corpus_accounting(artifact: Artifact) -> Verdict:
    """What the readers counted against the rows that stand in the tables."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_documents, read_rejected

    parts = Store(artifact.directory.parents[1]).open_parts(artifact)
    clean = clean_parts(artifact, parts)
    quarantined = [pl.scan_parquet(part.path("quarantine.parquet")) for part in parts]
    frames = {"kept": [read_documents(clean)], "rejected": [read_rejected(clean)], "quarantined": quarantined}
    rows = {name: sum(frame.select(pl.len()).collect().item() for frame in tables) for name, tables in frames.items()}
    records_in = artifact.summary["records_in"]
    agrees = all(artifact.summary[name] == count for name, count in rows.items())
    return agrees and records_in == sum(rows.values()), {"records_in": records_in, **rows}


def _no_empty_text(artifact: Artifact) -> Verdict:
    """Counted anew from the parts."""
    import polars as pl

    from lm_pipeline.corpus.documents import clean_parts, read_documents

    parts = Store(artifact.directory.parents[1]).open_parts(artifact)
    texts = read_documents(clean_parts(artifact, parts)).select("text")
    empty = texts.filter(pl.col("text").str.strip_chars() == "").select(pl.len()).collect().item()
    return empty == 0, {"empty_texts": empty}


def _has_documents(artifact: Artifact) -> Verdict:
    return artifact.summary["kept"] > 0, {"kept": artifact.summary["kept"]}


def _has_files(artifact: Artifact) -> Verdict:
    return artifact.summary["num_files"] > 0, {"num_files": artifact.summary["num_files"]}


def _counts_all(artifact: Artifact) -> Verdict:
    lengths = json.loads(artifact.path("statistics.json").read_text("utf-8"))["lengths"]
    counted = {name: sum(number for _, _, number in bins) for name, bins in lengths.items()}
    kept = artifact.summary["kept"]
    return all(number == kept for number in counted.values()), {"kept": kept, **counted}


def _kept_by_corpora(artifact: Artifact) -> int:
    """Documents that the input corpora say they kept: counted by another stage than the one that is checked."""
    store = Store(artifact.directory.parents[1])
    return sum(store.open(entry["stage"], entry["key"]).summary["kept"] for entry in _corpora(artifact))


def _corpora(artifact: Artifact) -> list[Mapping[str, Any]]:
    """The corpora among the inputs of a dataset's artifact; not those that are only searched for."""
    return [
        entry
        for role, entry in artifact.inputs.items()
        if entry["stage"] == "documents" and not role.startswith(AGAINST)
    ]


def _unique_accounting(artifact: Artifact) -> Verdict:
    seen = {key: artifact.summary[key] for key in ("kept", "exact", "near", "repeated", "low_quality")}
    kept_by_corpora = _kept_by_corpora(artifact)
    return kept_by_corpora == sum(seen.values()), {"kept_by_corpora": kept_by_corpora, **seen}


EXCLUSIONS = ("exact", "near", "repeated", "low_quality", "contaminated", "bridging")
SPLITS = ("train", "validation", "test")


def _repeated_accounting(artifact: Artifact) -> Verdict:
    """The characters that are taken out, counted anew from the texts that are left."""
    import polars as pl

    from lm_pipeline.corpus.division.cuts import without_cuts
    from lm_pipeline.corpus.documents import clean_parts, read_documents

    if "repeated.parquet" not in artifact.manifest["files"]:
        return "repeated_text" not in artifact.summary, {"removed": 0}
    counted = artifact.summary["repeated_text"]["characters"]
    store = Store(artifact.directory.parents[1])
    corpora = [store.open(entry["stage"], entry["key"]) for entry in _corpora(artifact)]
    cuts = pl.scan_parquet(artifact.path("repeated.parquet"))
    cut = cuts.select("document_id").unique().collect()["document_id"]
    documents = pl.concat(read_documents(clean_parts(corpus, store.open_parts(corpus))) for corpus in corpora)
    documents = documents.filter(pl.col("document_id").is_in(cut.implode()))
    before, after = (
        frame.select(pl.col("text").str.len_chars().cast(pl.Int64).sum()).collect(engine="streaming").item()
        for frame in (documents, without_cuts(documents, cuts))
    )
    return before - after == counted, {"counted": counted, "removed": before - after}


def _above_chance(artifact: Artifact) -> Verdict:
    return artifact.summary["auc"] > 0.5, {"auc": artifact.summary["auc"]}


def _split_accounting(artifact: Artifact) -> Verdict:
    """The kept documents of all corpora against the rows of the table, by what became of them."""
    import polars as pl

    fates = pl.read_parquet(artifact.path("splits.parquet")).select(pl.coalesce("split", "exclusion").alias("fate"))
    counted = dict(fates.group_by("fate").len().iter_rows())
    seen = {name: counted.pop(name, 0) for name in (*SPLITS, *EXCLUSIONS)}
    kept_by_corpora = _kept_by_corpora(artifact)
    return not counted and kept_by_corpora == sum(seen.values()), {"kept_by_corpora": kept_by_corpora, **seen}


def _no_overlap(artifact: Artifact) -> Verdict:
    """Counted anew from the table: no text, no cluster and no group (a law, a module) stands in two splits."""
    import polars as pl

    frame = pl.read_parquet(artifact.path("splits.parquet")).filter(pl.col("split").is_not_null())
    divided = {
        column: frame.filter(pl.col(column).is_not_null())
        .group_by(column)
        .agg(pl.col("split").n_unique())
        .filter(pl.col("split") > 1)
        .height
        for column in ("text_hash", "cluster", "group")
    }
    return not any(divided.values()), {f"divided_{column}s": count for column, count in divided.items()}


def _every_split(artifact: Artifact) -> Verdict:
    seen = {key: artifact.summary[key] for key in SPLITS}
    return all(seen.values()), seen


def _tokenizer_round_trip(artifact: Artifact) -> Verdict:
    """Encode and decode what is hard: both languages, controls of the tokenizer as text, spaces, emoji."""
    from lm_pipeline.tokenization.loading import load_tokenizer, tokenizer_file

    tokenizer = load_tokenizer(tokenizer_file(artifact))
    texts = ["", " a  b\t\n\n c ", "</s><pad>", "中华人民共和国，第一条。", "naïve ▁ 👩‍👩‍👧 \u200b x", "\u0000é"]
    failed = [text for text in texts if tokenizer.decode(tokenizer.encode(text)) != text]
    # A pretrained model's tokenizer is as it is: what it loses is shown, not refused.
    return not failed or not tokenizer.is_lossless, {"texts": len(texts), "failed": failed}


def _shards_round_trip(artifact: Artifact) -> Verdict:
    failures, is_lossless = artifact.summary["round_trip_failures"], artifact.summary.get("lossless", True)
    return failures == 0 or not is_lossless, {"round_trip_failures": failures}


def _index_agreement(artifact: Artifact) -> Verdict:
    """Read every index, and compare it with the token file and with the table of documents."""
    from lm_pipeline.tokenization.shards import Shard

    seen = {}
    for split, counted in artifact.summary["splits"].items():
        shard = Shard.open(artifact.files_dir, split)
        seen[split] = len(shard.tokens) == counted["tokens"] and shard.num_documents == counted["documents"]
    return all(seen.values()), seen


def _finite_loss(artifact: Artifact) -> Verdict:
    import math

    summary = artifact.summary
    loss, uniform = summary["best_validation_loss"], summary["uniform_loss"]
    # A pretrained model that was not trained on (num_steps 0) may know nothing of this text: that is a result.
    is_good = loss is not None and math.isfinite(loss) and (loss < uniform or summary["num_steps"] == 0)
    return is_good, {
        "best_validation_loss": loss,
        "uniform_loss": uniform,
    }


def _beats_unigram(artifact: Artifact) -> Verdict:
    summary = artifact.summary
    unigram = summary["unigram"]["overall"]["bits_per_byte"]
    ngram = summary["kneser_ney_5"]["overall"]["bits_per_byte"]
    return ngram < unigram, {"unigram": unigram, "kneser_ney_5": ngram}


def _every_target(artifact: Artifact) -> Verdict:
    """Every document and byte of the test split was scored once (fewer where `max_documents` says so)."""
    entry = artifact.inputs["token_shards"]
    test = Store(artifact.directory.parents[1]).open(entry["stage"], entry["key"]).summary["splits"]["test"]
    overall = artifact.summary["test"]["overall"]
    limit = artifact.manifest["spec"]["evaluation"]["max_documents"]
    wanted = test["documents"] if limit is None else min(limit, test["documents"])
    complete = overall["documents"] == wanted and (limit is not None or overall["bytes"] == test["bytes"])
    return complete, {"scored": overall["documents"], "bytes": overall["bytes"], "test_split": test}


CHECKS: dict[str, tuple[Check, ...]] = {
    "raw_documents": (Check("has_files", "The source has at least one file.", _has_files),),
    "documents": (
        Check("accounting", "records in = kept + rejected + quarantined", _corpus_accounting),
        Check("no_empty_text", "No kept document is empty.", _no_empty_text),
        Check("has_documents", "At least one document is kept.", _has_documents, blocking=False),
    ),
    "corpus_statistics": (Check("counts_every_document", "Bins of lengths hold every kept document.", _counts_all),),
    "statistics": (),
    "quality_model": (
        Check("above_chance", "Held-out good text scores above bad text.", _above_chance, blocking=False),
    ),
    "unique_documents": (
        Check("accounting", "documents in = kept + exact + near + repeated + low_quality", _unique_accounting),
    ),
    "splits": (
        Check("accounting", "documents in = train + validation + test + all exclusions", _split_accounting),
        Check("repeated_text", "Removed characters are those counted.", _repeated_accounting),
        Check("no_overlap", "No text, cluster or group stands in two splits.", _no_overlap),
        Check("every_split", "No split is empty.", _every_split),
    ),
    "tokenizer": (Check("round_trip", "decode(encode(text)) is the text, in hard cases.", _tokenizer_round_trip),),
    "token_shards": (
        Check("round_trip", "Every document's tokens decode to its text.", _shards_round_trip),
        Check("index_agreement", "Index, token file and document table agree.", _index_agreement),
    ),
    "baselines": (Check("above_unigram", "The 5-gram is better than the unigram.", _beats_unigram, blocking=False),),
    "base": (),
    "checkpoint": (
        Check(
            "finite_loss",
            "The best validation loss is finite and, after training, below uniform; else lower learning_rate.",
            _finite_loss,
        ),
    ),
    "evaluation": (Check("scored", "The whole test split was scored, once.", _every_target),),
    "report": (),
    "leaderboard": (),
}
"""By stage. A new check is one function and one line here."""


def check_specs(stage: str, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The declarations of a stage's checks."""
    return [
        dg.AssetCheckSpec(check.name, asset=key, description=check.description, blocking=check.blocking)
        for check in CHECKS[stage]
    ]


def check_results(artifact: Artifact, key: dg.AssetKey) -> list[dg.AssetCheckResult]:
    """Examine an artifact, whether it was just built or existed already."""
    results = []
    for check in CHECKS[artifact.stage]:
        passed, seen = check.examine(artifact)
        results.append(
            dg.AssetCheckResult(
                asset_key=key,
                check_name=check.name,
                passed=bool(passed),
                severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
                metadata={"seen": dg.MetadataValue.json(seen)},
            )
        )
    return results
