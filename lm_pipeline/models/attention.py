"""Scaled dot-product attention: multi-head or grouped-query, causal or not, over documents, with rotary positions.

Papers: Vaswani et al. 2017; Su et al. 2021 (rotary positions, in the form of GPT-NeoX and Llama: the halves of a head
are the pairs); Ainslie et al. 2023 (grouped-query attention); Dehghani et al. 2023 (norms of queries and keys).

Shapes: B batch, T new tokens, S tokens attended to (past and new), P places in memory (S or more), D width, H heads,
G heads of keys and values, K width of a head.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.specs.model import EncoderDecoderModel, EncoderModel, TransformerModel

AttentionSpec = TransformerModel | EncoderModel | EncoderDecoderModel
Kernel = Literal["fused", "explicit"]


class Sight(NamedTuple):
    """What the new tokens of a pass see, the same in all layers.

    Attributes:
        causal: whether a token sees none after it.
        allowed: which of the S positions each token sees (bool, T x S or B x 1 x T x S); None where `causal` says all.
        cos: cosines of rotary positions (T x K or B x 1 x T x K); None where positions are not rotary.
        sin: sines, likewise (see `rotary_table`).
        begin: positions before the new tokens.
    """

    causal: bool
    allowed: Tensor | None = None
    cos: Tensor | None = None
    sin: Tensor | None = None
    begin: int = 0


def rotary_table(context_length: int, head_width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T x K) of position times frequency, for the two halves of a head.

    The first half's sines are negative: `rotate` then swaps the halves without another pass for the sign.
    """
    frequencies_K = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles_TK = torch.outer(torch.arange(context_length, dtype=torch.float64), frequencies_K)
    sines_TK = angles_TK.sin()
    return angles_TK.cos().repeat(1, 2).float(), torch.cat((-sines_TK, sines_TK), dim=1).float()


def rotate(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + K/2]) by its position's angle, so that q.k depends on distance alone."""
    x_BHTK = x_BHTK.to(cos_TK.dtype)  # once, and not in each operation, forwards and backwards
    left, right = x_BHTK.chunk(2, dim=3)
    return torch.addcmul(x_BHTK * cos_TK, torch.cat((right, left), dim=3), sin_TK)


def causal_mask(num_new: int, num_all: int, device: torch.device) -> Tensor:
    """Which of S positions the last T of them see (bool, T x S): themselves and all before."""
    return torch.ones(num_new, num_all, dtype=torch.bool, device=device).tril(num_all - num_new)


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    dropout: float = 0.0,
    *,
    causal: bool = True,
    allowed: Tensor | None = None,
    kernel: Kernel | None = None,
) -> Tensor:
    """softmax(q k / sqrt(K)) v; the T queries are the last of the S positions.

    Args:
        q_BHTK: queries; H is a multiple of G.
        k_BGSK: keys.
        v_BGSK: values.
        dropout: probability with which a weight of the sum is dropped.
        causal: whether a query sees no position after its own.
        allowed: which positions each query sees (bool, T x S or B x 1 x T x S); it then stands for `causal` as well.
        kernel: torch's fused one, or the formula written out; None takes the faster one that is known: torch's
            bfloat16 kernel for CPUs is slow backwards.
    """
    num_new, num_all = q_BHTK.shape[2], k_BGSK.shape[2]
    is_grouped = q_BHTK.shape[1] != k_BGSK.shape[1]
    if kernel is None:
        kernel = "explicit" if q_BHTK.dtype == torch.bfloat16 and q_BHTK.device.type == "cpu" else "fused"
    if causal and allowed is None and num_new > 1 and (num_new < num_all or kernel == "explicit"):
        allowed = causal_mask(num_new, num_all, q_BHTK.device)
    if kernel == "fused":
        whole = causal and allowed is None and num_new > 1
        return F.scaled_dot_product_attention(
            q_BHTK, k_BGSK, v_BGSK, attn_mask=allowed, dropout_p=dropout, is_causal=whole, enable_gqa=is_grouped
        )
    if is_grouped:
        k_BGSK, v_BGSK = (x.repeat_interleave(q_BHTK.shape[1] // x.shape[1], dim=1) for x in (k_BGSK, v_BGSK))
    scale, dtype = 1 / math.sqrt(q_BHTK.shape[3]), v_BGSK.dtype
    if allowed is not None and allowed.dim() == 2:  # the same for all rows: added within the product
        mask_TS = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -torch.inf)
        q_NTK, k_NSK = q_BHTK.flatten(0, 1), k_BGSK.flatten(0, 1)
        scores_BHTS = torch.baddbmm(mask_TS, q_NTK, k_NSK.transpose(1, 2), alpha=scale).view(*q_BHTK.shape[:3], -1)
    else:
        scores_BHTS = (q_BHTK @ k_BGSK.transpose(2, 3)) * scale
        if allowed is not None:
            scores_BHTS = scores_BHTS.masked_fill(~allowed, -torch.inf)
    # Of bfloat16 scores too the kernel computes in float32 inside; autocast on a GPU asks for float32 outside as well.
    return F.dropout(scores_BHTS.softmax(dim=3).to(dtype), dropout) @ v_BGSK


def remember(past_BGPK: Tensor, new_BGTK: Tensor, begin: int) -> Tensor:
    """Keys, or values, of the first `begin` of P places, and new ones behind them.

    Where there is room for them (`State.reserve`) they are written into it; else all are copied to a tensor that has
    none, which costs as much as all that was ever read.
    """
    end = begin + new_BGTK.shape[2]
    if end > past_BGPK.shape[2]:
        return torch.cat((past_BGPK[:, :, :begin], new_BGTK), dim=2)
    past_BGPK[:, :, begin:end] = new_BGTK
    return past_BGPK


class Attention(nn.Module):
    """Self-attention of one block.

    Attributes:
        kernel: which kernel computes it; None chooses by device and type. See `attend`.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.num_heads, self.kv_heads, self.head_width = spec.num_heads, spec.kv_heads, spec.width_of_head
        self.dropout = spec.dropout
        self.kernel: Kernel | None = None
        self.qkv = nn.Linear(
            spec.width, (self.num_heads + 2 * self.kv_heads) * self.head_width, bias=spec.attention_bias
        )
        self.out = nn.Linear(self.num_heads * self.head_width, spec.width, bias=spec.attention_bias)
        self.q_norm = nn.RMSNorm(self.head_width, eps=spec.norm_epsilon) if spec.qk_norm else None
        self.k_norm = nn.RMSNorm(self.head_width, eps=spec.norm_epsilon) if spec.qk_norm else None

    def forward(self, x_BTD: Tensor, past: tuple[Tensor, Tensor] | None, sight: Sight) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output and all keys and values (B x G x P x K), the past ones first, room for more behind."""
        batch, time, _ = x_BTD.shape
        heads_BHTK = self.qkv(x_BTD).view(batch, time, -1, self.head_width).transpose(1, 2)
        turned_BHTK, v_BGTK = heads_BHTK.split((self.num_heads + self.kv_heads, self.kv_heads), dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTK, k_BGTK = turned_BHTK.split((self.num_heads, self.kv_heads), dim=1)
            turned_BHTK = torch.cat((self.q_norm(q_BHTK), self.k_norm(k_BGTK)), dim=1)
        if sight.cos is not None and sight.sin is not None:
            turned_BHTK = rotate(turned_BHTK, sight.cos, sight.sin)
        # Autocast leaves norms and sums in float32.
        q_BHTK, k_BGTK = turned_BHTK.to(v_BGTK.dtype).split((self.num_heads, self.kv_heads), dim=1)
        k_BGSK, v_BGSK = k_BGPK, v_BGPK = k_BGTK, v_BGTK
        if past is not None:
            k_BGPK, v_BGPK = remember(past[0], k_BGTK, sight.begin), remember(past[1], v_BGTK, sight.begin)
            k_BGSK, v_BGSK = (x_BGPK[:, :, : sight.begin + time] for x_BGPK in (k_BGPK, v_BGPK))
        dropout = self.dropout if self.training else 0.0
        mixed_BHTK = attend(
            q_BHTK, k_BGSK, v_BGSK, dropout, causal=sight.causal, allowed=sight.allowed, kernel=self.kernel
        )
        return self.out(mixed_BHTK.transpose(1, 2).reshape(batch, time, -1)), k_BGPK, v_BGPK


class CrossAttention(nn.Module):
    """Attention of a decoder's tokens to an encoder's; no positions, no causality."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.head_width, self.dropout = spec.width_of_head, spec.dropout
        self.kernel: Kernel | None = None
        self.q = nn.Linear(spec.width, spec.num_heads * self.head_width, bias=spec.attention_bias)
        self.kv = nn.Linear(spec.width, 2 * spec.kv_heads * self.head_width, bias=spec.attention_bias)
        self.out = nn.Linear(spec.num_heads * self.head_width, spec.width, bias=spec.attention_bias)

    def memorise(self, source_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B x G x S x K) of an encoded source: computed once for all tokens that will read it."""
        batch, length, _ = source_BSD.shape
        k_BGSK, v_BGSK = self.kv(source_BSD).view(batch, length, 2, -1, self.head_width).permute(2, 0, 3, 1, 4)
        return k_BGSK, v_BGSK

    def forward(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], allowed: Tensor | None) -> Tensor:
        """Read the memory; `allowed` (bool, B x 1 x 1 x S) leaves out the source's padding."""
        batch, time, _ = x_BTD.shape
        q_BHTK = self.q(x_BTD).view(batch, time, -1, self.head_width).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        mixed_BHTK = attend(q_BHTK, *memory, dropout, causal=False, allowed=allowed, kernel=self.kernel)
        return self.out(mixed_BHTK.transpose(1, 2).reshape(batch, time, -1))
