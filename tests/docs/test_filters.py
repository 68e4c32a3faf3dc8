"""The table of rules in docs/filters.md against the code."""

from tests.docs.pages import codes, rows

PAGE = "docs/filters.md"


def test_the_table_of_rules_has_every_rule_with_its_thresholds():
    from lm_pipeline.corpus.quality.filters import RULES
    from lm_pipeline.specs.cleaning import PROFILES

    def shown(profile: str, threshold: str) -> str:
        value = getattr(PROFILES[profile], threshold)
        return "off" if value is None else f"{value:g}"

    signs = {"below": "<", "above": ">"}
    assert [[row[0], *codes(row[1]), row[2], *row[3:]] for row in rows(PAGE, "## The rules")] == [
        [
            rule.rule_set,
            rule.name,
            f"`{rule.statistic}` {signs[rule.fails]} `{rule.threshold}`",
            *(shown(profile, rule.threshold) for profile in PROFILES),
        ]
        for rule in RULES
    ]
