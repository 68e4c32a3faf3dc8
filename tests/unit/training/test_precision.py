import torch

from lm_pipeline.training.precision import allow_tf32


def test_gpus_may_round_factors_and_cpus_may_not():
    given = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    before = given[0] @ given[1]
    allow_tf32()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert torch.equal(given[0] @ given[1], before)


def test_torch_can_be_asked_for_its_precision_as_its_compiler_does():
    allow_tf32()
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
