import pytest

from lm_pipeline.models.description import describe_model
from lm_pipeline.reports.description import description_text
from lm_pipeline.specs.model import Lora, TransformerModel
from lm_pipeline.specs.training import Training


@pytest.mark.parametrize("lora", [None, Lora(rank=2, targets=("qkv",))])
def test_what_is_trained_of_an_adapted_model_is_said(lora):
    spec = TransformerModel(num_layers=1, width=16, num_heads=2, lora=lora)
    value = describe_model(spec, Training(), 50, 1e9, 1e9)
    beside = {"huggingface": {"form": None, "problem": "none"}, "peak_flops": 1e9, "memory_bandwidth": 1e9}
    beside |= {"disk_bytes": value["disk_bytes"] | {"snapshots": 0}, "family": "transformer", "vocab_size": 50}
    title = description_text("mine", value | beside | {"machine": "a"})
    if lora:  # 2 x 16 in, 48 x 2 out
        assert f"{value['parameters']:,} parameters, of which 128 are trained, 50 pieces" in title
    else:
        assert f"{value['parameters']:,} parameters, 50 pieces" in title
