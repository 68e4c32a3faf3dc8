import json

import pytest
import torch

from lm_pipeline.training import measurements
from lm_pipeline.training.measurements import peak_flops, remembered

MACHINE = {"threads": 1}


@pytest.mark.parametrize("before", [1.0, 1e18])
def test_the_peak_is_the_fastest_that_was_ever_measured(before, tmp_path, monkeypatch):
    """A training that begins on a busy machine measures little; later ones would use 192 % of that."""
    monkeypatch.setitem(measurements.PEAK_SIZES, "cpu", 128)
    first = peak_flops("float32", torch.device("cpu"), MACHINE, tmp_path)
    assert first > 1e8
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert (kept["measured"], kept["subject"]["threads"]) == (first, 1)
    path.write_text(json.dumps({**kept, "measured": before}))
    again = peak_flops("float32", torch.device("cpu"), MACHINE, tmp_path)
    assert again == json.loads(path.read_text())["measured"]
    assert again == before if before > 1e8 else again > 1e8


def test_a_measurement_is_made_once_and_again_where_its_file_is_torn(tmp_path):
    assert remembered(tmp_path, "speed", MACHINE, lambda: 4.0) == 4.0
    assert remembered(tmp_path, "speed", MACHINE, lambda: 5.0) == 4.0
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:20])
    assert remembered(tmp_path, "speed", MACHINE, lambda: 5.0) == 5.0
