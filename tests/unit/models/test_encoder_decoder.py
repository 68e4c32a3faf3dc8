"""The encoder-decoder against torch's `nn.Transformer`, and what its state and memory promise."""

import pytest
import torch
from pydantic import ValidationError

from lm_pipeline.models.encoder_decoder import EncoderDecoder
from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.state import State
from lm_pipeline.specs.model import EncoderDecoderModel

VOCAB, CONTEXT = 40, 12
SPECS = {
    "vaswani": EncoderDecoderModel(num_layers=2, num_encoder_layers=3, width=16, num_heads=2),
    "bart": EncoderDecoderModel(
        num_layers=2,
        width=16,
        num_heads=2,
        positions="learned",
        activation="gelu",
        norm_position="post",
        final_norm=False,
        embedding_norm=True,
        initialisation="devlin_2018",
    ),
    "modern": EncoderDecoderModel(
        num_layers=2,
        width=16,
        num_heads=4,
        num_kv_heads=2,
        positions="rotary",
        norm="rms",
        activation="swiglu",
        share_layers=True,
        tie_embeddings=False,
        output_bias=False,
    ),
}
SOURCE = torch.randint(VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(VOCAB, (3, 7), generator=torch.Generator().manual_seed(1))
IS_TEXT = torch.tensor([[True] * 9, [True] * 5 + [False] * 4, [True] * 8 + [False]])


@pytest.fixture(params=SPECS)
def model(request):
    torch.manual_seed(0)
    model = EncoderDecoder(SPECS[request.param], VOCAB, CONTEXT).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def test_token_by_token_equals_the_whole_target(model):
    memory = model.encode(SOURCE, IS_TEXT)
    whole, _ = model(TARGET, memory)
    state: State | None = None
    for t in range(7):
        hidden, state = model(TARGET[:, t : t + 1], memory, state)
        torch.testing.assert_close(hidden[:, 0], whole[:, t], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_padding_of_the_source_changes_nothing(model):
    padded = model(TARGET, model.encode(SOURCE, IS_TEXT))[0]
    for row, length in enumerate(IS_TEXT.sum(dim=1).tolist()):
        alone = model(TARGET[row : row + 1], model.encode(SOURCE[row : row + 1, :length]))[0]
        torch.testing.assert_close(padded[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_target_sees_all_of_the_source_and_nothing_after_itself(model):
    before = model(TARGET, model.encode(SOURCE))[0]
    source, target = SOURCE.clone(), TARGET.clone()
    source[:, -1] = (source[:, -1] + 1) % VOCAB
    target[:, 4] = (target[:, 4] + 1) % VOCAB
    assert not torch.allclose(model(TARGET, model.encode(source))[0][:, 0], before[:, 0])
    after = model(target, model.encode(SOURCE))[0]
    assert torch.equal(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4], before[:, 4])


@torch.no_grad()
def test_beams_share_their_source(model):
    memory, rows = model.encode(SOURCE, IS_TEXT), torch.tensor([2, 0, 2])
    _, state = model(TARGET[:, :4], memory)
    beams = model(TARGET[rows, 4:], memory.select(rows), state.select(rows))[0]
    torch.testing.assert_close(beams, model(TARGET[:, 4:], memory, state)[0][rows], rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_weight(model):
    targets = TARGET.roll(-1, dims=1)
    targets[0, -2:] = IGNORE
    nll_sum, count = model.train().loss_sums(SOURCE, IS_TEXT, TARGET, targets)
    assert count == 19
    nll_sum.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_embeddings_of_low_rank_are_refused():
    with pytest.raises(ValidationError, match="leave embedding_rank out"):
        EncoderDecoderModel(embedding_rank=4)


def attention_of(name: str, part) -> dict[str, torch.Tensor]:
    """torch's names: queries, keys and values in one matrix."""
    if hasattr(part, "qkv"):
        weight, bias = part.qkv.weight, part.qkv.bias
    else:
        weight, bias = torch.cat((part.q.weight, part.kv.weight)), torch.cat((part.q.bias, part.kv.bias))
    return {
        f"{name}.in_proj_weight": weight,
        f"{name}.in_proj_bias": bias,
        f"{name}.out_proj.weight": part.out.weight,
        f"{name}.out_proj.bias": part.out.bias,
    }


@torch.no_grad()
@pytest.mark.parametrize("norm_first", [True, False])
def test_both_stacks_are_those_of_torch(norm_first):
    """Copied weights, hidden states equal to 1e-5, with padding and causality."""
    torch.manual_seed(0)
    spec = EncoderDecoderModel(
        num_layers=2,
        num_encoder_layers=3,
        width=16,
        num_heads=4,
        positions="none",
        norm_position="pre" if norm_first else "post",
    )
    ours = EncoderDecoder(spec, VOCAB, CONTEXT).eval()
    for parameter in ours.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    layer = torch.nn.TransformerEncoderLayer(16, 4, 64, 0.0, "relu", batch_first=True, norm_first=norm_first)
    encoder = torch.nn.TransformerEncoder(layer, 3, torch.nn.LayerNorm(16), enable_nested_tensor=False)
    theirs = torch.nn.Transformer(
        16, 4, 3, 2, 64, 0.0, "relu", batch_first=True, norm_first=norm_first, custom_encoder=encoder
    ).eval()
    weights = {}
    for side, stack in (("encoder", ours.encoder), ("decoder", ours.decoder)):
        weights |= {f"{side}.norm.{kind}": getattr(stack.norm, kind) for kind in ("weight", "bias")}
        for number, block in enumerate(stack.layers()):
            name = f"{side}.layers.{number}"
            norms = [block.attention_norm, *([block.cross_norm] if block.cross else []), block.mlp_norm]
            for place, norm in enumerate(norms, 1):
                weights |= {f"{name}.norm{place}.{kind}": getattr(norm, kind) for kind in ("weight", "bias")}
            weights |= attention_of(f"{name}.self_attn", block.attention)
            weights |= attention_of(f"{name}.multihead_attn", block.cross) if block.cross else {}
            for theirs_name, layer in (("linear1", block.mlp.up), ("linear2", block.mlp.down)):
                weights |= {f"{name}.{theirs_name}.{kind}": getattr(layer, kind) for kind in ("weight", "bias")}
    theirs.load_state_dict(weights)
    expected = theirs(
        ours.embedding(SOURCE),
        ours.embedding(TARGET),
        tgt_mask=torch.ones(7, 7, dtype=torch.bool).triu(1),
        src_key_padding_mask=~IS_TEXT,
        memory_key_padding_mask=~IS_TEXT,
    )
    found = ours(TARGET, ours.encode(SOURCE, IS_TEXT))[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
