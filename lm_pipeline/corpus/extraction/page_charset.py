"""The character set of a web page: its byte-order mark, what it declares, what its bytes look like."""

import codecs

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from lm_pipeline.corpus.readers.charsets import EAST_ASIAN, NAMES, by_escapes, detect

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META_BYTES = 4096
_MAX_BAD_FRACTION = 0.01


class UndecodableError(Exception):
    """Too many bytes of a page are no characters of any set that it could be in."""


def decode_page(data: bytes, declared: str | None = None) -> str:
    """A page's bytes as text without NULs.

    The byte-order mark decides; else what decodes as UTF-8 with characters beyond ASCII is UTF-8, whatever it
    declares; else the declared set (of HTTP or the spec, then of the page's own `meta`); else the detected one. Latin-1
    and Windows-1252, which servers declare for whatever they serve, count after any other declaration and after
    bytes that look like Chinese, Japanese or Korean. A stray bad byte becomes U+FFFD, as in a browser.

    Args:
        data: the page.
        declared: the set that HTTP or the spec declares.

    Raises:
        UndecodableError: more than one character in a hundred would be lost.
    """
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], [charset])
    if data.isascii() and (charset := by_escapes(data)):
        return _decoded(data, [charset])
    try:
        return data.decode("utf-8").replace("\0", "")
    except UnicodeDecodeError:
        pass
    head = data[:_META_BYTES]
    in_meta = detect_encoding(head, from_html_meta=True) if b"charset" in head.lower() else None
    found = detect([data])
    said = [charset for charset in (declared, in_meta) if charset]
    believed = [charset for charset in said if not _is_latin(charset)]
    if found in EAST_ASIAN and believed != said:
        believed.append(found)
    return _decoded(data, [*believed, *said, found, "utf-8"])


def _is_latin(charset: str) -> bool:
    return _python_name(charset) == "cp1252"


def _decoded(data: bytes, charsets: list[str]) -> str:
    tried = []
    for name in charsets:
        charset = _python_name(name)
        if charset is None or charset in tried:
            continue
        text = data.decode(charset, "replace")
        if text.count("\ufffd") <= _MAX_BAD_FRACTION * len(text):
            return text.replace("\0", "")
        tried.append(charset)
    raise UndecodableError(f"more than one character in a hundred is none of {', '.join(tried) or 'any known set'}")


def _python_name(charset: str) -> str | None:
    """The codec of a charset label as browsers take it: gb2312 is GB18030, latin-1 is Windows-1252."""
    label = map_encoding_to_html5(charset, fallback_utf8=False) or (charset if charset in NAMES else "")
    label = "gb18030" if label.lower() in {"gbk", "gb2312"} else label
    try:
        return codecs.lookup(label).name
    except LookupError:
        return None
