"""Model: the families and their shapes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Spec


class NgramModel(Spec):
    """Interpolated modified Kneser-Ney n-gram model. Source: Chen & Goodman 1999."""

    family: Literal["ngram"] = "ngram"
    order: Int = Field(default=5, ge=1, le=8)
    """Longest n-gram; order 1 is the unigram."""


class _Neural(Spec):
    num_layers: Int = Field(default=2, ge=1)
    """Layers of the backbone."""
    width: Int = Field(default=256, ge=8)
    """Width of hidden states, in units."""
    dropout: Fraction = 0.0
    """Dropout probability between layers and on embeddings."""
    tie_embeddings: bool = True
    """Whether input and output embeddings are one matrix (Press & Wolf 2017)."""


class RnnModel(_Neural):
    """Elman network with tanh. Source: Elman 1990; as a language model, Mikolov et al. 2010."""

    family: Literal["rnn"] = "rnn"


class LstmModel(_Neural):
    """Long short-term memory. Source: Hochreiter & Schmidhuber 1997; Zaremba et al. 2014."""

    family: Literal["lstm"] = "lstm"


class GruModel(_Neural):
    """Gated recurrent unit. Source: Cho et al. 2014."""

    family: Literal["gru"] = "gru"


class CnnModel(_Neural):
    """Gated convolutional network. Source: Dauphin et al. 2017."""

    family: Literal["cnn"] = "cnn"
    kernel_size: Int = Field(default=4, ge=2)
    """Tokens that one causal convolution sees."""


class TransformerModel(_Neural):
    """Pre-norm decoder-only Transformer. Source: Vaswani et al. 2017; Radford et al. 2019 (GPT-2)."""

    family: Literal["transformer"] = "transformer"
    num_heads: Int = Field(default=4, ge=1)
    """Attention heads; `width` must be a multiple."""
    mlp_ratio: Float = Field(default=4.0, gt=0)
    """Width of the feed-forward layer, in multiples of `width`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "TransformerModel":
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        return self


Model = Annotated[
    NgramModel | RnnModel | LstmModel | GruModel | CnnModel | TransformerModel, Field(discriminator="family")
]
