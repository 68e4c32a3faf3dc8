"""What a person sees: Dagster's asset graph, MLflow's models side by side, the report behind its link."""

import json
import re
import sqlite3

import pytest

pytestmark = pytest.mark.browser
NODES = ("raw_documents", "documents", "rejected_documents", "unique_documents", "splits", "tokenizer", "token_shards")
NODES += ("corpus_statistics", "statistics", "baselines", "leaderboard", "checkpoint", "evaluation", "report")


def test_the_asset_graph_shows_every_node(up, screenshots):
    with screenshots.browser_page() as (page, errors):
        screenshots.open_asset_graph(page, up.dagster, ["corpora", "tiny", "tiny_gru"])
        for node in NODES:
            page.get_by_text(node, exact=True).first.wait_for(timeout=30_000)
    assert errors == []


def test_mlflow_opens_on_models_with_parameters_and_metrics(up, screenshots, monkeypatch):
    from lm_pipeline.tracking.mlflow_store import experiment_view_url

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    url = experiment_view_url(up.home, up.mlflow, "tiny")
    assert url is not None
    with screenshots.browser_page() as (page, errors):
        screenshots.open_runs_table(page, url)
        for text in ("tiny_gru", "tiny_ngram", "family", "test/bits_per_byte", "test/perplexity"):
            page.get_by_text(text, exact=True).last.wait_for(timeout=30_000)
        seen = page.inner_text("body")
    assert re.search(r"\bgru\b", seen)
    assert errors == []


def test_the_report_opens_from_dagster_s_link(up, screenshots):
    with sqlite3.connect(f"file:{next(up.home.dagster.rglob('index.db'))}?mode=ro", uri=True) as store:
        rows = store.execute("SELECT event FROM event_logs WHERE asset_key = ?", ('["tiny_gru", "report"]',)).fetchall()
    store.close()
    [url] = {json.loads(f'"{found}"') for (text,) in rows for found in re.findall(r'"(http[^"]*/report\.html)"', text)}
    assert url.startswith(up.mlflow)
    with screenshots.browser_page() as (page, errors):
        page.goto(url)
        page.frame_locator("iframe").get_by_text("tiny_gru").first.wait_for(timeout=60_000)
    assert errors == []


def test_the_run_in_mlflow_leads_back_to_dagster(up, screenshots):
    from lm_pipeline.artifacts import Store
    from lm_pipeline.tracking.courier import link

    checkpoint = Store(up.home.artifacts).ref("tiny_gru/checkpoint")
    assert checkpoint is not None
    shown = link(up.home, checkpoint.manifest["provenance"]["spool"])
    assert shown is not None
    with screenshots.browser_page() as (page, errors):
        page.goto(f"{up.mlflow}/#{shown.url.split('#', 1)[1]}")
        anchor = page.get_by_role("link", name="asset tiny_gru/checkpoint")
        anchor.wait_for(timeout=60_000)
        assert (anchor.get_attribute("href") or "").endswith("/assets/tiny_gru/checkpoint")
    assert errors == []
