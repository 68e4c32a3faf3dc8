"""A run whose process was killed is ended by whoever comes next; one that lives is left alone."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg

EXECUTE = """
import time
import dagster as dg
from assets.building import _execute
from assets.instance import open_instance
from lm_pipeline.home import find_home

@dg.asset(pool="accelerator")
def endless():
    print("started", flush=True)
    time.sleep(600)

with open_instance(find_home()) as instance:
    _execute(dg.Definitions(assets=[endless], executor=dg.in_process_executor), instance, [endless.key])
"""


@contextlib.contextmanager
def endless_run() -> Iterator[subprocess.Popen[str]]:
    """A process that executes a run which does not end."""
    command = [sys.executable, "-c", EXECUTE]
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


def test_a_killed_run_is_failed_and_its_pool_is_free_and_a_living_one_is_left_alone(project):
    from assets.dead_runs import end_dead_runs
    from assets.instance import open_instance

    config = project.home.dagster / "dagster.yaml"  # with steps in pools, a dead run would also keep its place
    config.write_text(config.read_text("utf-8").replace("granularity: run", "granularity: op"), "utf-8")
    with endless_run() as process:
        [lock] = (project.home.dagster / "alive").iterdir()
        os.utime(lock, (0, 0))  # a fresh one is given time to be locked
        assert end_dead_runs(project.home) == []
        process.kill()
    with open_instance(project.home) as instance:
        [run] = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        assert len(instance.event_log_storage.get_concurrency_info("accelerator").claimed_slots) == 1
        assert end_dead_runs(project.home) == [run.run_id]
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert instance.event_log_storage.get_concurrency_info("accelerator").claimed_slots == []
    assert end_dead_runs(project.home) == []
    assert not lock.exists()


def test_a_run_that_ended_leaves_no_lock(built):
    assert list((built.home.dagster / "alive").glob("*")) == []


def test_each_command_ends_dead_runs_before_it_builds(project):
    from assets.building import build_names
    from assets.instance import open_instance

    with endless_run() as process:
        process.kill()
    [lock] = (project.home.dagster / "alive").iterdir()
    os.utime(lock, (0, 0))
    assert build_names(project.home, ["tiny_en"], quiet=True).failed == {}
    with open_instance(project.home) as instance:
        assert [run.run_id for run in instance.get_runs() if not run.is_finished] == []
