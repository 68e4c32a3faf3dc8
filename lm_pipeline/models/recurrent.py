"""Recurrent backbones: the Elman network, the LSTM and the GRU, stacked.

Papers: Elman 1990 and Mikolov et al. 2010 (rnn); Hochreiter & Schmidhuber 1997 and Zaremba et al. 2014 (lstm);
Cho et al. 2014 (gru). The cells are torch's own (`torch.nn.RNN`, `LSTM`, `GRU`), which are faster than a loop over
cells in Python; what is ours is dropout as Zaremba et al. place it, initialisation and the state.

Shapes: B batch, T time, D width, L layers.
"""

import math

from torch import Tensor, nn

from lm_pipeline.models.state import State
from lm_pipeline.specs.model import GruModel, LstmModel, RnnModel

CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(nn.Module):
    """Stacked recurrent layers; dropout on what enters and leaves each layer, never on the recurrence."""

    embedding_std = 0.1 / math.sqrt(3)
    """Zaremba et al. draw weights uniformly from [-0.1, 0.1]: this is that distribution's deviation."""

    def __init__(self, spec: RnnModel | LstmModel | GruModel, context_length: int) -> None:
        super().__init__()
        del context_length  # a recurrent network reads texts of any length
        between = spec.dropout if spec.num_layers > 1 else 0.0
        self.cells = CELLS[spec.family](spec.width, spec.width, spec.num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(spec.dropout)
        self._initialise(spec)

    def _initialise(self, spec: RnnModel | LstmModel | GruModel) -> None:
        """Glorot for input weights, orthogonal recurrence (Saxe et al. 2014), forget gates open (Jozefowicz 2015)."""
        for name, parameter in self.cells.named_parameters():
            gates_GDD = parameter.detach().chunk(parameter.shape[0] // spec.width)
            if name.startswith("weight_hh"):
                for gate_DD in gates_GDD:
                    nn.init.orthogonal_(gate_DD)
            elif name.startswith("weight_ih"):
                for gate_DD in gates_GDD:
                    nn.init.xavier_uniform_(gate_DD)
            else:
                nn.init.zeros_(parameter)
                if spec.family == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(gates_GDD[1])  # torch's gate order is input, forget, cell, output

    def forward(self, x_BTD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read T more tokens."""
        before = None
        if state is not None:
            layers_first = [tensor_BLD.transpose(0, 1).contiguous() for tensor_BLD in state.tensors]
            before = tuple(layers_first) if isinstance(self.cells, nn.LSTM) else layers_first[0]
        y_BTD, after = self.cells(x_BTD, before)
        carried = (after,) if isinstance(after, Tensor) else after
        position = (state.position if state else 0) + x_BTD.shape[1]
        return self.dropout(y_BTD), State(position, tuple(tensor_LBD.transpose(0, 1) for tensor_LBD in carried))

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        del context_length
        return sum(parameter.numel() for parameter in self.cells.parameters() if parameter.dim() > 1)
