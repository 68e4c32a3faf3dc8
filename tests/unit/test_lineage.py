import gzip
import hashlib
import json

import pytest

from lm_pipeline.artifacts import Store
from lm_pipeline.artifacts.garbage import drop
from lm_pipeline.errors import InputError, MissingArtifactError
from lm_pipeline.lineage import PARTS, lineage_table, raw_file_table, trace_token


def open_store(project) -> Store:
    return Store(project.home.artifacts)


@pytest.mark.parametrize("experiment", ["tiny_gru", "tiny_ngram"])
def test_a_checkpoint_leads_to_the_bytes_of_every_raw_file(tiny_project, experiment):
    store = open_store(tiny_project)
    rows = lineage_table(store, store.ref(f"{experiment}/checkpoint"))
    assert rows[0]["asset"] == f"{experiment}/checkpoint"
    assets = {row["asset"] for row in rows}
    assert {"tiny/token_shards", "tiny/tokenizer", "tiny/splits", "tiny/unique_documents"} <= assets
    files = {file["sha256"]: file for row in rows for file in row.get("files", [])}
    on_disk = {path: path.read_bytes() for path in tiny_project.text.rglob("*") if path.is_file()}
    assert set(files) == {hashlib.sha256(content).hexdigest() for content in on_disk.values()}
    assert sorted(file["bytes"] for file in files.values()) == sorted(map(len, on_disk.values()))


def test_every_row_says_what_it_is_and_who_made_it(tiny_project):
    store = open_store(tiny_project)
    rows = lineage_table(store, store.ref("tiny_gru/report"))
    for row in rows:
        assert row["stage"] not in PARTS
        assert {"stage", "asset", "key", "digest", "code_version", "created", "spec"} <= row.keys()
        assert store.open(row["stage"], row["key"]).digest == row["digest"]
    assert {row["corpus"] for row in rows if row["stage"] == "documents"} == {"tiny_english", "tiny_chinese"}
    assert len({(row["stage"], row["key"]) for row in rows}) == len(rows)
    json.dumps(rows)


def test_a_hole_in_the_lineage_is_named(tiny_copy):
    store = open_store(tiny_copy)
    raw = store.ref("raw_documents/tiny_chinese")
    drop(store, raw.stage, raw.key)
    with pytest.raises(MissingArtifactError, match=f"was made from raw_documents/{raw.key}, which is gone"):
        lineage_table(store, store.ref("tiny_gru/checkpoint"))


def test_every_training_token_leads_to_its_document_and_to_its_record_in_a_raw_file(tiny_project):
    from lm_pipeline.tokenization.shards import Shard
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    store = open_store(tiny_project)
    shards = store.ref("tiny/token_shards")
    shard = Shard.open(shards.files_dir, "train")
    tokenizer = Tokenizer.load(store.ref("tiny/tokenizer").path("tokenizer.model"))
    by_hash = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in tiny_project.text.rglob("*") if p.is_file()}
    offsets = [*range(0, len(shard.tokens), max(1, len(shard.tokens) // 15)), len(shard.tokens) - 1]
    corpora = set()
    for offset in offsets:
        found = trace_token(store, shards, offset)
        document = found["document"]
        assert found["token_id"] == int(shard.tokens[offset])
        assert found["piece"] == tokenizer.piece(found["token_id"])
        begin = document["token_offset"]
        assert begin <= offset < begin + document["num_tokens"]
        inner = shard.tokens[begin + 1 : begin + document["num_tokens"] - 1]
        content = by_hash[found["raw_file"]["sha256"]].read_bytes()
        record = content[document["byte_offset"] : document["byte_offset"] + document["byte_length"]]
        assert tokenizer.decode(inner) == json.loads(record)["text"]
        assert content.split(b"\n")[document["record"]].strip() == record.strip()
        corpora.add(document["corpus"])
    assert corpora == {"tiny_english", "tiny_chinese"}


@pytest.mark.parametrize("beyond", [-1, "end"])
def test_a_token_that_is_not_there_is_refused_with_the_range(tiny_project, beyond):
    store = open_store(tiny_project)
    shards = store.ref("tiny/token_shards")
    tokens = shards.summary["splits"]["train"]["tokens"]
    with pytest.raises(InputError, match=rf"it has tokens 0 to {tokens - 1}\."):
        trace_token(store, shards, tokens if beyond == "end" else beyond)


def test_a_compressed_raw_file_is_found_by_its_own_bytes(tiny_fresh):
    plain = tiny_fresh.text / "english" / "a.jsonl"
    packed = plain.with_name("a.jsonl.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    raw = tiny_fresh.materialize("raw_documents/tiny_english").artifact
    assert raw_file_table(raw) == [
        {
            "path": "a.jsonl.gz",
            "bytes": packed.stat().st_size,
            "sha256": hashlib.sha256(packed.read_bytes()).hexdigest(),
        }
    ]
