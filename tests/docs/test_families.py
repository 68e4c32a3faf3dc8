"""The experiments of docs/families.md: every family on both datasets, at equal parameters and equal compute."""

import re

import pytest
import torch

from lm_pipeline.models.language_model import build_model, count_parameters
from lm_pipeline.specs.declarations import load_declarations
from tests.docs.pages import ROOT, text

FAMILIES = ("rnn", "gru", "lstm", "cnn", "gpt2", "llama")


@pytest.mark.parametrize("dataset", ["python_docs", "chinese_law"])
def test_all_have_as_many_parameters_and_are_given_as_many_operations(dataset):
    found = load_declarations([ROOT / "assets" / "defs", ROOT / "docs" / "examples"])
    names = {name for name in found.experiments if name.startswith(f"{dataset}_family_")}
    assert names == {f"{dataset}_family_{family}" for family in (*FAMILIES, "ngram")}
    parameters, flops, alike = [], [], set()
    for family in FAMILIES:
        spec = found.experiments[f"{dataset}_family_{family}"]
        training, vocab_size = spec.training, found.datasets[dataset].tokenizer.vocab_size
        with torch.device("meta"):
            model = build_model(spec.model, vocab_size, training.context_length)
        parameters.append(count_parameters(model))
        flops.append(training.num_steps * training.batch_size * training.context_length * model.flops_per_token())
        given = training.model_dump(exclude={"num_steps", "learning_rate"})
        alike.add(str(given) + str(spec.model.tie_embeddings) + str(spec.model.output_bias))
    assert max(parameters) < 1.03 * min(parameters)
    assert max(flops) < 1.01 * min(flops)
    assert len(alike) == 1


@pytest.mark.parametrize("part", ["", " gradients"])
@pytest.mark.parametrize("dataset", ["python_docs", "chinese_law"])
def test_the_page_has_a_row_for_every_family_and_their_picture_once_they_were_measured(dataset, part):
    found = re.search(f"<!-- {dataset}{part} -->\n(.*?)<!-- /{dataset}{part} -->", text("docs/families.md"), re.DOTALL)
    assert found is not None
    if not (ROOT / "benchmarks/results/families.json").exists():
        assert found[1].startswith("Not measured yet")
        return
    rows = [line for line in found[1].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + (2 * len(FAMILIES) if part else len(FAMILIES) + 1)
    assert found[1].startswith("![")
