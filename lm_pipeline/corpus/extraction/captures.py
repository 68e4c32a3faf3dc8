"""Captured HTTP answers: what was answered, and the text in it."""

from dataclasses import dataclass

from fastwarc.warc import WarcRecord, WarcRecordType

from lm_pipeline.corpus.extraction.http_encodings import undo_encodings
from lm_pipeline.corpus.extraction.parsed import BadRecordError

_HTML_TYPES = {"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"}
_SNIFFED = ((b"<!doctype html", "html"), (b"<html", "html"), (b"<?xml", "html"), (b"%pdf-", "pdf"))


@dataclass(slots=True)
class Answer:
    """The content of an answer.

    Attributes:
        kind: the parser for it: `html`, `plain` or `pdf`.
        body: the content, transfer and content encoding undone.
        charset: as declared.
    """

    kind: str
    body: bytes
    charset: str | None


def read_answer(data: bytes, media_type: str, max_bytes: int) -> Answer:
    """Take an HTTP answer apart, or take a resource as it is.

    Args:
        data: a whole HTTP message, or the content alone.
        media_type: of the content alone, with parameters; of no matter for an HTTP message.
        max_bytes: longest content, decoded.

    Raises:
        BadRecordError: `http_status` for what is no success, `not_a_page` for other content than pages, plain text
            and PDF, `too_long`, or `unreadable` for what is no HTTP message.
    """
    charset = _parameter(media_type, "charset")
    if data.startswith(b"HTTP/"):
        data, media_type, charset = _http(data, max_bytes)
    kind = _kind(media_type.partition(";")[0].strip().lower(), data)
    return Answer(kind, data, charset)


def _http(data: bytes, max_bytes: int) -> tuple[bytes, str, str | None]:
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.set_bytes_content(data)
    record.is_http = True
    try:
        record.parse_http("none", strict_mode=False)  # pyright: ignore[reportArgumentType]
        sent = record.reader.read()
    except OSError as error:
        raise BadRecordError("unreadable", f"not a sound HTTP message: {error}") from error
    headers = record.http_headers
    status = headers.status_code
    if status is None or not 200 <= status < 300:
        raise BadRecordError("http_status", f"the answer's status is {status}; only successes hold a page")
    body = undo_encodings(
        sent, headers.get("transfer-encoding") or "", headers.get("content-encoding") or "", max_bytes
    )
    if len(body) > max_bytes:
        raise BadRecordError("too_long", f"more than {max_bytes} bytes of content; extraction.max_file_bytes")
    return body, record.http_content_type or "", record.http_charset


def _kind(media_type: str, body: bytes) -> str:
    if media_type in _HTML_TYPES:
        return "html"
    if media_type in {"text/plain", "text/markdown"}:
        return "plain"
    if media_type == "application/pdf":
        return "pdf"
    if not media_type or media_type == "application/octet-stream":
        start = body[:64].lstrip().lower()
        found = next((kind for mark, kind in _SNIFFED if start.startswith(mark)), None)
        if found:
            return found
    raise BadRecordError("not_a_page", f"{media_type or 'no type declared'}; pages, plain text and PDF are read")


def _parameter(media_type: str, name: str) -> str | None:
    for part in media_type.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip("\"'") or None
    return None
