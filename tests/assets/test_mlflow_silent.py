"""MLflow accepts and never answers: an asset is built all the same, says so, and is shipped later."""

import dagster as dg

from lm_pipeline.tracking import shipper
from lm_pipeline.tracking.mlflow_store import MlflowClient
from tests.assets import tiny
from tests.servers import free_port, silent_server


def test_an_asset_is_built_says_so_and_is_shipped_later(project, monkeypatch):
    from assets.building import build_names
    from assets.instance import open_instance

    port = free_port()
    with silent_server(port):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        outcome = build_names(project.home, ["raw_documents/tiny_en"], quiet=True)
        assert outcome.failed == {}
        assert outcome.built == ["raw_documents/tiny_en"]
        tiny.end_shipper(project.home.root)
    with open_instance(project.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("raw_documents"))
        assert event is not None
        assert event.asset_materialization is not None
        assert "mlflow_run" not in event.asset_materialization.metadata
        logs = instance.all_logs(event.run_id)
        warnings = [entry.user_message for entry in logs if "MLflow is silent" in entry.user_message]
        assert warnings
    [spool] = project.home.spool.glob("raw_documents-*.jsonl")
    assert str(spool) in warnings[0]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert shipper.main(project.home, once=True) == 0
    client = MlflowClient(project.home.tracking_uri, project.home.tracking_uri)
    experiment = client.get_experiment_by_name("corpora")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("raw_documents/tiny_en", "FINISHED")
