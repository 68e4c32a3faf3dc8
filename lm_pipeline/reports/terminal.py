"""What the command prints for people: plain text that also reads well in a pipe."""

from collections.abc import Mapping, Sequence
from typing import Any

_MARKS = {"current": "ok", "stale": "stale", "missing": "-", "failed": "FAILED"}


def status_text(value: Mapping[str, Any]) -> str:
    """The state of every asset and the accounting of every document (see `overview.overview`)."""
    width = max((len(asset) for asset in value["assets"]), default=0)
    lines = [f"home {value['home']}", ""]
    for asset, state in value["assets"].items():
        first = state["reason"].splitlines()[0] if state["reason"] else ""
        steps = f"{state['saved_steps']:,} training steps are saved"
        if state["in_training"]:
            first += f"; it is being trained, {steps}"
        elif state["saved_steps"]:
            first += f"; {steps}, and materialize goes on from there"
        lines.append(f"  {asset:{width}}  {_MARKS[state['status']]:6}  {first}".rstrip())
    lines.append("")
    for name, row in value["corpora"].items():
        lines.append(
            f"{name}: {row['records_in']:,} records = {row['kept']:,} kept + {row['rejected']:,} rejected"
            f" + {row['quarantined']:,} quarantined  {_verdict(row)}"
        )
    for name, row in value["datasets"].items():
        parts = [f"{row[key]:,} {key}" for key in row if key not in ("documents_in", "holds")]
        lines.append(f"{name}: {row['documents_in']:,} documents = {' + '.join(parts)}  {_verdict(row)}")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(value["counts"].items()))
    lines += ["", counts or "nothing is declared"]
    return "\n".join(lines)


def _verdict(row: Mapping[str, Any]) -> str:
    return "exact" if row["holds"] else "DOES NOT ADD UP"


def score_table(value: Mapping[str, Any]) -> str:
    """A sentence's log probability, token by token (see `evaluation.score_text`)."""
    lines = ["log probability  token"]
    lines += [f"{item['log_prob']:15.4f}  {item['piece']}" for item in value["tokens"]]
    lines += [
        "",
        f"total log probability  {value['total_log_prob']:.4f} nats",
        f"perplexity per token   {value['perplexity']:.2f} ({value['num_tokens']} tokens, the end included)",
        f"bits per byte          {value['bits_per_byte']:.3f} ({value['num_bytes']} bytes)",
    ]
    return "\n".join(lines)


def lineage_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A checkpoint's ancestors, the raw files last."""
    lines = []
    for row in rows:
        lines.append(f"{row['asset'] or row['stage']}")
        lines.append(f"  digest {row['digest']}  key {row['key']}")
        lines.append(f"  made {row['created']} by lm_pipeline {row['code_version']}")
        lines += [f"  {file['sha256']}  {file['bytes']:>12,}  {file['path']}" for file in row.get("files", [])]
    return "\n".join(lines)


def token_text(value: Mapping[str, Any]) -> str:
    """Where a training token comes from."""
    document, raw = value["document"], value["raw_file"]
    where = f"record {document['record']}"
    if document.get("byte_offset") is not None:
        where += f", bytes {document['byte_offset']:,} to {document['byte_offset'] + document['byte_length']:,}"
    return "\n".join(
        [
            f"token {value['token']:,}: {value['piece']!r} (id {value['token_id']})",
            f"document {document['document_id']} of corpus {document['corpus']}",
            f"raw file {raw['path']}, {where}",
            f"sha256 {raw['sha256']}",
        ]
    )
