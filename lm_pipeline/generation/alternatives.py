"""What a model thought of at each token of a text: probabilities, ranks and the tokens it held for likelier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm_pipeline.generation.continuation import Continuable
from lm_pipeline.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenView:
    """One token of a text.

    Attributes:
        piece: what it spells.
        probability: what the model gave it, after the tokens before it.
        rank: how many tokens the model held for likelier.
        alternatives: the likeliest tokens at this place and their probabilities, best first.
    """

    piece: str
    probability: float
    rank: int
    alternatives: tuple[tuple[str, float], ...]


def view_tokens(
    scorer: Continuable, tokenizer: Tokenizer, context: Sequence[int], tokens: Sequence[int], num_alternatives: int = 5
) -> list[TokenView]:
    """Walk through tokens that follow a context, at least one token long (BOS)."""
    views = []
    continuation = scorer.start([context])
    for position, token in enumerate(tokens):
        log_probs_V = continuation.next_log_probs()[0]
        best = np.argsort(-log_probs_V, kind="stable")[:num_alternatives]
        views.append(
            TokenView(
                tokenizer.piece(token),
                float(np.exp(log_probs_V[token])),
                int((log_probs_V > log_probs_V[token]).sum()),
                tuple((tokenizer.piece(int(other)), float(np.exp(log_probs_V[other]))) for other in best),
            )
        )
        if position + 1 < len(tokens):
            continuation.append([token])
    return views
