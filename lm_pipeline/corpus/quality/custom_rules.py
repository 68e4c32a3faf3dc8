"""Rules of one's own: conditions in SQL syntax over what was measured on a document.

A rule sees one document. An aggregate or a window would see those of one part of the corpus, so that its verdict would
depend on how the corpus was cut into parts: only functions of one row may be called.
"""

import re

import polars as pl

from lm_pipeline.corpus.document_tables import STATISTICS
from lm_pipeline.errors import SpecError, nearest
from lm_pipeline.specs.cleaning import CustomRule

ROW_FUNCTIONS = frozenset(
    (
        "ABS", "ARRAY_LENGTH", "CAST", "CEIL", "COALESCE", "ENDS_WITH", "EXP", "FLOOR", "GREATEST", "IF", "IFNULL",
        "LEAST", "LEFT", "LENGTH", "LN", "LOG10", "LOG2", "LOWER", "MOD", "NULLIF", "POW", "REGEXP_LIKE", "RIGHT",
        "ROUND", "SIGN", "SQRT", "STARTS_WITH", "STRPOS", "SUBSTR", "UPPER",
    )
)  # fmt: skip
"""SQL functions whose result for a row depends on that row alone."""

_NO_CODE = re.compile(r"'[^']*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
"""Strings and comments."""
_WORDS_BEFORE_BRACKETS = "AND|OR|NOT|IN|CASE|WHEN|THEN|ELSE|BETWEEN|LIKE|ILIKE|FROM|DECIMAL|NUMERIC|FLOAT|VARCHAR|CHAR"
_CALL = re.compile(rf'"?\b(?!(?:{_WORDS_BEFORE_BRACKETS})\b)([A-Z_]\w*)"?\s*\(', re.IGNORECASE)


def check_custom(rule: CustomRule) -> str | None:
    """What is wrong with a rule of one's own, told from the columns that there will be; None if nothing is."""
    try:
        fails_custom(rule, pl.DataFrame(schema=STATISTICS))
    except SpecError as error:
        return str(error)
    return None


def fails_custom(rule: CustomRule, documents: pl.DataFrame) -> pl.Series:
    """Whether each row is rejected; a condition that is null rejects nothing.

    Raises:
        SpecError: the condition cannot be parsed, names another column, or is no condition.
    """
    known = [name for name in STATISTICS if name in documents.columns]
    expected = f"It must be a condition in SQL syntax over the columns {', '.join(known)}."
    called = {name.upper() for name in _CALL.findall(_NO_CODE.sub(" ", rule.reject_if))}
    if strange := sorted(called - ROW_FUNCTIONS):
        problem = f"{', '.join(strange)} is no function of one document"
        raise _unusable(rule, problem, f"Functions that are: {', '.join(sorted(ROW_FUNCTIONS))}.")
    try:
        answer = documents.select(known).select(pl.sql_expr(rule.reject_if)).to_series()
    except pl.exceptions.ColumnNotFoundError as error:
        missing = re.search(r'"([^"]*)"', str(error))
        name = missing[1] if missing else ""
        problem, expected = f"there is no column {name!r}", nearest(name, known)
    except pl.exceptions.PolarsError as error:
        problem = str(error).splitlines()[0]
    else:
        if answer.dtype == pl.Boolean:
            return answer if len(answer) == len(documents) else pl.repeat(answer.item(), len(documents), eager=True)
        problem = f"it gives {answer.dtype}, not true or false"
    raise _unusable(rule, problem, expected)


def _unusable(rule: CustomRule, problem: str, expected: str) -> SpecError:
    given = f"The rule cleaning.custom {rule.name!r} cannot be used: {rule.reject_if!r}"
    return SpecError(f"{given}: {problem}. {expected}")
