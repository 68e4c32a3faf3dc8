import json
import re

import yaml

from lm_pipeline.artifacts import Store


def test_status_for_people_and_as_json(run, built):
    code, out, _ = run("status")
    assert code == 0
    assert "tiny_english: 64 records = 62 kept + 1 rejected + 1 quarantined  exact" in out
    code, out, _ = run("status", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["assets"]["tiny_gru/checkpoint"]["status"] == "current"
    assert value["assets"]["python_docs_lstm/checkpoint"]["status"] == "missing"
    assert value["datasets"]["tiny"]["holds"]


def test_leaderboard_for_people_and_as_json(run, built):
    code, out, _ = run("leaderboard", "tiny")
    assert code == 0
    assert {"tiny_gru", "tiny_ngram", "Unigram", "Kneser"} <= set(re.findall(r"\w+", out))
    code, out, _ = run("leaderboard", "tiny", "--json")
    [board] = json.loads(out)
    assert code == 0
    assert board["dataset"] == "tiny"
    assert {row["experiment"] for row in board["rows"] if row["status"] == "built"} == {"tiny_gru", "tiny_ngram"}


def test_inspect_shows_a_corpus_and_its_documents(run, built):
    code, out, _ = run("inspect", "tiny_english")
    assert code == 0
    assert "Kept documents by number of words" in out
    code, out, _ = run("inspect", "tiny_chinese", "--kept", "--num", "2")
    assert code == 0
    assert out.count("── ") == 2
    code, out, _ = run("inspect", "tiny_chinese", "--json")
    assert json.loads(out)["summary"]["kept"] == 62
    code, _, err = run("inspect", "tiny_chinese", "--kept", "--rejected", "x")
    assert (code, "Give one of" in err) == (2, True)
    assert run("inspect", "tiny_chinese", "--rejected", "x")[0] == 6


def test_trace_for_people_and_as_json(run, built):
    code, out, _ = run("trace", "tiny_gru", "--json")
    assert code == 0
    hashes = [file["sha256"] for row in json.loads(out) for file in row.get("files", [])]
    assert len(hashes) == 2
    code, out, _ = run("trace", "tiny_gru")
    assert code == 0
    assert all(digest in out for digest in hashes)
    code, out, _ = run("trace", "--token", "tiny:5", "--json")
    assert code == 0
    assert json.loads(out)["raw_file"]["sha256"] in hashes
    code, out, _ = run("trace", "--token", "tiny:5")
    assert code == 0
    assert "raw file a.jsonl, record " in out


def test_describe_says_what_a_model_is_and_costs(run, built):
    code, out, err = run("describe", "tiny_gru", "--flops", "1e9", "--gradients", "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    checkpoint = Store(built.home.artifacts).ref("tiny_gru/checkpoint")
    assert value["parameters"] == checkpoint.summary["num_parameters"]
    assert value["flops_per_token"]["training"] == checkpoint.summary["flops_per_token"]
    assert value["peak_flops"] == 1e9
    assert value["gradients"].keys() == {"before training", "after training"}
    code, out, _ = run("describe", "tiny_gru", "--flops", "1e9", "--gradients")
    assert code == 0
    assert f"{value['parameters']:,} parameters" in out
    assert "backbone.cells.weight_hh_l0" in out
    assert "Hugging Face      no: Hugging Face has no 'gru' language model" in out
    assert "0 tokens back   1.00e+00" in out


def test_describe_counts_snapshots_and_takes_the_peak_of_the_precision_that_is_set(run, copy):
    path = copy.defs / "experiments/tiny_gru/defs.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["attributes"]["training"] |= {"num_steps": 100, "snapshot_interval": 10, "precision": "float32"}
    path.write_text(yaml.safe_dump(spec))
    code, out, err = run("describe", "tiny_gru", "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert value["machine"] == "peak measured, float32 products on cpu"
    assert value["disk_bytes"]["snapshots"] == 10 * value["disk_bytes"]["model"]
    spec["attributes"]["training"]["max_snapshot_megabytes"] = 0.08
    path.write_text(yaml.safe_dump(spec))
    code, out, _ = run("describe", "tiny_gru", "--flops", "1e9", "--json")
    disk = json.loads(out)["disk_bytes"]
    assert disk["snapshots"] == 80_000 // disk["model"] * disk["model"]
    assert "kB of snapshots" in run("describe", "tiny_gru", "--flops", "1e9")[1]


def test_describe_refuses_what_is_counted_or_unknown(run, built):
    code, _, err = run("describe", "tiny_ngram")
    assert code == 6
    assert "is an n-gram model: it is counted" in err
    code, _, err = run("describe", "tiny_gro")
    assert code == 4
    assert "Did you mean 'tiny_gru'?" in err
