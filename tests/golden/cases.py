"""What every stage makes of a small fixed input, as a digest: the guard of the stages' version literals.

A case is a stage and a function from an empty folder to the digest of the stage's result. Heavy libraries are
imported inside the functions. Add a stage here, run `python tests/golden/update.py`, commit `digests.json`.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lm_pipeline.artifacts import Stage, digest_of
from lm_pipeline.stages import versions

DIGESTS = Path(__file__).with_name("digests.json")

ENGLISH = (
    "The river that runs through the town is old, and people have walked along it to work with their children for as"
    " long as anyone can remember. In spring it floods the lower streets, so the houses there stand on stone feet, and"
    " boats are kept in the gardens beside the apple trees."
)
CHINESE = (
    "这条河流过小镇已经有很多年了。人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。"
    "春天的时候，河水会淹没低处的街道，所以那里的房子都建在石头上，花园里也放着小船。"
)


def document_part(folder: Path) -> str:
    """Clean and judge an English, a Chinese, a short, a symbolic, an empty and an unreadable record."""
    import polars as pl

    from lm_pipeline.corpus.decisions import decide_part
    from lm_pipeline.corpus.documents import clean_part, plan_parts
    from lm_pipeline.corpus.raw_files import RawFile
    from lm_pipeline.specs.corpus import CorpusSpec, Fields, PathSource

    rows = [
        {"text": f"\ufeff{ENGLISH}  \r\n\r\n\r\n\r\n\r\n    {ENGLISH}", "label": "a", "group": "river"},
        {"text": f"　　{CHINESE}\n　　cafe\u0301\0", "label": "b", "group": "河"},
        {"text": f"　　{CHINESE}\n　　cafe\u0301", "label": "b", "group": "河"},
        {"text": "Too short.", "label": "a", "group": "x"},
        {"text": "# … -- 123 ... " * 20, "label": "a", "group": "x"},
        {"text": "", "label": None, "group": None},
    ]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b'{"text": \xff}\n\n{"other": 1}\n'
    path = folder / "input.jsonl"
    path.write_bytes(data)
    file = RawFile(path.name, len(data), hashlib.sha256(data).hexdigest(), path)
    spec = CorpusSpec(source=PathSource(path="."), fields=Fields(label="label", group="group"))
    (part,) = plan_parts([file], spec)
    out = folder / "out"
    out.mkdir()
    summary = clean_part("golden", part, {file.path: file}, spec, out)
    decided = decide_part(out / "statistics.parquet", spec.cleaning, out / "decisions.parquet")
    assert (decided["kept"], decided["rejected"], summary["quarantined"]) == (2, 3, 3), summary
    # Words of explanation and excerpts may get better without a new version; what was found where may not change.
    bad = pl.read_parquet(out / "quarantine.parquet").select("record", "byte_offset", "reason").rows()
    decisions = pl.read_parquet(out / "decisions.parquet").to_dicts()
    return digest_of([decided["row_digests"], decisions, [list(row) for row in bad]])


def _dataset(folder: Path) -> Path:
    """Ten documents in two corpora: two texts, their copies, near duplicates, quotations and short ones."""
    import polars as pl

    texts = [ENGLISH, CHINESE, ENGLISH, ENGLISH + " The end.", f"Quoted here.\n\n{ENGLISH[:150]}", CHINESE[:-1] + "！"]
    texts += ["一二三四五六七", "Only four words here", "Only four words here", f"序言\n{CHINESE[:70]}"]
    path = folder / "documents.parquet"
    pl.DataFrame(
        {
            "document_id": [f"{row:032x}" for row in range(len(texts))],
            "corpus": ["golden"] * 6 + ["other"] * 4,
            "text": texts,
            "group": ["a", "b", None, "c", "d", "e", "a", None, None, "b"],
            "num_bytes": [len(text.encode()) for text in texts],
        }
    ).write_parquet(path)
    return path


def _digest_rows(path: Path) -> str:
    """Of a table's rows as JSON, so that a new Parquet writer changes nothing."""
    import polars as pl

    return hashlib.sha256(pl.read_parquet(path).write_ndjson().encode()).hexdigest()


def signatures(folder: Path) -> str:
    """Sketch documents in English and Chinese, and ones too short for a shingle."""
    from lm_pipeline.corpus.minhash import write_signatures
    from lm_pipeline.specs.dataset import NearDuplicates

    write_signatures(_dataset(folder), NearDuplicates(), folder)
    return _digest_rows(folder / "signatures.parquet")


def unique_documents(folder: Path) -> str:
    """Find an exact, a short exact and two near duplicates."""
    import polars as pl

    from lm_pipeline.corpus.duplicates import find_duplicates
    from lm_pipeline.specs.dataset import Duplicates

    signatures(folder)
    documents = pl.scan_parquet(folder / "documents.parquet")
    summary = find_duplicates(documents, [folder / "signatures.parquet"], Duplicates(), folder)
    assert (summary["kept"], summary["exact"], summary["near"]) == (6, 2, 2), summary
    return _digest_rows(folder / "unique.parquet")


def _split(folder: Path) -> None:
    import polars as pl

    from lm_pipeline.corpus.splits import split_documents
    from lm_pipeline.specs.dataset import Decontamination, Split

    unique_documents(folder)
    spec = Split(validation_fraction=0.2, test_fraction=0.4, seed=1)
    documents = pl.scan_parquet(folder / "documents.parquet")
    split_documents(folder / "unique.parquet", documents, None, spec, Decontamination(), folder)


def splits(folder: Path) -> str:
    """Split six documents, two of which repeat evaluation text, and record the witnesses."""
    _split(folder)
    return _digest_rows(folder / "splits.parquet") + _digest_rows(folder / "contamination.parquet")


def split_ledger(folder: Path) -> str:
    """Enter what was decided, groups and removed duplicates included."""
    _split(folder)
    return _digest_rows(folder / "ledger.parquet")


def _tokenizer_in(folder: Path, algorithm: Literal["unigram", "bpe"] = "unigram") -> Path:
    from lm_pipeline.specs.dataset import Tokenizer
    from lm_pipeline.tokenization.tokenizer import train_tokenizer

    folder.mkdir()
    spec = Tokenizer(algorithm=algorithm, vocab_size=380, max_training_bytes=1000)
    train_tokenizer([ENGLISH, f"{CHINESE}\n\t▁\0", f"def f():\n    {ENGLISH}\n"], spec, folder)
    return folder / "tokenizer.model"


def tokenizer(folder: Path) -> str:
    """Train both algorithms on a sample of English, Chinese and code; scores to three decimals."""
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    lines = []
    for algorithm in ("unigram", "bpe"):
        trained = Tokenizer.load(_tokenizer_in(folder / algorithm, algorithm))
        lines += [f"{trained.piece(i)}\t{trained.score(i):.3f}" for i in range(trained.vocab_size)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _shards_in(folder: Path) -> Path:
    import polars as pl

    from lm_pipeline.tokenization.shards import write_shards
    from lm_pipeline.tokenization.tokenizer import Tokenizer

    splits = ["train", "validation", "test", None, "train"]
    texts = [ENGLISH, CHINESE, "", "excluded", f"{CHINESE}\t▁ </s>\n{ENGLISH}"]
    columns = {"document_id": list("abcde"), "corpus": ["golden"] * 5, "file": ["f"] * 5, "record": range(5)}
    offsets = [0, 10, None, 30, 40]
    frame = pl.DataFrame({**columns, "byte_offset": offsets, "byte_length": offsets, "text": texts, "split": splits})
    out = folder / "shards"
    out.mkdir()
    summary = write_shards(iter([frame]), Tokenizer.load(_tokenizer_in(folder / "tokenizer", "bpe")), out)
    assert (summary["round_trip_failures"], summary["excluded"]) == (0, 1), summary
    return out


def token_shards(folder: Path) -> str:
    """Write three splits and an excluded document; tables by their rows, since Parquet's bytes vary with its writer."""
    import polars as pl

    digest = hashlib.sha256()
    for path in sorted(_shards_in(folder).iterdir()):
        table = path.suffix == ".parquet"
        digest.update(
            path.name.encode() + (pl.read_parquet(path).write_json().encode() if table else path.read_bytes())
        )
    return digest.hexdigest()


def checkpoint(folder: Path) -> str:
    """Count a trigram model, the one family whose weights do not vary with threads and instruction set."""
    from lm_pipeline.models.ngram import NgramModel
    from lm_pipeline.tokenization.shards import Shard

    model = NgramModel.train(Shard.open(_shards_in(folder), "train", 380), 3, 380)
    model.save(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


CASES: dict[str, tuple[Stage, Callable[[Path], str]]] = {
    "document_part": (versions.DOCUMENT_PART, document_part),
    "tokenizer": (versions.TOKENIZER, tokenizer),
    "token_shards": (versions.TOKEN_SHARDS, token_shards),
    "checkpoint": (versions.CHECKPOINT, checkpoint),
    "signatures": (versions.SIGNATURES, signatures),
    "unique_documents": (versions.UNIQUE_DOCUMENTS, unique_documents),
    "splits": (versions.SPLITS, splits),
    "split_ledger": (versions.SPLIT_LEDGER, split_ledger),
}
"""By the stage's name."""


def key(stage: Stage) -> str:
    """The stage's key in `digests.json`."""
    return f"{stage.name}/{stage.version}"


def recorded() -> dict[str, str]:
    """The digests on record, by `key`."""
    return json.loads(DIGESTS.read_text("utf-8")) if DIGESTS.is_file() else {}
