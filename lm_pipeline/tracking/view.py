"""A saved view of MLflow's runs table: models, key parameters and metrics side by side. No MLflow import.

Out of the box MLflow 3.17 opens an experiment in its GenAI mode, on a runs table without a single parameter or metric.
Three things together give the wanted page (read from the web application that the `mlflow` package ships):

- the experiment's tag `mlflow.experimentKind = custom_model_development` and the address' `workflowType` choose the
  model-training mode;
- an experiment tag `mlflow.sharedViewState.<key>` holds a saved view: `{"name", "createdAt", "updatedAt", "state"}`
  with `state` a JSON text of table settings, columns named ``params.`width` ``;
- the address' `viewStateShareKey=<key>` opens that view.
"""

import json
from urllib.parse import quote

PARAMS = ("family", "num_parameters", "learning_rate", "context_length")
METRICS = ("test/bits_per_byte", "test/perplexity", "tokens_per_second", "wall_seconds")
VIEW_KEY = "lm_pipeline_models"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_COLUMN_PIXELS = 94  # eight of them fit beside the run names on a laptop, four beside the assistant that opens first
_CREATED_MS = 1_767_225_600_000  # MLflow wants a time; a fixed one keeps the tag equal from process to process


def view_state() -> str:
    """Value of the experiment's tag `VIEW_TAG`."""
    params = [f"params.`{name}`" for name in PARAMS]
    metrics = [f"metrics.`{name}`" for name in METRICS]
    # What matters most comes first: on a narrow page the rest is scrolled to.
    columns = [params[0], *metrics[:2], params[1], *metrics[2:], *params[2:]]
    state = {
        "selectedColumns": [*columns, "attributes.`Dataset`"],
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _COLUMN_PIXELS),
        "orderByKey": f"metrics.`{METRICS[0]}`",
        "orderByAsc": True,
    }
    view = {
        "name": "Models side by side",
        "createdAt": _CREATED_MS,
        "updatedAt": _CREATED_MS,
        "state": json.dumps(state),
    }
    return json.dumps(view)


def experiment_url(base_url: str, experiment_id: str) -> str:
    """Address of an experiment's runs table, in the model-training mode, with the saved view.

    >>> experiment_url("http://127.0.0.1:5000/", "7")
    'http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=lm_pipeline_models'
    """
    query = f"workflowType=machine_learning&viewStateShareKey={quote(VIEW_KEY)}"
    return f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def artifact_url(base_url: str, experiment_id: str, run_id: str, path: str) -> str:
    """Address of the page that shows one artifact of a run.

    >>> artifact_url("http://127.0.0.1:5000", "7", "abc", "report.html")
    'http://127.0.0.1:5000/#/experiments/7/runs/abc/artifacts/report.html'
    """
    return f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}"


def run_url(base_url: str, experiment_id: str, run_id: str) -> str:
    """Address of one run.

    >>> run_url("http://127.0.0.1:5000", "7", "abc")
    'http://127.0.0.1:5000/#/experiments/7/runs/abc?workflowType=machine_learning'
    """
    return f"{base_url.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
