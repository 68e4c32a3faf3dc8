import copy
import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from lm_pipeline.home import definition_folders
from lm_pipeline.specs.declarations import FILE_NAME
from lm_pipeline.specs.schema import editor_header, schema_of, schemas, write_schemas
from lm_pipeline.specs.templates import TEMPLATES

DEMO = sorted(definition_folders()[0].rglob(FILE_NAME))
EXPERIMENT = {
    "type": "assets.Experiment",
    "attributes": {
        "dataset": "mine",
        "model": {"family": "gru", "width": 32},
        "training": {"learning_rate": "1e-4", "betas": [0.9, 0.99], "max_gradient_norm": None},
    },
}


def problems(document: dict) -> list[str]:
    noun = document["type"].removeprefix("assets.").lower()
    return [error.message for error in Draft202012Validator(schema_of(noun)).iter_errors(document)]


def test_there_is_a_valid_schema_for_every_noun():
    assert set(schemas()) == set(TEMPLATES)
    for schema in schemas().values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", DEMO, ids=lambda path: f"{path.parents[1].name}/{path.parent.name}")
def test_every_declaration_of_the_demo_validates(path):
    for document in yaml.safe_load_all(path.read_text("utf-8")):
        assert problems(document) == []


@pytest.mark.parametrize("noun", TEMPLATES)
def test_every_template_validates(noun):
    assert problems(yaml.safe_load(TEMPLATES[noun].format(name="x", of="y", raw="data/raw"))) == []


def test_an_experiment_validates_and_each_of_its_mistakes_does_not():
    assert problems(EXPERIMENT) == []
    mistakes = [
        ("type", "assets.Dataset"),
        ("attributes", None),
        ("attributes.dataset", 3),
        ("attributes.datset", "mine"),
        ("attributes.model.family", "grew"),
        ("attributes.model.kernel_size", 3),
        ("attributes.model.width", True),
        ("attributes.model.width", 4),
        ("attributes.training.learning_rate", "fast"),
        ("attributes.training.learning_rate", True),
        ("attributes.training.num_steps", -1),
        ("attributes.training.schedule", "cosin"),
        ("attributes.training.betas", [0.9]),
        ("attribute", {}),
    ]
    for where, value in mistakes:
        document = copy.deepcopy(EXPERIMENT)
        *parents, last = where.split(".")
        target = document
        for key in parents:
            target = target[key]
        target[last] = value
        assert list(Draft202012Validator(schema_of("experiment")).iter_errors(document)), (where, value)


def test_every_field_has_a_description():
    def undescribed(schema: dict, where: str) -> list[str]:
        found = []
        for name, field in schema.get("properties", {}).items():
            if name not in ("kind", "family", "path") and "description" not in field:
                found.append(f"{where}.{name}")
        return found

    for noun, schema in schemas().items():
        parts = {noun: schema["properties"]["attributes"], **schema["$defs"]}
        assert [name for where, part in parts.items() for name in undescribed(part, where)] == []


def test_a_declaration_points_at_its_schema_once_that_is_written(tmp_path):
    declaration = tmp_path / "experiments" / "try" / FILE_NAME
    assert editor_header("experiment", declaration, tmp_path) == ""
    paths = write_schemas(tmp_path / "schemas")
    assert sorted(path.name for path in paths) == ["corpus.json", "dataset.json", "experiment.json"]
    assert json.loads((tmp_path / "schemas" / "corpus.json").read_text("utf-8")) == schema_of("corpus")
    header = editor_header("experiment", declaration, tmp_path)
    assert header == "# yaml-language-server: $schema=../../schemas/experiment.json\n"
