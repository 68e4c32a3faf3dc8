"""How often the language of a real document is named right, and how fast.

    python benchmarks/language.py [--data ../shared/data]

Prints one JSON line a set and writes `benchmarks/results/language.json` and the tables of `docs/language.md`.
"""

import argparse
import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path

from measuring import cpu_seconds, replace_table, write_result

from lm_pipeline.corpus.text.language import identify_language

# The Declaration of Human Rights: files of `udhr2.zip` (ISO 639-3) and the code that is right for them. Languages that
# lid.176 does not know are left out.
DECLARATIONS = {
    "afr": "af", "als": "sq", "amh": "am", "arb": "ar", "ast": "ast", "azj_cyrl": "az", "azj_latn": "az", "bel": "be",
    "ben": "bn", "bho": "bh", "bod": "bo", "bos_latn": "bs", "bre": "br", "bul": "bg", "cat": "ca", "ceb": "ceb",
    "ces": "cs", "ckb": "ckb", "cmn_hans": "zh", "cmn_hant": "zh", "cos": "co", "cym": "cy", "dan": "da", "deu": "de",
    "deu_1901": "de", "div": "dv", "ell_monotonic": "el", "ell_polytonic": "el", "eng": "en", "epo": "eo", "est": "et",
    "eus": "eu", "fin": "fi", "fra": "fr", "fri": "fy", "gla": "gd", "gle": "ga", "glg": "gl", "guj": "gu", "heb": "he",
    "hin": "hi", "hrv": "hr", "hsb": "hsb", "hun": "hu", "hye": "hy", "ilo": "ilo", "ina": "ia", "ind": "id",
    "isl": "is", "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khk": "mn", "khm": "km",
    "kir": "ky", "kor": "ko", "lao": "lo", "lat": "la", "lav": "lv", "lit": "lt", "ltz": "lb", "mal": "ml", "mar": "mr",
    "mkd": "mk", "mlt": "mt", "mya": "my", "nds": "nds", "nep": "ne", "nld": "nl", "nno": "nn", "nob": "no",
    "oss": "os", "pan": "pa", "pbu": "ps", "pes_1": "fa", "plt": "mg", "pnb": "pnb", "pol": "pl", "por_BR": "pt",
    "por_PT": "pt", "roh": "rm", "ron": "ro", "rus": "ru", "sah": "sah", "san": "sa", "slk": "sk", "slv": "sl",
    "som": "so", "spa": "es", "srp_cyrl": "sr", "sun": "su", "swe": "sv", "swh": "sw", "tam": "ta", "tat": "tt",
    "tgk": "tg", "tgl": "tl", "tha": "th", "tuk_latn": "tk", "tur": "tr", "tyv": "tyv", "uig_arab": "ug", "ukr": "uk",
    "urd": "ur", "uzn_latn": "uz", "vec": "vec", "vie": "vi", "war": "war", "wln": "wa", "ydd": "yi", "yor": "yo",
}  # fmt: skip
NAMED = ("en", "zh", "ja", "ko", "ru", "de", "fr", "es")
"""Languages that documents over 200 characters must be in to 99 %."""


def declarations(data: Path) -> dict[str, str]:
    """The text of every file of the Declaration of Human Rights."""
    with zipfile.ZipFile(data / "large/nltk/udhr2.zip") as archive:
        members = [name for name in archive.namelist() if name.endswith(".txt")]
        return {Path(name).stem: archive.read(name).decode("utf-8") for name in members}


def stretches(text: str, characters: int) -> Iterator[str]:
    """Consecutive paragraphs together, each stretch just over so many characters; a shorter rest is left out."""
    current = ""
    for line in text.splitlines():
        current = f"{current}\n{line.strip()}".strip()
        if len(current) > characters:
            yield current
            current = ""


def real_sets(data: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Name, language and documents of every other set."""
    large, small = data / "large", data / "small"
    reviews = gzip.decompress((large / "imdb/train.jsonl.gz").read_bytes()).splitlines()
    yield "movie reviews (IMDB)", "en", [json.loads(line)["text"] for line in reviews]
    rows = list(csv.reader(io.StringIO(gzip.decompress((large / "bbc-news/bbc.csv.gz").read_bytes()).decode(), "")))
    yield "news (BBC)", "en", [max(row, key=len) for row in rows[1:]]
    for code in ("en", "de"):
        captions = gzip.decompress((large / f"multi30k-de-en/train.{code}.gz").read_bytes()).decode()
        yield "captions (Multi30k)", code, captions.splitlines()[:5000]
    pairs = [line.split("\t")[:2] for line in (large / "tatoeba-cmn-eng/cmn.txt").read_text("utf-8").splitlines()]
    yield "sentences (Tatoeba)", "en", [pair[0] for pair in pairs]
    yield "sentences (Tatoeba)", "zh", [pair[1] for pair in pairs]
    for code in ("en", "zh"):
        text = (large / f"wmt22-zh-en/generaltest2022.{code}-{'zh' if code == 'en' else 'en'}.src.{code}").read_text()
        yield "news and talk (WMT22)", code, text.splitlines()
    titles = (large / "thucnews-titles/dev.txt").read_text("utf-8").splitlines()
    yield "titles (THUCNews)", "zh", [line.split("\t")[0] for line in titles]
    with (large / "zh-sentiment/waimai_10k.csv").open(encoding="utf-8", newline="") as file:
        yield "restaurant reviews (waimai)", "zh", [row[1] for row in list(csv.reader(file))[1:]]
    abstracts = (large / "csl-zh/dev.tsv").read_text("utf-8").splitlines()
    yield "abstracts (CSL)", "zh", [max(line.split("\t"), key=len) for line in abstracts[1:]]
    novel = (large / "zh-novels/水浒传.txt").read_text("utf-8")
    yield "novel (水浒传)", "zh", list(stretches(novel, 200))
    poems = lzma.decompress((large / "zh-poetry/poems.jsonl.xz").read_bytes()).splitlines()
    yield "poems, both scripts", "zh", ["".join(json.loads(line)["lines"]) for line in poems[:5000]]
    yield "novel (Alice)", "en", list(stretches((small / "lm/en/alice-in-wonderland.txt").read_text("utf-8"), 200))


def measure(name: str, code: str, texts: list[str]) -> dict[str, object]:
    """One row of the table."""
    answers: list[tuple[str, float]] = []
    seconds = cpu_seconds(lambda: answers.extend(identify_language(texts)))
    right = sum(found == code for found, _ in answers)
    wrong: dict[str, int] = {}
    for found, _ in answers:
        if found != code:
            wrong[found] = wrong.get(found, 0) + 1
    row = {
        "name": name,
        "language": code,
        "documents": len(texts),
        "mean_characters": round(sum(map(len, texts)) / max(1, len(texts))),
        "accuracy": round(right / max(1, len(texts)), 4),
        "mb_per_second": round(sum(len(text.encode()) for text in texts) / 1e6 / seconds, 1),
        "wrong": dict(sorted(wrong.items(), key=lambda item: -item[1])[:4]),
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return row


def main() -> None:
    """Measure every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    identify_language(["Warm up: the model is loaded and kernels are compiled.", "预热"])
    texts = declarations(data)
    rows = [
        measure("Human Rights, over 200 characters", code, [s for name in files for s in stretches(texts[name], 200)])
        for code in NAMED
        if (files := [name for name, right in DECLARATIONS.items() if right == code])
    ]
    rows += [measure(name, code, documents) for name, code, documents in real_sets(data)]
    whole = {name: identify_language([texts[name]])[0][0] for name in DECLARATIONS}
    by_stretch = [
        (code, found)
        for name, code in DECLARATIONS.items()
        for found, _ in identify_language(list(stretches(texts[name], 200)))
    ]
    unknown = identify_language([text for name, text in texts.items() if name not in DECLARATIONS])
    summary = {
        "files_unknown_to_the_model": len(unknown),
        "of_these_with_confidence_over_0.65": sum(confidence > 0.65 for _, confidence in unknown),
        "languages_of_the_model": len(set(DECLARATIONS.values())),
        "files": len(DECLARATIONS),
        "whole_right": sum(whole[name] == code for name, code in DECLARATIONS.items()),
        "whole_wrong": {name: found for name, found in whole.items() if found != DECLARATIONS[name]},
        "stretches": len(by_stretch),
        "stretches_right": sum(code == found for code, found in by_stretch),
    }
    print(json.dumps(summary, ensure_ascii=False))
    write_result("language", {"sets": rows, "declarations": summary})
    lines = ["| set | language | documents | mean characters | right | MB/s |", "|---|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row['name']} | {row['language']} | {row['documents']:,} | {row['mean_characters']} | {row['accuracy']:.2%}"
        f" | {row['mb_per_second']} |"
        for row in rows
    ]
    replace_table(Path("docs/language.md"), "accuracy", lines)


if __name__ == "__main__":
    main()
