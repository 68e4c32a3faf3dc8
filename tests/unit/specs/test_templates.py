import pytest

from lm_pipeline.errors import SpecError
from lm_pipeline.specs.declarations import load_declarations
from lm_pipeline.specs.schema import write_schemas
from lm_pipeline.specs.templates import new_declaration


@pytest.mark.parametrize("with_schemas", [False, True])
def test_each_noun_gets_a_declaration_that_loads(tmp_path, with_schemas):
    if with_schemas:
        write_schemas(tmp_path / "schemas")
    new_declaration("corpus", "words", "", tmp_path, raw="home/raw")
    new_declaration("dataset", "mine", "words", tmp_path)
    path = new_declaration("experiment", "try_it", "mine", tmp_path)
    assert path == tmp_path / "experiments" / "try_it" / "defs.yaml"
    assert path.read_text().startswith("# yaml-language-server") == with_schemas
    found = load_declarations([tmp_path])
    assert found.corpora["words"].source.path == "home/raw/words"
    assert found.datasets["mine"].corpora == ("words",)
    assert found.experiments["try_it"].dataset == "mine"


def test_a_declaration_is_never_overwritten(tmp_path):
    path = new_declaration("corpus", "words", "", tmp_path)
    path.write_text("mine")
    with pytest.raises(SpecError, match=r"defs\.yaml exists already"):
        new_declaration("corpus", "words", "", tmp_path)
    assert path.read_text() == "mine"


def test_an_unknown_noun_and_a_bad_name_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"nothing called 'corpsu' to make. Did you mean 'corpus'\?"):
        new_declaration("corpsu", "words", "", tmp_path)
    with pytest.raises(SpecError, match="'Big-Name' cannot be a name"):
        new_declaration("corpus", "Big-Name", "", tmp_path)
    assert list(tmp_path.iterdir()) == []
