"""What the tests of tokenization share."""

import pytest

WORDS = ["tensor", "shape", "array", "index", "matrix", "axis", "stride", "buffer"]
RIGHTS = ["权利", "自由", "财产", "劳动", "教育", "选举", "休息", "住宅"]


@pytest.fixture(scope="session")
def bilingual_lines() -> list[str]:
    """Lines of both languages, enough to train 400 pieces on."""
    return [
        f"Return the {word} of number {i} after {other}.\n    第{i}条 国家保护公民的{right}，任何人不得侵犯{word}。\n"
        for i, (word, right) in enumerate(zip(WORDS * 12, RIGHTS * 12, strict=True))
        for other in WORDS
    ]
