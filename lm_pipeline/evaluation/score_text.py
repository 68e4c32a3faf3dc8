"""The probability that a model gives to a text: a language model as a function of a sentence."""

import math
from typing import Any

import numpy as np

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.scorer import Scorer
from lm_pipeline.tokenization.tokenizer import Tokenizer


def score_text(scorer: Scorer, tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """Score a text as a whole document: each of its tokens and the end after them.

    Args:
        scorer: the model.
        tokenizer: the tokenizer it was trained with.
        text: what to score, as it stands; nothing is normalised.

    Returns:
        `{"tokens": [{"piece", "log_prob"}], "total_log_prob", "perplexity", "bits_per_byte", "num_tokens",
        "num_bytes"}`: natural logs; the last token is EOS and counts; bytes are those of the text in UTF-8.

    Raises:
        InputError: the text is empty or no valid Unicode, a probability is not finite, or the model is an encoder.
    """
    if not text:
        raise InputError("The text is empty. Give at least one character to score.")
    if not scorer.is_causal:
        raise InputError(
            "This model is an encoder: it fills gaps and gives a text no probability. Give an experiment of another"
            " family; `lm-pipeline materialize` measures how well it fills gaps."
        )
    tokens = [*tokenizer.encode(text).tolist(), tokenizer.controls.eos]
    num_bytes = len(text.encode())
    (log_probs,) = scorer.document_log_probs([np.array([tokenizer.controls.bos, *tokens])])
    total = float(log_probs.sum())
    # exp overflows beyond 709; a model that gives a token less than e^-709 is as good as broken.
    if not math.isfinite(total) or -total / len(tokens) > 709:
        raise InputError(
            f"The model gives the text the log probability {total}, which is no usable number. Its weights are"
            " damaged or diverged: train it again."
        )
    return {
        "tokens": [
            {"piece": tokenizer.piece(token), "log_prob": float(value)}
            for token, value in zip(tokens, log_probs, strict=True)
        ],
        "total_log_prob": total,
        "perplexity": math.exp(-total / len(tokens)),
        "bits_per_byte": -total / math.log(2) / num_bytes,
        "num_tokens": len(tokens),
        "num_bytes": num_bytes,
    }
