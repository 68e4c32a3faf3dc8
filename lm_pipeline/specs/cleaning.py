"""Cleaning: how a document becomes clean, what is measured on it, and from which thresholds it is rejected."""

from typing import Annotated, Any, Literal

from pydantic import Field

from lm_pipeline.specs.base import Float, Fraction, Int, Spec
from lm_pipeline.specs.languages import Language


class QualityRules(Spec):
    """Thresholds of every rule, with the values for English. `null` switches one rule off.

    Sources: Gopher quality and repetition: Rae et al. 2021, table A1; C4: Raffel et al. 2020; FineWeb: Penedo et al.
    2024.
    """

    min_words: Int | None = 50
    """Gopher: fewest words (Han characters count one each)."""
    max_words: Int | None = 100_000
    """Gopher: most words."""
    min_mean_word_length: Float | None = 3.0
    """Gopher: smallest mean word length in characters."""
    max_mean_word_length: Float | None = 10.0
    """Gopher: largest mean word length in characters."""
    max_hash_ratio: Float | None = 0.1
    """Gopher: most `#` per word."""
    max_ellipsis_ratio: Float | None = 0.1
    """Gopher: most ellipses per word."""
    max_bullet_lines: Fraction | None = 0.9
    """Gopher: largest fraction of lines that begin with a bullet."""
    max_ellipsis_lines: Fraction | None = 0.3
    """Gopher: largest fraction of lines that end in an ellipsis."""
    min_alpha_words: Fraction | None = 0.8
    """Gopher: smallest fraction of words with at least one letter."""
    min_stop_words: Int | None = 2
    """Gopher: fewest distinct stop words of the document's language."""

    max_duplicate_lines: Fraction | None = 0.30
    """Gopher repetition: largest fraction of lines that repeat an earlier one."""
    max_duplicate_paragraphs: Fraction | None = 0.30
    """Gopher repetition: largest fraction of paragraphs that repeat an earlier one."""
    max_duplicate_line_characters: Fraction | None = 0.20
    """Gopher repetition: largest fraction of characters in repeated lines."""
    max_duplicate_paragraph_characters: Fraction | None = 0.20
    """Gopher repetition: largest fraction of characters in repeated paragraphs."""
    max_top_2gram: Fraction | None = 0.20
    """Gopher repetition: largest fraction of characters in the most frequent 2-gram of words."""
    max_top_3gram: Fraction | None = 0.18
    """Gopher repetition: the same for 3-grams."""
    max_top_4gram: Fraction | None = 0.16
    """Gopher repetition: the same for 4-grams."""
    max_duplicate_5grams: Fraction | None = 0.15
    """Gopher repetition: largest fraction of characters in 5-grams of words that occurred before."""
    max_duplicate_6grams: Fraction | None = 0.14
    """Gopher repetition: the same for 6-grams."""
    max_duplicate_7grams: Fraction | None = 0.13
    """Gopher repetition: the same for 7-grams."""
    max_duplicate_8grams: Fraction | None = 0.12
    """Gopher repetition: the same for 8-grams."""
    max_duplicate_9grams: Fraction | None = 0.11
    """Gopher repetition: the same for 9-grams."""
    max_duplicate_10grams: Fraction | None = 0.10
    """Gopher repetition: the same for 10-grams."""

    min_sentences: Int | None = 5
    """C4: fewest sentences."""
    max_lorem_ipsum: Int | None = 0
    """C4: most occurrences of "lorem ipsum"."""
    max_curly_brackets: Int | None = 0
    """C4: most `{`, the mark of code."""

    min_punctuated_lines: Fraction | None = 0.12
    """FineWeb: smallest fraction of lines that end in terminal punctuation."""
    max_short_lines: Fraction | None = 0.67
    """FineWeb: largest fraction of lines of at most 30 characters."""
    max_repeated_line_characters: Fraction | None = 0.01
    """FineWeb: largest fraction of characters in repeated lines."""
    max_newline_ratio: Float | None = 0.3
    """FineWeb: most line breaks per word."""
    min_language_confidence: Fraction | None = 0.65
    """FineWeb: smallest confidence of the language."""


class ChineseQualityRules(QualityRules):
    """The same rules with the thresholds of FineWeb-2's `cmn_Hani`."""

    min_mean_word_length: Float | None = 1.0
    """Gopher: smallest mean word length in characters."""
    max_mean_word_length: Float | None = 5.0
    """Gopher: largest mean word length in characters."""
    min_alpha_words: Fraction | None = 0.735
    """Gopher: smallest fraction of words with at least one letter."""
    max_duplicate_lines: Fraction | None = 0.287
    """Gopher repetition: largest fraction of lines that repeat an earlier one."""
    max_top_2gram: Fraction | None = 0.256
    """Gopher repetition: largest fraction of characters in the most frequent 2-gram of words."""
    max_top_3gram: Fraction | None = 0.201
    """Gopher repetition: the same for 3-grams."""
    max_top_4gram: Fraction | None = 0.171
    """Gopher repetition: the same for 4-grams."""
    max_duplicate_5grams: Fraction | None = 0.198
    """Gopher repetition: largest fraction of characters in 5-grams of words that occurred before."""
    max_duplicate_6grams: Fraction | None = 0.182
    """Gopher repetition: the same for 6-grams."""
    max_duplicate_7grams: Fraction | None = 0.167
    """Gopher repetition: the same for 7-grams."""
    max_duplicate_8grams: Fraction | None = 0.154
    """Gopher repetition: the same for 8-grams."""
    max_duplicate_9grams: Fraction | None = 0.14
    """Gopher repetition: the same for 9-grams."""
    max_duplicate_10grams: Fraction | None = 0.127
    """Gopher repetition: the same for 10-grams."""
    min_punctuated_lines: Fraction | None = 0.106
    """FineWeb: smallest fraction of lines that end in terminal punctuation."""
    max_repeated_line_characters: Fraction | None = None
    """FineWeb: largest fraction of characters in repeated lines; FineWeb-2 has no such rule for Chinese."""
    max_newline_ratio: Float | None = 0.178
    """FineWeb: most line breaks per word."""
    min_language_confidence: Fraction | None = 0.692
    """FineWeb: smallest confidence of the language."""


class JapaneseQualityRules(ChineseQualityRules):
    """The same rules with the thresholds of FineWeb-2's `jpn_Jpan`: Kana repeat oftener than Han."""

    min_alpha_words: Fraction | None = 0.759
    """Gopher: smallest fraction of words with at least one letter."""
    max_duplicate_lines: Fraction | None = 0.375
    """Gopher repetition: largest fraction of lines that repeat an earlier one."""
    max_top_2gram: Fraction | None = 0.121
    """Gopher repetition: largest fraction of characters in the most frequent 2-gram of words."""
    max_top_3gram: Fraction | None = 0.129
    """Gopher repetition: the same for 3-grams."""
    max_top_4gram: Fraction | None = 0.145
    """Gopher repetition: the same for 4-grams."""
    max_duplicate_5grams: Fraction | None = 0.307
    """Gopher repetition: largest fraction of characters in 5-grams of words that occurred before."""
    max_duplicate_6grams: Fraction | None = 0.283
    """Gopher repetition: the same for 6-grams."""
    max_duplicate_7grams: Fraction | None = 0.264
    """Gopher repetition: the same for 7-grams."""
    max_duplicate_8grams: Fraction | None = 0.248
    """Gopher repetition: the same for 8-grams."""
    max_duplicate_9grams: Fraction | None = 0.234
    """Gopher repetition: the same for 9-grams."""
    max_duplicate_10grams: Fraction | None = 0.223
    """Gopher repetition: the same for 10-grams."""
    min_punctuated_lines: Fraction | None = 0.167
    """FineWeb: smallest fraction of lines that end in terminal punctuation."""
    max_newline_ratio: Float | None = 0.162
    """FineWeb: most line breaks per word."""
    min_language_confidence: Fraction | None = 0.886
    """FineWeb: smallest confidence of the language."""


class OtherQualityRules(QualityRules):
    """The same rules without those that ask for English: its stop words, the length of its words, its punctuation."""

    min_mean_word_length: Float | None = None
    """Gopher: smallest mean word length in characters."""
    max_mean_word_length: Float | None = None
    """Gopher: largest mean word length in characters."""
    min_stop_words: Int | None = None
    """Gopher: fewest distinct stop words of the document's language."""
    min_sentences: Int | None = None
    """C4: fewest sentences."""
    min_punctuated_lines: Fraction | None = None
    """FineWeb: smallest fraction of lines that end in terminal punctuation."""


ENGLISH = QualityRules()
CHINESE = ChineseQualityRules()
JAPANESE = JapaneseQualityRules()
OTHER = OtherQualityRules()
PROFILES: dict[str, QualityRules] = {
    "english": ENGLISH,
    "chinese": CHINESE,
    "japanese": JAPANESE,
    "other": OTHER,
}
"""Cleaning profiles by name. `auto` takes a document's profile from its language."""

RuleSet = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]


class LineRules(Spec):
    """C4's line rules: lines that are taken out of a document; their characters are counted. `null` switches one off.

    They go before anything is measured; what stays of a line has no white space around it. Source: Raffel et al. 2020,
    section 2.2, as `datatrove` has them.
    """

    terminal_punctuation: bool = False
    """Whether a line must end in terminal punctuation (`.`, `?`, `!`, `"`, `'` and their Chinese forms), not in `...`.
    FineWeb switches this off."""
    min_words: Int | None = 3
    """Fewest words of a line (Han characters count one each). Blank lines have none and go too."""
    max_word_characters: Int | None = 1000
    """A line with a longer word goes. Characters."""
    javascript: bool = True
    """Whether lines that speak of "javascript" go."""
    policy: bool = True
    """Whether lines with a phrase of a privacy or cookie notice go."""
    citations: bool = True
    """Whether `[1]`, `[edit]`, `[citation needed]`, `[编辑]`, `[来源请求]` and the like are taken out of the text."""


class Blocklist(Spec):
    """Terms that a document must not contain."""

    terms: tuple[str, ...] = ()
    """The terms; case is ignored. A term in letters matches whole words, Han text matches anywhere."""
    files: tuple[str, ...] = ()
    """Files with one term a line; relative paths start at the home's parent folder."""
    max_hits: Int = Field(default=0, ge=0)
    """Documents with more occurrences are rejected as `blocklist`."""


class UrlRules(Spec):
    """Addresses whose documents are rejected. A document without an address passes."""

    blocked_domains: tuple[str, ...] = ()
    """Domains, with their subdomains: `blocked_domain`. As in a file of them, a scheme or port beside it is ignored."""
    blocked_words: tuple[str, ...] = ()
    """Words in the address, escapes undone: `blocked_url_word`. Any sign separates words; Han text matches anywhere."""
    max_characters: Int | None = 2000
    """Longest address: `long_url`. Characters."""
    files: tuple[str, ...] = ()
    """Files with one blocked domain a line, also in the form of a hosts file or of Adblock (`||bad.example^`)."""


class CustomRule(Spec):
    """A rule of one's own over the stored columns."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """The reason's name."""
    reject_if: str
    """A condition in SQL syntax, which becomes a Polars expression: `num_words > 500 AND hash_ratio > 0.02`."""


Action = Literal["mask", "hash", "drop", "keep"]


class PersonalData(Spec):
    """What happens to each kind of personal data. Spans are counted per document and kind whatever the action.

    `mask` writes a placeholder (`<EMAIL>`), `hash` a pseudonym that is the same wherever the value stands
    (`<EMAIL:1f3a…>`), `drop` rejects the document (`personal_data`), `keep` leaves it.
    """

    email: Action = "keep"
    """E-mail addresses."""
    phone: Action = "keep"
    """Telephone numbers: Chinese, American, international."""
    ip_address: Action = "keep"
    """IPv4 and IPv6 addresses; private and reserved ones do not count."""
    chinese_id: Action = "keep"
    """Resident identity numbers of the People's Republic (GB 11643, check digit mod 11-2)."""
    credit_card: Action = "keep"
    """Payment card numbers (Luhn)."""
    iban: Action = "keep"
    """International bank account numbers (mod 97)."""
    passport: Action = "keep"
    """Passport-like numbers beside a word that says so."""
    url_with_token: Action = "keep"  # noqa: S105 - an action, not a credential
    """Addresses that carry a credential, a session or a signature."""
    secret: Action = "keep"  # noqa: S105 - the same
    """API keys, private keys, access tokens and other secrets."""
    salt: str = ""
    """Mixed into every hash, so that pseudonyms of different projects differ."""


class Cleaning(Spec):
    """How a document becomes clean and when it is rejected."""

    profile: Literal["auto", "english", "chinese", "japanese", "other", "none"] = "auto"
    """Thresholds to apply; `auto` chooses per document by language, `none` only normalises and measures."""
    rules: tuple[RuleSet, ...] = ("gopher_quality",)
    """Rule sets that reject. Web text wants all of them; everything is measured, whatever is switched on."""
    min_characters: Int = Field(default=1, ge=1)
    """Documents with fewer characters after normalisation are rejected as `too_short`."""
    max_characters: Int | None = None
    """Documents with more are rejected as `too_long`."""
    languages: tuple[Language, ...] = ()
    """Codes of the languages that are kept (ISO 639-1); others are rejected as `language`. Empty keeps all."""
    max_line_bytes: Int = Field(default=16 * 1024 * 1024, ge=1024)
    """A longer record is quarantined instead of read, so that memory stays bounded: by 400 MB and 25 times as much as
    this. The default is almost four times the King James Bible (4.4 MB). Bytes."""
    fix_encoding: bool = True
    """Whether text that was decoded with the wrong character set is mended (`ftfy`)."""
    width: Literal["keep", "ascii"] = "ascii"
    """`ascii` writes full-width Latin letters and digits as ASCII; Chinese punctuation always stays as it is."""
    chinese_script: Literal["keep", "simplified", "traditional"] = "keep"
    """Convert Chinese text (OpenCC, an extra of its own). The script found is a column either way."""
    lines: LineRules | None = None
    """Lines that are taken out; `null` leaves all."""
    blocklist: Blocklist | None = None
    """Terms that reject a document."""
    urls: UrlRules | None = None
    """Addresses that reject a document."""
    personal_data: PersonalData = PersonalData()
    """What happens to personal data."""
    custom: tuple[CustomRule, ...] = ()
    """Rules of one's own."""
    english: QualityRules = ENGLISH
    """Thresholds of the English profile."""
    chinese: ChineseQualityRules = CHINESE
    """Thresholds of the Chinese profile, which Cantonese and Wu share: a character is a word."""
    japanese: JapaneseQualityRules = JAPANESE
    """Thresholds of the Japanese profile: a character is a word, Kana included."""
    other: OtherQualityRules = OTHER
    """Thresholds of every other language that separates its words; one that does not has no profile."""


DECIDING_FIELDS = frozenset(
    {"rules", "min_characters", "max_characters", "languages", "custom", "english", "chinese", "japanese", "other"}
)
"""Fields of `Cleaning` that only decide by what was measured: after a change of them no text is cleaned again."""


def measuring_settings(cleaning: Cleaning) -> dict[str, Any]:
    """What texts and statistics depend on, as JSON values. Two cleanings that differ in nothing of it measure the same.

    What only decides is left out, or stands as if nobody had set it: personal data is counted and addresses are
    measured whatever is rejected for them, so `drop` is `keep` here, and limits are the default ones.
    """
    settings = cleaning.model_dump(mode="json", exclude=set(DECIDING_FIELDS))
    salt = settings["personal_data"].pop("salt")
    actions = {kind: "keep" if action == "drop" else action for kind, action in settings["personal_data"].items()}
    settings["personal_data"] = {**actions, "salt": salt if "hash" in actions.values() else ""}
    if settings["blocklist"]:
        settings["blocklist"]["max_hits"] = Blocklist().max_hits
    if settings["urls"]:
        settings["urls"]["max_characters"] = UrlRules().max_characters
    return settings
