"""Recurrent backbones: the Elman network, the LSTM and the GRU, stacked.

Papers: Elman 1990 and Mikolov et al. 2010 (rnn); Hochreiter & Schmidhuber 1997 and Zaremba et al. 2014 (lstm);
Cho et al. 2014 (gru); Gal & Ghahramani 2016 and Merity et al. 2018 (dropout, see `models.dropout`). The cells are
torch's own fused ones, which are faster than a loop over cells in Python, also where their weights are dropped: they
are functions of the weights. What is ours is dropout, initialisation, the state and its reset between documents.

Shapes: B batch, T time, D width, L layers, N = B T tokens, R runs: the stretches of one document within one row.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from lm_pipeline.models.dropout import variational_dropout, weight_drop
from lm_pipeline.models.initialisation import RecurrentSpec, initialise_recurrent
from lm_pipeline.models.state import State, join_documents
from lm_pipeline.specs.model import RnnModel

CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Runs(NamedTuple):
    """Rows cut where documents begin, laid out as torch's fused cells read sequences of unequal lengths.

    All runs' first tokens come first, the longest run's before the others', then all second tokens, and so on.

    Attributes:
        order_N: the token that stands at each place of that layout, counted row by row.
        rows_N: its row.
        batch_sizes_T: runs that are long enough to have a step t (on the CPU, as torch demands).
        row_R: the row of each run, longest first.
        goes_on_R: whether the run goes on with what its row read before.
        last_B: the run that ends each row.
    """

    order_N: Tensor
    rows_N: Tensor
    batch_sizes_T: Tensor
    row_R: Tensor
    goes_on_R: Tensor
    last_B: Tensor

    @classmethod
    def cut(cls, documents_BS: Tensor) -> "Runs":
        """Cut the T tokens of each row that follow the first column, which is the document read before."""
        batch, time = documents_BS.shape[0], documents_BS.shape[1] - 1
        begins_BT = documents_BS[:, 1:] != documents_BS[:, :-1]
        goes_on_B = ~begins_BT[:, 0]
        begins_BT = begins_BT.clone()
        begins_BT[:, 0] = True
        run_N = begins_BT.flatten().cumsum(0) - 1
        starts_R = begins_BT.flatten().nonzero()[:, 0]
        lengths_R = run_N.bincount()
        rank_R = lengths_R.argsort(descending=True, stable=True)
        place_R = torch.empty_like(rank_R).scatter_(0, rank_R, torch.arange(len(rank_R), device=rank_R.device))
        step_N = torch.arange(batch * time, device=run_N.device) - starts_R[run_N]
        order_N = (step_N * len(rank_R) + place_R[run_N]).argsort()
        row_R = (starts_R // time)[rank_R]
        first_R = (starts_R % time == 0)[rank_R]
        last_B = place_R[run_N.view(batch, time)[:, -1]]
        return cls(order_N, order_N // time, step_N.bincount().cpu(), row_R, first_R & goes_on_B[row_R], last_B)


class Recurrent(nn.Module):
    """Stacked recurrent layers; dropout on what enters and leaves each layer and on weights, not on hidden states."""

    def __init__(self, spec: RecurrentSpec, context_length: int) -> None:
        super().__init__()
        del context_length  # a recurrent network reads texts of any length
        self.spec = spec
        self.input_dropout = spec.dropout if spec.input_dropout is None else spec.input_dropout
        self.hidden_dropout = spec.dropout if spec.hidden_dropout is None else spec.hidden_dropout
        self.output_dropout = spec.dropout if spec.output_dropout is None else spec.output_dropout
        between = self.hidden_dropout if spec.num_layers > 1 else 0.0
        more = {"nonlinearity": spec.nonlinearity} if isinstance(spec, RnnModel) else {}
        self.cells = CELLS[spec.family](
            spec.width, spec.width, spec.num_layers, batch_first=True, dropout=between, **more
        )
        self.function = getattr(torch, f"rnn_{spec.nonlinearity}" if isinstance(spec, RnnModel) else spec.family)
        initialise_recurrent(self.cells, spec)

    def forward(
        self, x_BTD: Tensor, state: State | None = None, documents_BT: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read T more tokens; where a document begins, it finds the state of a fresh text.

        Args:
            x_BTD: embedded tokens.
            state: hidden (and cell) vectors of each row (B x L x D).
            documents_BT: the document of each token; see `state.join_documents`.
        """
        batch, time, width = x_BTD.shape
        position = (state.position if state else 0) + time
        documents_BS = join_documents(state, documents_BT, 1, x_BTD.shape)
        before = () if state is None else tuple(tensor.transpose(0, 1).contiguous() for tensor in state.tensors)
        if documents_BS is None:
            y_BTD, after = self._read(x_BTD, before, None)
            return y_BTD, State(position, tuple(tensor_LBD.transpose(0, 1) for tensor_LBD in after))
        runs = Runs.cut(documents_BS)
        goes_on = runs.goes_on_R[None, :, None]
        before = tuple(torch.where(goes_on, tensor_LBD[:, runs.row_R], 0) for tensor_LBD in before)
        y_ND, after = self._read(x_BTD.reshape(-1, width)[runs.order_N], before, runs)
        y_BTD = torch.empty_like(y_ND).index_copy(0, runs.order_N, y_ND).view(batch, time, width)
        tensors = tuple(tensor_LRD[:, runs.last_B].transpose(0, 1) for tensor_LRD in after)
        return y_BTD, State(position, tensors, documents_BS[:, -1:])

    def _read(self, x: Tensor, before: tuple[Tensor, ...], runs: Runs | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read B x T x D, or N x D as `runs` lays it out; states are L x B x D or L x R x D."""
        spec = self.spec
        num_rows = x.shape[0] if runs is None else len(runs.last_B)
        if not self.training or not (spec.variational_dropout or spec.weight_drop):
            x = F.dropout(x, self.input_dropout, self.training)
            hidden = (before if spec.family == "lstm" else before[0]) if before else None
            y, after = self.cells(x if runs is None else PackedSequence(x, runs.batch_sizes_T), hidden)
            y = y.data if isinstance(y, PackedSequence) else y
            return F.dropout(y, self.output_dropout, self.training), _as_tuple(after)
        rows_N = None if runs is None else runs.rows_N

        def drop(values: Tensor, probability: float) -> Tensor:
            if spec.variational_dropout:
                return variational_dropout(values, rows_N, num_rows, probability)
            return F.dropout(values, probability)

        if not before:
            num_runs = num_rows if runs is None else len(runs.row_R)
            zeros = x.new_zeros(spec.num_layers, num_runs, spec.width)
            before = (zeros, zeros) if spec.family == "lstm" else (zeros,)
        x, layers = drop(x, self.input_dropout), []
        for layer in range(spec.num_layers):
            x, after = self._layer(layer, x, tuple(tensor[layer : layer + 1] for tensor in before), runs)
            layers.append(after)
            x = drop(x, self.output_dropout if layer + 1 == spec.num_layers else self.hidden_dropout)
        return x, tuple(torch.cat(tensors) for tensors in zip(*layers, strict=True))

    def _layer(
        self, layer: int, x: Tensor, before: tuple[Tensor, ...], runs: Runs | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer, a number of its recurrent weights dropped."""
        names = [f"{kind}_l{layer}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        weights = [cast("Tensor", getattr(self.cells, name)) for name in names]
        weights[1] = weight_drop(weights[1], self.spec.weight_drop)
        hidden = before if self.spec.family == "lstm" else before[0]
        if runs is None:
            y, *after = self.function(x, hidden, weights, True, 1, 0.0, self.training, False, True)
        else:
            y, *after = self.function(x, runs.batch_sizes_T, hidden, weights, True, 1, 0.0, self.training, False)
        return y, tuple(after)

    def macs_per_token(self, context_length: int) -> int:
        """Multiply-adds of one token's forward pass."""
        del context_length
        return sum(parameter.numel() for parameter in self.cells.parameters() if parameter.dim() > 1)

    def frozen_macs_per_token(self) -> int:
        """Those of them whose weights are not trained: none."""
        return 0


def _as_tuple(after: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (after,) if isinstance(after, Tensor) else tuple(after)
