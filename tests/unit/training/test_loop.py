import dataclasses
import json

import pytest
import torch

from lm_pipeline.specs.training import Training
from lm_pipeline.training import checkpoint
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.clock import PARTS
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.loop import backward, train, utilisation
from tests.unit.training.interrupted import stop_at


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


def test_the_time_of_a_training_is_told_by_part_and_survives_a_resume(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    stop_at(listener, 8)
    train(job, listener)
    listener.at_point = None
    found = checkpoint.load_latest(job.checkpoints, pytest.fail)
    assert found is not None
    before = found.state["counters"]["seconds"]
    session, _ = train(job, listener)
    assert set(session.clock.seconds) == set(before) == set(PARTS)
    assert all(session.clock.seconds[part] >= seconds for part, seconds in before.items())
    points = [p for p in read_curve(job.curve) if "train_loss" in p]
    assert points[-1]["elapsed_seconds"] == pytest.approx(sum(points[-1]["seconds"].values()))
    assert all(0 < point["mfu"] < 2 and point["weight_norm"] > 0 for point in points)


def test_without_validation_documents_the_last_weights_are_the_result(make_job, listener, tmp_path):
    job = make_job("rnn", tmp_path)
    object.__setattr__(job, "validation", None)
    session, _ = train(job, listener)
    assert session.counters.best_loss is None
    assert all("validation_loss" not in p for p in read_curve(job.curve))


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
