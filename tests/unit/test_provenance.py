import pytest
import torch

from lm_pipeline.provenance import processor
from lm_pipeline.training import environment

X86 = "processor : 0\nmodel name : Xeon 8480\nflags : fpu avx2 avx512f{more}\n\nprocessor : 1\nmodel name : Xeon 8480\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format(more=""), "Xeon 8480 avx2 avx512f"),
        (X86.format(more=" avx512_bf16 amx_bf16 amx_tile"), "Xeon 8480 avx2 avx512f avx512_bf16 amx_bf16"),
    ],
)
def test_processors_of_one_name_and_other_products_are_told_apart(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo") == expected


def test_an_arm_processor_has_no_name_there_but_its_products(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd sve bf16\nCPU part : 0xd40\n")
    assert processor(tmp_path / "cpuinfo").endswith(" sve bf16")


def test_a_machine_without_cpuinfo_has_a_processor_too(tmp_path):
    assert processor(tmp_path / "absent")


def test_what_is_measured_on_one_processor_is_not_taken_for_another():
    assert environment.describe(torch.device("cpu"))["device_name"] == processor()
