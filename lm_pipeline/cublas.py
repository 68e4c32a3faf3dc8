"""How cuBLAS, which multiplies matrices on a GPU, takes its memory.

Source: PyTorch's documentation of `torch.use_deterministic_algorithms`.
"""

import os

from lm_pipeline.errors import InputError

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
DETERMINISTIC = (":4096:8", ":16:8")
"""What torch lets it be where equal runs have to give equal bits."""


def fix_workspace() -> None:
    """Let cuBLAS have memory of a fixed size, without which torch refuses to train deterministically.

    torch reads the environment once, at the first product of this process. So this is called before a model is moved
    to a GPU, also where none is trained: a training in the same process may follow.

    Raises:
        InputError: the environment asks for what is not deterministic.
    """
    value = os.environ.setdefault(VARIABLE, DETERMINISTIC[0])
    if value not in DETERMINISTIC:
        raise InputError(
            f"The environment variable {VARIABLE} is {value!r}, with which equal runs on a GPU do not give equal bits."
            f" Unset it, or set it to {' or '.join(map(repr, DETERMINISTIC))}."
        )
