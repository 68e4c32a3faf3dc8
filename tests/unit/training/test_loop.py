import dataclasses
import json
import os
import signal
from typing import get_args

import pytest
import torch

from lm_pipeline.errors import InputError
from lm_pipeline.models.language_model import BACKBONES
from lm_pipeline.specs.experiment import ExperimentSpec
from lm_pipeline.specs.training import Training
from lm_pipeline.training import checkpoint
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.clock import PARTS
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.guard import DivergedError
from lm_pipeline.training.loop import backward, train, utilisation
from tests.unit.training.conftest import SPECS

VOLATILE = ("elapsed_seconds", "seconds", "tokens_per_second", "mfu")


def final_tensors(job):
    """Every tensor and number of the last checkpoint that must not depend on interruptions."""
    found = checkpoint.load_latest(job.checkpoints, pytest.fail)
    assert found is not None
    counters = {k: v for k, v in found.state["counters"].items() if "seconds" not in k}
    del counters["resumed_from"], counters["curve_bytes"]
    return found.tensors, counters


def curve(job):
    return [{k: v for k, v in p.items() if k not in VOLATILE} for p in read_curve(job.curve)]


def assert_same_training(ours, theirs):
    (tensors, counters), (other_tensors, other_counters) = final_tensors(ours), final_tensors(theirs)
    assert counters == other_counters
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
    assert curve(ours) == curve(theirs)


def stop_at(listener, step):
    """Send SIGINT to this process when the training reports a step."""

    def interfere(reported):
        if reported == step:
            os.kill(os.getpid(), signal.SIGINT)

    listener.at_point = interfere


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


def test_every_family_learns(family, make_job, listener, tmp_path):
    settings = {"num_steps": 60, "learning_rate": 0.02}
    if family == "encoder":  # it is asked for a third of the tokens only, and its norms come last
        settings = {"num_steps": 300, "learning_rate": 0.01, "batch_size": 8, "context_length": 16}
    job = make_job(family, tmp_path, validation_interval=10, validation_batches=10, **settings)
    if family == "encoder":
        job = dataclasses.replace(job, spec=job.spec.model_copy(update={"dropout": 0.0}))
    session, _ = train(job, listener)
    losses = [p["validation_loss"] for p in read_curve(job.curve) if "validation_loss" in p]
    assert losses[-1] < losses[0] - 0.3
    assert session.counters.best_loss is not None
    assert session.counters.best_loss < 3.3  # ln 40 = 3.69


def test_accumulation_changes_neither_loss_nor_gradients(family, make_job, listener, tmp_path):
    gradients, losses = [], []
    for accumulation in (1, 2, 4):
        job = make_job(family, tmp_path / str(accumulation), accumulation=accumulation)
        session = begin(job, listener)
        session.model.eval()  # dropout would differ between the divisions of a batch
        plan = job.plan(job.train, 0)
        for position in (0, 1):  # the second reads on with the state of the first
            session.model.zero_grad()
            nll, count, session.carried = backward(session, plan.batch(position), job.training)
        losses.append(nll / count)
        gradients.append([p.grad for p in session.model.parameters()])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    for divided in gradients[1:]:
        for ours, theirs in zip(divided, gradients[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_recurrent_models_carry_their_state_and_others_do_not(family, make_job, listener, tmp_path):
    session, _ = train(make_job(family, tmp_path), listener)
    assert all((state is not None) == session.model.is_recurrent for state in session.carried)


def test_the_utilisation_of_an_encoder_counts_what_it_reads_and_not_what_it_is_asked(make_job, listener, tmp_path):
    session, _ = train(make_job("encoder", tmp_path, num_steps=40), listener)
    counters, seconds = session.counters, session.clock.training
    assert counters.num_tokens < 0.4 * 40 * 4 * 8
    reported = utilisation(session, counters.num_tokens / seconds) * session.peak_flops * seconds
    # Beginnings of documents are read and never asked for; which tokens are masked is chance.
    assert reported == pytest.approx(40 * 4 * 8 * session.model.flops_per_token(), rel=0.25)


def test_the_best_weights_are_those_of_the_best_validation(make_job, listener, tmp_path):
    job = make_job("cnn", tmp_path, num_steps=16, learning_rate=0.5, schedule="constant", validation_interval=2)
    session, _ = train(job, listener)
    points = [p for p in read_curve(job.curve) if "validation_loss" in p]
    best = min(points, key=lambda p: p["validation_loss"])
    assert (session.counters.best_step, session.counters.best_loss) == (best["step"], best["validation_loss"])
    assert session.best_weights is not None
    assert (session.best_weights["embedding.weight"].equal(session.weights()["embedding.weight"])) == (
        best["step"] == 16
    )


def test_the_last_weights_are_not_kept_twice(make_job, listener, tmp_path):
    session, _ = train(make_job("cnn", tmp_path, keep="last"), listener)
    assert session.best_weights is None


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


def test_validation_that_stops_improving_ends_the_training_and_it_stays_ended(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path, num_steps=200, validation_interval=2, learning_rate=1e-9, early_stopping_patience=3)
    session, interrupted = train(job, listener)
    assert not interrupted
    assert session.counters.step == 8
    again, interrupted = train(job, listener)
    assert (again.counters.step, interrupted) == (8, False)


def test_the_average_is_what_is_validated_and_published(make_job, listener, tmp_path):
    job = make_job("gru", tmp_path, average_decay=0.9, keep="last")
    session, _ = train(job, listener)
    assert session.average is not None
    published, trained = session.weights(), session.model.state_dict()
    assert any((published[name] != trained[name]).any() for name in published)
    assert all(torch.equal(session.average[name], published[name]) for name in session.average)


def test_penalties_change_the_gradient_and_not_the_reported_loss(make_job, listener, tmp_path):
    results = []
    for settings in ({}, {"label_smoothing": 0.2, "z_loss": 0.01}):
        job = make_job("cnn", tmp_path / str(len(results)), **settings)
        session = begin(job, listener)
        session.model.eval()
        nll, _, _ = backward(session, job.plan(job.train, 0).batch(0), job.training)
        results.append((nll, session.model.embedding.weight.grad))
    assert results[0][0] == results[1][0]
    assert not torch.equal(results[0][1], results[1][1])


def test_a_leaping_loss_is_skipped_and_named(make_job, listener, tmp_path, monkeypatch):
    from lm_pipeline.training import loop

    real = loop.backward

    def leaping(session, batch, training):
        nll, count, carried = real(session, batch, training)
        return nll * (4.0 if session.counters.position == 90 else 1.0), count, carried

    monkeypatch.setattr(loop, "backward", leaping)
    session, _ = train(make_job("lstm", tmp_path, num_steps=100), listener)
    assert session.counters.skipped_steps == [91]
    assert any("step 91 skipped: the loss is" in line and "64 steps before" in line for line in listener.lines)


def test_the_time_of_a_training_is_told_by_part_and_survives_a_resume(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    stop_at(listener, 8)
    first, _ = train(job, listener)
    listener.at_point = None
    session, _ = train(job, listener)
    assert set(session.clock.seconds) == set(PARTS)
    assert all(session.clock.seconds[part] >= seconds for part, seconds in first.clock.seconds.items())
    points = [p for p in read_curve(job.curve) if "train_loss" in p]
    assert points[-1]["elapsed_seconds"] == pytest.approx(sum(points[-1]["seconds"].values()))
    assert all(0 < point["mfu"] < 2 and point["weight_norm"] > 0 for point in points)


def test_a_loss_leaps_beside_those_of_batches_of_its_own_width(make_job, listener, tmp_path):
    """Tokens of short documents are dearer: beside the losses of long ones, each of them would be a leap."""
    settings = {"batching": "length_buckets", "num_buckets": 2, "num_steps": 120, "learning_rate": 1e-9}
    job = make_job("gru", tmp_path, context_length=32, log_interval=1, **settings)
    session, _ = train(job, listener)
    recent = session.counters.recent_losses
    assert sorted(map(int, recent)) == job.plan(job.train, 0).shapes.widths
    assert all(0 < len(losses) <= 64 for losses in recent.values())
    assert max(map(len, recent.values())) == 64


def test_without_validation_documents_the_last_weights_are_the_result(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    object.__setattr__(job, "validation", None)
    session, _ = train(job, listener)
    assert session.counters.best_loss is None
    assert all("validation_loss" not in p for p in read_curve(job.curve))


def poison(monkeypatch, positions):
    """Make the loss of these positions of the plan not a number, whatever the weights."""
    from lm_pipeline.training import loop

    real = loop.backward

    def poisoned(session, batch, training):
        nll, count, carried = real(session, batch, training)
        return (float("nan") if session.counters.position in positions else nll), count, carried

    monkeypatch.setattr(loop, "backward", poisoned)


def test_a_step_that_is_not_finite_never_reaches_the_weights(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {4, 7})
    job = make_job("lstm", tmp_path)
    session, _ = train(job, listener)
    assert session.counters.skipped_steps == [5, 8]
    assert session.counters.rollbacks == 0
    assert all(tensor.isfinite().all() for tensor in session.weights().values())
    assert next(line for line in listener.lines if "skipped" in line) == "warning: step 5 skipped: the loss is nan"


def test_after_three_skips_it_goes_back_and_reads_on_behind_the_bad_data(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {6, 7, 8})
    job = make_job("gru", tmp_path)
    session, _ = train(job, listener)
    assert session.counters.rollbacks == 1
    assert session.counters.skipped_steps == [7, 8, 9]
    assert session.counters.step == 12
    assert session.counters.position == 12 + 4  # back from step 9 to the checkpoint of step 5, data not
    assert [p["step"] for p in curve(job) if "train_loss" in p] == [2, 4, 6, 8, 10, 12]


def test_a_rolled_back_training_resumes_bitwise(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {6, 7, 8})
    whole, cut = make_job("gru", tmp_path / "whole"), make_job("gru", tmp_path / "cut")
    train(whole, listener)
    stop_at(listener, 10)
    train(cut, listener)
    listener.at_point = None
    train(cut, listener)
    assert_same_training(whole, cut)


def test_a_training_that_stays_broken_stops_and_names_steps_and_documents(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, set(range(6, 10_000)))
    with pytest.raises(DivergedError, match=r"step 8: the loss is nan .*learning rate.*document-\d+") as caught:
        train(make_job("rnn", tmp_path), listener)
    assert "going back 2 times" in str(caught.value)
    assert caught.value.exit_code == 10


def test_an_absurd_learning_rate_is_stopped_and_not_survived_as_garbage(make_job, listener, tmp_path):
    job = make_job("transformer", tmp_path, learning_rate=1e30, max_gradient_norm=None, num_steps=40)
    with pytest.raises(DivergedError):
        train(job, listener)


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


def test_every_resolved_choice_is_in_the_first_checkpoint_and_kept(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path, precision="auto")
    begin(job, listener)
    state = json.loads((tmp_path / "checkpoints" / "step-00000000" / checkpoint.STATE).read_text())
    assert state["choices"]["precision"]["value"] in ("float32", "bfloat16")
    assert state["environment"]["threads"] == 1
    session, _ = train(job, listener)
    assert session.choices == state["choices"]


def test_empty_micro_batches_are_refused():
    with pytest.raises(ValueError, match="at most batch_size"):
        Training(batch_size=2, accumulation=3)
