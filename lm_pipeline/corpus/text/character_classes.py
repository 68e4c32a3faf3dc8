"""What a character is to the quality rules: a letter, a space, the end of a line or sentence.

Classes come from Python's own Unicode tables, as for `corpus/text/words.py`.
"""

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.text.words import IDEOGRAPHS

TERMINAL_PUNCTUATION = ".?!\"'。？！”’…」』．｡؟۔।॥።։"
"""What a finished line ends in: C4's signs, their Chinese and Japanese forms, and some of other scripts."""
BULLETS = "•●▪‣◦-"
_SENTENCE_ENDS = ".!?。！？｡．"
_CLOSERS = "\"')]}”’」』】）》〉"

SPACE, CJK, LETTER_OR_DIGIT, LETTER, LOWER = 1, 2, 4, 8, 16
TERMINAL, CLOSER, BULLET, ASCII_WORD, ENDS_SENTENCE = 32, 64, 128, 256, 512
_NUM_CLASSES = 0x200000  # every value that four UTF-8 bytes can decode to


@functools.cache
def character_classes() -> NDArray[np.uint16]:
    """By code point: what a character is, a bit each (`SPACE`, `CJK`, `TERMINAL`, ...)."""
    table = np.zeros(_NUM_CLASSES, np.uint16)
    by_category = {"L": LETTER_OR_DIGIT | LETTER, "N": LETTER_OR_DIGIT, "M": LETTER_OR_DIGIT}
    for first, end in ((0, 0x40000), (0xE0000, 0xE1000)):  # no other plane has letters, digits or marks
        categories = [unicodedata.category(chr(code)) for code in range(first, end)]
        table[first:end] = [by_category.get(name[0], 0) | (LOWER if name == "Ll" else 0) for name in categories]
    for first, last in IDEOGRAPHS:
        table[first : last + 1] = CJK | LETTER_OR_DIGIT | LETTER
    for code in range(0x3001):
        if chr(code).isspace():
            table[code] |= SPACE
        if code < 128 and (chr(code).isalnum() or chr(code) == "_"):
            table[code] |= ASCII_WORD
    for characters, bit in (
        (TERMINAL_PUNCTUATION, TERMINAL),
        (_CLOSERS, CLOSER),
        (BULLETS, BULLET),
        (_SENTENCE_ENDS, ENDS_SENTENCE),
    ):
        table[[ord(character) for character in characters]] |= bit
    return table
