"""Makes the home ready: Dagster's instance and MLflow's store, both migrated by one process under one lock."""

import fcntl
import json
import os
import time

import dagster as dg

from lm_pipeline import __version__
from lm_pipeline.errors import HomeError
from lm_pipeline.home import Home

ACCELERATOR = "accelerator"
"""The pool of what takes the GPU, or all cores: one run at a time."""

DAGSTER_YAML = """\
# Written by `lm-pipeline init`. Yours to edit: it is not written again.
telemetry:
  enabled: false
nux:
  enabled: false
storage:
  sqlite:
    base_dir: {base}
concurrency:
  pools:
    default_limit: 1
    # A run that has to wait is queued. With `op` it is started and waits on a whole core, deaf to being cancelled.
    granularity: run
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  cancel_timeout_seconds: 60
  # Short, because two writers cannot meet: children die with their run, and a build holds its artifact's lock.
  free_slots_after_run_end_seconds: 5
  poll_interval_seconds: 10
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days: {{skipped: 7, failure: 30, success: 90}}
"""


def initialise(home: Home) -> bool:
    """Create what is missing in a home, once, however many processes ask at the same time.

    Returns:
        Whether anything was done; False when the home was ready.

    Raises:
        HomeError: the folder cannot be written.
    """
    try:
        for folder in (home.raw, home.artifacts, home.cache, home.mlflow, home.spool, home.dagster):
            folder.mkdir(parents=True, exist_ok=True)
        lock = (home.root / "init.lock").open("w")
    except OSError as error:
        raise HomeError(
            f"Cannot write to the home {home.root}: {error.strerror}. Choose another with LM_PIPELINE_HOME."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if home.marker.is_file():
            return False
        _initialise_dagster(home)
        from lm_pipeline.tracking.mlflow_store import initialise_store

        initialise_store(home.local_tracking_uri)  # `up` serves it, whatever runs are tracked in now
        home.marker.write_text(
            json.dumps({"version": __version__, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}) + "\n"
        )
        return True


def _initialise_dagster(home: Home) -> None:
    path = home.dagster / "dagster.yaml"
    if not path.exists():
        path.write_text(DAGSTER_YAML.format(base=json.dumps(str(home.dagster / "storage"))), "utf-8")
    with open_instance(home) as instance:
        # Opening a fresh SQLite store creates and stamps its tables.
        instance.get_runs_count()
        instance.get_dynamic_partitions("corpora")
        # Else Dagster makes the pool while it looks at the first runs that need it, and lets all of those start.
        instance.event_log_storage.initialize_concurrency_limit_to_default(ACCELERATOR)


def open_instance(home: Home) -> dg.DagsterInstance:
    """Dagster's instance of a home."""
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    return dg.DagsterInstance.get()
