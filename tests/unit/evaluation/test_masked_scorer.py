import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.loading import load_scorer
from lm_pipeline.evaluation.masked_scorer import MaskedScorer
from lm_pipeline.evaluation.request import evaluate_from_request
from lm_pipeline.evaluation.score_text import score_text
from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.masking import mask_groups
from lm_pipeline.models.storage import save_model
from lm_pipeline.specs.model import EncoderModel
from lm_pipeline.tokenization.controls import OURS
from lm_pipeline.tokenization.tokenizer import MODEL_FILE

DOCUMENTS = [np.array([1, *range(10, 10 + n), 2]) for n in (0, 3, 6, 14, 30)] + [np.array([1])]


@pytest.fixture
def encoder(tokenizer):
    torch.manual_seed(0)
    spec = EncoderModel(num_layers=2, width=16, num_heads=2, mask_fraction=0.25)
    model = build_model(spec, tokenizer.vocab_size, context_length=8).requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
    return model.eval()


def test_a_short_document_is_scored_gap_by_gap(encoder):
    """Against the definition, written out for one document that fits the context."""
    document = DOCUMENTS[2]
    expected = np.zeros(len(document) - 1)
    for group in mask_groups(len(document) - 1, 0.25):
        read = torch.tensor(document)
        read[group + 1] = OURS.mask
        log_probs = F.log_softmax(encoder.logits(encoder(read[None])[0])[0], dim=-1)
        expected[group] = log_probs[group + 1, document[group + 1]].numpy()
    np.testing.assert_allclose(MaskedScorer(encoder).document_log_probs([document])[0], expected, rtol=1e-4)


def test_every_token_after_bos_is_scored_once_whatever_stands_beside(encoder):
    scorer = MaskedScorer(encoder)
    together = scorer.document_log_probs(DOCUMENTS)
    assert [len(scores) for scores in together] == [len(document) - 1 for document in DOCUMENTS]
    assert all((scores < 0).all() for scores in together)
    for document, scores in zip(DOCUMENTS, together, strict=True):
        np.testing.assert_allclose(scorer.document_log_probs([document])[0], scores, rtol=1e-4, atol=1e-5)


def test_the_hidden_token_itself_does_not_leak(encoder):
    """Another token at a place changes the score of that place only through what is asked for, not what is read."""
    document = DOCUMENTS[2]
    scorer = MaskedScorer(encoder)
    place = 3
    (group,) = [group for group in mask_groups(len(document) - 1, 0.25) if place - 1 in group]
    read = torch.tensor(document)
    read[group + 1] = OURS.mask
    log_probs = F.log_softmax(encoder.logits(encoder(read[None])[0])[0, place], dim=-1)
    for token in (20, 33, 47):
        changed = document.copy()
        changed[place] = token
        assert scorer.document_log_probs([changed])[0][place - 1] == pytest.approx(log_probs[token].item(), rel=1e-4)


def test_an_encoder_neither_writes_nor_gives_a_text_a_probability(encoder, tokenizer):
    with pytest.raises(InputError, match="cannot continue a text"):
        MaskedScorer(encoder).start([[1]])
    with pytest.raises(InputError, match="gives a text no probability"):
        score_text(MaskedScorer(encoder), tokenizer, "The fox.")


def test_its_evaluation_goes_by_names_of_its_own(encoder, tokenizer, tokenizer_dir, shards_dir, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "output").mkdir()
    config = {
        "family": "encoder",
        "model": encoder.spec.model_dump(mode="json"),
        "vocab_size": tokenizer.vocab_size,
        "context_length": 8,
    }
    save_model(encoder.state_dict(), config, tmp_path / "checkpoint")
    assert not load_scorer(tmp_path / "checkpoint").is_causal
    request = {
        "experiment": "tiny",
        "evaluation": {"num_bootstrap": 20},
        "checkpoint_dir": str(tmp_path / "checkpoint"),
        "shards_dir": str(shards_dir),
        "tokenizer": str(tokenizer_dir / MODEL_FILE),
        "output_dir": str(tmp_path / "output"),
    }
    (tmp_path / "request.json").write_text(json.dumps(request), "utf-8")
    evaluate_from_request(tmp_path / "request.json")
    result = json.loads((tmp_path / "output/evaluation.json").read_text("utf-8"))
    for part in (result["test"]["overall"], result["test"]["corpora"]["chinese"], result["validation"]["overall"]):
        assert part["perplexity"] is part["bits_per_byte"] is part["bits_per_byte_interval"] is None
        assert part["masked_perplexity"] > 1
    low, high = result["test"]["overall"]["masked_perplexity_interval"]
    assert low <= result["test"]["overall"]["masked_perplexity"] <= high
    assert json.loads((tmp_path / "output/samples.json").read_text("utf-8")) == []
