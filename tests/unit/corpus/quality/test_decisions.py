from pathlib import Path

import polars as pl
import pytest

from lm_pipeline.corpus.documents import Slice, clean_part
from lm_pipeline.corpus.quality.decisions import decide_part
from lm_pipeline.corpus.raw.raw_files import RawFile
from lm_pipeline.digests import digest_file
from lm_pipeline.specs.cleaning import Blocklist, Cleaning, PersonalData, UrlRules, measuring_settings
from lm_pipeline.specs.corpus import CorpusSpec, Fields, JsonlFormat, PathSource

ROWS = {
    "en": (
        '{"text": "Nothing to hide here at all.", "url": "https://a.example/1"}',
        '{"text": "Write to li@example.com about the casino.", "url": "https://a.example/22"}',
        '{"text": "The casino, the other casino, and a third casino.", "url": "https://a.example/333333"}',
    ),
    "zh": (
        '{"text": "这里没有什么可以隐瞒的。", "url": "https://a.example/1"}',
        '{"text": "赌博的事请写信给 li@example.cn。", "url": "https://a.example/22"}',
        '{"text": "赌博、再赌博、还是赌博。", "url": "https://a.example/333333"}',
    ),
}
TERMS = Blocklist(terms=("casino", "赌博"))
LENIENT = Cleaning(profile="none", blocklist=TERMS.model_copy(update={"max_hits": 9}), urls=UrlRules())


def clean(tmp_path: Path, language: str, cleaning: Cleaning) -> Path:
    raw = tmp_path / f"{language}.jsonl"
    raw.write_text("\n".join(ROWS[language]), "utf-8")
    file = RawFile(raw.name, raw.stat().st_size, digest_file(raw), raw)
    spec = CorpusSpec(
        source=PathSource(kind="path", path=str(tmp_path)),
        format=JsonlFormat(kind="jsonl"),
        language=language,
        fields=Fields(url="url"),
        cleaning=cleaning,
    )
    out = tmp_path / f"{language}-{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    clean_part("letters", (Slice(file.path, file.sha256),), {file.path: file}, spec, out)
    return out


@pytest.mark.parametrize("language", ROWS)
@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"personal_data": PersonalData(email="drop")}, [True, False, True]),
        ({"blocklist": TERMS}, [True, False, False]),
        ({"blocklist": TERMS.model_copy(update={"max_hits": 1})}, [True, True, False]),
        ({"urls": UrlRules(max_characters=20)}, [True, True, False]),
        ({"personal_data": PersonalData(salt="of no use without a hash")}, [True, True, True]),
    ],
    ids=["a kind is dropped", "fewest terms", "fewer terms", "shorter addresses", "salt"],
)
def test_what_only_decides_measures_the_same_bytes_and_decides_anew(tmp_path, language, change, kept):
    strict = LENIENT.model_copy(update=change)
    assert measuring_settings(strict) == measuring_settings(LENIENT)
    before, after = (clean(tmp_path, language, cleaning) for cleaning in (LENIENT, strict))
    for name in ("documents", "statistics", "quarantine"):
        assert (before / f"{name}.parquet").read_bytes() == (after / f"{name}.parquet").read_bytes()
    decide_part(before / "statistics.parquet", strict, tmp_path / "decisions.parquet")
    assert pl.read_parquet(tmp_path / "decisions.parquet")["kept"].to_list() == kept


@pytest.mark.parametrize(
    "change",
    [
        {"personal_data": PersonalData(email="mask")},
        {"personal_data": PersonalData(email="hash")},
        {"blocklist": Blocklist(terms=("hide", "隐瞒"))},
        {"urls": UrlRules(blocked_domains=("a.example",))},
        {"width": "keep"},
        {"profile": "auto"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_text_or_a_statistic_depends_on_is_among_the_measuring_settings(change):
    assert measuring_settings(LENIENT.model_copy(update=change)) != measuring_settings(LENIENT)


def test_the_salt_matters_where_something_is_hashed():
    hashed = PersonalData(phone="hash")
    salted = hashed.model_copy(update={"salt": "of one's own"})
    one, other = (measuring_settings(Cleaning(personal_data=action)) for action in (hashed, salted))
    assert one != other
    assert (
        measuring_settings(Cleaning(personal_data=PersonalData(phone="hash", salt="drop")))["personal_data"]["salt"]
        == "drop"
    )
