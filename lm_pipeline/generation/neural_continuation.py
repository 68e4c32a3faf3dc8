"""Texts in progress under a neural model: its state is the memory, and for attention the key-value cache.

Rows may be texts of different lengths (see `padding`): their distributions are those that each has alone.

Shapes: B rows, T tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from lm_pipeline.generation.padding import join, trim
from lm_pipeline.generation.threads import MeasuredThreads, allowed_threads, threads
from lm_pipeline.generation.windows import window_stride
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.state import State

LARGE_PARAMETERS = 50_000_000
"""From here on all threads read: 200 MB of weights pass through memory for every token."""
SHARED_WORK = 10_000_000
"""Parameters times rows from which on a step may be faster shared; below, one thread is, on any machine."""
LEAST_PLACES = 64
"""Tokens that memory has room for at least, as long as the model can see so many."""


class NeuralContinuation:
    """Each appended token costs one step of the model, of all rows together.

    Where a model cannot see further than a window (`max_positions`), a row with a full window makes room by starting
    again from its second half, which costs one pass over half a window every half window.

    Args:
        model: in evaluation mode.
        contexts: tokens of each row, at least one.
        fixed_threads: one thread always, not what is faster now. Sums differ in their last bits with the number of
            threads, and so might, once in many thousands of tokens, a draw.
    """

    def __init__(self, model: LanguageModel, contexts: Sequence[Sequence[int]], *, fixed_threads: bool = False) -> None:
        self._model = model
        self._window = window = model.max_positions
        self._rows = [list(context) for context in contexts]
        self._device = next(model.parameters()).device
        self._num_parameters = sum(parameter.numel() for parameter in model.parameters())
        self._fixed_threads = fixed_threads
        self._measured = MeasuredThreads(1 if fixed_threads else allowed_threads())
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
            state = self._state
            if self._window is not None and state.position == state.places:
                # Twice as much each time: over a whole text, a token is copied about once.
                state = state.reserve(min(max(2 * state.position, LEAST_PLACES), self._window))
            self._state = self._read(range(len(self._rows)), [[token] for token in tokens], state)
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
        with torch.inference_mode(), self._team(len(rows) if state else None):
            hidden_BTD, after = self._model(torch.tensor(tokens, device=self._device), state)
            logits_BV = self._model.logits(hidden_BTD[:, -1])
        self._log_probs_BV[list(rows)] = log_softmax(logits_BV.float().cpu().numpy())
        return after

    def _team(self, rows_of_step: int | None) -> AbstractContextManager[None]:
        """Threads for a step of so many rows, or (None) for reading anew."""
        if self._fixed_threads:
            return threads(1)
        if rows_of_step and self._num_parameters * rows_of_step >= SHARED_WORK:
            return self._measured.step()
        return nullcontext() if self._num_parameters >= LARGE_PARAMETERS else threads(1)


def log_softmax(logits_BV: np.ndarray) -> np.ndarray:
    """Natural-log probabilities as float64: exponentials as float32, which is all that logits have, summed as float64.

    The probabilities sum to one to about 1e-8; exponentials as float64 would take longer than the model's layers.
    """
    shifted_BV = logits_BV - logits_BV.max(axis=1, keepdims=True)
    sums_B1 = np.exp(shifted_BV).sum(axis=1, keepdims=True, dtype=np.float64)
    return shifted_BV - np.log(sums_B1)
