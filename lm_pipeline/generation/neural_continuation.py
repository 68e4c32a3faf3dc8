"""Texts in progress under a neural model: its state is the memory, and for attention the key-value cache.

Rows may be texts of different lengths (see `padding`): their distributions are those that each has alone.

Shapes: B rows, T tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from lm_pipeline.generation.padding import join, trim
from lm_pipeline.generation.threads import single_threaded
from lm_pipeline.generation.windows import window_stride
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.state import State

LARGE_PARAMETERS = 50_000_000
"""From here on a step uses all threads: 200 MB of weights pass through memory for every token."""


class NeuralContinuation:
    """Each appended token costs one step of the model, of all rows together.

    Where a model cannot see further than a window (`max_positions`), a row with a full window makes room by starting
    again from its second half, which costs one pass over half a window every half window.
    """

    def __init__(self, model: LanguageModel, contexts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._window = window = model.max_positions
        self._rows = [list(context) for context in contexts]
        self._device = next(model.parameters()).device
        self._is_large = sum(p.numel() for p in model.parameters()) >= LARGE_PARAMETERS
        if window is not None:
            for row in self._rows:  # straight to where sliding over the whole context would have arrived
                while len(row) > window:
                    del row[: window_stride(window)]
        self._log_probs_BV = np.empty((len(self._rows), model.vocab_size))
        self._state = self._read_afresh(range(len(self._rows)))

    def next_log_probs(self) -> np.ndarray:
        """Natural-log probabilities of each row's next token: float64 [B, V]."""
        return self._log_probs_BV

    def append(self, tokens: Sequence[int]) -> None:
        """Go on by one token in each row."""
        full: list[int] = []
        if self._window is not None:
            for index, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
                row.append(token)
                if len(row) > self._window:
                    del row[: window_stride(self._window)]
                    full.append(index)
        if not full:
            self._state = self._read(range(len(self._rows)), [[token] for token in tokens], self._state)
            return
        going = [index for index in range(len(self._rows)) if index not in set(full)]
        states = [self._read_afresh(full)]
        if going:
            longest = max(len(self._rows[index]) for index in going) - 1  # the new token is not read yet
            before = trim(self._state.select(self._index(going)), longest)
            states.append(self._read(going, [[tokens[index]] for index in going], before))
        back = np.argsort([*full, *going])
        self._state = join(states, grows=True).select(self._index(back.tolist()))

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order."""
        self._rows = [list(self._rows[row]) for row in rows]
        self._log_probs_BV = self._log_probs_BV[list(rows)]
        self._state = self._state.select(self._index(rows))
        if self._window is not None:
            self._state = trim(self._state, max(len(row) for row in self._rows))

    def _index(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self._device)

    def _read_afresh(self, rows: Sequence[int]) -> State:
        """Read the whole window of these rows, those of equal length together; the state has them in this order."""
        by_length: dict[int, list[int]] = {}
        for row in rows:
            by_length.setdefault(len(self._rows[row]), []).append(row)
        states = [self._read(group, [self._rows[row] for row in group], None) for group in by_length.values()]
        order = {row: place for place, row in enumerate(row for group in by_length.values() for row in group)}
        return join(states, grows=self._window is not None).select(self._index([order[row] for row in rows]))

    def _read(self, rows: Sequence[int], tokens: Sequence[Sequence[int]], state: State | None) -> State:
        """Read equally many tokens in each of these rows and note the distributions after them."""
        # One row of a large model waits for memory, which several threads bring in faster.
        threads = nullcontext() if self._is_large else single_threaded()
        with torch.inference_mode(), threads:
            hidden_BTD, after = self._model(torch.tensor(tokens, device=self._device), state)
            logits_BV = self._model.logits(hidden_BTD[:, -1])
        self._log_probs_BV[list(rows)] = log_softmax(logits_BV.float().cpu().numpy())
        return after


def log_softmax(logits_BV: np.ndarray) -> np.ndarray:
    """Natural-log probabilities as float64: exponentials as float32, which is all that logits have, summed as float64.

    The probabilities sum to one to about 1e-8; exponentials as float64 would take longer than the model's layers.
    """
    shifted_BV = logits_BV - logits_BV.max(axis=1, keepdims=True)
    sums_B1 = np.exp(shifted_BV).sum(axis=1, keepdims=True, dtype=np.float64)
    return shifted_BV - np.log(sums_B1)
