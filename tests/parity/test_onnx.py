"""Every neural family in onnxruntime: logits equal to 1e-4, at batch sizes and lengths that the export has not seen."""

import numpy as np
import onnxruntime
import pytest
import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.models.onnx import export_onnx_model
from lm_pipeline.specs.model import CnnModel, EncoderModel, GruModel, LstmModel, RnnModel, TransformerModel

VOCAB, CONTEXT = 61, 24
SIZES = {"num_layers": 2, "width": 32}
LLAMA = {"positions": "rotary", "norm": "rms", "activation": "swiglu", "output_bias": False, "num_kv_heads": 2}
MODELS = {
    "gpt2": TransformerModel(**SIZES, num_heads=4),
    "llama": TransformerModel(**SIZES, num_heads=4, **LLAMA),
    "between": TransformerModel(
        **SIZES, num_heads=4, positions="sinusoidal", embedding_rank=8, qk_norm=True, parallel_blocks=True
    ),
    "encoder": EncoderModel(**SIZES, num_heads=4),
    "rnn": RnnModel(**SIZES),
    "lstm": LstmModel(**SIZES),
    "gru": GruModel(**SIZES),
    "cnn": CnnModel(**SIZES),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_our_logits_at_every_shape(name, tmp_path):
    torch.manual_seed(0)
    model = build_model(MODELS[name], VOCAB, CONTEXT).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)  # so that a wrong weight shows
    batches = [torch.randint(VOCAB, shape) for shape in ((1, 1), (3, CONTEXT), (2, 7), (1, 20))]
    expected = [model.logits(model(tokens)[0]).numpy() for tokens in batches]
    export_onnx_model(model, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for tokens, logits in zip(batches, expected, strict=True):
        (theirs,) = session.run(["logits"], {"tokens": tokens.numpy()})
        np.testing.assert_allclose(theirs, logits, rtol=1e-4, atol=1e-4)
