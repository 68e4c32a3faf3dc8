"""Quality rules: which documents are kept, and every reason why one is not.

Four rule sets, named after `datatrove`'s reasons: Gopher's quality and repetition rules (Rae et al. 2021, "Scaling
Language Models", table A1), C4's (Raffel et al. 2020) and FineWeb's (Penedo et al. 2024); for Chinese and Japanese with
the thresholds of FineWeb-2's `cmn_Hani` and `jpn_Jpan`, and everywhere with the stop words of the document's own
language. Everything is measured, whatever is switched on; of the sets that are, all rules are evaluated, so a rejected
document carries every reason, not the first. A value on the threshold is kept.

**What a word is here.** The thresholds were set on words between white space, which Chinese does not write. So a Han
or Kana character is a *token* of its own, and outside such text a token is a maximal run without white space, its
punctuation included. A token without a letter, digit or mark is a symbol: it counts in the denominators (`#` and line
breaks per token, share of tokens with a letter) and in n-grams, but is no *word*: it does not count in the number of
words or in their mean length. This differs from `corpus/text/words.py`, where punctuation separates words, because
there words are compared and here the text's layout is judged. Stop words count in upper and lower case, once each;
`……` is one ellipsis; more signs than `•` and `-` are bullets.

**What a sentence is.** It ends in `.`, `?` or `!` (with closing quotes and brackets) before white space, a full stop
not before a lower-case letter; in `。`, `？` or `！` anywhere; and with its line.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import polars as pl

from lm_pipeline.corpus.document_tables import DUPLICATE_NGRAMS, REASON, STATISTICS, TOP_NGRAMS
from lm_pipeline.corpus.personal_data.find import KINDS
from lm_pipeline.corpus.quality.custom_rules import fails_custom
from lm_pipeline.corpus.quality.list_columns import lists_by_row
from lm_pipeline.corpus.quality.stop_words import STOP_CHARACTERS, count_stop_characters
from lm_pipeline.corpus.quality.text_statistics import count_texts
from lm_pipeline.specs.cleaning import PROFILES, Cleaning, RuleSet

PROFILE_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "english": ("en",),
    "chinese": ("zh", "yue", "wuu"),
    "japanese": ("ja",),
    "none": ("th", "lo", "km", "my", "bo", "dz"),
}
"""By profile, the languages that it judges; every other one gets `other`. Rules that count words cannot judge scripts
that do not separate them and whose characters are no words."""


class Rule(NamedTuple):
    """A document fails if its statistic is below (or above) the threshold that the profile gives."""

    rule_set: RuleSet
    name: str
    statistic: str
    """Column of `STATISTICS`."""
    fails: Literal["below", "above"]
    threshold: str
    """Field of `QualityRules`."""


RULES = (
    Rule("gopher_quality", "gopher_short_doc", "num_words", "below", "min_words"),
    Rule("gopher_quality", "gopher_long_doc", "num_words", "above", "max_words"),
    Rule("gopher_quality", "gopher_below_avg_threshold", "mean_word_length", "below", "min_mean_word_length"),
    Rule("gopher_quality", "gopher_above_avg_threshold", "mean_word_length", "above", "max_mean_word_length"),
    Rule("gopher_quality", "gopher_too_many_hashes", "hash_ratio", "above", "max_hash_ratio"),
    Rule("gopher_quality", "gopher_too_many_ellipsis", "ellipsis_ratio", "above", "max_ellipsis_ratio"),
    Rule("gopher_quality", "gopher_too_many_bullets", "bullet_lines", "above", "max_bullet_lines"),
    Rule("gopher_quality", "gopher_too_many_end_ellipsis", "ellipsis_lines", "above", "max_ellipsis_lines"),
    Rule("gopher_quality", "gopher_below_alpha_threshold", "alpha_words", "below", "min_alpha_words"),
    Rule("gopher_quality", "gopher_too_few_stop_words", "num_stop_words", "below", "min_stop_words"),
    Rule("gopher_repetition", "dup_line_frac", "duplicate_lines", "above", "max_duplicate_lines"),
    Rule("gopher_repetition", "dup_para_frac", "duplicate_paragraphs", "above", "max_duplicate_paragraphs"),
    Rule(
        "gopher_repetition",
        "dup_line_char_frac",
        "duplicate_line_characters",
        "above",
        "max_duplicate_line_characters",
    ),
    Rule(
        "gopher_repetition",
        "dup_para_char_frac",
        "duplicate_paragraph_characters",
        "above",
        "max_duplicate_paragraph_characters",
    ),
    *(Rule("gopher_repetition", f"top_{n}_gram", f"top_{n}gram", "above", f"max_top_{n}gram") for n in TOP_NGRAMS),
    *(
        Rule("gopher_repetition", f"duplicated_{n}_n_grams", f"duplicate_{n}grams", "above", f"max_duplicate_{n}grams")
        for n in DUPLICATE_NGRAMS
    ),
    Rule("c4", "too_few_sentences", "num_sentences", "below", "min_sentences"),
    Rule("c4", "lorem_ipsum", "num_lorem_ipsum", "above", "max_lorem_ipsum"),
    Rule("c4", "curly_bracket", "num_curly_brackets", "above", "max_curly_brackets"),
    Rule("fineweb", "line_punct_ratio", "punctuated_lines", "below", "min_punctuated_lines"),
    Rule("fineweb", "short_line_ratio", "short_lines", "above", "max_short_lines"),
    Rule("fineweb", "char_dup_ratio", "repeated_line_characters", "above", "max_repeated_line_characters"),
    Rule("fineweb", "list_ratio", "newline_ratio", "above", "max_newline_ratio"),
    Rule("fineweb", "language_score", "language_confidence", "below", "min_language_confidence"),
)
"""The rules of all sets, most under the names that `datatrove` gives their reasons."""

EMPTY, TOO_SHORT, TOO_LONG, LANGUAGE = "empty", "too_short", "too_long", "language"
BLOCKLIST, PERSONAL_DATA = "blocklist", "personal_data"
BLOCKED_DOMAIN, BLOCKED_URL_WORD, LONG_URL = "blocked_domain", "blocked_url_word", "long_url"
GENERAL_RULES = (
    EMPTY, TOO_SHORT, TOO_LONG, LANGUAGE, BLOCKLIST, PERSONAL_DATA, BLOCKED_DOMAIN, BLOCKED_URL_WORD, LONG_URL
)  # fmt: skip
"""Rules of every profile, `none` included: nothing is left after normalisation; fewer than `min_characters`; more than
`max_characters`; a language that is not among `languages`; more blocked terms than allowed; personal data of a kind
whose action is `drop`; an address with a blocked domain, with a blocked word, or longer than allowed."""


def with_statistics(documents: pl.DataFrame) -> pl.DataFrame:
    """Add what the rules measure.

    Args:
        documents: with `text`, normalised, `language` and `profile`.

    Returns:
        The same rows with those columns of `STATISTICS` that follow from the text. A ratio is null where there is
        nothing to divide by.
    """
    counts = {name: pl.Series(numbers) for name, numbers in count_texts(documents["text"]).items()}
    counted = pl.DataFrame(counts).with_columns(documents["text"])
    stop_characters = count_stop_characters(documents["text"], _stop_word_languages(documents))
    count = pl.col
    measured = counted.select(
        num_characters="characters",
        num_words="words",
        num_lines="lines",
        num_paragraphs="paragraphs",
        num_sentences="sentences",
        mean_word_length=_ratio("word_characters", count("words")),
        hash_ratio=_ratio("hashes", count("tokens")),
        ellipsis_ratio=_ratio("ellipses", count("tokens")),
        bullet_lines=_ratio("bullet_lines", count("newlines") + 1),
        ellipsis_lines=_ratio("ellipsis_lines", count("newlines") + 1),
        alpha_words=_ratio("alpha_tokens", count("tokens")),
        num_stop_words=pl.coalesce(stop_characters, "english_stop_words"),
        duplicate_lines=_ratio("duplicate_lines", count("lines")),
        duplicate_paragraphs=_ratio("duplicate_paragraphs", count("paragraphs")),
        duplicate_line_characters=_ratio("duplicate_line_characters", count("characters")),
        duplicate_paragraph_characters=_ratio("duplicate_paragraph_characters", count("characters")),
        **{f"top_{n}gram": _ratio(f"top_{n}gram_characters", count("characters")) for n in TOP_NGRAMS},
        **{
            f"duplicate_{n}grams": _ratio(f"duplicate_{n}gram_characters", count("characters"))
            for n in DUPLICATE_NGRAMS
        },
        num_lorem_ipsum=count("text").str.count_matches("(?i)lorem ipsum").cast(pl.Int64),
        num_curly_brackets="curly_brackets",
        punctuated_lines=_ratio("punctuated_lines", count("lines")),
        short_lines=_ratio("short_lines", count("lines")),
        repeated_line_characters=_ratio("duplicate_line_characters", count("line_characters")),
        newline_ratio=_ratio("newlines", count("tokens")),
    )
    return documents.with_columns(measured)


def _stop_word_languages(documents: pl.DataFrame) -> pl.Series:
    """Whose stop words of one character each row meets: its own language's, else its profile's; null under others."""
    language, profile = pl.col("language"), pl.col("profile")
    of_profile = profile.replace_strict({"chinese": "zh", "japanese": "ja"}, default=None, return_dtype=pl.String)
    own = pl.when(of_profile.is_not_null() & language.is_in(list(STOP_CHARACTERS))).then(language)
    return documents.select(pl.coalesce(own, of_profile)).to_series()


def _ratio(part: str, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(pl.col(part) / whole).cast(pl.Float32)


def choose_profile(language: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    """The name of the profile for each row's language code."""
    if cleaning.profile != "auto":
        return pl.lit(cleaning.profile)
    profiles = {code: profile for profile, codes in PROFILE_LANGUAGES.items() for code in codes}
    return language.replace_strict(profiles, default="other", return_dtype=pl.String)


_REASON_FIELDS = pl.Schema(REASON.to_schema())


class _Check(NamedTuple):
    """What is asked of each row: `value` and `threshold` are told of the rows that fail; they may be null."""

    name: str
    failed: pl.Expr
    value: pl.Expr
    threshold: pl.Expr


def with_reasons(documents: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Add `reasons` (a list of `REASON`, in the order of the rules): why each row is rejected; empty for the kept.

    Args:
        documents: with the columns of `STATISTICS` that the rules which are switched on look at.
        cleaning: which rules, and the profiles' thresholds.

    Raises:
        SpecError: a custom rule is no condition over the columns of `STATISTICS`.
    """
    checks = [*_general_checks(cleaning), *_checks(cleaning)]
    answers = documents.select(check.failed.alias(check.name) for check in checks)
    found = [pl.DataFrame(schema={"row": pl.UInt32, **_REASON_FIELDS})]
    for check in checks:  # only failures are materialized: most rows have none
        rows = answers[check.name].arg_true()
        if len(rows):
            found.append(_told(check, documents, rows))
    for rule in cleaning.custom:
        rows = fails_custom(rule, documents).arg_true()
        found.append(pl.DataFrame({"row": rows, "rule": rule.name}).with_columns(value=None, threshold=None))
    failures = pl.concat([frame.select("row", *_REASON_FIELDS).cast(_REASON_FIELDS) for frame in found])
    rows = failures["row"].to_numpy()
    return documents.with_columns(lists_by_row("reasons", rows, failures.drop("row"), len(documents)))


def _told(check: _Check, documents: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """What is told of the rows that fail a check."""
    needed = {*check.value.meta.root_names(), *check.threshold.meta.root_names()}
    value, threshold = (item.cast(pl.Float64).round_sig_figs(7) for item in (check.value, check.threshold))
    told = documents.select(sorted(needed))[rows].select(value=value, threshold=threshold)
    return told.with_columns(rows.alias("row"), rule=pl.lit(check.name))


def columns_of_rules(cleaning: Cleaning) -> list[str]:
    """The columns of `STATISTICS` that `with_reasons` reads."""
    if cleaning.custom:
        return list(STATISTICS)
    checks = [*_general_checks(cleaning), *_checks(cleaning)]
    asked = {name for check in checks for name in (*check.failed.meta.root_names(), *check.value.meta.root_names())}
    return [name for name in STATISTICS if name in asked]


def _general_checks(cleaning: Cleaning) -> list[_Check]:
    characters, nothing = pl.col("num_characters"), pl.lit(None, dtype=pl.Float64)
    least, most = cleaning.min_characters, cleaning.max_characters
    checks = [
        _Check(EMPTY, characters < 1, characters, pl.lit(1)),
        _Check(TOO_SHORT, characters < least, characters, pl.lit(least)),
    ]
    if most is not None:
        checks.append(_Check(TOO_LONG, characters > most, characters, pl.lit(most)))
    if cleaning.languages:
        strange = ~pl.col("language").is_in(cleaning.languages)
        checks.append(_Check(LANGUAGE, strange, pl.col("language_confidence"), nothing))
    return [*checks, *_content_checks(cleaning)]


def _content_checks(cleaning: Cleaning) -> list[_Check]:
    """Terms, personal data and addresses."""
    limits: list[tuple[str, pl.Expr, int]] = []
    if cleaning.blocklist:
        limits.append((BLOCKLIST, pl.col("num_blocklist_hits"), cleaning.blocklist.max_hits))
    dropped = [kind.name for kind in KINDS if getattr(cleaning.personal_data, kind.name) == "drop"]
    if dropped:
        limits.append((PERSONAL_DATA, pl.sum_horizontal(f"num_{kind}" for kind in dropped), 0))
    if cleaning.urls:
        limits.append((BLOCKED_DOMAIN, pl.col("blocked_domain").cast(pl.Int64), 0))
        limits.append((BLOCKED_URL_WORD, pl.col("num_blocked_url_words"), 0))
        if cleaning.urls.max_characters is not None:
            limits.append((LONG_URL, pl.col("url_characters"), cleaning.urls.max_characters))
    return [_Check(name, value > limit, value, pl.lit(limit)) for name, value, limit in limits]


def _checks(cleaning: Cleaning) -> list[_Check]:
    checks = []
    for rule in RULES:
        limits = {name: getattr(getattr(cleaning, name), rule.threshold) for name in PROFILES}
        if rule.rule_set in cleaning.rules and any(limit is not None for limit in limits.values()):
            threshold = pl.lit(None)
            for profile, limit in limits.items():
                # As exact as the statistic: a value on the threshold is kept.
                exact = pl.lit(limit, dtype=STATISTICS[rule.statistic])
                threshold = pl.when(pl.col("profile") == profile).then(exact).otherwise(threshold)
            value = pl.col(rule.statistic)
            checks.append(
                _Check(rule.name, value < threshold if rule.fails == "below" else value > threshold, value, threshold)
            )
    return checks
