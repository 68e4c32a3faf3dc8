import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.layout import lay_out_for_decoding
from lm_pipeline.specs.model import LstmModel, TransformerModel

SPECS = [
    TransformerModel(num_layers=2, width=32, num_heads=2, tie_embeddings=True),
    TransformerModel(form="llama", num_layers=2, width=32, num_heads=2, tie_embeddings=False),
    LstmModel(num_layers=1, width=32),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.family)
def test_another_layout_is_the_same_model(spec):
    torch.manual_seed(0)
    model = build_model(spec, 100, 16).requires_grad_(False).eval()
    tokens = torch.arange(24).view(2, 12)
    before, weights = model.logits(model(tokens)[0]), {name: w.clone() for name, w in model.state_dict().items()}
    lay_out_for_decoding(model)
    assert model.output_matrix.stride() == (1, 100)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model.logits(model(tokens)[0]), before, atol=1e-6, rtol=1e-5)


def test_matrices_that_narrow_stay_as_they_are():
    model = build_model(SPECS[1], 100, 16).requires_grad_(False)
    lay_out_for_decoding(model)
    (block, _) = model.backbone.blocks
    assert block.mlp.down.weight.is_contiguous()
    assert block.mlp.up.weight.t().is_contiguous()
    assert model.embedding.weight.is_contiguous()
