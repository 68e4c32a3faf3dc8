"""Text from a model: a batch of prompts, each row with draws, stop strings and end of its own.

A row's text does not depend on the rows beside it.
"""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lm_pipeline.errors import InputError
from lm_pipeline.generation.beam import Beam, beam_search
from lm_pipeline.generation.continuation import Continuable
from lm_pipeline.generation.sampling import choose
from lm_pipeline.generation.streaming import TextStream
from lm_pipeline.specs.generation import Decoding
from lm_pipeline.tokenization.controls import OURS, Controls
from lm_pipeline.tokenization.tokenizer import Tokenizer

Ending = Literal["end", "length", "stop", "time"]
"""Why a text ended: the model ended the document; `max_tokens`; a stop string; `max_seconds`."""


@dataclass
class Completion:
    """A text in progress, complete once `ending` is set.

    Attributes:
        prompt: what it continues.
        seed: seed of its draws.
        tokens: ids that were generated, those of a stop string included, EOS not.
        log_probs: natural-log probability of each of them, as the model gives it.
        text: what they spell, up to a stop string; without the prompt.
        ending: why it ended; None while it goes on.
    """

    prompt: str
    seed: int = 0
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    text: str = ""
    ending: Ending | None = None


def generate(scorer: Continuable, tokenizer: Tokenizer, prompt: str, decoding: Decoding) -> Iterator[str]:
    """Continue one prompt; yields text as it is formed, without the prompt. No piece is empty.

    Args:
        scorer: the model.
        tokenizer: the tokenizer it was trained with.
        prompt: how the document begins; empty to begin a new one.
        decoding: how tokens are chosen and where the text ends. Beam search knows its text only at the end.

    Raises:
        InputError: the prompt is no valid Unicode, or the model's probabilities are not finite.
    """
    if decoding.num_beams > 1:
        pieces: Iterator[str] = (text.text for text in complete(scorer, tokenizer, [prompt], decoding))
    else:
        pieces = (piece for _, piece in stream(scorer, tokenizer, [Completion(prompt, decoding.seed)], decoding))
    yield from (piece for piece in pieces if piece)


def complete(
    scorer: Continuable, tokenizer: Tokenizer, prompts: Sequence[str], decoding: Decoding, num_per_prompt: int = 1
) -> list[Completion]:
    """Continue a batch of prompts.

    Args:
        num_per_prompt: texts of each prompt: drawn with the seeds `seed`, `seed + 1`...; of beam search the best ones,
            best first.

    Returns:
        The completions, prompt by prompt.

    Raises:
        InputError: as for `generate`; or more texts are asked for than beam search follows.
    """
    if decoding.num_beams > 1:
        if num_per_prompt > decoding.num_beams:
            raise InputError(
                f"{num_per_prompt} texts are asked for and {decoding.num_beams} beams followed: follow as many."
            )
        deadline = _deadline(decoding)
        return [
            _of_beam(prompt, beam, tokenizer, decoding)
            for prompt in prompts
            for beam in _beams(scorer, tokenizer, prompt, decoding, deadline)[:num_per_prompt]
        ]
    texts = [Completion(prompt, decoding.seed + index) for prompt in prompts for index in range(num_per_prompt)]
    for _ in stream(scorer, tokenizer, texts, decoding):
        pass
    return texts


def stream(
    scorer: Continuable, tokenizer: Tokenizer, completions: Sequence[Completion], decoding: Decoding
) -> Iterator[tuple[int, str]]:
    """Draw texts side by side and fill the completions in; yields (row, more of its text) as it is formed.

    What control ids exclude (PAD, BOS and UNK) is no text: its probability is shared out among the other tokens.

    Raises:
        InputError: as for `generate`.
    """
    deadline = _deadline(decoding)
    rows = [_Row(completion, tokenizer, decoding) for completion in completions]
    running = list(range(len(rows)))
    continuation = scorer.start([row.context for row in rows]) if rows else None
    while continuation is not None and running:
        tokens = []
        for index, log_probs_V in zip(running, continuation.next_log_probs(), strict=True):
            piece = rows[index].take(log_probs_V)
            if time.monotonic() >= deadline:
                piece += rows[index].end("time")
            tokens.append(rows[index].last_token)
            if piece:
                yield index, piece
        going = [place for place, index in enumerate(running) if completions[index].ending is None]
        if len(going) < len(running):
            running, tokens = [running[place] for place in going], [tokens[place] for place in going]
            if running:
                continuation.select(going)
        if running:
            continuation.append(tokens)


def prompt_tokens(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of a document that begins with the prompt: BOS and its tokens."""
    return [tokenizer.controls.bos, *tokenizer.encode(prompt).tolist()]


def only_text(log_probs_V: np.ndarray, controls: Controls = OURS) -> np.ndarray:
    """The distribution without PAD, BOS and UNK, which no text has; EOS stays, for it ends one."""
    kept = log_probs_V.copy()
    kept[list(controls.excluded)] = -np.inf
    return kept


def as_json(completion: Completion) -> dict[str, Any]:
    """A completion for scripts: prompt, seed, text, ending, number of tokens and their summed log probability."""
    return {
        "prompt": completion.prompt,
        "seed": completion.seed,
        "text": completion.text,
        "ending": completion.ending,
        "num_tokens": len(completion.tokens),
        "log_prob": sum(completion.log_probs),
    }


class _Row:
    """One text of a batch, while it grows."""

    def __init__(self, completion: Completion, tokenizer: Tokenizer, decoding: Decoding) -> None:
        self.context = prompt_tokens(tokenizer, completion.prompt)
        self.last_token = self.context[-1]
        self._completion, self._decoding, self._controls = completion, decoding, tokenizer.controls
        self._draws = np.random.default_rng(completion.seed)
        self._spoken = TextStream(tokenizer, decoding.stop, begins=not completion.prompt)

    def take(self, log_probs_V: np.ndarray) -> str:
        """Choose the next token; returns the text that becomes certain by it."""
        text, decoding = self._completion, self._decoding
        history = [*self.context, *text.tokens] if decoding.repetition_penalty != 1 else ()
        token = choose(only_text(log_probs_V, self._controls), self._draws, decoding, history)
        if token == self._controls.eos:
            return self.end("end")
        self.last_token = token
        text.tokens.append(token)
        text.log_probs.append(float(log_probs_V[token]))
        piece = self._spoken.feed(token)
        text.text += piece
        if self._spoken.stopped:
            text.ending = "stop"
        elif len(text.tokens) == decoding.max_tokens:
            piece += self.end("length")
        return piece

    def end(self, ending: Ending) -> str:
        """End the text where it is, unless it has ended; returns what was held back of it."""
        text = self._completion
        if text.ending is not None:
            return ""
        piece = self._spoken.finish()
        text.text += piece
        text.ending = "stop" if self._spoken.stopped else ending
        return piece


def _deadline(decoding: Decoding) -> float:
    """When all texts that are asked for together end, by `time.monotonic()`."""
    return time.monotonic() + (decoding.max_seconds or math.inf)


def _beams(scorer: Continuable, tokenizer: Tokenizer, prompt: str, decoding: Decoding, deadline: float) -> list[Beam]:
    def stops(tokens: Sequence[int]) -> bool:
        spoken = TextStream(tokenizer, decoding.stop, begins=not prompt)
        for token in tokens:
            spoken.feed(token)
        return spoken.stopped

    controls = tokenizer.controls
    allowed = functools.partial(only_text, controls=controls)
    context = prompt_tokens(tokenizer, prompt)
    return beam_search(scorer, context, decoding, allowed, controls.eos, stops if decoding.stop else None, deadline)


def _of_beam(prompt: str, beam: Beam, tokenizer: Tokenizer, decoding: Decoding) -> Completion:
    spoken = TextStream(tokenizer, decoding.stop, begins=not prompt)
    text = "".join([*(spoken.feed(token) for token in beam.tokens), spoken.finish()])
    ending: Ending = "stop" if spoken.stopped else beam.ending
    return Completion(prompt, decoding.seed, list(beam.tokens), list(beam.log_probs), text, ending)
