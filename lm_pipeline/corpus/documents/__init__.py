"""From raw files to measured documents and quarantined records, and back to those documents that are kept.

A corpus is cleaned in *parts* of about 64 MB: small files are packed together; large files of lines, tables and JSON
arrays are cut by byte range. A part is an artifact of its own, so a new file costs only itself. What the corpus then
contains does not depend on how it was cut: documents are identified by file and record, read in the order of both, and
digested row by row.

Per part three Parquet files, whose columns are in `corpus/document_tables.py`: every record is a row of `documents`
(and one of `statistics`), or one of `quarantine`. A part knows no thresholds: which of its documents are kept is
decided from the statistics (`corpus/quality/decisions.py`).
"""

from lm_pipeline.corpus.documents.clean import clean_part
from lm_pipeline.corpus.documents.plan import Part, Slice, plan_parts, read_plan, write_plan
from lm_pipeline.corpus.documents.read import (
    CleanPart,
    canonical_pieces,
    clean_parts,
    decisions_file,
    in_order,
    read_documents,
    read_kept_and_rejected,
    read_rejected,
)
from lm_pipeline.corpus.documents.summaries import merge_summaries

__all__ = [
    "CleanPart",
    "Part",
    "Slice",
    "canonical_pieces",
    "clean_part",
    "clean_parts",
    "decisions_file",
    "in_order",
    "merge_summaries",
    "plan_parts",
    "read_documents",
    "read_kept_and_rejected",
    "read_plan",
    "read_rejected",
    "write_plan",
]
