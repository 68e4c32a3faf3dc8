"""Which scripts a text is written in: one pass over the bytes that counts its characters by script.

Han characters are counted in finer classes, by who writes them. Nobody's list was copied for that: the national
character sets say it, and Python has them as codecs.

- *Simplified only*: among the 3,755 common characters of GB 2312, and not in Big5.
- *Traditional only*: among the 5,401 common characters of Big5, and not in GB 2312.
- *Japanese only*: among the 2,965 common characters of JIS X 0208, and neither in GB 2312 nor in Big5 as Hong Kong
  extended it, which has the variants that Chinese books print (爲, 裏, 衆).
- *Cantonese only*: characters that write the words by which Cantonese differs from written Mandarin (嘅, 咗, 佢).

OpenCC converts 1,198 of the 1,203 simplified and 1,897 of the 2,073 traditional ones; the others are rare
characters, which do no harm in shares. 着 is left out: Hong Kong writes it too.
"""

import functools
import unicodedata
from typing import Final

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from lm_pipeline.corpus.text.code_points import decode
from lm_pipeline.corpus.text.utf8 import Texts, utf8_buffers

CANTONESE = "嘅咗哋啲嚟冇佢嗰喺嘢"  # not 唔, which Mandarin has as an interjection

BLOCKS: Final = {
    "kana": ((0x3041, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xD7A3), (0xD7B0, 0xD7FB)),
    "thai": ((0x0E01, 0x0E3A), (0x0E40, 0x0E5B)),
    "lao": ((0x0E81, 0x0EDF),),
    "khmer": ((0x1780, 0x17FF),),
    "greek": ((0x0370, 0x03FF), (0x1F00, 0x1FFF)),
    "hebrew": ((0x0591, 0x05F4), (0xFB1D, 0xFB4F)),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2D)),
    "armenian": ((0x0531, 0x058A), (0xFB13, 0xFB17)),
    "gurmukhi": ((0x0A01, 0x0A76),),
    "gujarati": ((0x0A81, 0x0AFF),),
    "tamil": ((0x0B82, 0x0BFA),),
    "telugu": ((0x0C00, 0x0C7F),),
    "kannada": ((0x0C80, 0x0CF3),),
    "malayalam": ((0x0D00, 0x0D7F),),
    "sinhala": ((0x0D81, 0x0DF4),),
}
"""Scripts that are counted apart: first and last code points of their blocks, both included."""

HAN: Final = ("han", "simplified", "traditional", "japanese", "cantonese")
"""The classes of Han characters: those that more than one of them writes, and those that only one does."""

CLASSES: Final = ("none", "letter", *HAN, *BLOCKS)
"""What each character is counted as: no letter, a letter or mark of any other script, or one of the classes above."""

_NUM_CODES = 0x200000  # every value that four UTF-8 bytes can decode to, so that no index leaves the table
_LETTER, _FIRST_HAN, _KANA = (CLASSES.index(name) for name in ("letter", "han", "kana"))


def count_scripts(texts: Texts) -> pl.DataFrame:
    """Count the characters of every text by class.

    Returns:
        One row a text: a column (i64) for every name of `CLASSES` but `none`, and `words`, the number of maximal runs
        of letters that are neither Han nor Kana.

    >>> count_scripts(["东京の団 is Tokyo"]).select("letter", "han", "simplified", "japanese", "kana", "words").rows()
    [(7, 1, 1, 1, 1, 2)]
    """
    data, offsets = utf8_buffers(texts)
    counts = np.zeros((len(offsets) - 1, len(CLASSES)), np.int64)
    words = np.zeros(len(offsets) - 1, np.int64)
    _count(data, offsets, _classes(), counts, words)
    columns = {name: counts[:, at] for at, name in enumerate(CLASSES) if name != "none"}
    return pl.DataFrame({**columns, "words": words})


@numba.njit(cache=True)
def _count(data, offsets, classes, counts, words):
    for text in range(len(offsets) - 1):
        at = offsets[text]
        in_word = False
        while at < offsets[text + 1]:
            code, at = decode(data, at)
            class_ = classes[code]
            counts[text, class_] += 1
            is_letter = class_ == _LETTER or class_ > _KANA
            words[text] += is_letter and not in_word
            in_word = is_letter


@functools.cache
def _classes() -> NDArray[np.uint8]:
    table = np.zeros(_NUM_CODES, np.uint8)
    for first, end in ((0, 0x20000), (0xE0000, 0xE1000)):  # beyond are Han and what is no letter
        table[first:end] = [unicodedata.category(chr(code))[0] in "LM" for code in range(first, end)]
    for name, blocks in BLOCKS.items():
        for first, last in blocks:
            table[first : last + 1][table[first : last + 1] == _LETTER] = CLASSES.index(name)
    for first, last in ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFD)):
        table[first : last + 1] = _FIRST_HAN
    table[[0x3005, 0x3007]] = _FIRST_HAN  # 々 〇
    for name, characters in han_by_writer().items():
        table[[ord(character) for character in characters]] = CLASSES.index(name)
    return table


@functools.cache
def han_by_writer() -> dict[str, frozenset[str]]:
    """The characters of every class of `HAN` but the first."""
    gb, big5, hong_kong, jis = (_encodable(codec) for codec in ("gb2312", "big5", "big5hkscs", "shift_jis"))
    common_gb = {character for character, code in gb.items() if 0xB0A1 <= code <= 0xD7F9}
    common_big5 = {character for character, code in big5.items() if 0xA440 <= code <= 0xC67E}
    common_jis = {character for character, code in jis.items() if 0x889F <= code <= 0x9872}
    cantonese = frozenset(CANTONESE)
    return {
        "simplified": frozenset(common_gb - big5.keys() - {"着"}),
        "traditional": frozenset(common_big5 - gb.keys() - cantonese),
        "japanese": frozenset(common_jis - gb.keys() - hong_kong.keys()),
        "cantonese": cantonese,
    }


def _encodable(codec: str) -> dict[str, int]:
    """The unified ideographs that a character set has, with their codes in it."""
    codes = {chr(code): chr(code).encode(codec, "ignore") for code in range(0x4E00, 0xA000)}
    return {character: int.from_bytes(code) for character, code in codes.items() if code}
