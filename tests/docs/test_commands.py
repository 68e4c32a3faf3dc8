import re

import click
import pytest

from tests.docs.pages import ROOT, anchors, mentions, pages, prose, text


@pytest.fixture(scope="module")
def targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.fixture(scope="module")
def subcommands():
    from assets.cli import cli as with_dagster
    from lm_pipeline.cli import cli

    return {**cli.commands, **with_dagster.commands}


@pytest.mark.parametrize("page", pages())
def test_every_named_command_exists_with_its_options(page, targets, subcommands):
    for program, *arguments in mentions(page):
        words = [word for word in arguments if "=" not in word or word.startswith("-")]
        if program == "make":
            assert set(words) <= targets, f"make {' '.join(words)}"
            continue
        command = subcommands.get(words[0])
        if words[0].startswith("-"):
            continue
        assert command is not None, f"lm-pipeline {words[0]}"
        known = {option for item in command.params if isinstance(item, click.Option) for option in item.opts}
        given = {word for word in words[1:] if word.startswith("--")}
        assert given <= known | {"--help"}, f"lm-pipeline {' '.join(words)}"


def test_every_subcommand_is_in_the_readme(subcommands):
    named = {words[1] for words in mentions("README.md") if words[0] == "lm-pipeline"}
    assert set(subcommands) <= named


@pytest.mark.parametrize("page", pages())
def test_every_relative_link_resolves(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        full = (ROOT / page).parent / path if path else ROOT / page
        assert full.exists(), target
        if anchor:
            assert anchor in anchors(full.resolve().relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("page", pages())
def test_every_named_file_of_the_repository_exists(page):
    """Paths in backquotes that begin with a folder of the repository; `<…>` and capitals stand for something."""
    for code in re.findall(r"`((?:lm_pipeline|assets|tests|docs|docker)/[\w./-]+)`", prose(page)):
        if "NAME" in code or (code.startswith("assets/defs/") and not (ROOT / code).exists()):
            assert any(word in text(page) for word in (f"# {code}", "lm-pipeline new", "NAME")), code
            continue
        assert (ROOT / code).exists(), code
