"""How many stop words a Chinese or Japanese text has; `corpus/quality/text_statistics.py` counts those of English."""

from collections.abc import Mapping

import polars as pl

STOP_CHARACTERS: Mapping[str, str] = {
    "zh": "的年在月是和日了於·為有被人中为他與後也而由",
    "ja": "のにをはたてがとで年し・月れさ",
    "yue": "嘅係年喺有佢月個咗一同呢人唔都到號國啲後就會市鎮而嚟由嗰做為",
    "wuu": "个年是搭月号拉·",
}
"""By language, its stop words of one character. Of FineWeb-2: `cmn_Hani`, `jpn_Jpan`, `yue_Hani`, `wuu_Hani`."""


def count_stop_characters(texts: pl.Series, languages: pl.Series) -> pl.Series:
    """Count the distinct stop words of each text's language.

    Args:
        texts: N texts.
        languages: their N languages.

    Returns:
        N numbers (i64); null for a language without a list.

    >>> count_stop_characters(pl.Series(["我的书在这里", "猫は庭に", "мы"]), pl.Series(["zh", "ja", "ru"])).to_list()
    [2, 2, None]
    """
    numbers = pl.Series("num_stop_words", [None], dtype=pl.Int64).new_from_index(0, len(texts))
    for language, characters in STOP_CHARACTERS.items():
        rows = (languages == language).fill_null(value=False).arg_true()
        if len(rows):
            found = pl.select(texts.gather(rows).alias("text")).select(
                pl.sum_horizontal(pl.col("text").str.contains(character, literal=True) for character in characters)
            )
            numbers = numbers.scatter(rows, found.to_series().cast(pl.Int64))
    return numbers
