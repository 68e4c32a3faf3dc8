import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import BACKBONES, RECURRENT
from lm_pipeline.specs.experiment import ExperimentSpec
from lm_pipeline.training import checkpoint
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.loop import train
from lm_pipeline.training.optimizers import optimizer_tensors
from lm_pipeline.training.plan import TokenStream
from tests.unit.training.conftest import SPECS
from tests.unit.training.interrupted import assert_same_training, curve, stop_at


def test_every_family_and_task_is_resumed_here():
    assert {spec.family for spec in SPECS.values()} == set(BACKBONES)
    tasks = get_args(ExperimentSpec.model_fields["task"].annotation)
    assert tasks == ("language_modeling",), "what follows is language modelling, of the next token or of masked ones"


def test_resume_is_bitwise_identical_to_no_interruption(form, make_job, listener, tmp_path):
    whole, cut = make_job(form, tmp_path / "whole"), make_job(form, tmp_path / "cut")
    train(whole, listener)
    for step in (2, 6, 8):
        stop_at(listener, step)
        session, interrupted = train(cut, listener)
        assert interrupted
        assert session.counters.step == step
    listener.at_point = None
    session, interrupted = train(cut, listener)
    assert not interrupted
    assert session.counters.resumed_from == [2, 6, 8]
    assert_same_training(whole, cut)


def test_training_tokens_are_counted_only_where_a_bias_begins_with_their_frequencies(
    make_job, listener, tmp_path, monkeypatch
):
    real, counted = TokenStream.target_counts, []
    monkeypatch.setattr(TokenStream, "target_counts", lambda *given: counted.append(given) or real(*given))
    fresh, adapted = make_job("gru", tmp_path / "fresh"), make_job("transformer, adapted", tmp_path / "adapted")
    unbiased = dataclasses.replace(fresh, spec=SPECS["gru"].model_copy(update={"output_bias": False}))
    for job, number in (
        (fresh, 1),
        (fresh, 0),  # taken up after its end
        (adapted, 0),
        (dataclasses.replace(unbiased, work_dir=tmp_path / "unbiased"), 0),
    ):
        counted.clear()
        train(job, listener)
        assert len(counted) == number


@pytest.mark.parametrize("family", ["lstm", "encoder"])
def test_resume_is_bitwise_identical_with_a_document_a_row(family, make_job, listener, tmp_path):
    settings = {"batching": "length_buckets", "num_buckets": 3, "accumulation": 2, "context_length": 16}
    whole, cut = make_job(family, tmp_path / "whole", **settings), make_job(family, tmp_path / "cut", **settings)
    session, _ = train(whole, listener)
    assert len(session.counters.recent_losses) > 1
    assert session.carried == [None, None]
    for step in (2, 6):
        stop_at(listener, step)
        train(cut, listener)
    listener.at_point = None
    session, _ = train(cut, listener)
    assert session.counters.resumed_from == [2, 6]
    assert_same_training(whole, cut)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 12))
def test_resume_is_bitwise_identical_at_every_step(form, step, make_job, listener, tmp_path):
    settings = {"accumulation": 2, "log_interval": 1}
    whole, cut = make_job(form, tmp_path / "whole", **settings), make_job(form, tmp_path / "cut", **settings)
    train(whole, listener)
    stop_at(listener, step)
    train(cut, listener)
    listener.at_point = None
    train(cut, listener)
    assert_same_training(whole, cut)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("family", ["lstm", "transformer"])
def test_resume_at_the_border_of_an_epoch_goes_on_with_the_next(family, accumulation, make_job, listener, tmp_path):
    settings = {"accumulation": accumulation, "batch_size": 8, "context_length": 16, "log_interval": 1}
    whole, cut = make_job(family, tmp_path / "whole", **settings), make_job(family, tmp_path / "cut", **settings)
    border = round(whole.plan(whole.train, 0).steps_per_epoch)
    assert 2 < border < 10
    train(whole, listener)
    stop_at(listener, border)
    train(cut, listener)
    listener.at_point = None
    session, _ = train(cut, listener)
    assert session.counters.resumed_from == [border]
    assert session.counters.step == 12
    assert_same_training(whole, cut)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resume_is_bitwise_identical_after_a_crash_beyond_the_checkpoint(make_job, listener, tmp_path, accumulation):
    whole = make_job("lstm", tmp_path / "whole", accumulation=accumulation)
    crashed = make_job("lstm", tmp_path / "crashed", accumulation=accumulation)
    train(whole, listener)

    def crash(step):
        if step == 8:  # the last checkpoint is that of step 5, and the curve goes on to 6
            raise RuntimeError("pulled the plug")

    listener.at_point = crash
    with pytest.raises(RuntimeError, match="plug"):
        train(crashed, listener)
    assert [p["step"] for p in read_curve(crashed.curve)][-1] == 8
    listener.at_point = None
    session, _ = train(crashed, listener)
    assert session.counters.resumed_from == [5]
    assert_same_training(whole, crashed)
    logged = [p["step"] for p in curve(crashed) if "train_loss" in p]
    assert logged == [2, 4, 6, 8, 10, 12]


def test_a_damaged_checkpoint_costs_steps_but_changes_nothing(make_job, listener, tmp_path):
    whole, damaged = make_job("gru", tmp_path / "whole"), make_job("gru", tmp_path / "damaged")
    train(whole, listener)
    stop_at(listener, 8)
    train(damaged, listener)
    path = damaged.checkpoints / "step-00000008" / checkpoint.TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    listener.at_point = None
    session, _ = train(damaged, listener)
    assert session.counters.resumed_from == [5]
    assert any("step-00000008 is damaged" in line for line in listener.lines)
    assert_same_training(whole, damaged)


@pytest.mark.parametrize("family", RECURRENT)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_a_carried_state_lies_in_memory_as_if_it_had_been_computed(
    family, num_layers, accumulation, make_job, listener, tmp_path
):
    """A GRU of one layer with two rows a pass went on with other bits where the state lay 8 bytes off."""
    spec = SPECS[family].model_copy(update={"num_layers": num_layers})
    whole, cut = (
        dataclasses.replace(make_job(family, tmp_path / name, accumulation=accumulation), spec=spec)
        for name in ("whole", "cut")
    )
    train(whole, listener)
    stop_at(listener, 4)
    train(cut, listener)
    listener.at_point = None
    states = [state for state in begin(cut, listener).carried if state is not None]
    assert len(states) == accumulation
    assert all(tensor.data_ptr() % 64 == 0 for state in states for tensor in state.tensors)
    train(cut, listener)
    assert_same_training(whole, cut)


def tensors_of(session):
    """All that a session computes with or publishes, by name."""
    found = {f"model.{name}": tensor for name, tensor in session.model.state_dict().items()}
    for kind, tensors in (
        ("optimizer", optimizer_tensors(session.optimizers, session.model)),
        ("average", session.average),
        ("best", session.best_weights),
        *(
            (f"replica {i}", dict(r.named_parameters()))
            for i, r in enumerate(getattr(session.replicas, "replicas", []))
        ),
        *((f"carried {i}", dict(enumerate(state.tensors))) for i, state in enumerate(session.carried) if state),
    ):
        found |= {f"{kind}.{name}": tensor for name, tensor in tensors.items()}
    return found


def assert_lies_as_if_nothing_had_happened(job, listener, folder):
    stop_at(listener, 4)
    before, interrupted = train(job, listener)
    assert interrupted
    listener.at_point = None
    after = begin(job, listener)
    ours, theirs = tensors_of(after), tensors_of(before)
    assert ours.keys() == theirs.keys()
    assert {name: tensor.data_ptr() % 64 for name, tensor in ours.items()} == dict.fromkeys(ours, 0)
    assert str(folder) not in Path("/proc/self/maps").read_text("utf-8"), "a tensor is a view of a file"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_all_that_a_resume_goes_on_with_lies_in_memory_as_without_one(form, optimizer, make_job, listener, tmp_path):
    """MKL's products depend on where their factors begin; in a checkpoint's file a tensor begins anywhere."""
    settings = {"optimizer": optimizer, "average_decay": 0.9, "accumulation": 2, "validation_interval": 2}
    assert_lies_as_if_nothing_had_happened(make_job(form, tmp_path, **settings), listener, tmp_path)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_replicas_lie_in_memory_as_without_a_resume(precision, make_job, listener, tmp_path):
    settings = {"thread_sharing": "rows", "num_threads": 2, "average_decay": 0.9, "validation_interval": 2}
    job = make_job("gru", tmp_path, **settings, precision=precision)
    job = dataclasses.replace(job, spec=SPECS["gru"].model_copy(update={"dropout": 0.0}))
    try:
        assert_lies_as_if_nothing_had_happened(job, listener, tmp_path)
    finally:
        torch.set_num_threads(1)


def test_a_finished_training_is_not_trained_again(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    first, _ = train(job, listener)
    again, interrupted = train(job, listener)
    assert not interrupted
    assert again.counters.num_tokens == first.counters.num_tokens
    for ours, theirs in zip(again.weights().values(), first.weights().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_another_jobs_folder_is_refused(make_job, listener, tmp_path):
    train(make_job("rnn", tmp_path), listener)
    other = make_job("rnn", tmp_path)
    object.__setattr__(other, "key", "another")
    with pytest.raises(InputError, match="holds the training of another job"):
        train(other, listener)


def test_a_state_that_another_version_saved_is_refused_and_says_what_to_do(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    stop_at(listener, 4)
    train(job, listener)
    found = checkpoint.load_latest(job.checkpoints, pytest.fail)
    assert found is not None
    ours = found.state["counters"]
    for theirs in (
        ours | {"rollbacks": 0},  # version 5 of the stage counted them
        {name: value for name, value in ours.items() if name != "recent_losses"},
        ours | {"gone": 1},
    ):
        found.state["counters"] = theirs
        checkpoint.save(job.checkpoints, 4, found)
        with pytest.raises(InputError, match=r"step-00000004 was saved by another version.*begins at step 0"):
            train(job, listener)


RICH = {
    "optimizer": "muon",
    "schedule": "plateau",
    "plateau_patience": 1,
    "average_decay": 0.9,
    "label_smoothing": 0.1,
    "z_loss": 1e-4,
    "validation_interval": 2,
    "snapshot_interval": 3,
}
"""Settings that put something into a checkpoint or depend on it."""


def test_resume_is_bitwise_identical_with_everything_switched_on(make_job, listener, tmp_path):
    whole = make_job("transformer", tmp_path / "whole", **RICH)
    cut = make_job("transformer", tmp_path / "cut", **RICH)
    train(whole, listener)
    for step in (2, 4, 8):
        stop_at(listener, step)
        train(cut, listener)
    listener.at_point = None
    train(cut, listener)
    assert_same_training(whole, cut)
    names = [path.name for path in sorted(whole.snapshots.iterdir())]
    assert names == [f"step-{step:08d}.safetensors" for step in (3, 6, 9, 12)]
    for name in names:
        assert (whole.snapshots / name).read_bytes() == (cut.snapshots / name).read_bytes()


def test_a_resume_in_another_environment_says_so(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    stop_at(listener, 4)
    train(job, listener)
    listener.at_point = None
    folder = tmp_path / "checkpoints"
    found = checkpoint.load_latest(folder, pytest.fail)
    assert found is not None
    found.state["environment"]["threads"] = 7
    checkpoint.save(folder, 4, found)
    train(job, listener)
    assert any("not bitwise" in line and "threads: 7 then, 1 now" in line for line in listener.lines)
