"""Quality rules: which documents are kept, and every reason why one is not.

The rules are Gopher's (Rae et al. 2021, "Scaling Language Models", table A1), with FineWeb-2's thresholds and
stop words for Chinese, named after `datatrove`'s reasons. All rules are evaluated, so a rejected document carries
every reason, not the first. Stop words count in upper and lower case; `……` is one ellipsis; more signs than `•` and
`-` are bullets.

**What a word is here.** The thresholds were set on words between white space, which Chinese does not write. So a Han
or Kana character is a *token* of its own, and outside such text a token is a maximal run without white space, its
punctuation included. A token without a letter, digit or mark is a symbol: it counts in the denominators (`#` per
token, share of tokens with a letter), but is no *word*: it does not count in the number of words or in their mean
length. This differs from `corpus/words.py`, where punctuation separates words, because there words are compared and
here the text's layout is judged.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import polars as pl

from lm_pipeline.corpus.document_tables import REASON
from lm_pipeline.specs.cleaning import Cleaning, QualityRules

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}\u{30FC}\u{FF70}"  # with the prolonged sound marks, which belong to no script
_LETTER_OR_DIGIT = r"\p{L}\p{N}\p{M}"
_WORD = rf"[^\s{_CJK}{_LETTER_OR_DIGIT}]*[{_LETTER_OR_DIGIT}--{_CJK}][^\s{_CJK}]*"
_ALPHA_WORD = rf"[^\s{_CJK}\p{{L}}]*[\p{{L}}--{_CJK}][^\s{_CJK}]*"
_ELLIPSIS = r"\.{3}|…{1,2}"  # ASCII, and the Chinese one, which is two characters long

STOP_WORDS: Mapping[str, tuple[str, ...]] = {
    "english": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "chinese": tuple("的年在月是和日了於·為有被人中为他與後也而由"),
}
"""By profile: words that running text cannot do without. English: Gopher; Chinese: FineWeb-2, `cmn_Hani`."""

CHINESE_LANGUAGES = ("zh", "ja", "yue", "wuu")
"""Languages that the Chinese profile judges; every other one gets the English profile."""


class Rule(NamedTuple):
    """A document fails if its statistic is below (or above) the threshold that the profile gives."""

    name: str
    statistic: str
    threshold: str
    """Field of `QualityRules`."""
    fails: Literal["below", "above"]


RULES = (
    Rule("gopher_short_doc", "num_words", "min_words", "below"),
    Rule("gopher_long_doc", "num_words", "max_words", "above"),
    Rule("gopher_below_avg_threshold", "mean_word_length", "min_mean_word_length", "below"),
    Rule("gopher_above_avg_threshold", "mean_word_length", "max_mean_word_length", "above"),
    Rule("gopher_too_many_hashes", "hash_ratio", "max_hash_ratio", "above"),
    Rule("gopher_too_many_ellipsis", "ellipsis_ratio", "max_ellipsis_ratio", "above"),
    Rule("gopher_too_many_bullets", "bullet_lines", "max_bullet_lines", "above"),
    Rule("gopher_too_many_end_ellipsis", "ellipsis_lines", "max_ellipsis_lines", "above"),
    Rule("gopher_below_alpha_threshold", "alpha_words", "min_alpha_words", "below"),
    Rule("gopher_too_few_stop_words", "num_stop_words", "min_stop_words", "below"),
)
"""Gopher's quality rules, under the names that `datatrove` gives their reasons."""

EMPTY, TOO_SHORT = "empty", "too_short"
"""Rules of every profile, `none` included: nothing is left after normalisation; fewer than `min_characters`."""


def with_statistics(documents: pl.DataFrame) -> pl.DataFrame:
    """Add what the rules measure.

    Args:
        documents: with `text`, normalised, and `profile`.

    Returns:
        The same rows with the columns `num_characters`, `num_words`, `mean_word_length` (characters), `hash_ratio`
        and `ellipsis_ratio` (per token), `bullet_lines` and `ellipsis_lines` (fractions of lines, blank ones
        included), `alpha_words` (fraction of tokens with a letter), `num_stop_words` (distinct ones of the
        profile's). A ratio is null where there is nothing to divide by.
    """
    text = pl.col("text")
    # Without its words a text is white space, Han characters and symbols; words are maximal, so no two symbols merge.
    counted = documents.with_columns(
        _without_words=text.str.replace_all(_WORD, ""),
        _cjk=text.str.count_matches(f"[{_CJK}]"),
        _alphabetic=text.str.count_matches(_ALPHA_WORD),
        _lines=text.str.count_matches("\n", literal=True) + 1,
        num_characters=text.str.len_chars().cast(pl.Int64),
        num_words=(text.str.count_matches(_WORD) + text.str.count_matches(f"[{_CJK}]")).cast(pl.Int64),
        num_stop_words=_num_stop_words(),
    )
    symbols = pl.col("_without_words").str.count_matches(rf"[^\s{_CJK}]+")
    word_characters = pl.col("num_characters") - pl.col("_without_words").str.len_chars() + pl.col("_cjk")
    tokens = pl.col("num_words") + symbols
    return counted.with_columns(
        mean_word_length=_ratio(word_characters, pl.col("num_words")),
        hash_ratio=_ratio(text.str.count_matches("#", literal=True), tokens),
        ellipsis_ratio=_ratio(text.str.count_matches(_ELLIPSIS), tokens),
        bullet_lines=_ratio(text.str.count_matches(r"(?m)^[^\S\n]*[•●▪‣◦-]"), pl.col("_lines")),
        ellipsis_lines=_ratio(text.str.count_matches(r"(?m)(?:\.{3}|…)$"), pl.col("_lines")),
        alpha_words=_ratio(pl.col("_cjk") + pl.col("_alphabetic"), tokens),
    ).select(pl.exclude("^_.*$"))


def _num_stop_words() -> pl.Expr:
    """Distinct stop words of each row's profile."""
    text = pl.col("text")
    english = pl.sum_horizontal(
        # Scans that stop at the first hit. ASCII word borders: with Unicode's the engine is several times slower.
        *(text.str.contains(rf"(?i-u:\b{word}\b)").cast(pl.Int64) for word in STOP_WORDS["english"])
    )
    chinese = pl.sum_horizontal(
        *(text.str.contains(word, literal=True).cast(pl.Int64) for word in STOP_WORDS["chinese"])
    )
    return pl.when(pl.col("profile") == "chinese").then(chinese).otherwise(english)


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole)


def choose_profile(language: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    """The name of the profile for each row's language code."""
    if cleaning.profile != "auto":
        return pl.lit(cleaning.profile)
    return pl.when(language.is_in(CHINESE_LANGUAGES)).then(pl.lit("chinese")).otherwise(pl.lit("english"))


def with_reasons(documents: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Add `reasons` (a list of `REASON`, in the order of the rules): why each row is rejected; empty for the kept.

    Args:
        documents: the result of `with_statistics`.
        cleaning: the profiles' thresholds.
    """
    rows = documents.with_row_index("_row")
    characters = pl.col("num_characters")
    found = [
        _failures(rows, characters < 1, EMPTY, characters, 1),
        _failures(rows, characters < cleaning.min_characters, TOO_SHORT, characters, cleaning.min_characters),
    ]
    profiles: dict[str, QualityRules] = {"english": cleaning.english, "chinese": cleaning.chinese}
    for rule in RULES:
        for profile, rules in profiles.items():
            threshold = getattr(rules, rule.threshold)
            if threshold is not None:
                value = pl.col(rule.statistic)
                wrong = value < threshold if rule.fails == "below" else value > threshold
                found.append(_failures(rows, wrong & (pl.col("profile") == profile), rule.name, value, threshold))
    # Only failures are materialized: most rows have none.
    by_row = pl.concat(found).group_by("_row", maintain_order=True).agg(reasons=pl.struct("rule", "value", "threshold"))
    joined = rows.join(by_row, on="_row", how="left", maintain_order="left").drop("_row")
    return joined.with_columns(pl.col("reasons").fill_null(pl.lit([], dtype=pl.List(REASON))))


def _failures(rows: pl.DataFrame, failed: pl.Expr, rule: str, value: pl.Expr, threshold: float) -> pl.DataFrame:
    return rows.filter(failed).select(
        "_row", rule=pl.lit(rule), value=value.cast(pl.Float64), threshold=pl.lit(float(threshold), dtype=pl.Float64)
    )
