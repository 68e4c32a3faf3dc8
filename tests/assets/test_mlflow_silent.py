"""MLflow accepts and never answers: an asset is built all the same, says so, and is shipped later."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import dagster as dg
import tiny

from lm_pipeline.tracking import shipper
from lm_pipeline.tracking.mlflow_store import MlflowClient


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    accepted: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in accepted:
            connection.close()


def test_an_asset_is_built_says_so_and_is_shipped_later(project, monkeypatch):
    from assets.building import build_names
    from assets.instance import open_instance

    with silent_server() as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
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
