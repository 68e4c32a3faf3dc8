from dataclasses import replace

import pytest

from lm_pipeline.training.beginning import begin


@pytest.mark.parametrize("settings", [{"precision": "auto"}, {"attention": "auto", "num_threads": 2}])
def test_that_steps_are_timed_is_said_once_and_only_where_they_are(make_job, listener, tmp_path, settings):
    told = []
    for name in ("first", "again"):
        job = make_job("gru", tmp_path / name, **settings)
        begin(replace(job, measurements=tmp_path / "measurements"), listener)
        told.append(sum("times a few steps" in line for line in listener.lines))
    assert told == [1, 1]


@pytest.mark.parametrize("settings", [{"num_steps": 0, "precision": "auto"}, {"attention": "fused", "compile": False}])
def test_where_no_step_is_timed_none_is_said_to_be(make_job, listener, tmp_path, settings):
    begin(make_job("gru", tmp_path / "work", **settings), listener)
    assert not any("times a few steps" in line for line in listener.lines)
