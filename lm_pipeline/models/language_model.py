"""A language model: embedding, backbone, output layer. The five neural families differ in the backbone alone.

Shapes: B batch, T time, D width, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Annotated, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.cnn import GatedCnn
from lm_pipeline.models.loss import IGNORE, linear_cross_entropy
from lm_pipeline.models.recurrent import Recurrent
from lm_pipeline.models.state import State
from lm_pipeline.models.transformer import Transformer
from lm_pipeline.specs.model import CnnModel, GruModel, LstmModel, RnnModel, TransformerModel

NeuralSpec = Annotated[RnnModel | LstmModel | GruModel | CnnModel | TransformerModel, Field(discriminator="family")]
"""Specs of the families that are trained by gradient."""


class Backbone(Protocol):
    """What turns embedded tokens into hidden states."""

    embedding_std: float

    def __call__(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read T more tokens."""
        ...

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        ...


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "rnn": Recurrent,
    "lstm": Recurrent,
    "gru": Recurrent,
    "cnn": GatedCnn,
    "transformer": Transformer,
}
"""Family -> backbone, built from (spec, context_length)."""

RECURRENT = ("rnn", "lstm", "gru")
"""Families that are trained on contiguous streams with their state carried from step to step."""


class LanguageModel(nn.Module):
    """p(token | tokens before it).

    Attributes:
        max_positions: longest text that can be read with one state, in tokens; None where there is no limit.
    """

    def __init__(self, spec: NeuralSpec, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.max_positions = context_length if spec.family == "transformer" else None
        self.embedding = nn.Embedding(vocab_size, spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        self.backbone = BACKBONES[spec.family](spec, context_length)
        self.output_bias_V = nn.Parameter(torch.zeros(vocab_size))
        std = cast("Backbone", self.backbone).embedding_std
        # A tied matrix must be small for the softmax; recurrent layers, which no norm precedes, need inputs of about
        # unit variance, so what enters is scaled up (Vaswani et al. 2017, section 3.4).
        self.input_scale = math.sqrt(spec.width) if spec.family in RECURRENT else 1.0
        nn.init.normal_(self.embedding.weight, std=std)
        if not spec.tie_embeddings:
            self.output_weight_VD = nn.Parameter(torch.empty(vocab_size, spec.width).normal_(std=std))

    @torch.no_grad()
    def begin_as_unigram(self, counts_V: Tensor) -> None:
        """Start from the training data's unigram distribution instead of learning it in the first hundreds of steps.

        Args:
            counts_V: how often each token is a target in the training data; 0 counts as 1.
        """
        self.output_bias_V.copy_((counts_V.clamp(min=1).double() / counts_V.clamp(min=1).sum()).log())

    @property
    def output_matrix(self) -> Tensor:
        """The output layer's weights: the embedding itself where they are tied (Press & Wolf 2017)."""
        return self.embedding.weight if self.spec.tie_embeddings else self.output_weight_VD

    @property
    def is_recurrent(self) -> bool:
        """Whether training carries the state across steps."""
        return self.spec.family in RECURRENT

    def forward(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Hidden states (B x T x D) after each of T more tokens, and the memory of all tokens so far."""
        return self.backbone(self.dropout(self.embedding(tokens_BT) * self.input_scale), state)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (... x V) of the token that follows each hidden state (... x D)."""
        return F.linear(hidden, self.output_matrix, self.output_bias_V)

    def loss_sums(self, tokens_BT: Tensor, targets_BT: Tensor, state: State | None = None) -> tuple[Tensor, int, State]:
        """Sum of negative log-likelihoods (natural units), number of targets that are not `IGNORE`, new state."""
        hidden_BTD, new_state = self(tokens_BT, state)
        nll_sum = linear_cross_entropy(
            hidden_BTD.flatten(0, 1), self.output_matrix, self.output_bias_V, targets_BT.flatten()
        )
        return nll_sum, int((targets_BT != IGNORE).sum()), new_state

    def flops_per_token(self) -> int:
        """Floating-point operations of forward and backward per training token (2 per multiply-add, backward twice)."""
        backbone = cast("Backbone", self.backbone).macs_per_token(self.context_length)
        return 6 * (backbone + self.output_matrix.numel())


def build_model(spec: NeuralSpec, vocab_size: int, context_length: int) -> LanguageModel:
    """A freshly initialised model; draw its weights from a seed by calling `torch.manual_seed` before."""
    return LanguageModel(spec, vocab_size, context_length)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers; tied matrices count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
