import math

import pytest
import torch

from lm_pipeline.models.attention import attend, rotary_table, rotate
from lm_pipeline.models.transformer import Transformer
from lm_pipeline.specs.model import TransformerModel


def test_rotary_scores_depend_on_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    cos, sin = rotary_table(30, 8)

    def score(i, j):
        return (rotate(q, cos[i : i + 1], sin[i : i + 1]) * rotate(k, cos[j : j + 1], sin[j : j + 1])).sum()

    torch.testing.assert_close(score(5, 2), score(25, 22))
    assert not torch.isclose(score(5, 2), score(5, 3))


def test_rotation_keeps_lengths_and_position_zero():
    x = torch.randn(2, 3, 7, 8)
    turned = rotate(x, *rotary_table(7, 8))
    torch.testing.assert_close(turned.norm(dim=3), x.norm(dim=3))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])


@pytest.mark.parametrize("num_new", [1, 3, 9])
def test_both_kernels_compute_causal_softmax_attention(num_new):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 2, num_new, 4), torch.randn(2, 2, 9, 4), torch.randn(2, 2, 9, 4)
    expected = torch.zeros_like(q)
    for t in range(num_new):
        seen = 9 - num_new + t + 1
        scores = (q[:, :, t : t + 1] @ k[:, :, :seen].transpose(2, 3)) / math.sqrt(4)
        expected[:, :, t : t + 1] = scores.softmax(dim=3) @ v[:, :, :seen]
    torch.testing.assert_close(attend(q, k, v, 0.0), expected)
    rounded = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.0)
    torch.testing.assert_close(rounded.float(), expected, rtol=0.05, atol=0.05)


def test_one_block_is_the_reference_formula_of_torch():
    """With every position turned by nothing, a block is torch's pre-norm encoder layer under a causal mask."""
    torch.manual_seed(0)
    ours = Transformer(TransformerModel(num_layers=1, width=16, num_heads=2), context_length=6).eval()
    ours.positions.cos_TK.fill_(1.0)
    ours.positions.sin_TK.fill_(0.0)
    block = ours.blocks[0]
    theirs = torch.nn.TransformerEncoderLayer(
        16, 2, 64, 0.0, lambda x: torch.nn.functional.gelu(x, approximate="tanh"), batch_first=True, norm_first=True
    )
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": block.attention.out.weight,
            "self_attn.out_proj.bias": block.attention.out.bias,
            "linear1.weight": block.mlp.up.weight,
            "linear1.bias": block.mlp.up.bias,
            "linear2.weight": block.mlp.down.weight,
            "linear2.bias": block.mlp.down.bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
    )
    x = torch.randn(3, 6, 16)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(6)
    torch.testing.assert_close(ours(x)[0], ours.norm(theirs(x, src_mask=mask, is_causal=True)), rtol=1e-4, atol=1e-5)


def test_an_odd_head_width_is_refused():
    with pytest.raises(ValueError, match="choose an even width"):
        TransformerModel(width=9, num_heads=3)
