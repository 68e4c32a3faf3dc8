"""How weights begin, by the paper that says so: the values of the specs' field `initialisation`.

Biases begin at zero unless a scheme says otherwise; norms begin as the identity.
"""

import math

import torch
from torch import Tensor, nn

from lm_pipeline.specs.model import (
    CnnModel,
    EncoderDecoderModel,
    EncoderModel,
    GruModel,
    LstmModel,
    RnnModel,
    TransformerModel,
)

RecurrentSpec = RnnModel | LstmModel | GruModel
AttentionSpec = TransformerModel | EncoderModel | EncoderDecoderModel


def embedding_std(spec: RecurrentSpec | CnnModel | AttentionSpec) -> float:
    """Deviation of the normal distribution that embeddings are drawn from."""
    width = spec.embedding_rank or spec.width
    match spec.initialisation:
        case "radford_2019" | "devlin_2018":
            return 0.02
        case "glorot_2010":
            return 1 / math.sqrt(width)  # what is scaled up by sqrt(width) on entering has unit variance
        case "nguyen_2019":
            return math.sqrt(2 / (5 * width))
        case "gehring_2017" | "he_2015":
            return 0.1  # Gehring et al. 2017, section 3.5
        case "saxe_2014" | "zaremba_2014" | "le_2015":
            return 0.1 / math.sqrt(3)  # the deviation of Zaremba et al.'s uniform distribution on [-0.1, 0.1]


def initialise_transformer(part: nn.Module, spec: AttentionSpec, num_layers: int) -> None:
    """Every linear layer of a part.

    Args:
        part: blocks, or a head.
        spec: the model.
        num_layers: blocks in a row: two residual sums each.
    """
    for name, layer in part.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        match spec.initialisation:
            case "radford_2019":
                is_residual = name.endswith((".out", ".down"))
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * num_layers) if is_residual else 0.02)
            case "devlin_2018":
                nn.init.normal_(layer.weight, std=0.02)
            case "glorot_2010":
                nn.init.xavier_uniform_(layer.weight)
            case "nguyen_2019":
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (5 * spec.width)))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def initialise_recurrent(cells: nn.RNNBase, spec: RecurrentSpec) -> None:
    """All weights of recurrent layers, gate by gate; an LSTM's forget gates begin open (Jozefowicz et al. 2015)."""
    for name, parameter in cells.named_parameters():
        gates_GDD = parameter.detach().chunk(parameter.shape[0] // spec.width)
        for index, gate in enumerate(gates_GDD):
            if spec.initialisation == "zaremba_2014":
                nn.init.uniform_(gate, -0.1, 0.1)
            elif name.startswith("weight_hh"):
                _recurrence(gate, spec)
            elif name.startswith("weight_ih"):
                _input(gate, spec)
            else:
                nn.init.zeros_(gate)
                if spec.family == "lstm" and name.startswith("bias_ih") and index == 1:
                    nn.init.ones_(gate)  # torch's gate order is input, forget, cell, output


def _recurrence(gate_DD: Tensor, spec: RecurrentSpec) -> None:
    if spec.initialisation == "le_2015":
        nn.init.eye_(gate_DD)
    elif gate_DD.is_meta:  # torch cannot orthogonalise what has no values
        return
    else:
        nn.init.orthogonal_(gate_DD)


def _input(gate_DD: Tensor, spec: RecurrentSpec) -> None:
    if spec.initialisation == "le_2015":
        nn.init.normal_(gate_DD, std=0.001)
    else:
        nn.init.xavier_uniform_(gate_DD)


@torch.no_grad()
def initialise_convolution(layer: nn.Linear, spec: CnnModel) -> None:
    """A convolution to twice D channels, half of them gates."""
    # The gate halves its input: variance 4/n keeps the output's (Gehring et al. 2017, section 3.5).
    gain = 4 if spec.initialisation == "gehring_2017" else 2
    nn.init.normal_(layer.weight, std=math.sqrt(gain * (1 - spec.dropout) / layer.in_features))
    nn.init.zeros_(layer.bias)
