"""Which character set a text is in, where nothing says so: UTF-8, the sets of East Asia, or one byte a character.

Sets of two bytes a character decode nearly anything into rare characters, so the one is taken whose characters are the
frequent ones of its language: most of a text consists of few characters, whatever it is about. That decides on a
dozen characters. Sets of one byte a character are told apart alike.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

_SIMPLIFIED = (
    "的了学一不是有道中大在人个分来工上我和时为与性法用对好下理生行送国年度子小地方化出到研于这究发高得成及以那点能多基三要吃合他里后体进动天也都过可结你日"
    "水系家将去太还定面之新前会制应两量作数等说就没自特本机现电很公见相计物间金山明型经其只析长文实开力马果主么业外同种心关模图通者无管头路变王区教全统此次"
    "西因组设建二术军影被从起想事把看情问当些正加样女已气手利每权字书名条义由曰而所各或第任受何享保平使必"
)
_TRADITIONAL = (
    "的了學一不是有道中大在人個分來工上我和時為與性法用對好下理生行送國年度子小地方化出到研於這究發高得成及以那點能多基三要吃合他裡後體進動天也都過可結你日"
    "水系家將去太還定面之新前會制應兩量作數等說就沒自特本機現電很公見相計物間金山明型經其只析長文實開力馬果主麼業外同種心關模圖通者無管頭路變王區教全統此次"
    "西因組設建二術軍影被從起想事把看情問當些正加樣女已氣手利每權字書名條義由曰而所各或第任受何享保平使必"
)
_HANGUL = (
    "의한에하다가이권는리를자사을적제은인유모든진로여국람과어조정으서또동고대신보기도와지받위며아그선부공회할수교니등있되법전구간호나된거및노성행누통우종계언존"
    "없합장러떠무경생해상육느원"
)
_KANA = "".join(map(chr, [*range(0x3041, 0x3094), *range(0x30A1, 0x30F5)])) + "ー"
_CYRILLIC = "оеаинтсрвлкмдпуыяь"
_GREEK = "αοιετσνηρπκςάίέόή"
_HEBREW = "יוהלאמתברשנ"
_ARABIC = "اليمونتربهةعدسفكق"
_THAI = "านรอกเงมยล"
_WESTERN = "éèêàâçîïôùëüòìðþýöäßñáíóúãõåæøÉÀÄÖÜ¿¡«»‘’“”–—…°€£§©®œ\xa0"
_CENTRAL = "ąćęłńóśźżŁŚŻčďěňřšťůžýáíéúôäľőűöüăâîşţŠŽČ„”“’–—…§\xa0"
_TURKISH = "ığşçöüâîİŞÇÖÜ‘’“”–…\xa0"
_PUNCTUATION = "，。、；：？！“”‘’「」『』《》（）…—　"

_LISTED_WEIGHT, _CAPITAL_WEIGHT, _ERROR_WEIGHT = 0.5, 0.5, -1.0
_OUT_OF_PLACE = 0.3
_MIN_SCORE = 0.25
_DOUBT = 4  # characters that count as fitting nothing: one wrong byte in a file says nothing about its character set
_SAMPLE_BYTES = 1 << 16
_SAMPLE_CHARACTERS = 4000


class _Charset(NamedTuple):
    frequent: str
    """The most frequent characters beyond ASCII of the languages that are written in it."""
    is_listed: Callable[[str], bool]
    """Whether a character is frequent, if less so."""
    stands: Literal["anywhere", "single", "words"] = "anywhere"
    """Where characters beyond ASCII stand: single among ASCII letters (Latin), or in words of their own."""


def _level(charset: str, leads: range) -> Callable[[str], bool]:
    """Whether a character is punctuation or among those that a standard lists first, by its first byte there."""

    def is_listed(character: str) -> bool:
        encoded = character.encode(charset, "ignore")
        return (len(encoded) == 2 and encoded[0] in leads) or character in _PUNCTUATION

    return is_listed


def _nothing(_: str) -> bool:
    return False


_CHARSETS = {
    "gb18030": _Charset(_SIMPLIFIED, _level("gb2312", range(0xB0, 0xD8))),
    "cp950": _Charset(_TRADITIONAL, _level("big5", range(0xA4, 0xC7))),
    "cp932": _Charset(_KANA, _level("euc_jp", range(0xB0, 0xD0))),
    "euc_jp": _Charset(_KANA, _level("euc_jp", range(0xB0, 0xD0))),
    "cp949": _Charset(_HANGUL, _level("euc_kr", range(0xB0, 0xC9))),
    "cp1251": _Charset(_CYRILLIC, _nothing, "words"),
    "koi8_r": _Charset(_CYRILLIC, _nothing, "words"),
    "cp866": _Charset(_CYRILLIC, _nothing, "words"),
    "iso8859_5": _Charset(_CYRILLIC, _nothing, "words"),
    "cp1253": _Charset(_GREEK, _nothing, "words"),
    "cp1255": _Charset(_HEBREW, _nothing, "words"),
    "cp1256": _Charset(_ARABIC, _nothing, "words"),
    "cp874": _Charset(_THAI, _nothing, "words"),
    "cp1252": _Charset(_WESTERN, _nothing, "single"),
    "cp1250": _Charset(_CENTRAL, _nothing, "single"),
    "cp1254": _Charset(_TURKISH, _nothing, "single"),
}


EAST_ASIAN = ("gb18030", "cp950", "cp932", "euc_jp", "cp949")
"""Character sets of Chinese, Japanese and Korean, as `detect` names them."""
ESCAPES = {"iso2022_jp_2": (b"\x1b$", "cp932"), "hz": (b"~{", "gb18030")}
"""Character sets that are all ASCII bytes: what their text begins with, and a set for the same language."""
NAMES = ("utf-8", *_CHARSETS, *ESCAPES)
"""All that `detect` may answer."""


def by_escapes(data: bytes) -> str | None:
    """ISO-2022-JP or HZ, if bytes that are all ASCII are text in one of them."""
    for name, (mark, alike) in ESCAPES.items():
        if mark not in data:
            continue
        lines = b"\n".join(line for line in data.split(b"\n") if mark in line)[:_SAMPLE_BYTES]
        text = codecs.getincrementaldecoder(name)("replace").decode(lines)
        weights = [_weight(character, _CHARSETS[alike]) for character in text if not character.isascii()]
        if sum(weights) >= _MIN_SCORE * (len(weights) + _DOUBT):
            return name
    return None


def detect(chunks: Iterable[bytes]) -> str:
    """Name the character set of a text, as Python does; `utf-8` where nothing fits better.

    Args:
        chunks: the text from its beginning, or as much of it as is known.
    """
    data = b"".join(chunks)
    if data.isascii():
        return by_escapes(data) or "utf-8"
    sample = b"".join(_lines_beyond_ascii(data))
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(sample)  # a character cut at the end is no error
    errors = text.count("\ufffd")
    if errors <= sum(not character.isascii() for character in text) - errors:
        return "utf-8"
    scores = {name: _score(sample, name, charset) for name, charset in _CHARSETS.items()}
    best = max(scores, key=lambda name: scores[name][0])
    mean, count = scores[best]
    return best if mean * count >= _MIN_SCORE * (count + _DOUBT) else "utf-8"


def _lines_beyond_ascii(data: bytes) -> Iterator[bytes]:
    """The lines that are not ASCII, about 64 KB of them."""
    position = taken = 0
    while taken < _SAMPLE_BYTES and (found := _BEYOND_ASCII.search(data, position)):
        begin = max(data.rfind(b"\n", position, found.start()) + 1, position, found.start() - _SAMPLE_BYTES)
        end = data.find(b"\n", found.start()) + 1 or len(data)
        position = min(end, found.start() + _SAMPLE_BYTES)
        taken += position - begin
        yield data[begin:position]


_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def _score(sample: bytes, name: str, charset: _Charset) -> tuple[float, int]:
    """How frequent the characters beyond ASCII are that a sample decodes to, at most 1, and how many they are."""
    text = codecs.getincrementaldecoder(name)("replace").decode(sample)
    total, count, before = 0.0, 0, " "
    for character in text:
        if not character.isascii():
            weight = _weight(character, charset)
            if weight > 0 and _is_out_of_place(before, charset):
                weight *= _OUT_OF_PLACE
            total, count = total + weight, count + 1
            if count == _SAMPLE_CHARACTERS:
                break
        before = character
    return total / max(count, 1), count


def _weight(character: str, charset: _Charset) -> float:
    if character == "\ufffd":
        return _ERROR_WEIGHT
    if character in charset.frequent:
        return 1
    if charset.stands == "words" and character.lower() in charset.frequent:
        return _CAPITAL_WEIGHT
    return _LISTED_WEIGHT if charset.is_listed(character) else 0


def _is_out_of_place(before: str, charset: _Charset) -> bool:
    """Whether the character before fits a letter badly."""
    if charset.stands == "single":
        return not before.isascii()
    return charset.stands == "words" and before.isascii() and before.isalpha()
