"""Places and labels of pictures: a wrong scale shows a wrong result."""

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from distilrec.report.axes import Axis, horizontal_ticks, spans, ticks, vertical_ticks

values = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(values, min_size=1, max_size=20))
def test_an_axis_holds_its_values(numbers):
    """Points outside would be drawn over other parts of the page, or not at all."""
    axis = Axis.around(numbers)
    assert axis.low < axis.high
    assert all(0 <= axis.place(value) <= 100 for value in numbers)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=20))
def test_a_log_axis_holds_its_values(numbers):
    axis = Axis.around(numbers, log=True)
    assert all(0 <= axis.place(value) <= 100 for value in numbers)


@given(values, st.floats(1e-6, 1e6))
def test_ticks_lie_inside_at_equal_steps_and_read_differently(low, width):
    """Two ticks with one label would make the scale unreadable."""
    assume(low + width > low and width > 1e-9 * abs(low))
    axis = Axis(low, low + width)
    found = ticks(axis)
    assert 1 <= len(found) <= 7
    assert all(axis.low - 1e-6 * width <= value <= axis.high + 1e-6 * width for value in found)
    labels = [tick.label for tick in horizontal_ticks(axis)]
    assert len(set(labels)) == len(labels)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_log_axis_has_a_few_ticks_inside(a, b):
    axis = Axis.around([a, b], log=True)
    found = ticks(axis)
    assert 2 <= len(found) <= 6
    assert all(0 <= axis.place(value) <= 100 for value in found)
    assert all(one < two for one, two in itertools.pairwise(found))


def test_a_vertical_axis_rises():
    """SVG counts from the top: forgotten, the best model is drawn as the worst."""
    axis = Axis(0.0, 1.0)
    assert axis.place_from_top(1.0) == 0
    assert (vertical_ticks(axis)[0].label, vertical_ticks(axis)[0].at) == ("0.0", 100)


def test_spans_share_one_scale():
    """By hand: 1..5 over 4..96 percent is 23 a unit."""
    first, second = spans([(2.0, (1.0, 3.0)), (5.0, None)])
    assert (first.low, first.mid, first.high) == (4, 27, 50)
    assert (second.low, second.mid, second.high) == (96, 96, 96)


def test_equal_means_without_intervals_make_a_span():
    assert [span.mid for span in spans([(0.5, None), (0.5, None)])] == [4, 4]
