"""The Transformer's decoder (GPT-2 form, Llama form and between) and encoder (BERT form): one block, by its spec.

Papers: Vaswani et al. 2017; Radford et al. 2019 (GPT-2: norm before each part, one more at the end); Devlin et al.
2018 (BERT: norm after each residual sum, a transformed head); Touvron et al. 2023 (Llama: RMSNorm, SwiGLU, rotary
positions); Lan et al. 2020 (ALBERT: layers that share weights). Reference implementation: Hugging Face transformers
(`GPT2LMHeadModel`, `LlamaForCausalLM`, `BertForMaskedLM`), against which the tests compare every form.

Shapes: B batch, T new tokens, S tokens attended to (past and new), D width, K width of a head, M width of the
feed-forward layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.activations import gelu_tanh, swiglu
from lm_pipeline.models.attention import Attention, AttentionSpec, CrossAttention, Sight, causal_mask, rotary_table
from lm_pipeline.models.initialisation import embedding_std, initialise_transformer
from lm_pipeline.models.norms import RmsNorm
from lm_pipeline.models.state import State, join_documents
from lm_pipeline.specs.model import EncoderModel, TransformerModel

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "relu": F.relu,
    "swiglu": swiglu,
}
"""Functions of the feed-forward layer. SwiGLU reads twice as many units: the gate's, then the gated ones."""


def make_norm(spec: AttentionSpec) -> nn.Module:
    """A norm over D units."""
    if spec.norm == "rms":
        return RmsNorm(spec.width, eps=spec.norm_epsilon)
    return nn.LayerNorm(spec.width, eps=spec.norm_epsilon, bias=spec.norm_bias)


def sinusoids(context_length: int, width: int) -> Tensor:
    """Positions as sines and cosines (T x D), the sines in the first half (as in tensor2tensor and Marian)."""
    num_sines = (width + 1) // 2
    frequencies = 10_000.0 ** (-torch.arange(num_sines, dtype=torch.float64) * 2 / width)
    angles = torch.outer(torch.arange(context_length, dtype=torch.float64), frequencies)
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :width].float()


class Mlp(nn.Module):
    """The feed-forward layer: D units to M and back."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        units = spec.mlp_width * (2 if spec.activation == "swiglu" else 1)
        self.activation = ACTIVATIONS[spec.activation]
        self.up = nn.Linear(spec.width, units, bias=spec.mlp_bias)
        self.down = nn.Linear(spec.mlp_width, spec.width, bias=spec.mlp_bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each position by itself."""
        return self.down(self.activation(self.up(x_BTD)))


class Block(nn.Module):
    """Attention, attention to an encoder where there is one, feed-forward layer: each a residual sum with a norm."""

    def __init__(self, spec: AttentionSpec, *, reads_source: bool = False) -> None:
        super().__init__()
        self.is_post = spec.norm_position == "post"
        self.dropout = nn.Dropout(spec.dropout)
        self.attention = Attention(spec)
        self.attention_norm = make_norm(spec)
        self.cross = CrossAttention(spec) if reads_source else None
        self.cross_norm = make_norm(spec) if reads_source else None
        self.mlp = Mlp(spec)
        is_parallel = isinstance(spec, TransformerModel) and spec.parallel_blocks
        self.mlp_norm = None if is_parallel else make_norm(spec)

    def forward(
        self,
        x_BTD: Tensor,
        past: tuple[Tensor, Tensor] | None,
        sight: Sight,
        memory: tuple[Tensor, Tensor] | None = None,
        source_allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output and all keys and values of self-attention, the past ones first, then room for more."""
        normed_BTD = x_BTD if self.is_post else self.attention_norm(x_BTD)
        mixed_BTD, k_BGSK, v_BGSK = self.attention(normed_BTD, past, sight)
        x_BTD = x_BTD + self.dropout(mixed_BTD)
        if self.is_post:
            x_BTD = self.attention_norm(x_BTD)
        if self.cross is not None and memory is not None:
            assert self.cross_norm is not None
            part = self.cross(x_BTD if self.is_post else self.cross_norm(x_BTD), memory, source_allowed)
            x_BTD = x_BTD + self.dropout(part)
            if self.is_post:
                x_BTD = self.cross_norm(x_BTD)
        if self.mlp_norm is None:
            return x_BTD + self.dropout(self.mlp(normed_BTD)), k_BGSK, v_BGSK
        x_BTD = x_BTD + self.dropout(self.mlp(x_BTD if self.is_post else self.mlp_norm(x_BTD)))
        return self.mlp_norm(x_BTD) if self.is_post else x_BTD, k_BGSK, v_BGSK


class Positions(nn.Module):
    """What a stack knows of positions: a table that is added to embeddings, or one that turns queries and keys."""

    cos_TK: Tensor
    sin_TK: Tensor
    sines_TD: Tensor

    def __init__(self, spec: AttentionSpec, context_length: int) -> None:
        super().__init__()
        self.kind = spec.positions
        self.context_length = context_length
        if self.kind == "learned":
            self.table_TD = nn.Parameter(torch.empty(context_length, spec.width).normal_(std=embedding_std(spec)))
        elif self.kind == "sinusoidal":
            self.register_buffer("sines_TD", sinusoids(context_length, spec.width), persistent=False)
        elif self.kind == "rotary":
            cos_TK, sin_TK = rotary_table(context_length, spec.width_of_head, spec.rope_base)
            self.register_buffer("cos_TK", cos_TK, persistent=False)
            self.register_buffer("sin_TK", sin_TK, persistent=False)

    def forward(self, x_BTD: Tensor, begin: int, documents_BS: Tensor | None, *, causal: bool) -> tuple[Tensor, Sight]:
        """Embeddings with their positions, and what they see.

        Args:
            x_BTD: embedded new tokens.
            begin: tokens before them.
            documents_BS: document of each token so far; positions begin anew in each and no token sees another's.
            causal: whether a token sees none after it.

        Raises:
            ValueError: the text grows beyond `context_length`, for whose positions nothing was learned.
        """
        time, end = x_BTD.shape[1], begin + x_BTD.shape[1]
        if end > self.context_length:
            raise ValueError(
                f"{end} tokens are more than this Transformer's context of {self.context_length}; read a longer text"
                " in windows of at most that many, each without the state of the one before"
            )
        where, allowed = slice(begin, end), None
        if documents_BS is not None:
            where = within_documents(documents_BS)[:, begin:]
            allowed = documents_BS[:, begin:, None] == documents_BS[:, None, :]
            allowed = allowed & causal_mask(time, end, x_BTD.device) if causal else allowed
            allowed = allowed[:, None]
        elif causal and 1 < time < end:
            allowed = causal_mask(time, end, x_BTD.device)
        if self.kind == "learned":
            return x_BTD + self.table_TD[where], Sight(causal, allowed, begin=begin)
        if self.kind == "sinusoidal":
            return x_BTD + self.sines_TD[where], Sight(causal, allowed, begin=begin)
        if self.kind == "none":
            return x_BTD, Sight(causal, allowed, begin=begin)
        cos, sin = self.cos_TK[where], self.sin_TK[where]
        if documents_BS is not None:
            cos, sin = cos[:, None], sin[:, None]
        return x_BTD, Sight(causal, allowed, cos, sin, begin)


def within_documents(documents_BS: Tensor) -> Tensor:
    """Place of each token within its document, from 0.

    >>> within_documents(torch.tensor([[7, 7, 3, 3, 3, 9]])).tolist()
    [[0, 1, 0, 1, 2, 0]]
    """
    places_S = torch.arange(documents_BS.shape[1], device=documents_BS.device)
    begins_BS = F.pad(documents_BS[:, 1:] != documents_BS[:, :-1], (1, 0), value=True)
    return places_S - (places_S * begins_BS).cummax(dim=1).values


class Stack(nn.Module):
    """Embedding norm, blocks, last norm."""

    def __init__(
        self,
        spec: AttentionSpec,
        context_length: int,
        *,
        causal: bool,
        num_layers: int | None = None,
        reads_source: bool = False,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.num_layers = num_layers or spec.num_layers
        self.positions = Positions(spec, context_length)
        self.embedding_norm = make_norm(spec) if spec.embedding_norm else None
        self.dropout = nn.Dropout(spec.dropout)
        num_blocks = 1 if spec.share_layers else self.num_layers
        self.blocks = nn.ModuleList(Block(spec, reads_source=reads_source) for _ in range(num_blocks))
        self.norm = make_norm(spec) if spec.final_norm else None
        self.attention_units = spec.num_heads * spec.width_of_head
        initialise_transformer(self.blocks, spec, self.num_layers)

    def layers(self) -> list[Block]:
        """The blocks in the order in which they are read; the same one again where layers share weights."""
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        return blocks * (self.num_layers // len(blocks))

    def forward(
        self,
        x_BTD: Tensor,
        state: State | None = None,
        documents_BT: Tensor | None = None,
        memory: list[tuple[Tensor, Tensor]] | None = None,
        source_allowed: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Read T more tokens; a state's tensors are keys and values of each layer in turn (see `State.reserve`).

        Args:
            x_BTD: embedded tokens.
            state: memory of the tokens before them.
            documents_BT: the document of each; see `state.join_documents`.
            memory: keys and values of an encoded source, by layer.
            source_allowed: which of the source's tokens are no padding (bool, B x 1 x 1 x S).
        """
        begin = state.position if state else 0
        documents_BS = join_documents(state, documents_BT, begin, x_BTD.shape)
        x_BTD, sight = self.positions(x_BTD, begin, documents_BS, causal=self.causal)
        if self.embedding_norm is not None:
            x_BTD = self.embedding_norm(x_BTD)
        x_BTD = self.dropout(x_BTD)
        tensors: list[Tensor] = []
        for index, block in enumerate(self.layers()):
            past = (state.tensors[2 * index], state.tensors[2 * index + 1]) if state else None
            source = memory[index] if memory is not None else None
            x_BTD, k_BGSK, v_BGSK = block(x_BTD, past, sight, source, source_allowed)
            tensors += [k_BGSK, v_BGSK]
        x_BTD = x_BTD if self.norm is None else self.norm(x_BTD)
        return x_BTD, State(begin + x_BTD.shape[1], tuple(tensors), documents_BS)

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass; a causal one attends to half of `context_length` on average."""
        seen = context_length if self.causal else 2 * context_length
        matrices = sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1)
        return self._all_layers(matrices) + self.num_layers * self.attention_units * seen

    def frozen_macs_per_token(self) -> int:
        """Those of them whose weights are not trained: an adapted model's own ones."""
        return self._all_layers(sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1 and not p.requires_grad))

    def _all_layers(self, macs: int) -> int:
        return macs * self.num_layers // len(self.blocks)


class Transformer(Stack):
    """The decoder: each token sees itself and those before it. Positions end at `context_length`."""

    def __init__(self, spec: TransformerModel, context_length: int) -> None:
        super().__init__(spec, context_length, causal=True)


class Encoder(nn.Module):
    """The encoder: each token sees the whole text, so there is nothing to carry on from. Its head is BERT's."""

    def __init__(self, spec: EncoderModel, context_length: int) -> None:
        super().__init__()
        self.stack = Stack(spec, context_length, causal=False)
        self.head = nn.Linear(spec.width, spec.width)
        # A gated function halves its input, which a layer of D units has no room for.
        self.activation = ACTIVATIONS["gelu" if spec.activation == "swiglu" else spec.activation]
        self.head_norm = make_norm(spec)
        initialise_transformer(self.head, spec, spec.num_layers)

    def encode(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """What the last layer says of each token (B x T x D), for whatever reads it."""
        return self.stack(x_BTD, None, documents_BT)[0]

    def forward(
        self, x_BTD: Tensor, state: State | None = None, documents_BT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Hidden states from which the output layer predicts each token itself.

        Raises:
            ValueError: a state is given: a token would have to see those that follow it.
        """
        if state is not None:
            raise ValueError("an encoder reads a text whole: give all of it at once, without a state")
        hidden_BTD = self.encode(x_BTD, documents_BT)
        return self.head_norm(self.activation(self.head(hidden_BTD))), State(x_BTD.shape[1], ())

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        return self.stack.macs_per_token(context_length) + self.head.weight.numel()

    def frozen_macs_per_token(self) -> int:
        """Those of them whose weights are not trained."""
        return self.stack.frozen_macs_per_token() + (0 if self.head.weight.requires_grad else self.head.weight.numel())
