"""The encoder-decoder: a source is encoded once, a target is read with attention to it, token by token or whole.

Papers: Vaswani et al. 2017; Lewis et al. 2020 (BART: learned positions, GELU, norms of embeddings). Reference
implementations: torch's `nn.Transformer`, Hugging Face's `BartForConditionalGeneration`. Both languages share one
vocabulary, and with `tie_embeddings` one matrix with the output layer.

Shapes: B batch, S source tokens, T new target tokens, D width, G heads of keys and values, K width of a head, V
vocabulary.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.initialisation import embedding_std
from lm_pipeline.models.loss import IGNORE, linear_cross_entropy
from lm_pipeline.models.state import State
from lm_pipeline.models.transformer import Stack
from lm_pipeline.specs.model import EncoderDecoderModel


class Memory(NamedTuple):
    """An encoded source, as the decoder's layers read it.

    Attributes:
        layers: keys and values (B x G x S x K) for each layer of the decoder.
        allowed: which source tokens are no padding (bool, B x 1 x 1 x S); None where all are.
    """

    layers: list[tuple[Tensor, Tensor]]
    allowed: Tensor | None

    def select(self, rows: Tensor) -> "Memory":
        """The sources that a 1-d integer tensor names, in its order: beams share theirs."""
        layers = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.layers]
        return Memory(layers, None if self.allowed is None else self.allowed.index_select(0, rows))


class EncoderDecoder(nn.Module):
    """p(target token | target tokens before it, source)."""

    def __init__(self, spec: EncoderDecoderModel, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.embedding = nn.Embedding(vocab_size, spec.width)
        nn.init.normal_(self.embedding.weight, std=embedding_std(spec))
        self.encoder = Stack(spec, context_length, causal=False, num_layers=spec.num_encoder_layers)
        self.decoder = Stack(spec, context_length, causal=True, reads_source=True)
        self.input_scale = math.sqrt(spec.width) if spec.positions == "sinusoidal" else 1.0
        if not spec.tie_embeddings:
            self.output_weight_VD = nn.Parameter(torch.empty(vocab_size, spec.width).normal_(std=embedding_std(spec)))
        if spec.output_bias:
            self.output_bias_V = nn.Parameter(torch.zeros(vocab_size))
        else:
            self.register_buffer("output_bias_V", torch.zeros(vocab_size), persistent=False)

    @property
    def output_matrix(self) -> Tensor:
        """The output layer's weights: the embedding itself where they are tied."""
        return self.embedding.weight if self.spec.tie_embeddings else self.output_weight_VD

    def encode(self, source_BS: Tensor, is_text_BS: Tensor | None = None) -> Memory:
        """Read a source whole.

        Args:
            source_BS: token ids.
            is_text_BS: False where a row is padding; None where none is.
        """
        documents_BS = None if is_text_BS is None else is_text_BS.long()
        encoded_BSD, _ = self.encoder(self.embedding(source_BS) * self.input_scale, None, documents_BS)
        layers = []
        for block in self.decoder.layers():
            assert block.cross is not None
            layers.append(block.cross.memorise(encoded_BSD))
        return Memory(layers, None if is_text_BS is None else is_text_BS.bool()[:, None, None])

    def forward(self, tokens_BT: Tensor, memory: Memory, state: State | None = None) -> tuple[Tensor, State]:
        """Hidden states (B x T x D) after each of T more target tokens, and the memory of all target tokens so far."""
        x_BTD = self.embedding(tokens_BT) * self.input_scale
        return self.decoder(x_BTD, state, None, memory.layers, memory.allowed)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (... x V) of the token that follows each hidden state (... x D)."""
        return F.linear(hidden, self.output_matrix, self.output_bias_V)

    def loss_sums(
        self, source_BS: Tensor, is_text_BS: Tensor | None, tokens_BT: Tensor, targets_BT: Tensor
    ) -> tuple[Tensor, int]:
        """Sum of negative log-likelihoods (natural units), number of targets that are not `IGNORE`."""
        hidden_BTD, _ = self(tokens_BT, self.encode(source_BS, is_text_BS))
        nll_sum = linear_cross_entropy(
            hidden_BTD.flatten(0, 1), self.output_matrix, self.output_bias_V, targets_BT.flatten()
        )
        return nll_sum, int((targets_BT != IGNORE).sum())
