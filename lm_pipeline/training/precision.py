"""float32 or bfloat16.

Weights and optimizer are float32 always; `bfloat16` runs forward and backward under autocast. In float32, TF32 is
allowed on GPUs that have it (19 bits for the factors of a product, float32 sums), as torch's own trainers do; set
`NVIDIA_TF32_OVERRIDE=0` to forbid it.
"""

import contextlib
from typing import Any

import torch


def autocast(
    precision: str, device: torch.device, *, keeps_casts: bool = True
) -> contextlib.AbstractContextManager[Any]:
    """The context in which forward passes run.

    Args:
        precision: `float32` or `bfloat16`.
        device: where they run.
        keeps_casts: whether a weight that is used several times is cast once. All threads of a process keep their
            casts in one place, and the first that is done with its pass clears it.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=keeps_casts)


def allow_tf32() -> None:
    """State the policy on TF32; it has no effect on CPUs.

    torch has an older setting and one for each library. Where they disagree, it is an error to ask for the older one,
    and parts of its compiler and profiler do. The older one sets all of them, so oneDNN's, which is for CPUs, is put
    back.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.mkldnn.matmul.fp32_precision = "ieee"  # type: ignore[attr-defined] # torch declares no type
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined] # the same
    torch.backends.cudnn.rnn.fp32_precision = "tf32"  # type: ignore[attr-defined] # the same
