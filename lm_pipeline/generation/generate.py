"""Text from a model, token by token."""

from collections.abc import Iterator, Sequence

import numpy as np

from lm_pipeline.errors import InputError
from lm_pipeline.generation.continuation import Continuable
from lm_pipeline.generation.sampling import check_settings, choose
from lm_pipeline.generation.streaming import stream_text
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD, UNK, Tokenizer


def generate(
    scorer: Continuable,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    max_tokens: int,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
    top_p: float = 1.0,
) -> Iterator[str]:
    """Continue a prompt; yields text as it is formed, without the prompt.

    Args:
        scorer: the model.
        tokenizer: the tokenizer it was trained with.
        prompt: how the document begins; empty to begin a new one.
        max_tokens: tokens generated at most; EOS ends the text earlier.
        temperature: divides log probabilities; 0 is greedy.
        top_k: candidates kept; 0 keeps all.
        seed: seed of the draws; one seed, one text.
        top_p: smallest probability mass kept; 1 keeps all.

    Raises:
        InputError: a setting is outside its range, or the model's probabilities are not finite.
    """
    check_settings(temperature, top_k, top_p)
    tokens = generate_tokens(
        scorer,
        prompt_tokens(tokenizer, prompt),
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        top_p=top_p,
    )
    return stream_text(tokens, tokenizer)


def prompt_tokens(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of a document that begins with the prompt: BOS and its tokens."""
    return [BOS, *tokenizer.encode(prompt).tolist()]


def generate_tokens(
    scorer: Continuable,
    context: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
    top_p: float = 1.0,
) -> Iterator[int]:
    """Token ids that continue `context`, up to EOS (not yielded) or `max_tokens`.

    PAD, BOS and UNK are no text: their probability is shared out among the others.

    Raises:
        InputError: as for `generate`.
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens is {max_tokens}. Give the number of tokens to generate, 1 or more.")
    generator = np.random.default_rng(seed)
    text = scorer.start(context)
    for position in range(max_tokens):
        log_probs_V = text.next_log_probs().copy()
        log_probs_V[[PAD, BOS, UNK]] = -np.inf
        token = choose(log_probs_V, generator, temperature, top_k, top_p)
        if token == EOS:
            return
        yield token
        if position + 1 < max_tokens:
            text.append(token)
