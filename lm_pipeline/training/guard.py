"""What happens when a loss or a gradient is not finite: it never reaches the weights.

The step is skipped. After three skips in a row the training goes back to its last checkpoint and reads on behind the
data that it stumbled over, as PaLM's did (Chowdhery et al. 2022, section 5.1). When that has not helped twice, it
stops and names the steps and the documents.
"""

from collections.abc import Sequence

from lm_pipeline.errors import LmPipelineError

MAX_CONSECUTIVE_SKIPS = 3
MAX_ROLLBACKS = 2


class DivergedError(LmPipelineError):
    """Losses or gradients stopped being finite and going back did not help."""

    exit_code = 10


def diverged(steps: Sequence[int], learning_rate: float, rollbacks: int, documents: Sequence[str]) -> DivergedError:
    """The error that ends a diverged training."""
    named = ", ".join(documents[:5]) + (f" and {len(documents) - 5} more" if len(documents) > 5 else "")
    return DivergedError(
        f"The loss or the gradient was not finite at steps {', '.join(map(str, steps))} (learning rate"
        f" {learning_rate:g}), also after going back {rollbacks} times. The weights were kept out of it. The last"
        f" batch read the documents {named}. Lower `learning_rate`, lengthen `warmup_steps` or set"
        " `max_gradient_norm`; if one document is at fault, look at it."
    )
