"""What HTTP wraps content in for its way: chunks and compression (RFC 9112, section 7; RFC 9110, section 8.4).

FastWARC undoes them too, but not chunks with extensions, deflate without zlib's header, or the old name of gzip.
"""

import io
import re
import zlib
from collections.abc import Callable

import zstandard
from fastwarc.stream_io import BrotliReader

from lm_pipeline.corpus.extraction.parsed import BadRecordError

_CHUNK_HEAD = re.compile(rb"(?:\r?\n)?[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NO_CODING = {"", "identity", "none", "utf-8"}


def undo_encodings(body: bytes, transfer: str, content: str, max_bytes: int) -> bytes:
    """Undo the transfer encoding, then the content encodings, the last one first.

    Some crawlers undo them and leave the headers: what is a page already stays as it is.

    Args:
        body: what came after the headers; it may be cut off.
        transfer: the field `Transfer-Encoding`.
        content: the field `Content-Encoding`.
        max_bytes: stop after one byte more.

    Raises:
        BadRecordError: `unreadable`, where the content is not what its headers say, nor a page.
    """
    if "chunked" in transfer.lower():
        body = _joined_chunks(body)
    for coding in reversed([name.strip().lower() for name in content.split(",")]):
        if coding in _NO_CODING:
            continue
        try:
            body = _DECODERS[coding](body, max_bytes + 1)
        except (KeyError, OSError, zlib.error, zstandard.ZstdError) as error:
            if body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
                return body
            raise BadRecordError("unreadable", f"the content is not encoded as HTTP declares: {coding}") from error
    return body


def _joined_chunks(body: bytes) -> bytes:
    """The content of chunks, up to the last one or to where the body is cut; what has no chunks, as it is."""
    pieces, at = [], 0
    while head := _CHUNK_HEAD.match(body, at):
        size = int(head[1], 16)
        pieces.append(body[head.end() : head.end() + size])
        at = head.end() + size
        if not size:
            break
    else:
        if pieces and body[at:].strip():
            raise BadRecordError(
                "unreadable", f"no chunk begins at byte {at} of the content, which HTTP says has chunks"
            )
    return b"".join(pieces) if pieces else body


def _gzip(body: bytes, max_bytes: int) -> bytes:
    return _inflated(body, 31, max_bytes)


def _deflate(body: bytes, max_bytes: int) -> bytes:
    try:
        return _inflated(body, 15, max_bytes)
    except zlib.error:
        return _inflated(body, -15, max_bytes)  # without zlib's header, as some servers understood the name


def _inflated(body: bytes, window_bits: int, max_bytes: int) -> bytes:
    """All members of a stream; of one that is cut off, what there is."""
    data = b""
    while body and len(data) < max_bytes:
        stream = zlib.decompressobj(wbits=window_bits)
        try:
            data += stream.decompress(body, max_bytes - len(data))
        except zlib.error:
            if not data:  # else it is what some servers append
                raise
            break
        body = stream.unused_data
    return data


def _brotli(body: bytes, max_bytes: int) -> bytes:
    return BrotliReader(io.BytesIO(body)).read(max_bytes)


def _zstd(body: bytes, max_bytes: int) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read(max_bytes)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
