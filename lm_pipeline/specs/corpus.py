"""Corpus: where raw text comes from, how it is read and how it is cleaned."""

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from lm_pipeline.specs.base import Float, Int, Spec
from lm_pipeline.specs.cleaning import Cleaning


class PathSource(Spec):
    """Files on this machine."""

    kind: Literal["path"] = "path"
    path: str
    """A file, a folder (read recursively) or a glob; relative paths start at the home's parent folder."""
    include: tuple[str, ...] = ("*",)
    """Patterns of which a file's path or its last part must match one; `**` stands for any folders."""
    exclude: tuple[str, ...] = ()
    """Patterns that keep a file out."""


class UrlSource(Spec):
    """Files behind any fsspec URL: http(s), s3, hf (Hugging Face), gs, ..."""

    kind: Literal["url"] = "url"
    url: str
    """The URL; a glob where the protocol can list, or a folder, which ends in `/` and is read recursively."""
    include: tuple[str, ...] = ("*",)
    """Patterns of which a file's path or its last part must match one; `**` stands for any folders."""
    exclude: tuple[str, ...] = ()
    """Patterns that keep a file out."""
    storage_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options for fsspec's file system, such as an endpoint or `anon: true`; they may be nested, as `client_kwargs` is.
    Secrets belong in the environment."""


class PythonSource(Spec):
    """Text that ships with Python itself: language reference topics and the docstrings of installed packages."""

    kind: Literal["python"] = "python"
    topics: bool = True
    """Whether the language reference of `pydoc_data.topics` is read."""
    packages: tuple[str, ...] = ("stdlib",)
    """Installed packages whose docstrings are read, without importing them; `stdlib` is the standard library."""


class WheelSource(Spec):
    """A file inside a pinned wheel, fetched with hash checking, read as a zip and never installed."""

    kind: Literal["wheel"] = "wheel"
    name: str
    """The distribution's name."""
    version: str
    """Its exact version."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The wheel's digest; another one is refused."""
    member: str
    """Path inside the wheel."""


Source = Annotated[PathSource | UrlSource | PythonSource | WheelSource, Field(discriminator="kind")]


def _check_charset(name: str) -> str:
    if name == "auto":
        return name
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(f"{error}; expected `auto` or a character set such as gb18030, big5, cp1252") from error


Charset = Annotated[str, AfterValidator(_check_charset)]
"""`auto`, or a character set by its name in Python."""


class AutoFormat(Spec):
    """By the file's extension, then by its first bytes."""

    kind: Literal["auto"] = "auto"
    encoding: Charset = "auto"
    """Character set of text files; `auto` takes the byte-order mark, then UTF-8, then detects it."""


class TextFormat(Spec):
    """Plain text and Markdown."""

    kind: Literal["text"] = "text"
    unit: Literal["file", "paragraph", "line"] = "file"
    """What one document is: the whole file, a run of lines between empty lines, or one line."""
    encoding: Charset = "auto"
    """Character set, by its name in Python; `auto` takes the byte-order mark, then UTF-8, then detects it."""


class JsonlFormat(Spec):
    """One JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"
    encoding: Charset = "auto"
    """Character set, as for text."""


class JsonFormat(Spec):
    """JSON documents: an array of objects, one object, or objects one after the other, each a record."""

    kind: Literal["json"] = "json"
    encoding: Charset = "auto"
    """Character set, as for text."""


class CsvFormat(Spec):
    """Comma- or tab-separated values (RFC 4180), one record a row."""

    kind: Literal["csv"] = "csv"
    delimiter: str = "auto"
    """The separator; `auto` takes a tab for `.tsv`, else the likeliest of comma, tab, semicolon and bar."""
    columns: tuple[str, ...] = ()
    """Names of the columns, where the file has no header."""
    encoding: Charset = "auto"
    """Character set, as for text."""


class ParquetFormat(Spec):
    """Parquet tables."""

    kind: Literal["parquet"] = "parquet"


class ArrowFormat(Spec):
    """Arrow IPC files and streams, Feather and what Hugging Face `datasets` writes to disk."""

    kind: Literal["arrow"] = "arrow"


class SqliteFormat(Spec):
    """Rows of a query against an SQLite database."""

    kind: Literal["sqlite"] = "sqlite"
    query: str
    """A SELECT; its column names are the fields. Its order is the documents' order, so give it an ORDER BY."""


class HtmlFormat(Spec):
    """Web pages; a document is a page's main content."""

    kind: Literal["html"] = "html"
    encoding: Charset = "auto"
    """Character set; `auto` takes the byte-order mark, then what the page declares, then detects it."""


class WarcFormat(Spec):
    """Web archives: WARC, ARC and WET. A document is a captured page's main content, or a WET record's text."""

    kind: Literal["warc"] = "warc"


class PdfFormat(Spec):
    """The text layer of PDF files."""

    kind: Literal["pdf"] = "pdf"
    unit: Literal["file", "page"] = "file"
    """What one document is."""


class DocxFormat(Spec):
    """Word documents: paragraphs and tables in their order."""

    kind: Literal["docx"] = "docx"


class EpubFormat(Spec):
    """Electronic books."""

    kind: Literal["epub"] = "epub"
    unit: Literal["file", "chapter"] = "file"
    """What one document is: the book, or one item of its spine."""


class MediawikiFormat(Spec):
    """A MediaWiki XML dump (`pages-articles`); a document is the plain text of a page's last revision in the dump."""

    kind: Literal["mediawiki"] = "mediawiki"
    namespaces: tuple[Int, ...] = (0,)
    """Namespaces to read; 0 is the articles. Redirects are never documents."""


Format = Annotated[
    AutoFormat
    | TextFormat
    | JsonlFormat
    | JsonFormat
    | CsvFormat
    | ParquetFormat
    | ArrowFormat
    | SqliteFormat
    | HtmlFormat
    | WarcFormat
    | PdfFormat
    | DocxFormat
    | EpubFormat
    | MediawikiFormat,
    Field(discriminator="kind"),
]
"""How files are read. Compression (gz, bz2, xz, zst) and archives (zip, tar) are seen through by every format."""


class Extraction(Spec):
    """Taking text out of pages and documents, in a child process that can be killed."""

    extractor: Literal["resiliparse", "trafilatura", "none"] = "resiliparse"
    """What finds a page's main content; `none` takes all its visible text. trafilatura is an extra of its own."""
    time_limit_seconds: Float = Field(default=30.0, gt=0)
    """A record that takes longer is quarantined as `timeout`. Seconds."""
    memory_limit_bytes: Int = Field(default=2 * 1024**3, ge=256 * 1024**2)
    """A record that needs more is quarantined as `memory_limit`. Bytes of address space over what the child has."""
    max_file_bytes: Int = Field(default=64 * 1024 * 1024, ge=1024)
    """A page, PDF or captured answer with more is quarantined as `too_long`; a part of a Word document or book as
    `bomb`. Their text is bounded by `cleaning.max_line_bytes`. Bytes."""
    max_expansion: Int = Field(default=1000, ge=1)
    """A compressed stream that expands beyond `max_expansion` times its size and 64 MB is quarantined as `bomb`."""


class Fields(Spec):
    """Which fields of a record become which columns of a document.

    In JSON, Parquet and Arrow `metadata.url` is the field `url` of the object or struct `metadata`, unless there is a
    field of just that name.
    """

    text: str = "text"
    """The field with the document's text."""
    target: str | None = None
    """The field with the target text of a supervised task."""
    label: str | None = None
    """The field with the document's label."""
    group: str | None = None
    """The field that names what must not be divided between splits: a law, a book, an author."""
    title: str | None = None
    """The field with the document's title. Pages, books and articles bring their own."""
    url: str | None = None
    """The field with the address that it came from. Web archives and pages bring their own."""
    date: str | None = None
    """The field with its date. Web archives and pages bring their own."""


class CorpusSpec(Spec):
    """A body of raw text and how it becomes clean documents."""

    description: str = ""
    """What the text is. For people; changing it rebuilds nothing."""
    licence: str = "unknown"
    """SPDX identifier or a sentence. For people; changing it rebuilds nothing."""
    source: Source
    """Where the raw files come from."""
    format: Format = AutoFormat()
    """How files are read."""
    fields: Fields = Fields()
    """Which fields of a record are used."""
    extraction: Extraction = Extraction()
    """How text is taken out of web pages, and what a hostile file may cost."""
    language: Literal["auto", "en", "zh"] = "auto"
    """The language of every document, or `auto` to identify it per document."""
    cleaning: Cleaning = Cleaning()
    """Normalisation and quality rules."""

    @model_validator(mode="after")
    def _check_format(self) -> "CorpusSpec":
        if isinstance(self.source, PythonSource) and not isinstance(self.format, AutoFormat):
            raise ValueError("a 'python' source has its own format: leave `format` out")
        return self
