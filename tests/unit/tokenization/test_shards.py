"""Shards follow the published format, lead every token back to its document, and refuse to be misread."""

import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import CorruptArtifactError, MissingArtifactError
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization import shard_writing
from lm_pipeline.tokenization.shard_writing import write_shards
from lm_pipeline.tokenization.shards import SPLITS, Shard
from lm_pipeline.tokenization.tokenizer import BOS, EOS, Tokenizer, train_tokenizer

TEXTS = [f"Document {i} about {word}.\n\n    Indented ▁ text.\n" * (i % 4 + 1) for i, word in enumerate("abcdef" * 8)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    out = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, TokenizerSpec(algorithm="bpe", vocab_size=320), out)
    return Tokenizer.load(out / "tokenizer.model")


def frame(texts: list[str], splits: list[str | None]) -> pl.DataFrame:
    rows = range(len(texts))
    return pl.DataFrame(
        {
            "document_id": [f"{i:032x}" for i in rows],
            "corpus": ["law" if i % 3 else "docs" for i in rows],
            "file": [f"file{i // 10}.txt" for i in rows],
            "record": list(rows),
            "byte_offset": [None if i % 2 else 100 * i for i in rows],
            "byte_length": [None if i % 2 else 100 for i in rows],
            "text": texts,
            "split": splits,
        },
        schema_overrides={"byte_offset": pl.Int64, "byte_length": pl.Int64, "split": pl.String},
    )


def documents() -> pl.DataFrame:
    splits: list[str | None] = [(*SPLITS, None, "train")[i % 5] for i in range(len(TEXTS))]
    return frame(TEXTS, splits)


def read_megatron(prefix: Path) -> list[np.ndarray]:
    """An independent reader, field by field as Megatron-LM's `_IndexReader` documents them."""
    with prefix.with_suffix(".idx").open("rb") as file:
        assert file.read(9) == b"MMIDIDX\x00\x00"
        assert struct.unpack("<Q", file.read(8)) == (1,)
        dtype = {4: np.int32, 8: np.uint16}[struct.unpack("<B", file.read(1))[0]]
        (num_sequences,) = struct.unpack("<Q", file.read(8))
        (num_document_indices,) = struct.unpack("<Q", file.read(8))
        lengths = [struct.unpack("<i", file.read(4))[0] for _ in range(num_sequences)]
        pointers = [struct.unpack("<q", file.read(8))[0] for _ in range(num_sequences)]
        document_indices = [struct.unpack("<q", file.read(8))[0] for _ in range(num_document_indices)]
        assert file.read() == b""
    assert document_indices == list(range(num_sequences + 1))
    data = prefix.with_suffix(".bin").read_bytes()
    return [np.frombuffer(data, dtype, length, pointer) for length, pointer in zip(lengths, pointers, strict=True)]


def test_an_independent_reader_finds_every_document(tokenizer: Tokenizer, tmp_path: Path) -> None:
    table = documents()
    summary = write_shards(iter([table]), tokenizer, tmp_path)
    assert summary["round_trip_failures"] == 0
    assert summary["dtype"] == "uint16"
    for split in SPLITS:
        mine = table.filter(pl.col("split") == split)
        sequences = read_megatron(tmp_path / split)
        assert len(sequences) == len(mine) == summary["splits"][split]["documents"]
        for ids, text in zip(sequences, mine["text"], strict=True):
            assert (ids[0], ids[-1]) == (BOS, EOS)
            assert tokenizer.decode(ids) == text


def test_the_summary_accounts_for_every_document_and_byte(tokenizer: Tokenizer, tmp_path: Path) -> None:
    table = documents()
    summary = write_shards(iter([table]), tokenizer, tmp_path)
    written = table.drop_nulls("split")
    total = {key: sum(s[key] for s in summary["splits"].values()) for key in ("documents", "tokens", "bytes")}
    assert summary["excluded"] == len(table) - len(written)
    assert total["documents"] == len(written)
    assert total["bytes"] == written["text"].str.len_bytes().sum()
    for key, value in total.items():
        assert value == sum(s[key] for corpus in summary["per_corpus"].values() for s in corpus.values())
    text_tokens = total["tokens"] - 2 * total["documents"]
    assert summary["bytes_per_token"] == pytest.approx(total["bytes"] / text_tokens)
    assert sum(entry["count"] for entry in summary["top_pieces"]) <= text_tokens
    assert summary["preview"][0] == "<s>"
    assert len(summary["preview"]) == 200


def test_a_token_leads_back_to_its_document_and_record(tokenizer: Tokenizer, tmp_path: Path) -> None:
    table = documents()
    write_shards(iter([table]), tokenizer, tmp_path)
    shard = Shard.open(tmp_path, "train", tokenizer.vocab_size)
    mine = table.filter(pl.col("split") == "train")
    for row in (0, 7, len(mine) - 1):
        for offset in (shard.offsets[row], shard.offsets[row + 1] - 1):
            found = shard.document_of(int(offset))
            assert found["row"] == row
            assert found["position"] == offset - shard.offsets[row]
            for name in ("document_id", "corpus", "file", "record", "byte_offset", "byte_length"):
                assert found[name] == mine[name][row]
            assert tokenizer.decode(shard.document(row)) == mine["text"][row]
    assert shard.documents["num_tokens"].to_list() == np.diff(shard.offsets).tolist()
    assert shard.documents["token_offset"].to_list() == shard.offsets[:-1].tolist()
    with pytest.raises(IndexError, match="expected 0 to"):
        shard.row_of(shard.num_tokens)


def test_bytes_do_not_depend_on_how_frames_arrive(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writing, "_ROW_GROUP", 4)
    for name, size, batch_bytes in (("whole", 100, 4 << 20), ("rows", 1, 4 << 20), ("sevens", 7, 300)):
        monkeypatch.setattr(shard_writing, "_BATCH_BYTES", batch_bytes)
        (tmp_path / name).mkdir()
        write_shards(documents().iter_slices(size), tokenizer, tmp_path / name)
    for path in (tmp_path / "whole").iterdir():
        for name in ("rows", "sevens"):
            assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path.name


def test_empty_splits_and_empty_corpora_can_be_opened(tokenizer: Tokenizer, tmp_path: Path) -> None:
    summary = write_shards(iter([]), tokenizer, tmp_path)
    assert summary["preview"] == []
    shard = Shard.open(tmp_path, "test", tokenizer.vocab_size)
    assert (shard.num_documents, shard.num_tokens) == (0, 0)
    assert shard.documents.is_empty()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(SPLITS)), max_size=12))
def test_any_documents_survive(
    tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    out = tmp_path_factory.mktemp("shards")
    assert (
        write_shards(iter([frame(*map(list, zip(*pairs, strict=True)))] if pairs else []), tokenizer, out)[
            "round_trip_failures"
        ]
        == 0
    )
    for split in SPLITS:
        shard = Shard.open(out, split, tokenizer.vocab_size)
        texts = [tokenizer.decode(shard.document(row)) for row in range(shard.num_documents)]
        assert texts == [text for text, name in pairs if name == split]


@pytest.fixture
def written(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    write_shards(iter([documents()]), tokenizer, tmp_path)
    return tmp_path


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (0, b"NOTMEGATR", "magic: given b'NOTMEGATR', expected b'MMIDIDX"),
        (9, b"\x02", "version: given 2, expected 1"),
        (17, b"\x07", r"dtype code is 7; expected 8 \(uint16\) or 4 \(int32\)"),
        (17, b"\x04", "type of ids for a vocabulary of 320: given 'int32', expected 'uint16'"),
        (18, b"\xff", "entries of the document index"),
        (34, b"\x01", "sequences of at least 2 tokens"),
        (34, b"\x7f", "end to end"),
    ],
)
def test_a_damaged_index_is_refused(written: Path, offset: int, data: bytes, message: str) -> None:
    overwrite(written / "train.idx", offset, data)
    with pytest.raises(CorruptArtifactError, match=message):
        Shard.open(written, "train", 320)


def test_a_truncated_file_is_refused(written: Path) -> None:
    for name in ("train.idx", "validation.bin"):
        path = written / name
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(CorruptArtifactError, match="bytes: given"):
            Shard.open(written, name.split(".")[0], 320)
    (written / "test.idx").write_bytes(b"MMIDIDX")
    with pytest.raises(CorruptArtifactError, match="has 7 bytes"):
        Shard.open(written, "test")


def test_a_vocabulary_of_another_size_is_refused(written: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="given 'uint16', expected 'int32'"):
        Shard.open(written, "train", 70_000)


def test_documents_without_their_borders_are_refused(written: Path) -> None:
    overwrite(written / "train.bin", 0, b"\x09\x00")
    with pytest.raises(CorruptArtifactError, match=r"first and last token of document 0: given \(9, 2\)"):
        Shard.open(written, "train", 320)


def test_a_missing_split_is_refused(written: Path) -> None:
    with pytest.raises(MissingArtifactError, match="Materialize token_shards"):
        Shard.open(written, "tain")
