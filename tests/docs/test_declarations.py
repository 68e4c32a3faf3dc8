import re
import shutil

import pytest

from lm_pipeline.errors import SpecError
from lm_pipeline.specs.declarations import load_declarations
from tests.docs.pages import ROOT, blocks, pages

EXAMPLES = [(page, block) for page in pages() for block in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "block"), EXAMPLES)
def test_every_declaration_of_a_page_loads_beside_those_of_the_demo(page, block, tmp_path):
    named = re.match(r"# (assets/defs/\w+/\w+/defs\.yaml)\n", block)
    assert named, "begin the block with the path that the file would have"
    shutil.copytree(ROOT / "assets" / "defs", tmp_path / "assets" / "defs")
    path = tmp_path / named[1]
    path.parent.mkdir(parents=True)
    path.write_text(block, "utf-8")
    before = load_declarations([ROOT / "assets" / "defs"])
    after = load_declarations([tmp_path / "assets" / "defs"])
    assert len(after.files) == len(before.files) + 1
    assert path in after.files.values()


def test_the_examples_in_files_load_beside_those_of_the_demo():
    found = load_declarations([ROOT / "assets" / "defs", ROOT / "docs" / "examples"])
    files = set((ROOT / "docs" / "examples").rglob("defs.yaml"))
    assert files
    assert files <= set(found.files.values())


def test_there_are_examples_of_all_three_nouns():
    assert {re.search(r"^type: assets\.(\w+)", block, re.MULTILINE)[1] for _, block in EXAMPLES} == {
        "Corpus",
        "Dataset",
        "Experiment",
    }


def test_a_wrong_example_would_be_noticed(tmp_path):
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "defs.yaml").write_text("type: assets.Dataset\nattributes:\n  corpus: x\n")
    with pytest.raises(SpecError, match=r"defs\.yaml:3: .*unknown key 'corpus'\. Did you mean 'corpora'"):
        load_declarations([tmp_path])
