"""A language model: embedding, backbone, output layer. The neural families differ in the backbone alone.

Papers: Press & Wolf 2017 (tied embeddings); Lan et al. 2020 (embeddings of low rank); Vaswani et al. 2017 (scaling of
what enters).

Shapes: B batch, T time, D width, E width of embeddings (D unless the spec gives a rank), V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Protocol, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lm_pipeline.models.attention import Attention, CrossAttention, Kernel
from lm_pipeline.models.cnn import GatedCnn
from lm_pipeline.models.dropout import embedding_dropout
from lm_pipeline.models.initialisation import embedding_std
from lm_pipeline.models.lora import add_adapters, merge_adapters
from lm_pipeline.models.loss import IGNORE, Penalties, chunk_rows, penalized_cross_entropy
from lm_pipeline.models.recurrent import Recurrent
from lm_pipeline.models.state import State
from lm_pipeline.models.transformer import Encoder, Transformer
from lm_pipeline.specs.model import CnnModel, EncoderModel, GruModel, Lora, LstmModel, RnnModel, TransformerModel

NeuralSpec = Annotated[
    RnnModel | LstmModel | GruModel | CnnModel | TransformerModel | EncoderModel, Field(discriminator="family")
]
"""Specs of the families that are trained by gradient."""


class Backbone(Protocol):
    """What turns embedded tokens into hidden states."""

    def __call__(
        self, x_BTD: Tensor, state: State | None = None, documents_BT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read T more tokens."""
        ...

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        ...

    def frozen_macs_per_token(self) -> int:
        """Those of them whose weights are not trained."""
        ...


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "rnn": Recurrent,
    "lstm": Recurrent,
    "gru": Recurrent,
    "cnn": GatedCnn,
    "transformer": Transformer,
    "encoder": Encoder,
}
"""Family -> backbone, built from (spec, context_length)."""

RECURRENT = ("rnn", "lstm", "gru")
"""Families that are trained on contiguous streams with their state carried from step to step."""

BIDIRECTIONAL = ("encoder",)
"""Families that see the whole text and predict masked tokens, not the next one (see `models.masking`)."""


class LanguageModel(nn.Module):
    """p(token | tokens before it); of an encoder, p(token | tokens around it).

    Attributes:
        max_positions: longest text that can be read with one state, in tokens; None where there is no limit.
    """

    def __init__(self, spec: NeuralSpec, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.max_positions = context_length if spec.family in ("transformer", "encoder") else None
        rank = spec.embedding_rank or spec.width
        self.embedding = nn.Embedding(vocab_size, rank)
        self.backbone = BACKBONES[spec.family](spec, context_length)
        self.embedding_in = self.embedding_out = None
        if spec.embedding_rank is not None:
            self.embedding_in = nn.Linear(rank, spec.width, bias=False)
            self.embedding_out = nn.Linear(spec.width, rank, bias=False)
            for layer in (self.embedding_in, self.embedding_out):
                nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
        if spec.output_bias:
            self.output_bias_V = nn.Parameter(torch.zeros(vocab_size))
        else:
            self.register_buffer("output_bias_V", torch.zeros(vocab_size), persistent=False)
        std = embedding_std(spec)
        self.embedding_dropout = spec.embedding_dropout if isinstance(spec, RnnModel | LstmModel | GruModel) else 0.0
        # A tied matrix must be small for the softmax; recurrent layers, which no norm precedes, need inputs of about
        # unit variance, as sines beside them do: what enters is scaled up (Vaswani et al. 2017, section 3.4).
        is_sinusoidal = isinstance(spec, TransformerModel | EncoderModel) and spec.positions == "sinusoidal"
        self.input_scale = math.sqrt(rank) if spec.family in RECURRENT or is_sinusoidal else 1.0
        nn.init.normal_(self.embedding.weight, std=std)
        if not spec.tie_embeddings:
            self.output_weight_VE = nn.Parameter(torch.empty(vocab_size, rank).normal_(std=std))

    @torch.no_grad()
    def begin_as_unigram(self, counts_V: Tensor) -> None:
        """Start from the training data's unigram distribution instead of learning it in the first hundreds of steps.

        Without an output bias there is nothing that could hold it, and nothing happens.

        Args:
            counts_V: how often each token is a target in the training data; 0 counts as 1.
        """
        if self.spec.output_bias:
            self.output_bias_V.copy_((counts_V.clamp(min=1).double() / counts_V.clamp(min=1).sum()).log())

    @property
    def output_matrix(self) -> Tensor:
        """The output layer's weights: the embedding itself where they are tied (Press & Wolf 2017)."""
        return self.embedding.weight if self.spec.tie_embeddings else self.output_weight_VE

    @property
    def is_recurrent(self) -> bool:
        """Whether training carries the state across steps."""
        return self.spec.family in RECURRENT

    @property
    def is_bidirectional(self) -> bool:
        """Whether a token sees those that follow it, so that masked tokens are predicted and not the next one."""
        return self.spec.family in BIDIRECTIONAL

    def set_attention_kernel(self, kernel: Kernel | None) -> None:
        """Compute attention by torch's fused kernel, by the formula, or (None) by the one known to be faster."""
        for part in self.modules():
            if isinstance(part, Attention | CrossAttention):
                part.kernel = kernel

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """What enters the backbone (B x T x D)."""
        x = self.embedding(tokens_BT)
        if self.input_scale != 1.0:
            x = x * self.input_scale
        if self.training and self.embedding_dropout:
            x = embedding_dropout(x, tokens_BT, self.vocab_size, self.embedding_dropout)
        return x if self.embedding_in is None else self.embedding_in(x)

    def forward(
        self, tokens_BT: Tensor, state: State | None = None, documents_BT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Hidden states (B x T x D) after each of T more tokens, and the memory of all tokens so far.

        Args:
            tokens_BT: token ids.
            state: memory of the tokens before them; None at the beginning of a text.
            documents_BT: the document that each token belongs to, as any integers: no token sees another document's,
                and each document is read as if it stood alone. None goes on with one document. Padding on the left is
                a document of its own.
        """
        return self.backbone(self.embed(tokens_BT), state, documents_BT)

    def _read_out(self, hidden: Tensor) -> Tensor:
        return hidden if self.embedding_out is None else self.embedding_out(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (... x V) of the token that follows each hidden state (... x D)."""
        return F.linear(self._read_out(hidden), self.output_matrix, self.output_bias_V)

    def training_sums(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        state: State | None = None,
        documents_BT: Tensor | None = None,
        penalties: Penalties = Penalties(),  # noqa: B008 - frozen
    ) -> tuple[Tensor, Tensor, State]:
        """Sum of what is trained on, to be differentiated once; sum of negative log-likelihoods; new state."""
        hidden_BTD, new_state = self(tokens_BT, state, documents_BT)
        # A number of masked tokens that differs would be compiled anew each time; chunks would be compiled one by one.
        is_apart = self.is_bidirectional or targets_BT.numel() > chunk_rows(self.output_matrix)
        sums = cast("Callable[..., tuple[Tensor, Tensor]]", self._sums_uncompiled if is_apart else self._sums)
        objective, nll_sum = sums(hidden_BTD, targets_BT, penalties)
        return objective, nll_sum, new_state

    def _sums(self, hidden_BTD: Tensor, targets_BT: Tensor, penalties: Penalties) -> tuple[Tensor, Tensor]:
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), targets_BT.flatten()
        if self.is_bidirectional:  # which is asked for a few of the tokens only
            asked = (targets_N != IGNORE).nonzero().squeeze(1)
            hidden_ND, targets_N = hidden_ND[asked], targets_N[asked]
        return penalized_cross_entropy(
            self._read_out(hidden_ND), self.output_matrix, self.output_bias_V, targets_N, penalties
        )

    @torch.compiler.disable
    def _sums_uncompiled(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        return self._sums(*arguments)

    def loss_sums(
        self,
        tokens_BT: Tensor,
        targets_BT: Tensor,
        state: State | None = None,
        documents_BT: Tensor | None = None,
    ) -> tuple[Tensor, int, State]:
        """Sum of negative log-likelihoods (natural units), number of targets that are not `IGNORE`, new state."""
        nll_sum, _, new_state = self.training_sums(tokens_BT, targets_BT, state, documents_BT)
        return nll_sum, int((targets_BT != IGNORE).sum()), new_state

    def macs_per_token(self) -> int:
        """Multiply-adds of one token's forward pass, with `context_length` tokens in sight."""
        backbone = cast("Backbone", self.backbone).macs_per_token(self.context_length)
        return backbone + sum(matrix.numel() for matrix in (*self._entrance(), *self._exit()))

    def flops_per_token(self) -> int:
        """Floating-point operations of forward and backward per training token.

        Two for each multiply-add, twice as many backwards: for the gradient of what enters a layer, and for that of its
        weights, which frozen ones do without. An encoder's output layer reads the masked tokens only. That nothing
        before the first adapter has a gradient is left out of account; it is a part of one layer.
        """
        backbone, share = cast("Backbone", self.backbone), self.target_fraction
        macs = backbone.macs_per_token(self.context_length) + sum(matrix.numel() for matrix in self._entrance())
        frozen = backbone.frozen_macs_per_token() + _frozen(self._entrance())
        output, frozen_output = sum(matrix.numel() for matrix in self._exit()), _frozen(self._exit())
        return round(6 * (macs + share * output) - 2 * (frozen + share * frozen_output))

    @property
    def target_fraction(self) -> float:
        """The part of the tokens of a training that are learned from: an encoder's masked ones, elsewhere all."""
        return self.spec.mask_fraction if isinstance(self.spec, EncoderModel) else 1.0

    def _entrance(self) -> tuple[Tensor, ...]:
        """Matrices before the backbone; looking up an embedding is none."""
        return () if self.embedding_in is None else (self.embedding_in.weight,)

    def _exit(self) -> tuple[Tensor, ...]:
        """Matrices behind it."""
        return (self.output_matrix,) if self.embedding_out is None else (self.embedding_out.weight, self.output_matrix)


def _frozen(matrices: tuple[Tensor, ...]) -> int:
    return sum(matrix.numel() for matrix in matrices if not matrix.requires_grad)


def build_model(spec: NeuralSpec, vocab_size: int, context_length: int) -> LanguageModel:
    """A freshly initialised model; draw its weights from a seed by calling `torch.manual_seed` before."""
    model = LanguageModel(spec, vocab_size, context_length)
    if (lora := lora_of(spec)) is not None:
        add_adapters(model, lora)
    return model


def lora_of(spec: NeuralSpec) -> Lora | None:
    """What the spec says of adapters; None where all weights are trained."""
    return spec.lora if isinstance(spec, TransformerModel | EncoderModel) else None


def published_weights(model: LanguageModel) -> dict[str, Tensor]:
    """The weights by which a trained model is known: adapters are merged into what they adapt."""
    lora = lora_of(model.spec)
    weights = model.state_dict()
    return weights if lora is None else merge_adapters(weights, lora)


def published_spec(spec: NeuralSpec) -> NeuralSpec:
    """The spec of the model that `published_weights` are of."""
    return spec if lora_of(spec) is None else spec.model_copy(update={"lora": None})


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers; tied matrices count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
