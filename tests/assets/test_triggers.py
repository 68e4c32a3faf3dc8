"""The sensor and the schedule: what they ask for, and that they ask for nothing when nothing is new."""

import os

import dagster as dg
import pytest

from lm_pipeline.home import Home
from tests.assets import tiny

SCHEDULE = "  schedule: {cron: '0 3 * * *', timezone: Europe/Berlin}\n"


def tick(home: Home, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    from assets.instance import open_instance
    from assets.sensors import raw_files

    with open_instance(home) as instance, dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        outcome = raw_files(context)
    assert isinstance(outcome, dg.SensorResult | dg.SkipReason)
    return outcome


def requests(outcome: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(outcome, dg.SensorResult)
    return [request.partition_key for request in outcome.run_requests or []]


def test_a_dropped_file_becomes_a_partition_and_one_run_until_it_changes(project):
    first = tick(project.home, None)
    assert sorted(requests(first), key=str) == ["tiny_en", "tiny_zh"]  # declared, not materialized yet
    assert isinstance(first, dg.SensorResult)

    notes = project.home.raw / "notes"
    notes.mkdir()
    assert isinstance(tick(project.home, first.cursor), dg.SkipReason)  # a folder without a file is no corpus yet
    (notes / "one.txt").write_text(tiny.english(1), "utf-8")
    second = tick(project.home, first.cursor)
    assert requests(second) == ["notes"]
    assert isinstance(second, dg.SensorResult)
    [added] = second.dynamic_partitions_requests or []
    assert (added.partitions_def_name, list(added.partition_keys)) == ("corpora", ["notes"])

    (project.home.raw / "散文.txt").write_text("从前有一座山。", "utf-8")
    third = tick(project.home, second.cursor)
    assert isinstance(third, dg.SkipReason)
    assert "No new or changed files" in (third.skip_message or "")
    assert "Not corpora: 散文.txt; see `lm-pipeline doctor`." in (third.skip_message or "")

    (notes / "one.txt").write_text(tiny.english(2), "utf-8")
    assert requests(tick(project.home, second.cursor)) == ["notes"]


def test_a_file_that_was_only_touched_is_not_cleaned_again(built):
    before = tick(built.home, None)
    assert requests(before) == []  # all of it is materialized
    assert isinstance(before, dg.SensorResult)
    os.utime(built.text / "en" / "a.jsonl")
    assert requests(tick(built.home, before.cursor)) == []


def schedule_tick(experiment: str) -> dg.RunRequest | dg.SkipReason:
    from assets.instance import open_instance
    from assets.schedules import experiment_schedule
    from lm_pipeline.project import load_project

    project = load_project()
    schedule = experiment_schedule(experiment, project.declarations.experiments[experiment])
    with open_instance(project.home) as instance:
        return schedule(dg.build_schedule_context(instance=instance))


@pytest.fixture
def scheduled(built):
    """The built experiment with a schedule, and afterwards as it was."""
    path = tiny.declare(built.defs, "tiny_gru", tiny.neural(more=SCHEDULE))
    yield path
    tiny.declare(built.defs, "tiny_gru", tiny.neural())


def test_a_tick_with_nothing_new_says_so(scheduled):
    outcome = schedule_tick("tiny_gru")
    assert isinstance(outcome, dg.SkipReason)
    assert outcome.skip_message == "Nothing new: every asset that tiny_gru is made from is current."


def test_a_changed_learning_rate_asks_for_just_this_experiment(built, scheduled):
    tiny.declare(built.defs, "tiny_gru", tiny.neural(more=SCHEDULE, learning_rate=0.04))
    outcome = schedule_tick("tiny_gru")
    assert isinstance(outcome, dg.RunRequest)
    assert {key.to_user_string() for key in outcome.asset_selection or []} == {
        "tiny_gru/checkpoint",
        "tiny_gru/evaluation",
        "tiny_gru/report",
        "tiny/leaderboard",
    }


def test_new_raw_data_that_is_not_cleaned_yet_is_left_to_the_sensor(built, scheduled):
    path = built.text / "en" / "b.jsonl"
    path.write_text('{"text": "One more document, long enough to be kept."}\n', "utf-8")
    try:
        outcome = schedule_tick("tiny_gru")
    finally:
        path.unlink()
    assert isinstance(outcome, dg.SkipReason)
    assert "tiny_en is not cleaned yet" in (outcome.skip_message or "")


def test_the_schedule_has_its_cron_and_time_zone(built, scheduled):
    from assets.definitions import defs

    schedule = defs().resolve_schedule_def("tiny_gru_schedule")
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
