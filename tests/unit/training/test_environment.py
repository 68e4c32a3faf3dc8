import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lm_pipeline.cublas import VARIABLE
from lm_pipeline.errors import InputError
from lm_pipeline.specs.training import Training
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.environment import choose_device, make_deterministic
from lm_pipeline.training.loop import take_step

NOT_ON_A_GPU = {
    "adaptive_max_pool2d_backward",
    "bincount",
    "cumsum",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "median",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "put",
    "reflection_pad1d_backward",
    "scatter_reduce",
    "upsample_linear1d_backward",
}
"""Operations of sequences, losses and indices for which torch has no deterministic kernel on a GPU, or not for floats
(`torch.use_deterministic_algorithms`)."""


class Operations(TorchDispatchMode):
    """Collects the names of operations on floats that come before the device's own kernels; `add_` counts as `add`."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        if any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in args):
            self.seen.add(func.overloadpacket.__name__.rstrip("_"))
        return func(*args, **(kwargs or {}))


def test_an_operation_without_a_deterministic_kernel_is_an_error_and_no_warning():
    make_deterministic(Training(num_threads=1))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_products_on_a_gpu_have_memory_that_torch_takes_for_deterministic(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    assert choose_device(Training(device=device)).type == "cuda"
    assert os.environ[VARIABLE] == ":4096:8"
    monkeypatch.setenv(VARIABLE, ":16:8")
    choose_device(Training(device=device))
    assert os.environ[VARIABLE] == ":16:8"
    monkeypatch.setenv(VARIABLE, ":0:0")
    with pytest.raises(InputError, match=r"CUBLAS_WORKSPACE_CONFIG is ':0:0'.* set it to ':4096:8' or ':16:8'"):
        choose_device(Training(device=device))
    assert choose_device(Training(device="cpu")).type == "cpu"


def test_operations_in_place_are_seen_as_well():
    numbers, rows = torch.ones(3), torch.zeros(3, dtype=torch.int64)
    with Operations() as operations:
        numbers.cumsum_(0)
        numbers.scatter_reduce_(0, rows, torch.ones(3), "sum")
    assert operations.seen & NOT_ON_A_GPU == {"cumsum", "scatter_reduce"}


def test_no_step_takes_an_operation_that_has_none_on_a_gpu(form, make_job, listener, tmp_path):
    job = make_job(form, tmp_path, label_smoothing=0.1, z_loss=1e-4, average_decay=0.9)
    session, plan = begin(job, listener), job.plan(job.train, 0)
    with Operations() as operations:
        for _ in range(2):
            take_step(session, plan, job.training)
    assert "embedding" in operations.seen
    assert not operations.seen & NOT_ON_A_GPU
