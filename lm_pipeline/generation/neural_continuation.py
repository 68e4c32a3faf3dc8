"""A text in progress under a neural model: its state is the memory, and for attention the key-value cache.

Shapes: B batch (here 1), T tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch

from lm_pipeline.generation.threads import single_threaded
from lm_pipeline.generation.windows import window_stride
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.state import State

LARGE_PARAMETERS = 50_000_000
"""From here on a step uses all threads: 200 MB of weights pass through memory for every token."""


class NeuralContinuation:
    """Each appended token costs one step of the model.

    Where a model cannot see further than a window (`max_positions`), a full window makes room by starting again from
    its second half, which costs one pass over half a window every half window.
    """

    def __init__(self, model: LanguageModel, context: Sequence[int]) -> None:
        self._model = model
        self._window = window = model.max_positions
        self._tokens = list(context)
        self._device = next(model.parameters()).device
        self._is_large = sum(p.numel() for p in model.parameters()) >= LARGE_PARAMETERS
        self._state: State | None = None
        if window is not None:
            # Straight to where sliding over the whole context would have arrived.
            while len(self._tokens) > window:
                del self._tokens[: window_stride(window)]
        self._read(self._tokens)

    def next_log_probs(self) -> np.ndarray:
        """Natural-log probabilities of the next token: float64 [V]."""
        return self._log_probs_V

    def append(self, token: int) -> None:
        """Go on by one token."""
        if self._window is None:
            self._read([token])
            return
        self._tokens.append(token)
        if len(self._tokens) <= self._window:
            self._read([token])
        else:
            del self._tokens[: window_stride(self._window)]
            self._state = None
            self._read(self._tokens)

    def _read(self, tokens: list[int]) -> None:
        # One row of a large model waits for memory, which several threads bring in faster.
        threads = nullcontext() if self._is_large else single_threaded()
        with torch.inference_mode(), threads:
            tokens_BT = torch.tensor([tokens], device=self._device)
            hidden_BTD, self._state = self._model(tokens_BT, self._state)
            logits_V = self._model.logits(hidden_BTD[0, -1])
        self._log_probs_V = logits_V.double().log_softmax(-1).cpu().numpy()
