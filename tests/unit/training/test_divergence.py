import pytest

from lm_pipeline.tracking.spool_events import read_events
from lm_pipeline.training import loop
from lm_pipeline.training.curve import read_curve
from lm_pipeline.training.guard import DivergedError
from lm_pipeline.training.loop import train
from lm_pipeline.training.progress import Reporter
from tests.unit.training.interrupted import assert_same_training, curve, stop_at


def poison(monkeypatch, positions, factor=float("nan")):
    """Multiply the loss of these positions of the plan, whatever the weights."""
    real = loop.backward

    def poisoned(session, batch, training):
        nll, count, carried = real(session, batch, training)
        return nll * (factor if session.counters.position in positions else 1.0), count, carried

    monkeypatch.setattr(loop, "backward", poisoned)


def read_by(job, position):
    """How a message names what the step after so many has read, where nothing was jumped over."""
    documents = job.name_documents(job.plan(job.train, job.training.seed).documents(position))
    more = f"; and {len(documents) - 5} more" if len(documents) > 5 else ""
    return f"step {position + 1} read {'; '.join(documents[:5])}{more}"


def test_a_step_that_is_not_finite_never_reaches_the_weights(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {4, 7})
    job = make_job("lstm", tmp_path)
    session, _ = train(job, listener)
    assert session.counters.skipped_steps == [5, 8]
    assert session.counters.rollbacks == []
    assert all(tensor.isfinite().all() for tensor in session.weights().values())
    skipped = [line for line in listener.lines if "skipped" in line]
    assert skipped == [
        f"warning: step {position + 1} skipped: the loss is nan; {read_by(job, position)}" for position in (4, 7)
    ]


def test_a_leaping_loss_is_skipped_and_named(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {90}, factor=4.0)
    session, _ = train(make_job("lstm", tmp_path, num_steps=100), listener)
    assert session.counters.skipped_steps == [91]
    assert any("step 91 skipped: the loss is" in line and "64 steps before" in line for line in listener.lines)


def test_a_loss_leaps_beside_those_of_batches_of_its_own_width(make_job, listener, tmp_path):
    """Tokens of short documents are dearer: beside the losses of long ones, each of them would be a leap."""
    settings = {"batching": "length_buckets", "num_buckets": 2, "num_steps": 120, "learning_rate": 1e-9}
    job = make_job("gru", tmp_path, context_length=32, log_interval=1, **settings)
    session, _ = train(job, listener)
    recent = session.counters.recent_losses
    assert sorted(map(int, recent)) == job.plan(job.train, 0).shapes.widths
    assert all(0 < len(losses) <= 64 for losses in recent.values())
    assert max(map(len, recent.values())) == 64


def test_after_three_skips_it_goes_back_and_reads_on_behind_the_bad_data(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {6, 7, 8})
    job = make_job("gru", tmp_path)
    session, _ = train(job, listener)
    assert session.counters.rollbacks == [9]
    assert session.counters.skipped_steps == [7, 8, 9]
    assert session.counters.step == 12
    assert session.counters.position == 12 + 4  # back from step 9 to the checkpoint of step 5, data not
    assert [p["step"] for p in curve(job) if "train_loss" in p] == [2, 4, 6, 8, 10, 12]
    (told,) = (line for line in listener.lines if "went back" in line)
    assert "from step 9 to step 5" in told
    assert all(read_by(job, position) in told for position in (6, 7, 8))


def test_bad_data_far_from_each_other_is_got_past_however_often(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {6, 7, 8, 20, 21, 22, 33, 34, 35, 47, 48, 49})
    session, _ = train(make_job("gru", tmp_path, num_steps=40), listener)
    assert (session.counters.step, len(session.counters.rollbacks)) == (40, 4)


def test_bad_data_that_no_state_is_saved_behind_ends_the_training(make_job, listener, tmp_path, monkeypatch):
    poison(monkeypatch, {6, 7, 8, 13, 14, 15, 20, 21, 22})
    with pytest.raises(DivergedError, match="going back 2 times"):
        train(make_job("gru", tmp_path, num_steps=60, checkpoint_interval=30), listener)


def test_after_going_back_what_counts_in_the_spool_is_the_curve(make_job, tmp_path, monkeypatch):
    poison(monkeypatch, {8, 9, 10})
    job, path = (
        make_job("gru", tmp_path / "job", log_interval=1),
        tmp_path / "spool" / "checkpoint-0123456789abcdef-1.jsonl",
    )
    with Reporter(12, path) as reporter:
        train(job, reporter)
    counted, abandoned = {}, 0
    for body in (event.body for event in read_events(path)):
        if body["event"] == "rollback":
            assert (body["step"], body["to"]) == (11, 5)
            abandoned += sum(step > body["to"] for step in counted)
            counted = {step: values for step, values in counted.items() if step <= body["to"]}
        if body["event"] == "metrics":
            counted.setdefault(body["step"], {}).update(body["values"])
    assert abandoned == 3
    for point in read_curve(job.curve):
        for name in point.keys() & {"train_loss", "validation_loss", "gradient_norm"}:
            assert counted[point["step"]].pop(name) == point[name]
    assert not any(name.endswith("_loss") for values in counted.values() for name in values)


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
    job = make_job("rnn", tmp_path)
    with pytest.raises(DivergedError, match=r"step 8: the loss is nan .*learning rate.*document-\d+") as caught:
        train(job, listener)
    assert "going back 2 times" in str(caught.value)
    plan = job.plan(job.train, job.training.seed)
    for step, position in ((6, 12), (7, 13), (8, 14)):  # from step 9 back to step 5, and again from step 8
        first, *_ = job.name_documents(plan.documents(position))
        assert f"step {step} read {first}" in str(caught.value)
    assert caught.value.exit_code == 10


def test_an_absurd_learning_rate_is_stopped_and_not_survived_as_garbage(make_job, listener, tmp_path):
    job = make_job("transformer", tmp_path, learning_rate=1e30, max_gradient_norm=None, num_steps=40)
    with pytest.raises(DivergedError):
        train(job, listener)
