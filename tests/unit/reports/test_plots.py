"""Where plots put things."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.reports.plots import Measurement, curve_plot, interval_plot, nice_ticks, thin

finite = st.floats(-1e6, 1e6)


@given(finite, finite, st.integers(1, 10))
def test_ticks_are_inside_and_rising(a, b, count):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-3:
        return
    ticks = nice_ticks(low, high, count)
    assert ticks == sorted(set(ticks))
    margin = 1e-6 * (high - low) + 1e-9
    assert all(low - margin <= tick <= high + margin for tick in ticks)
    assert len(ticks) <= count + 2


@given(st.lists(st.tuples(st.integers(0, 10**6), finite), max_size=50), st.integers(1, 20))
def test_thinning_keeps_the_last_point_and_the_limit(points, limit):
    kept = thin(points, limit)
    assert len(kept) <= limit
    assert kept[-1:] == points[-1:]


def test_curve_stands_inside_its_axes_and_ignores_what_is_not_finite():
    curve = [{"step": i, "tokens": i * 10, "train_loss": 9 - i / 40} for i in range(1, 101)]
    curve += [{"step": 50, "validation_loss": 8.0}, {"step": 101, "train_loss": math.nan}]
    plot = curve_plot(curve, [("uniform", "Uniform", 8.3), ("unigram", "Far above", 99.0)], 340, 300)
    assert plot is not None
    for line in plot.lines:
        for point in line.points.split():
            x, y = map(float, point.split(","))
            assert plot.left <= x <= plot.right
            assert plot.top <= y <= plot.bottom
    assert [rule.label for rule in plot.rules] == ["Uniform"]
    assert [tick.label for tick in plot.token_ticks][-1] == "1.00 k"


def test_reference_labels_do_not_overlap():
    curve = [{"step": 1, "train_loss": 5.0}, {"step": 2, "train_loss": 3.0}]
    plot = curve_plot(curve, [("unigram", "a", 4.0), ("ngram", "b", 4.01)], 700, 300)
    assert plot is not None
    assert abs(plot.rules[0].label_y - plot.rules[1].label_y) >= 14


def test_no_points_no_plot():
    assert curve_plot([], [], 700, 300) is None
    assert interval_plot([], "bits", 700, stacked=False) is None
    assert interval_plot([Measurement("x", math.inf, (1.0, 2.0), "model")], "bits", 700, stacked=False) is None


def test_a_lone_value_and_an_infinite_bound_can_be_drawn():
    for bounds in ((2.0, 2.0), (1.9, math.inf)):
        plot = interval_plot([Measurement("x", 2.0, bounds, "self")], "bits", 700, stacked=True)
        assert plot is not None
        assert plot.left <= plot.marks[0].low <= plot.marks[0].x <= plot.marks[0].high <= plot.right
