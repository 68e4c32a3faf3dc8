import torch

from lm_pipeline.models.language_model import build_model
from lm_pipeline.specs.model import LstmModel
from lm_pipeline.training.plan import Batch
from lm_pipeline.training.precision import MIN_GAIN, measure_precision


def test_the_measurement_chooses_the_faster_says_why_and_touches_nothing():
    torch.manual_seed(0)
    model = build_model(LstmModel(width=16, dropout=0.5), 40, 8)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokens = torch.randint(40, (4, 9))
    generator = torch.get_rng_state()
    record = measure_precision(model, Batch(tokens[:, :-1], tokens[:, 1:], begins=True), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert record["reason"]
    matmul, steps = record["matmul_seconds"], record["step_seconds"]
    assert all(seconds > 0 for seconds in (*matmul.values(), *steps.values()))
    if matmul["bfloat16"] > matmul["float32"] / MIN_GAIN:
        assert (record["precision"], steps) == ("float32", {})  # a slow step was never risked
    else:
        assert (record["precision"] == "bfloat16") == (steps["bfloat16"] < steps["float32"] / MIN_GAIN)
