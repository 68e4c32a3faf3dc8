"""Probabilities of tokens from both sides, for encoders: a pseudo-likelihood, which is no probability of a text.

Each token after BOS is hidden exactly once, together with as many others as in training, and predicted from the rest.
Salazar et al. 2020 hide one token at a time, which costs a pass per token and asks what training did not teach; here a
text costs 1 / `mask_fraction` passes. Longer documents are read in windows (see `generation.windows`).

Shapes: R rows, T tokens of a row, N scored positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.scorer import check_documents
from lm_pipeline.generation.continuation import Continuation
from lm_pipeline.generation.windows import sliding_windows
from lm_pipeline.models.language_model import LanguageModel
from lm_pipeline.models.loss import token_losses
from lm_pipeline.models.masking import mask_groups, mask_of
from lm_pipeline.specs.model import EncoderModel
from lm_pipeline.tokenization.controls import OURS, Controls

BATCH_TOKENS = 4096
"""Tokens of one forward pass, padding included."""


class _Row(NamedTuple):
    document: int
    start: int
    stop: int
    hidden: np.ndarray


class MaskedScorer:
    """Scores with an encoder in evaluation mode, float32."""

    def __init__(self, model: LanguageModel, controls: Controls = OURS) -> None:
        self._mask = mask_of(controls)
        self._model = model.eval()
        self._device = next(model.parameters()).device
        spec = model.spec
        assert isinstance(spec, EncoderModel)
        self._fraction = spec.mask_fraction

    @property
    def vocab_size(self) -> int:
        """Number of token ids that it knows."""
        return self._model.vocab_size

    @property
    def is_causal(self) -> bool:
        """No: a token is predicted from those around it."""
        return False

    def start(self, contexts: Sequence[Sequence[int]]) -> Continuation:
        """Encoders do not write.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"This model is an encoder: it fills gaps and cannot continue a text ({len(contexts)} given). Give an"
            " experiment of another family."
        )

    def document_log_probs(self, documents: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log probability of every token after BOS, given what stands around it; see `Scorer`."""
        check_documents(documents, self.vocab_size)
        results = [np.empty(len(document) - 1) for document in documents]
        rows = sorted(self._rows(documents), key=lambda row: row.start - row.stop)
        with torch.inference_mode():
            while rows:
                size = max(1, BATCH_TOKENS // (rows[0].stop - rows[0].start))
                self._score(rows[:size], documents, results)
                rows = rows[size:]
        return results

    def _rows(self, documents: Sequence[np.ndarray]) -> Iterator[_Row]:
        for index, document in enumerate(documents):
            for window in sliding_windows(len(document), self._model.context_length):
                first = max(1, window.first_scored)  # BOS is given
                for group in mask_groups(window.stop - first, self._fraction) if window.stop > first else []:
                    yield _Row(index, window.start, window.stop, first + group)

    def _score(self, rows: Sequence[_Row], documents: Sequence[np.ndarray], results: list[np.ndarray]) -> None:
        longest = max(row.stop - row.start for row in rows)
        tokens_RT = np.zeros((len(rows), longest), np.int64)
        is_text_RT = np.zeros((len(rows), longest), bool)
        hidden_RT = np.zeros((len(rows), longest), bool)
        for index, row in enumerate(rows):
            tokens_RT[index, : row.stop - row.start] = documents[row.document][row.start : row.stop]
            is_text_RT[index, : row.stop - row.start] = True
            hidden_RT[index, row.hidden - row.start] = True
        targets_N = torch.from_numpy(tokens_RT[hidden_RT]).to(self._device)
        tokens_RT[hidden_RT] = self._mask
        documents_RT = None if is_text_RT.all() else torch.from_numpy(is_text_RT.astype(np.int64)).to(self._device)
        states_RTD, _ = self._model(torch.from_numpy(tokens_RT).to(self._device), documents_BT=documents_RT)
        logits_NV = self._model.logits(states_RTD[torch.from_numpy(hidden_RT).to(self._device)])
        log_probs_N = -token_losses(logits_NV, targets_N).double().cpu().numpy()
        ends = np.cumsum([len(row.hidden) for row in rows])
        for row, end in zip(rows, ends, strict=True):
            results[row.document][row.hidden - 1] = log_probs_N[end - len(row.hidden) : end]
