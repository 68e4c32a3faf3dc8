import re

import pytest

from tests.docs.pages import READMES, ROOT, blocks, codes, commands, rows, text

ENGLISH, CHINESE = READMES
WHERE = {ENGLISH: "## Where do I add…", CHINESE: "## 在哪里添加……"}


def test_both_languages_have_the_same_commands():
    assert commands(ENGLISH) == commands(CHINESE)
    assert len(commands(ENGLISH)) > 15


def test_both_languages_have_the_same_pasted_output():
    for mark in ("demo-output", "leaderboard"):
        pattern = rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->"
        english, chinese = (re.findall(pattern, text(page), re.DOTALL) for page in READMES)
        assert english == chinese
        assert len(english) == 1


def test_both_languages_have_the_same_links_sections_and_codes():
    def skeleton(page):
        links = re.findall(r"\]\(([^)]+)\)", text(page))
        named = re.findall(r"^\| (\d+|`[A-Z_]+`) \|", text(page), re.MULTILINE)
        return set(links), text(page).count("\n## "), named

    assert skeleton(ENGLISH) == skeleton(CHINESE)


def test_exit_codes_are_those_of_the_errors():
    from lm_pipeline import errors

    given = {int(row[0]) for row in rows(ENGLISH, "## The command") if row[0].isdecimal()}
    raised = {item.exit_code for item in vars(errors).values() if isinstance(item, type) and hasattr(item, "exit_code")}
    assert raised <= given


@pytest.mark.parametrize("page", READMES)
def test_every_folder_of_the_tree_exists_and_every_folder_is_in_it(page):
    (tree,) = blocks(page, "tree")
    listed, parents = set(), []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name]
        path = "".join(parents)
        assert (ROOT / path).is_dir(), path
        assert len(line.split()) > 1, f"{path} is not explained"
        listed.add(path)
    folders = [path for top in ("lm_pipeline", "assets") for path in (ROOT / top).rglob("*.py")]
    folders += [path for path in (ROOT / "tests").glob("*/*") if path.suffix in (".py", ".sh")]
    there = {path.parent.relative_to(ROOT).as_posix() + "/" for path in folders}
    assert there <= listed


@pytest.mark.parametrize("page", READMES)
def test_every_place_where_one_adds_exists_and_has_the_named_list(page):
    table = rows(page, WHERE[page])
    assert len(table) >= 12
    for row in table:
        paths = [code for cell in row for code in codes(cell) if "/" in code and "<" not in code]
        for path in paths:
            assert (ROOT / path).exists(), path
        sources = "".join((ROOT / path).read_text("utf-8") for path in paths if path.endswith(".py"))
        for name in [code for code in codes(row[2]) if "/" not in code]:
            assert re.search(rf"^(class )?{name}\b", sources, re.MULTILINE), f"{name} of {row[0]}"


def test_the_table_names_the_same_places_in_both_languages():
    english, chinese = (
        [sorted(code for cell in row for code in codes(cell)) for row in rows(page, WHERE[page])] for page in READMES
    )
    assert english == chinese
