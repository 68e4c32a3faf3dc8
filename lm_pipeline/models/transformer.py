"""Decoder-only Transformer: GPT-2's pre-norm blocks with rotary positions.

Papers: Vaswani et al. 2017; Radford et al. 2019 (GPT-2: layer norm before each part, one more at the end, residual
projections scaled at initialisation); Su et al. 2021 (rotary positions in place of a learned table). Its form is
that of Hugging Face's GPT-NeoX with `use_parallel_residual=False, rotary_pct=1.0`.

Shapes: B batch, T new tokens, S tokens attended to (past and new), D width, H heads, K width of a head, L layers.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.state import State
from lm_pipeline.specs.model import TransformerModel

ROTARY_BASE = 10_000.0


def rotary_table(context_length: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T x K) of position times frequency, for the two halves of a head."""
    frequencies_K = ROTARY_BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles_TK = torch.outer(torch.arange(context_length, dtype=torch.float64), frequencies_K).repeat(1, 2)
    return angles_TK.cos().float(), angles_TK.sin().float()


def rotate(x_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + K/2]) by its position's angle, so that q.k depends on distance alone."""
    left, right = x_BHTK.chunk(2, dim=3)
    return torch.addcmul(x_BHTK * cos_TK, torch.cat((-right, left), dim=3), sin_TK)


def attend(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, dropout: float) -> Tensor:
    """Causal scaled dot-product attention; the T queries are the last of the S positions."""
    num_new, num_all = q_BHTK.shape[2], k_BHSK.shape[2]
    allowed_TS = None
    if 1 < num_new < num_all:
        allowed_TS = torch.ones(num_new, num_all, dtype=torch.bool, device=q_BHTK.device).tril(num_all - num_new)
    if q_BHTK.dtype != torch.bfloat16 or q_BHTK.device.type != "cpu":
        causal = 1 < num_new == num_all
        return F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=allowed_TS, dropout_p=dropout, is_causal=causal
        )
    # torch's bfloat16 kernel for CPUs is slow backwards; the formula itself is faster there.
    scores_BHTS = (q_BHTK @ k_BHSK.transpose(2, 3)) / math.sqrt(q_BHTK.shape[3])
    if allowed_TS is None:
        allowed_TS = torch.ones(num_new, num_all, dtype=torch.bool).tril(num_all - num_new)
    weights_BHTS = scores_BHTS.float().masked_fill(~allowed_TS, -torch.inf).softmax(dim=3).to(v_BHSK.dtype)
    return F.dropout(weights_BHTS, dropout) @ v_BHSK


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, spec: TransformerModel) -> None:
        super().__init__()
        hidden = round(spec.mlp_ratio * spec.width)
        self.num_heads = spec.num_heads
        self.dropout = spec.dropout
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention_in = nn.Linear(spec.width, 3 * spec.width)
        self.attention_out = nn.Linear(spec.width, spec.width)
        self.mlp_norm = nn.LayerNorm(spec.width)
        self.mlp_in = nn.Linear(spec.width, hidden)
        self.mlp_out = nn.Linear(hidden, spec.width)
        residual_std = 0.02 / math.sqrt(2 * spec.num_layers)  # GPT-2: 2L sums on the residual path
        for layer in (self.attention_in, self.mlp_in, self.attention_out, self.mlp_out):
            is_residual = layer in (self.attention_out, self.mlp_out)
            nn.init.normal_(layer.weight, std=residual_std if is_residual else 0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x_BTD: Tensor, past: tuple[Tensor, Tensor] | None, cos_TK: Tensor, sin_TK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output and all keys and values (B x H x S x K), the past ones first."""
        batch, time, width = x_BTD.shape
        dropout = self.dropout if self.training else 0.0
        qkv = self.attention_in(self.attention_norm(x_BTD)).view(batch, time, 3, self.num_heads, -1)
        q_BHTK, k_BHTK, v_BHTK = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q_BHTK, k_BHTK = (rotate(x, cos_TK, sin_TK).to(v_BHTK.dtype) for x in (q_BHTK, k_BHTK))
        if past is not None:
            k_BHTK, v_BHTK = torch.cat((past[0], k_BHTK), dim=2), torch.cat((past[1], v_BHTK), dim=2)
        mixed_BTD = attend(q_BHTK, k_BHTK, v_BHTK, dropout).transpose(1, 2).reshape(batch, time, width)
        x_BTD = x_BTD + F.dropout(self.attention_out(mixed_BTD), dropout, self.training)
        mlp_BTD = self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x_BTD)), approximate="tanh"))
        return x_BTD + F.dropout(mlp_BTD, dropout, self.training), k_BHTK, v_BHTK


class Transformer(nn.Module):
    """Stacked blocks and a last layer norm. Positions end at `context_length`."""

    embedding_std = 0.02
    """GPT-2."""

    cos_TK: Tensor
    sin_TK: Tensor

    def __init__(self, spec: TransformerModel, context_length: int) -> None:
        super().__init__()
        if (spec.width // spec.num_heads) % 2:
            raise ValueError(
                f"width {spec.width} / num_heads {spec.num_heads} = {spec.width // spec.num_heads} is odd; rotary"
                " positions turn pairs of units: choose an even width of heads"
            )
        self.context_length = context_length
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.num_layers))
        self.norm = nn.LayerNorm(spec.width)
        cos_TK, sin_TK = rotary_table(context_length, spec.width // spec.num_heads)
        self.register_buffer("cos_TK", cos_TK, persistent=False)
        self.register_buffer("sin_TK", sin_TK, persistent=False)

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read T more tokens; a state's tensors are keys and values of each block in turn.

        Raises:
            ValueError: the text grows beyond `context_length`, for whose positions nothing was learned.
        """
        begin = state.position if state else 0
        end = begin + x_BTD.shape[1]
        if end > self.context_length:
            raise ValueError(
                f"{end} tokens are more than this Transformer's context of {self.context_length}; read a longer text"
                " in windows of at most that many, each without the state of the one before"
            )
        cos_TK, sin_TK = self.cos_TK[begin:end], self.sin_TK[begin:end]
        tensors: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            past = (state.tensors[2 * index], state.tensors[2 * index + 1]) if state else None
            x_BTD, k_BHSK, v_BHSK = block(x_BTD, past, cos_TK, sin_TK)
            tensors += [k_BHSK, v_BHSK]
        return self.norm(x_BTD), State(end, tuple(tensors))

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass, attention over half of `context_length` on average."""
        matrices = sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1)
        return matrices + len(self.blocks) * self.norm.normalized_shape[0] * context_length
