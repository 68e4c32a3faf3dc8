"""Simplified and traditional Chinese: which of them a document is written in, and conversion to one of them."""

import functools
from typing import Any, Literal

import polars as pl

from lm_pipeline.errors import InputError

CHINESE = ("zh", "yue", "wuu")
"""Languages whose script is told. Japanese and Korean write Han characters of their own standards."""

_SHARE = 0.9  # of the telling characters: a quotation leaves a script what it is

Target = Literal["simplified", "traditional"]
_CONVERSIONS: dict[Target, str] = {"simplified": "t2s", "traditional": "s2t"}


def chinese_script() -> pl.Expr:
    """The script as an expression over the columns of `scripts.count_scripts` and `language`.

    Returns:
        `simplified` or `traditional` where nine in ten of the characters that only one of them writes are its own,
        else `mixed`; null where there is no such character or the language is not Chinese.
    """
    telling = pl.col("simplified") + pl.col("traditional")
    return (
        pl.when(~pl.col("language").is_in(CHINESE) | (telling == 0))
        .then(None)
        .when(pl.col("simplified") >= _SHARE * telling)
        .then(pl.lit("simplified"))
        .when(pl.col("traditional") >= _SHARE * telling)
        .then(pl.lit("traditional"))
        .otherwise(pl.lit("mixed"))
    )


def converted(texts: pl.Series, scripts: pl.Series, target: Target) -> pl.Series:
    """Write Chinese texts in one script, phrase by phrase (OpenCC).

    Args:
        texts: any texts.
        scripts: what `chinese_script` says of them; only the other script and `mixed` are converted.
        target: the script to write them in.

    Raises:
        InputError: the extra is not installed.
    """
    rows = (scripts.is_not_null() & (scripts != target) & texts.is_not_null()).fill_null(value=False).arg_true()
    if not len(rows):
        return texts
    converter = _converter(_CONVERSIONS[target])
    return texts.clone().scatter(rows, [converter.convert(text) for text in texts.gather(rows)])


@functools.cache
def _converter(name: str) -> Any:
    try:
        import opencc
    except ImportError:
        raise InputError(
            "`cleaning.chinese_script` asks for a conversion, which needs OpenCC, and that is not installed. Install"
            " `lm-pipeline[opencc]`, or write `chinese_script: keep`."
        ) from None
    return opencc.OpenCC(name)
