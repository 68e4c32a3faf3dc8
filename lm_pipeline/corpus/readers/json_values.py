"""JSON documents (.json): an array of objects, one object, or objects one after the other; each is a record.

The bytes are gone through once for where values begin and end, and each value is parsed alone by the standard library.
So an array may be of any size, and a bad record costs itself wherever the text says where the next one begins (a
parser of whole documents, such as ijson, stops at the first error, and holds a string however long it is):

- What stands between the brackets of a value is its own affair: whatever is wrong there costs that value.
- No string has a raw line end, so an open quotation mark costs no more than up to the next line that begins with `{`.
- Within an object `{` only stands behind a name, so where it follows anything else a bracket is missing and a value
  begins. (Of a list that is not closed nobody can tell where it ends.)
"""

import codecs
from collections.abc import Iterable, Iterator

import numba
import numpy as np
from numpy.typing import NDArray

from lm_pipeline.corpus.readers.compression import DamagedStreamError, file_chunks
from lm_pipeline.corpus.readers.encodings import UTF8_BOM, WIDE
from lm_pipeline.corpus.readers.jsonl import parse
from lm_pipeline.corpus.readers.lines import Line, Pieces
from lm_pipeline.corpus.readers.opened import Opened
from lm_pipeline.corpus.readers.records import Quarantined, Record, decode, excerpt

_MAX_DEPTH = 4096
"""Brackets that are told apart; the parser gives up before."""

_BEGINNING, _BETWEEN, _WORD, _VALUE, _BROKEN = range(5)
"""Modes of the scan: before the first value or the bracket of the array; between values; in a word, number or string;
within brackets; in a broken value, until a line begins with `{` or `,{`."""
_MODE, _DEPTH, _IN_STRING, _ESCAPED, _PREVIOUS, _NEW_LINE = range(6)


def read(file: Opened) -> Iterator[Record | Quarantined]:
    """Yield a record or its reason for every value; the record index counts values, of the outermost array if any."""
    has_places = file.charset == "utf-8"
    for value in _wanted(file):
        where = value.offset if has_places else None
        if value.reason:
            yield Quarantined(value.number, where, value.reason, value.detail, excerpt(value.data))
            continue
        text = decode(value.data, value.number, where)
        yield text if isinstance(text, Quarantined) else parse(file, text, value.number, where, value.length)


def starts(file: Opened) -> Iterator[tuple[int, int]]:
    """Where each value begins, and its record index: there a file can be cut, whatever is wrong with its brackets."""
    scan, begin, number, is_open = _Scan(), 0, 0, False
    for chunk in file.content:
        for at in scan.boundaries(chunk).tolist():
            is_open = not is_open
            if is_open:
                yield begin + at, number
                number += 1
        begin += len(chunk)


def _wanted(file: Opened) -> Iterator[Line]:
    if not file.start:
        return _values(_as_utf8(file), file, _Scan(), 0)
    assert file.path is not None, "only a plain file has byte ranges"
    return _values(file_chunks(file.path, file.start), file, _Scan(_BETWEEN), file.start)


def _as_utf8(file: Opened) -> Iterable[bytes]:
    """The content, recoded where brackets and quotation marks may be second bytes of characters.

    What does not decode stays as it is, which is not UTF-8, so that it costs the record that it stands in.
    """
    charset = file.charset
    if charset == "utf-8" or charset in WIDE:
        return file.text_chunks()
    decoder = codecs.getincrementaldecoder(charset)("surrogateescape")
    return (decoder.decode(chunk).encode("utf-8", "surrogateescape") for chunk in file.text_chunks())


def _values(chunks: Iterable[bytes], file: Opened, scan: "_Scan", begin: int) -> Iterator[Line]:
    """The values as if they were lines: number, place, bytes, or why there are none."""
    number, offset, is_open = file.record, begin, False
    pieces = Pieces(file.max_bytes)
    try:
        for chunk in chunks:
            at = 0
            for boundary in scan.boundaries(chunk).tolist():
                if is_open:
                    pieces.add(chunk[at:boundary])
                    yield pieces.line(number, offset)
                    number += 1
                elif file.end is not None and begin + boundary >= file.end:
                    return
                else:
                    offset = begin + boundary
                is_open, at = not is_open, boundary
            if is_open:
                pieces.add(chunk[at:])
            begin += len(chunk)
    except DamagedStreamError as error:
        yield Line(number, offset if is_open else begin, pieces.length, pieces.head(), error.reason, error.detail)
        return
    if is_open:
        yield pieces.line(number, offset)


class _Scan:
    """Finds the values in a stream of chunks."""

    def __init__(self, mode: int = _BEGINNING) -> None:
        self._state = np.zeros(6, np.int64)
        self._state[_MODE] = mode
        self._brackets = np.zeros(_MAX_DEPTH, np.uint8)
        self._found = np.zeros(0, np.int64)

    def boundaries(self, chunk: bytes) -> NDArray[np.int64]:
        """Where in the chunk values begin and end, in turns."""
        if self._state[_MODE] == _BEGINNING:
            chunk = chunk.replace(UTF8_BOM, b" " * len(UTF8_BOM), 1) if chunk.startswith(UTF8_BOM) else chunk
        if len(self._found) < 2 * len(chunk) + 2:
            self._found = np.zeros(2 * len(chunk) + 2, np.int64)
        return self._found[: _scan(np.frombuffer(chunk, np.uint8), self._state, self._brackets, self._found)]


_SPACES = tuple(b" \t\r\n")
_LINE_END, _QUOTE, _COMMA, _COLON, _BACKSLASH = b'\n",:\\'
_OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = b"[]{}"


@numba.njit(cache=True)
def _scan(chunk, state, brackets, found):
    """Write where values begin and end, in turns, into `found`, and return how many there are."""
    num = 0
    for at in range(len(chunk)):
        byte = chunk[at]
        if state[_IN_STRING]:
            step = _in_string(byte, state)
        elif byte in _SPACES:
            step = _space(byte, state)
        else:
            step = _sign(byte, state, brackets)
        if step == _END_AND_BEGIN:
            found[num] = at
            num += 1
        if step:
            found[num] = at + (step == _AFTER)
            num += 1
    return num


_HERE, _END_AND_BEGIN, _AFTER = 1, 2, 3
"""A value begins or ends at a byte; one ends and the next begins there; one ends after it. 0: nothing of these."""


@numba.njit(cache=True)
def _in_string(byte, state):
    if state[_ESCAPED]:
        state[_ESCAPED] = 0
    elif byte == _BACKSLASH:
        state[_ESCAPED] = 1
    elif byte == _LINE_END:
        state[_IN_STRING], state[_MODE], state[_NEW_LINE] = 0, _BROKEN, 1
    elif byte == _QUOTE:
        state[_IN_STRING], state[_PREVIOUS] = 0, byte
        if state[_MODE] == _WORD:
            state[_MODE] = _BETWEEN
            return _AFTER
    return 0


@numba.njit(cache=True)
def _space(byte, state):
    if byte == _LINE_END:
        state[_NEW_LINE] = 1
        if state[_MODE] == _WORD:
            state[_MODE] = _BETWEEN
            return _HERE
    return 0


@numba.njit(cache=True)
def _sign(byte, state, brackets):
    step = _border(byte, state, brackets)
    state[_NEW_LINE] &= byte == _COMMA
    if state[_MODE] in (_BETWEEN, _BROKEN):
        return step
    state[_PREVIOUS] = byte
    if byte == _QUOTE:
        state[_IN_STRING], state[_ESCAPED] = 1, 0
    elif byte in (_OPEN, _OPEN_LIST):
        state[_MODE] = _VALUE
        state[_DEPTH] += 1
        if state[_DEPTH] <= _MAX_DEPTH:
            brackets[state[_DEPTH] - 1] = byte
    elif state[_MODE] == _VALUE and byte in (_CLOSE, _CLOSE_LIST):
        state[_DEPTH] -= 1
        if state[_DEPTH] == 0:
            state[_MODE] = _BETWEEN
            return _AFTER
    return step


@numba.njit(cache=True)
def _border(byte, state, brackets):
    """Whether a sign begins or ends a value by itself, and which mode that is."""
    mode, depth = state[_MODE], state[_DEPTH]
    step = 0
    if mode in (_BEGINNING, _BETWEEN):
        is_between = byte in (_COMMA, _CLOSE_LIST) or (mode == _BEGINNING and byte == _OPEN_LIST)
        step = 0 if is_between else _HERE
    elif mode == _WORD:
        is_between = byte in (_COMMA, _CLOSE_LIST)
        step = _HERE if is_between else _END_AND_BEGIN if byte == _OPEN else 0
    elif mode == _BROKEN:
        is_between = False
        step = _END_AND_BEGIN if byte == _OPEN and state[_NEW_LINE] else 0
    else:
        is_between = False
        previous = state[_PREVIOUS]
        may_follow = depth > _MAX_DEPTH or previous == _COLON
        if not may_follow and brackets[depth - 1] == _OPEN_LIST:
            may_follow = previous in (_COMMA, _OPEN_LIST)
        step = _END_AND_BEGIN if byte == _OPEN and not may_follow else 0
    if is_between:
        state[_MODE] = _BETWEEN
    elif step:
        state[_MODE], state[_DEPTH] = _WORD, 0
    return step
