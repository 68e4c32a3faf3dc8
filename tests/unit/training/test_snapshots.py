import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lm_pipeline.errors import InputError
from lm_pipeline.specs.training import Training
from lm_pipeline.training.snapshots import save_snapshot, snapshot_steps


@given(st.integers(1, 500), st.integers(1, 40), st.one_of(st.none(), st.integers(1, 9)))
def test_what_is_kept_is_evenly_spaced_and_fits(step, interval, room):
    kept, gone = snapshot_steps(step, interval, room)
    assert sorted(kept + gone) == list(range(interval, step + 1, interval))
    assert room is None or len(kept) <= room
    assert len({b - a for a, b in zip([0, *kept], kept, strict=False)}) <= 1
    if room and len(kept) < room // 2:
        assert not gone


def weights(number):
    return {"w": torch.full((250,), float(number))}  # 1000 bytes


def steps(folder):
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.iterdir())


def test_snapshots_thin_out_to_the_budget(tmp_path):
    training = Training(snapshot_interval=10, max_snapshot_megabytes=0.003)
    for step in range(10, 80, 10):
        save_snapshot(tmp_path, step, weights(step), training)
    assert steps(tmp_path) == [20, 40, 60]
    save_snapshot(tmp_path, 80, weights(80), training)
    assert steps(tmp_path) == [40, 80]
    assert load_file(tmp_path / "step-00000040.safetensors")["w"][0] == 40


def test_without_a_budget_all_stay(tmp_path):
    for step in (10, 20, 30):
        save_snapshot(tmp_path, step, weights(step), Training(snapshot_interval=10))
    assert steps(tmp_path) == [10, 20, 30]


def test_a_budget_without_room_for_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"max_snapshot_megabytes is 0\.0005.* takes 0\.001"):
        save_snapshot(tmp_path, 10, weights(1), Training(snapshot_interval=10, max_snapshot_megabytes=0.0005))
