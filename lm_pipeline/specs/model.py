"""Model: the families and their shapes."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, FractionBelowOne, Int, Spec


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
    dropout: FractionBelowOne = 0.0
    """Dropout probability between layers and on embeddings."""
    tie_embeddings: bool = True
    """Whether input and output embeddings are one matrix (Press & Wolf 2017)."""
    embedding_rank: Int | None = Field(default=None, ge=1)
    """Width of embeddings where it is not `width`; projections lead in and out. Factorised, low-rank embeddings of
    ALBERT (Lan et al. 2020), for which it is well below `width`. `null` needs no projections."""
    output_bias: bool = True
    """Whether the output layer has a bias. It begins as the training data's unigram distribution."""

    @model_validator(mode="after")
    def _factors_are_of_low_rank(self) -> "_Neural":
        if self.embedding_rank is not None and self.embedding_rank >= self.width:
            raise ValueError(
                f"embedding_rank {self.embedding_rank} is not below width {self.width}, so nothing is saved: lower it"
                " or leave it out"
            )
        return self


class _Recurrent(_Neural):
    variational_dropout: bool = False
    """Whether one dropout mask serves all steps of a window, instead of a new one each (Gal & Ghahramani 2016)."""
    embedding_dropout: FractionBelowOne = 0.0
    """Fraction of the vocabulary whose embeddings are dropped for a window (Gal & Ghahramani 2016)."""
    input_dropout: FractionBelowOne | None = None
    """Dropout on embedded tokens; `null` takes `dropout`."""
    hidden_dropout: FractionBelowOne | None = None
    """Dropout between layers; `null` takes `dropout`."""
    output_dropout: FractionBelowOne | None = None
    """Dropout on what leaves the last layer; `null` takes `dropout`."""
    weight_drop: FractionBelowOne = 0.0
    """Fraction of each recurrent matrix's weights that is dropped for a window: DropConnect (Merity et al. 2018)."""


class RnnModel(_Recurrent):
    """Elman network. Source: Elman 1990; as a language model, Mikolov et al. 2010."""

    family: Literal["rnn"] = "rnn"
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Function of the hidden units."""
    initialisation: Literal["saxe_2014", "zaremba_2014", "le_2015"] = "saxe_2014"
    """Orthogonal recurrence with Glorot's input weights (Saxe et al. 2014), all weights uniform in [-0.1, 0.1]
    (Zaremba et al. 2014), or the identity as recurrence, for `relu` (Le et al. 2015)."""

    @model_validator(mode="after")
    def _the_identity_is_for_relu(self) -> "RnnModel":
        if self.initialisation == "le_2015" and self.nonlinearity != "relu":
            raise ValueError("initialisation 'le_2015' is for nonlinearity 'relu': set it, or take 'saxe_2014'")
        return self


class LstmModel(_Recurrent):
    """Long short-term memory. Source: Hochreiter & Schmidhuber 1997; Zaremba et al. 2014."""

    family: Literal["lstm"] = "lstm"
    initialisation: Literal["saxe_2014", "zaremba_2014"] = "saxe_2014"
    """Orthogonal recurrence with Glorot's input weights (Saxe et al. 2014), or all weights uniform in [-0.1, 0.1]
    (Zaremba et al. 2014)."""


class GruModel(_Recurrent):
    """Gated recurrent unit. Source: Cho et al. 2014."""

    family: Literal["gru"] = "gru"
    initialisation: Literal["saxe_2014", "zaremba_2014"] = "saxe_2014"
    """Orthogonal recurrence with Glorot's input weights (Saxe et al. 2014), or all weights uniform in [-0.1, 0.1]
    (Zaremba et al. 2014)."""


class CnnModel(_Neural):
    """Gated convolutional network. Source: Dauphin et al. 2017."""

    family: Literal["cnn"] = "cnn"
    kernel_size: Int = Field(default=4, ge=2)
    """Tokens that one causal convolution sees."""
    initialisation: Literal["gehring_2017", "he_2015"] = "gehring_2017"
    """Normal with variance 4/n, which the gate makes even (Gehring et al. 2017), or 2/n (He et al. 2015)."""


class Lora(Spec):
    """Low-rank adapters over a frozen model. Source: Hu et al. 2022."""

    rank: Int = Field(default=8, ge=1)
    """Rank of each adapter."""
    alpha: Float = Field(default=16.0, gt=0)
    """An adapter's output is multiplied by `alpha / rank`."""
    targets: Annotated[tuple[Literal["qkv", "out", "up", "down"], ...], Field(min_length=1)] = ("qkv", "out")
    """Layers that get one: the projections into and out of attention, and of the feed-forward layer."""
    dropout: FractionBelowOne = 0.0
    """Dropout on what enters an adapter."""


class _Attention(_Neural):
    num_heads: Int = Field(default=4, ge=1)
    """Attention heads; `width` must be a multiple where `head_width` is not given."""
    num_kv_heads: Int | None = Field(default=None, ge=1)
    """Heads of keys and values, each shared by a group of query heads (grouped-query attention, Ainslie et al. 2023);
    `null` has one for each."""
    head_width: Int | None = Field(default=None, ge=2)
    """Width of a head, in units; `null` takes `width / num_heads`."""
    mlp_ratio: Float = Field(default=4.0, gt=0)
    """Width of the feed-forward layer, in multiples of `width`."""
    activation: Literal["gelu", "gelu_tanh", "relu", "swiglu"] = "gelu_tanh"
    """Function of the feed-forward layer: exact GELU or its tanh form (Hendrycks & Gimpel 2016), ReLU, or the gated
    SwiGLU, which has a third matrix (Shazeer 2020)."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "rotary"
    """How attention knows positions: a learned table (GPT-2), sines (Vaswani et al. 2017), rotations of queries and
    keys (Su et al. 2021), or not at all beyond causality (Kazemnejad et al. 2023)."""
    rope_base: Float = Field(default=10_000.0, gt=0)
    """Base of rotary frequencies."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)."""
    norm_epsilon: Float = Field(default=1e-5, gt=0)
    """Added to the variance in norms."""
    norm_position: Literal["pre", "post"] = "pre"
    """Norms before each part (GPT-2) or after each residual sum (Vaswani et al. 2017)."""
    embedding_norm: bool = False
    """Whether embeddings are normalised before the first layer (BERT)."""
    final_norm: bool = True
    """Whether a norm follows the last layer (GPT-2)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised per head by RMSNorm (Dehghani et al. 2023)."""
    attention_bias: bool = True
    """Whether the projections of attention have biases."""
    mlp_bias: bool = True
    """Whether the feed-forward layers have biases."""
    norm_bias: bool = True
    """Whether LayerNorm has a bias; RMSNorm has none."""
    share_layers: bool = False
    """Whether all layers are one set of weights (ALBERT, Lan et al. 2020)."""
    initialisation: Literal["radford_2019", "devlin_2018", "glorot_2010", "nguyen_2019"] = "radford_2019"
    """Normal with deviation 0.02, residual projections divided by sqrt(2 num_layers) (GPT-2, Radford et al. 2019); the
    same without that (BERT, Devlin et al. 2018); Glorot's uniform (Glorot & Bengio 2010); normal with variance
    2 / (5 width) (Nguyen & Salazar 2019)."""

    @model_validator(mode="after")
    def _heads_fit(self) -> "_Attention":
        if self.head_width is None and self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}")
        # By value, not by what was given: requests to child processes and checkpoints have every field.
        if self.rope_base != type(self).model_fields["rope_base"].default and self.positions != "rotary":
            raise ValueError(f"rope_base is only read where positions is 'rotary'; here it is {self.positions!r}")
        if self.positions == "rotary" and self.width_of_head % 2:
            raise ValueError(
                f"heads are {self.width_of_head} wide; rotary positions turn pairs of units: choose an even width"
            )
        return self

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def width_of_head(self) -> int:
        """Width of a head, in units."""
        return self.head_width or self.width // self.num_heads

    @property
    def mlp_width(self) -> int:
        """Units of the feed-forward layer."""
        return round(self.mlp_ratio * self.width)


FORMS: dict[str, dict[str, Any]] = {
    "gpt2": {"positions": "learned", "output_bias": False},
    "llama": {
        "positions": "rotary",
        "norm": "rms",
        "activation": "swiglu",
        "mlp_ratio": 8 / 3,
        "attention_bias": False,
        "mlp_bias": False,
        "output_bias": False,
        "tie_embeddings": False,
    },
}
"""What a form says about a decoder's fields; every other field keeps its default."""


class TransformerModel(_Attention):
    """Decoder-only Transformer. Source: Vaswani et al. 2017; Radford et al. 2019 (GPT-2); Touvron et al. 2023."""

    family: Literal["transformer"] = "transformer"
    form: Literal["gpt2", "llama"] | None = None
    """Sets fields that are not given to those of GPT-2 or Llama. `null` is GPT-2 with rotary positions."""
    lora: Lora | None = None
    """Train low-rank adapters over the frozen weights of the experiment's `base`, which are merged at the end; `null`
    trains all weights."""
    parallel_blocks: bool = False
    """Whether attention and feed-forward layer read the same norm, side by side (GPT-J; Chowdhery et al. 2022)."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_form(cls, data: Any) -> Any:
        form = data.get("form") if isinstance(data, dict) else None
        return FORMS[form] | data if isinstance(form, str) and form in FORMS else data

    @model_validator(mode="after")
    def _parallel_blocks_have_their_norm_first(self) -> "TransformerModel":
        if self.parallel_blocks and self.norm_position == "post":
            raise ValueError("parallel_blocks share the norm before them: leave norm_position at 'pre'")
        return self


class EncoderModel(_Attention):
    """Bidirectional Transformer that fills in masked tokens. Source: Devlin et al. 2018 (BERT)."""

    family: Literal["encoder"] = "encoder"
    lora: Lora | None = None
    """As in the decoder."""
    mask_fraction: Float = Field(default=0.15, gt=0, lt=1)
    """Fraction of tokens that are to be predicted: 80 % of them masked, 10 % replaced, 10 % as they are."""
    activation: Literal["gelu", "gelu_tanh", "relu", "swiglu"] = "gelu"
    """As in the decoder; BERT's is the exact GELU."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned"
    """As in the decoder; BERT's are learned."""
    norm_epsilon: Float = Field(default=1e-12, gt=0)
    """Added to the variance in norms."""
    norm_position: Literal["pre", "post"] = "post"
    """Norms after each residual sum (BERT) or before each part."""
    embedding_norm: bool = True
    """Whether embeddings are normalised before the first layer."""
    final_norm: bool = False
    """Whether a norm follows the last layer; sensible with `norm_position: pre`."""
    initialisation: Literal["radford_2019", "devlin_2018", "glorot_2010", "nguyen_2019"] = "devlin_2018"
    """As in the decoder."""


class EncoderDecoderModel(_Attention):
    """Encoder and decoder with cross-attention. Source: Vaswani et al. 2017; Lewis et al. 2020 (BART)."""

    family: Literal["encoder_decoder"] = "encoder_decoder"
    num_encoder_layers: Int = Field(default=2, ge=1)
    """Layers of the encoder; `num_layers` are those of the decoder."""
    activation: Literal["gelu", "gelu_tanh", "relu", "swiglu"] = "relu"
    """As in the decoder; Vaswani's is ReLU."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "sinusoidal"
    """As in the decoder; Vaswani's are sines. Cross-attention never rotates."""
    initialisation: Literal["radford_2019", "devlin_2018", "glorot_2010", "nguyen_2019"] = "glorot_2010"
    """As in the decoder."""

    @model_validator(mode="after")
    def _embeddings_are_as_wide_as_the_rest(self) -> "EncoderDecoderModel":
        if self.embedding_rank is not None:
            raise ValueError("an encoder-decoder has no embeddings of low rank: leave embedding_rank out")
        return self


Model = Annotated[
    NgramModel | RnnModel | LstmModel | GruModel | CnnModel | TransformerModel | EncoderModel,
    Field(discriminator="family"),
]


def fields_of_weights(model: Spec) -> dict[str, Any]:
    """The fields that say what weights compute, with what `null` stands for: a model has those of its base.

    Left out are those that training alone reads (dropout, initialisation, adapters, what is masked), and the form,
    which stands for others.
    """
    fields = model.model_dump(mode="json", exclude={"form", "initialisation", "lora", "mask_fraction"})
    if isinstance(model, _Attention):
        fields |= {"num_kv_heads": model.kv_heads, "head_width": model.width_of_head}
        fields["mlp_ratio"] = model.mlp_width / model.width
    return {name: value for name, value in fields.items() if "drop" not in name}
