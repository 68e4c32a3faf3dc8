import json
import shutil

import pytest
import torch

from lm_pipeline.errors import CorruptArtifactError, LmPipelineError
from lm_pipeline.training.checkpoint import Checkpoint, load_latest, save
from lm_pipeline.training.saved import CHECKPOINTS, count_saved_steps
from lm_pipeline.training.sharded import Saver
from lm_pipeline.training.world import World


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint({"weights": torch.full((300,), float(number)), "step": torch.tensor(number)}, {"number": number})


def refuse(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def test_what_was_saved_is_loaded(tmp_path):
    save(tmp_path / "new", 3, checkpoint(3))
    found = load_latest(tmp_path / "new", refuse)
    assert found is not None
    assert found.state == {"number": 3}
    assert torch.equal(found.tensors["weights"], torch.full((300,), 3.0))
    assert found.tensors["step"].item() == 3


def test_nothing_is_found_in_an_absent_folder(tmp_path):
    assert load_latest(tmp_path / "absent", refuse) is None


def test_the_last_two_are_kept(tmp_path):
    for number in (0, 5, 10, 15):
        save(tmp_path, number, checkpoint(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]


def test_steps_of_nine_digits_come_after_those_of_eight(tmp_path):
    for number in (99_999_998, 99_999_999, 100_000_000):
        save(tmp_path, number, checkpoint(number))
    found = load_latest(tmp_path, refuse)
    assert found is not None
    assert found.state == {"number": 100_000_000}
    assert {path.name for path in tmp_path.iterdir()} == {"step-99999999", "step-100000000"}


def test_a_copy_that_somebody_keeps_is_neither_resumed_from_nor_deleted_nor_counted(tmp_path):
    folder = tmp_path / CHECKPOINTS
    save(folder, 20, checkpoint(20))
    copies = {"step-00000020-copy", "step-00000020 (副本)", "step-copy"}
    for name in copies:
        shutil.copytree(folder / "step-00000020", folder / name)
    for number in (5, 10, 15):
        shutil.rmtree(folder / "step-00000020", ignore_errors=True)
        save(folder, number, checkpoint(number))
    assert {path.name for path in folder.iterdir()} == {*copies, "step-00000010", "step-00000015"}
    assert count_saved_steps(tmp_path) == 15
    found = load_latest(folder, refuse)
    assert found is not None
    assert found.state == {"number": 15}


def test_nothing_is_counted_where_all_are_damaged_although_no_training_begins_anew_then(tmp_path):
    folder = tmp_path / CHECKPOINTS
    save(folder, 5, checkpoint(5))
    (folder / "step-00000005" / "tensors.safetensors").write_bytes(b"")
    assert count_saved_steps(tmp_path) == 0
    with pytest.raises(CorruptArtifactError, match="delete that folder"):
        load_latest(folder, refuse)


def test_saving_the_same_step_replaces_it(tmp_path):
    save(tmp_path, 5, checkpoint(1))
    save(tmp_path, 5, checkpoint(2))
    found = load_latest(tmp_path, refuse)
    assert found is not None
    assert found.state == {"number": 2}


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, name, damage):
    save(tmp_path, 5, checkpoint(5))
    save(tmp_path, 10, checkpoint(10))
    path = tmp_path / "step-00000010" / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    warnings = []
    found = load_latest(tmp_path, warnings.append)
    assert found is not None
    assert found.state == {"number": 5}
    assert "step-00000010 is damaged" in warnings[0]


def test_every_single_flipped_bit_of_the_tensors_is_noticed(tmp_path):
    save(tmp_path, 1, checkpoint(1))
    path = tmp_path / "step-00000001" / "tensors.safetensors"
    content = path.read_bytes()
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match=r"SHA-256 of tensors\.safetensors differs"):
            load_latest(tmp_path, refuse)


def test_where_all_are_damaged_a_training_does_not_begin_anew_by_itself(tmp_path):
    for number in (5, 10):
        save(tmp_path, number, checkpoint(number))
        (tmp_path / f"step-{number:08d}" / "manifest.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"step-00000010.*step-00000005.*delete that folder") as caught:
        load_latest(tmp_path, refuse)
    assert caught.value.exit_code == 5


def test_a_full_disk_is_said_with_folder_and_remedy_and_leaves_nothing(tiny_disk):
    saver = Saver(tiny_disk, World())
    saver.save(5, Checkpoint({"weights": torch.zeros(150_000)}, {}))
    with pytest.raises(LmPipelineError, match=r"checkpoint of step 6 below .*lm-pipeline gc"):
        saver.save(6, Checkpoint({"weights": torch.zeros(150_000)}, {}))
    assert [path.name for path in tiny_disk.iterdir()] == ["step-00000005"]
    assert load_latest(tiny_disk, refuse) is not None


def test_a_write_that_was_killed_leaves_nothing_that_counts(tmp_path):
    save(tmp_path, 5, checkpoint(5))
    shutil.copytree(tmp_path / "step-00000005", tmp_path / "writing-123")
    (tmp_path / "writing-123" / "manifest.json").unlink()
    found = load_latest(tmp_path, refuse)
    assert found is not None
    assert found.state == {"number": 5}
    save(tmp_path, 6, checkpoint(6))
    assert not list(tmp_path.glob("writing-*"))


def test_the_manifest_names_the_digests(tmp_path):
    save(tmp_path, 5, checkpoint(5))
    manifest = json.loads((tmp_path / "step-00000005" / "manifest.json").read_text())
    assert manifest["step"] == 5
    assert {len(entry["sha256"]) for entry in manifest["files"].values()} == {64}
