"""The peer of `filters.py`, in its own environment: datatrove's filters. Reads and writes Parquet.

    build/peers/datatrove/bin/python benchmarks/peers/filters_datatrove.py chain INPUT OUTPUT LANGUAGE WORDS
    build/peers/datatrove/bin/python benchmarks/peers/filters_datatrove.py verdicts INPUT OUTPUT LANGUAGE WORDS

`chain` runs four filters over every document, with thresholds that nothing can miss, so that none ends early; WORDS is
`shipped` (spaCy, for Chinese with jieba, as datatrove chooses) or `simple` (ours, by a regular expression). `verdicts`
asks each filter for its verdict on each document and writes the reasons; WORDS is `shipped` or `given`, words and
sentences from the input's columns.
"""

import json
import re
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.word_tokenizers import WordTokenizer

ALWAYS, NEVER = -1, 10**9
LANGUAGES = {"en": "eng", "zh": "cmn_Hani"}
"""By our code, the one by which datatrove finds its words."""
STOP_CHARACTERS = tuple(".?!\"'。？！”’…」』．｡؟۔।॥።։")
CHINESE_STOP_WORDS = list("的年在月是和日了於·為有被人中为他與後也而由")


class GivenWords(WordTokenizer):
    """Words and sentences from tables; a line's sentences by the line."""

    def __init__(self, words: dict[str, list[str]], sentences: dict[str, list[str]]) -> None:
        super().__init__()
        self.words, self.sentences = words, sentences

    def word_tokenize(self, text: str) -> list[str]:
        """The words."""
        return self.words[text]

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences."""
        return self.sentences.get(text.strip(), [text])

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Where the sentences are."""
        spans, at = [], 0
        for sentence in self.sent_tokenize(text):
            spans.append((at, at + len(sentence)))
            at += len(sentence)
        return spans


class SimpleWords(WordTokenizer):
    """The words of our side, by the cheapest means that Python has; a sentence per full stop."""

    WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
    SENTENCE_ENDS = re.compile(r"(?<=[.?!。？！])\s*")

    def word_tokenize(self, text: str) -> list[str]:
        """The words."""
        return self.WORDS.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences."""
        return self.SENTENCE_ENDS.split(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Where the sentences are."""
        ends = [match.end() for match in self.SENTENCE_ENDS.finditer(text)] + [len(text)]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def never_failing(language: str | WordTokenizer) -> list:
    """The four filters, every rule evaluated on every document."""
    return [
        GopherQualityFilter(
            ALWAYS, NEVER, ALWAYS, NEVER, NEVER, NEVER, NEVER, ALWAYS, ALWAYS, language=language
        ),
        GopherRepetitionFilter(
            NEVER, NEVER, NEVER, NEVER,
            tuple((n, NEVER) for n in (2, 3, 4)), tuple((n, NEVER) for n in range(5, 11)), language=language,
        ),
        FineWebQualityFilter(None, ALWAYS, False, STOP_CHARACTERS, NEVER, 30, NEVER, NEVER, language=language),
        C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=0, language=language),
    ]  # fmt: skip


def chain(source: Path, target: Path, language: str, words: str) -> dict:
    """Run the chain once. Seconds are of the processor, reading and writing included, loading of models not."""
    filters = never_failing(SimpleWords() if words == "simple" else LANGUAGES[language])
    warm = Document(text="Load what is loaded once. 加载一次。", id="0")
    for item in filters:
        item.filter(warm)
    started, wall = time.process_time(), time.perf_counter()
    data = ParquetReader(str(source.parent), glob_pattern=source.name)()
    for item in filters:
        data = item.run(data)
    writer = ParquetWriter(
        str(target.parent),
        output_filename=target.name,
        compression="zstd",
        adapter=lambda _, document: {"id": document.id, "text": document.text},
    )
    written = sum(1 for _ in writer.run(data))
    return {
        "cpu_seconds": time.process_time() - started,
        "wall_seconds": time.perf_counter() - wall,
        "written": written,
    }


def default_filters(language: str, words: str | WordTokenizer) -> dict:
    """As FineWeb and FineWeb-2 set them; a verdict on a text is nothing else's business, so C4 keeps its lines."""
    if language == "en":
        return {
            "gopher_quality": GopherQualityFilter(language=words),
            "gopher_repetition": GopherRepetitionFilter(language=words),
            "c4": C4QualityFilter(filter_no_terminal_punct=False, language=words),
            "fineweb": FineWebQualityFilter(stop_chars=STOP_CHARACTERS, language=words),
        }
    return {
        "gopher_quality": GopherQualityFilter(
            min_avg_word_length=1, max_avg_word_length=5, max_non_alpha_words_ratio=0.735,
            stop_words=CHINESE_STOP_WORDS, language=words,
        ),
        "gopher_repetition": GopherRepetitionFilter(
            dup_line_frac=0.287,
            top_n_grams=((2, 0.256), (3, 0.201), (4, 0.171)),
            dup_n_grams=((5, 0.198), (6, 0.182), (7, 0.167), (8, 0.154), (9, 0.14), (10, 0.127)),
            language=words,
        ),
        "c4": C4QualityFilter(filter_no_terminal_punct=False, min_words_per_line=-1, language=words),
        "fineweb": FineWebQualityFilter(
            line_punct_thr=0.106, new_line_ratio=0.178, char_duplicates_ratio=NEVER, stop_chars=STOP_CHARACTERS,
            language=words,
        ),
    }  # fmt: skip


def verdicts(source: Path, target: Path, language: str, words: str) -> dict:
    """The reason that each filter gives for each document; empty where it keeps it."""
    rows = pq.read_table(source).to_pylist()
    if words == "given":
        sentences = {line: found for row in rows for line, found in zip(row["lines"], row["sentences"], strict=True)}
        filters = default_filters(language, GivenWords({row["text"]: row["words"] for row in rows}, sentences))
    else:
        filters = default_filters(language, LANGUAGES[language])
    reasons = {name: [] for name in filters}
    for row in rows:
        for name, item in filters.items():
            answer = item.filter(Document(text=row["text"], id=row["id"]))
            reasons[name].append("" if answer is True else answer[1])
    pq.write_table(pa.table({"id": [row["id"] for row in rows], **reasons}), target)
    return {"documents": len(rows)}


if __name__ == "__main__":
    command, source, target, *rest = sys.argv[1:]
    run = {"chain": chain, "verdicts": verdicts}[command]
    print(json.dumps(run(Path(source), Path(target), *rest)))
