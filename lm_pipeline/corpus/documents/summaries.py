"""What was counted in several parts, together."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lm_pipeline.corpus.document_tables import hex_digest

_NO_DOCUMENTS: dict[str, Any] = {
    "records_in": 0,
    "documents": 0,
    "kept": 0,
    "rejected": 0,
    "quarantined": 0,
    "characters_in": 0,
    "characters_kept": 0,
    "characters_rejected": 0,
    "characters_removed": 0,
    "bytes_kept": 0,
    "reasons": {},
    "quarantine_reasons": {},
    "removals": {},
    "removed_characters": {},
    "field_values": {},
    "languages": {},
    "personal_data": {},
    "row_digests": dict.fromkeys(("documents", "rejected", "quarantine"), hex_digest(0)),
    "files": [],
}


def merge_summaries(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `clean_part` and `decide_part` said of several parts, together; of no part, that of an empty corpus.

    `records_in` = `kept` + `rejected` + `quarantined`, and `characters_in` = `characters_kept` +
    `characters_rejected` + `characters_removed`.
    """
    total: dict[str, Any] = dict(_NO_DOCUMENTS)
    for summary in summaries:
        for name, value in summary.items():
            if isinstance(value, int):
                total[name] += value
            elif name == "row_digests":
                sums = {key: hex_digest(int(total[name][key], 16) + int(digest, 16)) for key, digest in value.items()}
                total[name] = total[name] | sums
            elif name == "files":
                total[name] = sorted({*total[name], *value})
            else:
                total[name] = dict(sorted((Counter(total[name]) + Counter(value)).items()))
    return total
