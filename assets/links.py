"""Addresses of Dagster's pages, for those who come from MLflow."""

import os
from urllib.parse import quote

DAGSTER_URL = "LM_PIPELINE_DAGSTER_URL"
"""Environment variable with the base address of Dagster's pages; `lm-pipeline up` sets it."""
DEFAULT_URL = "http://127.0.0.1:3000"


def run_url(run_id: str) -> str:
    """Address of a run."""
    return f"{_base()}/runs/{run_id}"


def asset_url(key: str, partition: str | None = None) -> str:
    """Address of an asset, its key's parts separated by slashes, or of one of its partitions.

    >>> asset_url("documents", "notes")
    'http://127.0.0.1:3000/assets/documents?view=partitions&partition=notes'
    """
    page = f"{_base()}/assets/{quote(key)}"
    return page if partition is None else f"{page}?view=partitions&partition={quote(partition)}"


def _base() -> str:
    return os.environ.get(DAGSTER_URL, DEFAULT_URL).rstrip("/")
