"""The version literal of every stage.

Raise a stage's version by one when its result for the same input and spec changes; `tests/golden` holds you to it. An
artifact's address contains the version, so everything made by the stage and after it is then built again.
"""

from lm_pipeline.artifacts import Stage

RAW_DOCUMENTS = Stage("raw_documents", 1)
DOCUMENT_PART = Stage("document_part", 8)
DOCUMENTS = Stage("documents", 4, parts=(DOCUMENT_PART,))
SIGNATURES = Stage("signatures", 5)
TEXT_UNITS = Stage("text_units", 1)
QUALITY_MODEL = Stage("quality_model", 1)
QUALITY_SCORES = Stage("quality_scores", 1)
CORPUS_STATISTICS = Stage("corpus_statistics", 3)
UNIQUE_DOCUMENTS = Stage("unique_documents", 4, parts=(SIGNATURES, TEXT_UNITS, QUALITY_SCORES))
SPLIT_LEDGER = Stage("split_ledger", 1)
SPLITS = Stage("splits", 7, parts=(SPLIT_LEDGER,))
DATASET_STATISTICS = Stage("statistics", 2)
TOKENIZER = Stage("tokenizer", 1)
TOKEN_SHARDS = Stage("token_shards", 2)
BASELINES = Stage("baselines", 1)
BASE = Stage("base", 2)
CHECKPOINT = Stage("checkpoint", 7)
EVALUATION = Stage("evaluation", 2)
REPORT = Stage("report", 1)
LEADERBOARD = Stage("leaderboard", 1)

STAGES = {
    stage.name: stage
    for stage in (
        RAW_DOCUMENTS,
        DOCUMENT_PART,
        DOCUMENTS,
        SIGNATURES,
        TEXT_UNITS,
        QUALITY_MODEL,
        QUALITY_SCORES,
        CORPUS_STATISTICS,
        UNIQUE_DOCUMENTS,
        SPLITS,
        SPLIT_LEDGER,
        DATASET_STATISTICS,
        TOKENIZER,
        TOKEN_SHARDS,
        BASELINES,
        BASE,
        CHECKPOINT,
        EVALUATION,
        REPORT,
        LEADERBOARD,
    )
}
"""All of them by name."""
