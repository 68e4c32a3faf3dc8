"""Probabilities from a neural model, in batches, in bounded memory.

Shapes: B rows, T tokens of a row, N scored positions, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from lm_pipeline.evaluation.scorer import check_documents
from lm_pipeline.generation.continuation import Continuation
from lm_pipeline.generation.neural_continuation import NeuralContinuation
from lm_pipeline.generation.threads import allowed_threads, threads
from lm_pipeline.generation.windows import Window, sliding_windows
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.state import State

BATCH_TOKENS = 2048
"""Inputs of one forward pass, padding included. Measured on one core: 8192 is a fifth slower for attention."""
CARRIED_CHUNK = 64
"""Inputs per row of one forward pass of a model that carries its state."""
LOGITS_BUDGET = 1 << 20
"""Logits in memory at once: 4 MiB in float32, about a core's share of cache; 64 MiB were a fifth slower."""


class NeuralScorer:
    """Scores with a model in evaluation mode, float32.

    Recurrent and convolutional models carry their state through a document of any length. Attention sees
    `context_length` tokens: longer documents are scored by sliding windows (see `generation.windows`).

    Args:
        model: the model.
        fixed_threads: see `NeuralContinuation`.
    """

    def __init__(self, model: LanguageModel, *, fixed_threads: bool = False) -> None:
        self._model = model.eval()
        self._fixed_threads = fixed_threads
        self._window = model.max_positions
        self._device = next(model.parameters()).device

    @property
    def vocab_size(self) -> int:
        """Number of token ids that it knows."""
        return self._model.vocab_size

    @property
    def is_causal(self) -> bool:
        """Yes: each token from those before it."""
        return True

    def start(self, contexts: Sequence[Sequence[int]]) -> Continuation:
        """Begin a text with each context; see `Scorer`."""
        check_documents([np.asarray(context) for context in contexts], self.vocab_size)
        return NeuralContinuation(self._model, contexts, fixed_threads=self._fixed_threads)

    def document_log_probs(self, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log probability of every target; see `Scorer`."""
        check_documents(documents, self.vocab_size)
        results = [np.empty(len(document) - 1) for document in documents]
        # Neighbours of about equal length share a batch: little padding, and rows finish in order.
        order = sorted((i for i, d in enumerate(documents) if len(d) > 1), key=lambda i: -len(documents[i]))
        if self._window is None:
            rows = max(1, BATCH_TOKENS // CARRIED_CHUNK)
            batches = [order[first : first + rows] for first in range(0, len(order), rows)]
            self._each(batches, lambda batch: self._score_carried(batch, documents, results))
        else:
            batches = _window_batches(order, self._window, documents)
            self._each(batches, lambda spans: self._score_spans(spans, None, documents, results))
        return results

    def _each(self, batches: Sequence[Any], score: Callable[[Any], object]) -> None:
        """Score batches side by side, each on one thread.

        Threads that share one product wait for each other (on a busy machine that cost a factor of five); threads with
        batches of their own do not, and the scores do not depend on the machine's number of cores.
        """
        num_threads = allowed_threads() if self._device.type == "cpu" else 1

        def work(batch: Any) -> None:
            with torch.inference_mode():
                score(batch)

        with (
            threads(1),
            ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            for _ in pool.map(work, batches):
                pass

    def _score_carried(
        self, batch: Sequence[int], documents: Sequence[np.ndarray], results: Sequence[np.ndarray]
    ) -> None:
        state = None
        for start in range(0, len(documents[batch[0]]) - 1, CARRIED_CHUNK):
            # Longest first: the rows that go on are always the first ones.
            active = [index for index in batch if len(documents[index]) - 1 > start]
            if state is not None and len(active) < len(batch):
                state = state.select(torch.arange(len(active), device=self._device))
            batch = active
            spans = [
                (index, Window(start, min(start + CARRIED_CHUNK, len(documents[index]) - 1), start)) for index in batch
            ]
            state = self._score_spans(spans, state, documents, results)

    def _score_spans(
        self,
        spans: Sequence[tuple[int, Window]],
        state: State | None,
        documents: Sequence[np.ndarray],
        results: Sequence[np.ndarray],
    ) -> State:
        longest = max(span.stop - span.start for _, span in spans)
        # Causal models never see what stands to the right, so any id pads.
        tokens_BT = np.zeros((len(spans), longest), dtype=np.int64)
        scored_BT = np.zeros((len(spans), longest), dtype=bool)
        for row, (index, span) in enumerate(spans):
            tokens_BT[row, : span.stop - span.start] = documents[index][span.start : span.stop]
            scored_BT[row, span.first_scored - span.start : span.stop - span.start] = True
        targets_N = np.concatenate([documents[i][span.first_scored + 1 : span.stop + 1] for i, span in spans])
        hidden_BTD, next_state = self._model(torch.from_numpy(tokens_BT).to(self._device), state)
        hidden_ND = hidden_BTD[torch.from_numpy(scored_BT).to(self._device)]
        log_probs_N = self._target_log_probs(hidden_ND, torch.from_numpy(targets_N.astype(np.int64)).to(self._device))
        done = 0
        for index, span in spans:
            num_scored = span.stop - span.first_scored
            results[index][span.first_scored : span.stop] = log_probs_N[done : done + num_scored]
            done += num_scored
        return next_state

    def _target_log_probs(self, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> np.ndarray:
        rows = max(1, LOGITS_BUDGET // self.vocab_size)
        parts = []
        for hidden_nD, targets_n in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True):
            logits_nV = self._model.logits(hidden_nD).float()
            chosen_n = logits_nV.gather(1, targets_n[:, None])[:, 0]
            parts.append((chosen_n - logits_nV.logsumexp(1)).double().cpu().numpy())
        return np.concatenate(parts)


def _window_batches(
    order: Sequence[int], window: int, documents: Sequence[np.ndarray]
) -> list[list[tuple[int, Window]]]:
    """Windows of all documents, longest first, as many in a batch as fit."""
    spans = [(index, span) for index in order for span in sliding_windows(len(documents[index]) - 1, window)]
    spans.sort(key=lambda item: item[1].start - item[1].stop)
    batches = []
    first = 0
    while first < len(spans):
        longest = spans[first][1].stop - spans[first][1].start
        batches.append(spans[first : first + max(1, BATCH_TOKENS // longest)])
        first += len(batches[-1])
    return batches
