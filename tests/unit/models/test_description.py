import pytest
import torch
from torch.nn import functional as F

from lm_pipeline.models.description import (
    describe_model,
    gradient_norms,
    layer_table,
    measure_row,
    optimizer_numbers,
)
from lm_pipeline.models.language_model import build_model, count_parameters
from lm_pipeline.models.lora import LowRankLinear
from lm_pipeline.specs.model import GruModel, Lora, LstmModel, RnnModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.optimizers import make_optimizers, optimizer_tensors
from tests.unit.models.model_families import CAUSAL, CONTEXT, SPECS, VARIANTS, VOCAB_SIZE, tokens

TRAINING = Training(num_steps=10, batch_size=4, context_length=CONTEXT, accumulation=2)


@pytest.mark.parametrize("name", SPECS | VARIANTS)
def test_counts_are_those_of_the_model_that_is_trained(name):
    spec = (SPECS | VARIANTS)[name]
    value = describe_model(spec, TRAINING, VOCAB_SIZE, peak_flops=1e9, memory_bandwidth=1e9)
    model = build_model(spec, VOCAB_SIZE, CONTEXT)
    assert value["parameters"] == count_parameters(model) == sum(row["parameters"] for row in value["layers"])
    assert value["layers"] == layer_table(model)
    assert value["memory_bytes"]["weights"] == sum(p.nbytes for p in model.parameters())
    assert value["flops_per_token"]["training"] == model.flops_per_token()
    _, state = model(tokens(batch_size=1))
    assert value["memory_bytes"]["state_per_row"] == sum(tensor.nbytes for tensor in state.tensors)


@pytest.mark.parametrize("name", CAUSAL)
def test_activations_of_any_depth_follow_from_two_depths(name):
    """Against what autograd keeps for a model of five layers."""
    spec = CAUSAL[name].model_copy(update={"num_layers": 5})
    model, kept = build_model(spec, VOCAB_SIZE, CONTEXT).train(), {}
    own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _hidden = model(tokens(batch_size=1))
    expected = sum(size for pointer, size in kept.items() if pointer not in own)
    assert measure_row(spec, CONTEXT)[0] == pytest.approx(expected, rel=0.05)


def test_costs_follow_from_the_counts():
    value = describe_model(SPECS["transformer"], TRAINING, VOCAB_SIZE, peak_flops=2e6, memory_bandwidth=1e9)
    training = value["training"]
    assert training["tokens"] == 10 * 4 * CONTEXT
    assert training["flops"] == training["tokens"] * value["flops_per_token"]["training"]
    assert training["seconds_at_peak"] == training["flops"] / 2e6
    assert value["memory_bytes"]["training"] == sum(
        value["memory_bytes"][part] for part in ("weights", "gradients", "optimizer", "activations", "output")
    )
    whole = describe_model(
        SPECS["transformer"], TRAINING.model_copy(update={"accumulation": 1}), VOCAB_SIZE, 2e6, memory_bandwidth=1e9
    )
    assert whole["memory_bytes"]["activations"] == 2 * value["memory_bytes"]["activations"]
    slow = describe_model(SPECS["transformer"], TRAINING, VOCAB_SIZE, peak_flops=1e15, memory_bandwidth=1e6)
    assert slow["inference"]["decode_tokens_per_second"] == 1e6 / slow["memory_bytes"]["inference"]


def test_processes_divide_rows_and_with_fsdp2_what_is_kept_of_each_weight():
    def described(**settings):
        training = TRAINING.model_copy(update={"accumulation": 1, "average_decay": 0.9, **settings})
        devices = training.num_processes
        return describe_model(SPECS["transformer"], training, VOCAB_SIZE, 2e6, 1e9, num_devices=devices)

    one, ddp, fsdp2 = described(), described(num_processes=2), described(num_processes=2, strategy="fsdp2")
    kept = ("weights", "gradients", "optimizer", "average")
    for part in kept:
        assert ddp["memory_bytes"][part] == one["memory_bytes"][part]
        assert fsdp2["memory_bytes"][part] == -(-one["memory_bytes"][part] // 2)
    for two in (ddp, fsdp2):
        assert 2 * two["memory_bytes"]["activations"] == one["memory_bytes"]["activations"]
        assert 2 * two["training"]["seconds_at_peak"] == one["training"]["seconds_at_peak"]
        assert two["memory_bytes"]["inference"] == one["memory_bytes"]["inference"]
        assert two["disk_bytes"] == one["disk_bytes"]


def test_what_is_published_of_an_adapted_model_is_the_whole_one():
    spec = SPECS["transformer"]
    adapted = spec.model_copy(update={"lora": Lora(rank=4, targets=("qkv",))})
    plain, lora = (describe_model(s, TRAINING, VOCAB_SIZE, 1e9, 1e9) for s in (spec, adapted))
    assert lora["memory_bytes"]["weights"] > plain["memory_bytes"]["weights"]
    assert lora["disk_bytes"]["model"] == plain["disk_bytes"]["model"]


ADAPTED = {
    f"{name}, adapted": (SPECS | VARIANTS)[name].model_copy(update={"lora": Lora(rank=2, targets=targets)})
    for name, targets in {"gpt2": ("qkv", "out", "up", "down"), "llama": ("qkv",), "encoder": ("qkv", "down")}.items()
}


def torchs_flops(model, num_targets):
    """Operations that torch counts of a forward pass, and of one with its backward pass, of the tokens of a batch."""
    from torch.utils.flop_counter import FlopCounterMode

    def logits():
        return model.logits(model(tokens())[0].flatten(0, 1)[:num_targets])

    found = []
    for run in (logits, lambda: F.cross_entropy(logits(), tokens(seed=2).flatten()[:num_targets]).backward()):
        # Of oneDNN's fused cells torch counts nothing.
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False), FlopCounterMode(display=False) as counter:
            run()
        found.append(counter.get_total_flops())
    return found


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
@pytest.mark.parametrize("name", SPECS | VARIANTS | ADAPTED)
def test_flops_are_those_that_torch_counts(name):
    spec = (SPECS | VARIANTS | ADAPTED)[name]
    if spec.family == "encoder":  # a whole number of targets
        spec = spec.model_copy(update={"mask_fraction": 0.25})
    model = build_model(spec, VOCAB_SIZE, CONTEXT)
    model.set_attention_kernel("explicit")
    num_tokens = tokens().numel()
    ours_forward, ours = 2 * num_tokens * model.macs_per_token(), num_tokens * model.flops_per_token()
    if spec.family == "transformer":  # the explicit formula computes what the causal mask then hides
        hidden_half = 2 * spec.num_layers * spec.num_heads * spec.width_of_head * CONTEXT * num_tokens
        ours_forward, ours = ours_forward + hidden_half, ours + 3 * hidden_half
    if model.is_recurrent:  # no gradient goes to what was before the first of the steps
        weights = model.backbone.cells.named_parameters()
        ours -= 2 * tokens().shape[0] * sum(p.numel() for key, p in weights if key.startswith("weight_hh"))
    if name in ADAPTED:  # nor to what is before the first adapter
        first = next(part for part in model.modules() if isinstance(part, LowRankLinear))
        ours -= 2 * num_tokens * (first.base.weight.numel() + first.down_RI.numel())
    forward, _ = torchs_flops(model, num_tokens)
    _, training = torchs_flops(model, round(num_tokens * model.target_fraction))
    assert (ours_forward, ours) == (forward, training)


def test_a_model_of_billions_is_described_without_its_weights():
    spec = TransformerModel(form="llama", num_layers=32, width=4096, num_heads=32, mlp_ratio=11008 / 4096)
    with torch.device("meta"):
        assert count_parameters(build_model(spec, 32_000, 4096)) == 6_738_415_616  # Llama 2 7B


@pytest.mark.parametrize("optimizer", [{"optimizer": kind} for kind in ("adamw", "adam", "sgd", "muon")])
@pytest.mark.parametrize("name", ["lstm", "gpt2", "albert"])
def test_moments_are_those_that_the_optimizers_keep(name, optimizer):
    training = TRAINING.model_copy(update=optimizer)
    model = build_model((SPECS | VARIANTS)[name], VOCAB_SIZE, CONTEXT)
    optimizers = make_optimizers(model, training)
    model.loss_sums(tokens(), tokens(seed=2))[0].backward()
    for each in optimizers:
        each.step()
    kept = sum(tensor.numel() for tensor in optimizer_tensors(optimizers, model).values() if tensor.dim())
    assert optimizer_numbers(model, training) == kept


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "cnn", "transformer"])
def test_gradient_norms_are_those_of_finite_differences(name):
    torch.manual_seed(0)
    model = build_model(SPECS[name], VOCAB_SIZE, CONTEXT).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    text = tokens(batch_size=1)
    norms = gradient_norms(model, text)
    assert len(norms) == CONTEXT - 1
    embedded = model.embed(text[:, :-1]).detach()

    def loss(x):
        return F.cross_entropy(model.logits(model.backbone(x)[0][:, -1]), text[:, -1]).item()

    for step in (0, 5, CONTEXT - 2):
        gradient = torch.zeros(16, dtype=torch.float64)
        for unit in range(16):
            shift = torch.zeros_like(embedded)
            shift[0, step, unit] = 1e-5
            gradient[unit] = (loss(embedded + shift) - loss(embedded - shift)) / 2e-5
        assert norms[step] == pytest.approx(gradient.norm().item(), rel=1e-4, abs=1e-9)


def test_what_vanishes_in_an_rnn_reaches_far_in_gated_networks():
    """Recurrent weights of spectral radius 0.5: an Elman network forgets by half a step, gates hold."""
    shares = {}
    for name, spec in {"rnn": RnnModel, "lstm": LstmModel, "gru": GruModel}.items():
        torch.manual_seed(0)
        model = build_model(spec(num_layers=1, width=32), 50, 64)
        for key, weights in model.backbone.cells.named_parameters():
            if key.startswith("weight_hh"):
                weights.data *= 0.5
        norms = gradient_norms(model, torch.randint(50, (8, 42), generator=torch.Generator().manual_seed(1)))
        shares[name] = norms[0] / norms[-1]
    assert shares["rnn"] < 0.5**30
    assert shares["lstm"] > 1e4 * shares["rnn"]
    assert shares["gru"] > 1e4 * shares["rnn"]
