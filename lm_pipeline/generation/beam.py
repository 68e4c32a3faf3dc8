"""Beam search: the most probable text that a search of bounded width finds.

Every step extends each of the `num_beams` texts by every token and keeps the best `num_beams` that go on; texts that
end are set aside. Texts are ranked by log probability / length ^ length_penalty, with the length in tokens, EOS
included. The search ends when no text that goes on can still overtake the worst that would be returned: with log
probabilities at most 0, that bound is exact. Definitions as in Hugging Face's `generate` with `early_stopping="never"`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lm_pipeline.generation.continuation import Continuable
from lm_pipeline.generation.sampling import normalise, penalise_repetition
from lm_pipeline.specs.generation import Decoding


@dataclass(frozen=True)
class Beam:
    """A text that the search found.

    Attributes:
        tokens: generated ids, EOS not among them.
        log_probs: natural-log probability of each, as the model gives it.
        score: what it is ranked by.
        ending: why it ended.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    score: float
    ending: Literal["end", "length", "stop", "time"]


@dataclass(frozen=True)
class _Path:
    """A text as it grows; `total` is what the search adds up: among tokens of text, with repetitions penalised."""

    tokens: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    total: float = 0.0

    def extended(self, token: int, log_prob: float, total: float) -> "_Path":
        return _Path((*self.tokens, token), (*self.log_probs, log_prob), total)


def beam_search(
    scorer: Continuable,
    context: Sequence[int],
    decoding: Decoding,
    allowed: Callable[[np.ndarray], np.ndarray],
    eos_id: int,
    stops: Callable[[Sequence[int]], bool] | None = None,
    deadline: float = math.inf,
) -> list[Beam]:
    """The best texts after `context`, best first: at most `num_beams`, at least one.

    Args:
        scorer: the model.
        context: token ids, at least one.
        decoding: `num_beams`, `length_penalty`, `repetition_penalty` and `max_tokens`.
        allowed: takes log probabilities [V] and sets those of tokens that may not be chosen to -inf.
        eos_id: the token that ends a text.
        stops: whether a text of these tokens ends with its last one.
        deadline: when texts end where they are, by `time.monotonic()`; each has at least one token then.

    Raises:
        InputError: the model's probabilities are not finite.
    """
    width = decoding.num_beams
    finished: list[Beam] = []
    running = [_Path()]
    continuation = scorer.start([context])
    while True:
        rows, grown = [], []
        log_probs_BV = continuation.next_log_probs()
        for row, token, total in _candidates(log_probs_BV, running, context, decoding, allowed):
            path = running[row].extended(token, float(log_probs_BV[row][token]), total)
            if token == eos_id:
                if len(rows) < width:  # ranked behind the ones that go on, it would not be among the best
                    finished.append(_finish(path, path.tokens[:-1], "end", decoding))
            elif stops is not None and stops(path.tokens):
                finished.append(_finish(path, path.tokens, "stop", decoding))
            elif len(rows) < width:
                rows.append(row)
                grown.append(path)
        finished = sorted(finished, key=lambda beam: -beam.score)[:width]
        running = grown
        is_late = time.monotonic() >= deadline
        if running and (is_late or len(running[0].tokens) == decoding.max_tokens):
            ending = "time" if is_late else "length"
            finished += [_finish(path, path.tokens, ending, decoding) for path in running]
            running = []
        if not running or (len(finished) >= width and finished[-1].score >= _bound(running, decoding)):
            return sorted(finished, key=lambda beam: -beam.score)[:width]
        continuation.select(rows)
        continuation.append([path.tokens[-1] for path in running])


def _candidates(
    log_probs_BV: np.ndarray,
    running: Sequence[_Path],
    context: Sequence[int],
    decoding: Decoding,
    allowed: Callable[[np.ndarray], np.ndarray],
) -> list[tuple[int, int, float]]:
    """The best (row, token, total of the text with it), best first; twice as many as beams: half of them may end."""
    totals_BV = []
    for path, log_probs_V in zip(running, log_probs_BV, strict=True):
        kept = normalise(allowed(log_probs_V))
        history = [*context, *path.tokens] if decoding.repetition_penalty != 1 else ()
        totals_BV.append(path.total + penalise_repetition(kept, history, decoding.repetition_penalty))
    flat = np.concatenate(totals_BV)
    best = np.argsort(-flat, kind="stable")[: 2 * decoding.num_beams]
    vocab_size = len(totals_BV[0])
    return [(*divmod(int(place), vocab_size), float(flat[place])) for place in best if np.isfinite(flat[place])]


def _finish(
    path: _Path, tokens: Sequence[int], ending: Literal["end", "length", "stop", "time"], decoding: Decoding
) -> Beam:
    score = path.total / len(path.tokens) ** decoding.length_penalty
    return Beam(tuple(tokens), path.log_probs[: len(tokens)], score, ending)


def _bound(running: Sequence[_Path], decoding: Decoding) -> float:
    """The best score that a text which goes on can still reach."""
    length = decoding.max_tokens if decoding.length_penalty > 0 else len(running[0].tokens) + 1
    return max(path.total for path in running) / length**decoding.length_penalty
