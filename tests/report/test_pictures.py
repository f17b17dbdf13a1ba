"""The pictures show each arm's own numbers in the right places."""

import pytest

from distilrec.report import Report
from distilrec.report.pareto import _around, _beside, _overlap, pareto_plot
from distilrec.report.parts import Measurement
from distilrec.report.pictures import loss_plots, slice_plot, training_rows, validation_plot
from distilrec.report.plots import Series, line_plot


def test_lines_hover_strips_and_summary_by_hand():
    plot = line_plot(
        "Quality",
        [
            Series("a", "teacher", [(1, 0.0), (2, None), (3, 1.0)]),
            Series("b", "control", [(2, 0.5)], faint=True),
        ],
        x_label="Epoch",
        y_label="NDCG",
    )
    # The y axis runs from 0 (near the least value) to 1.08.
    assert plot.lines[0].path == "M0 100L100 7.407"
    assert [(strip.x, strip.width, strip.tip) for strip in plot.columns] == [
        (0, 50, "Epoch 1\na: 0.0000"),
        (50, 50, "Epoch 3\na: 1.0000"),
    ]
    assert [key.label for key in plot.legend] == ["a"]
    assert plot.summary == "Quality: a from 0.0000 to 1.0000."


def test_a_picture_of_nothing_is_none():
    assert line_plot("", [Series("a", "teacher", [(1, None)])], x_label="", y_label="") is None


def test_one_epoch_and_one_group_are_drawn():
    """Early stopping after one epoch must not divide by zero."""
    one = [Series("a", "teacher", [(1, 0.5)])]
    assert line_plot("", one, x_label="", y_label="").lines[0].path == "M0 50"
    assert line_plot("", [Series("a", "teacher", [(0, 0.5)])], x_label="", y_label="", names=["all"]).marks[0].x == 50


def test_the_mean_curve_stops_where_the_first_seed_does(example_report):
    """A mean over the seeds that happen to be left would jump."""
    plot = validation_plot(example_report)
    faint = [line for line in plot.lines if line.faint and line.role == "teacher"]
    (mean,) = [line for line in plot.lines if not line.faint and line.role == "teacher"]
    assert len(faint) == 3
    assert mean.path.count("L") == min(line.path.count("L") for line in faint)
    assert len(plot.legend) == 3


def test_training_rows_are_means_over_seeds(example_report):
    row = training_rows(example_report)[0]
    curves = [curve for curve in example_report.curves if curve.arm == row.arm.name]
    best = sum(max(v for v in curve.validation if v is not None) for curve in curves) / 3
    assert (row.seeds, row.epochs, row.best) == (3, "34 to 40", f"{best:.4f}")


def test_an_arm_that_was_never_validated_has_no_best(example):
    example["curves"] = example["curves"][:1]
    example["curves"][0]["validation"] = [None] * 40
    report = Report.model_validate(example)
    assert training_rows(report)[0].best == "–"
    assert validation_plot(report) is None


def test_loss_terms_are_drawn_apart(example_report):
    *_, distilled = loss_plots(example_report)
    assert [(key.label, key.dash) for key in distilled.legend] == [
        ("Loss", 0),
        ("Response", 1),
        ("Hidden state", 2),
    ]


def test_slices_leave_controls_to_the_table(example_report):
    plot = slice_plot(example_report, example_report.slices[0])
    assert {mark.role for mark in plot.marks} == {"teacher", "student_alone", "distilled_student"}
    assert [tick.at for tick in plot.x_ticks] == [10, 30, 50, 70, 90]


def test_better_is_higher_and_larger_is_further_right(example_report):
    plot = pareto_plot(example_report.pareto, "ndcg@10")
    best = max(example_report.pareto, key=lambda point: point.metrics["ndcg@10"].mean)
    largest = max(example_report.pareto, key=lambda point: point.bytes)
    places = dict(zip((point.name for point in example_report.pareto), plot.marks, strict=True))
    assert places[best.name].y == min(mark.y for mark in plot.marks)
    assert places[largest.name].x == max(mark.x for mark in plot.marks)
    assert "22.7 kB" in places["MF-8 distilled, int8"].tip


def test_labels_of_the_pareto_picture_do_not_overlap(example_report):
    plot = pareto_plot(example_report.pareto, "ndcg@10")
    named = [mark for mark in plot.marks if mark.label]
    boxes = [_beside(mark, mark.label, mark.side) for mark in named]
    assert len(named) >= 6
    for i, box in enumerate(boxes):
        assert not any(_overlap(box, other) for other in boxes[:i])
        assert not any(_overlap(box, _around(mark)) for mark in plot.marks)


def test_the_student_that_the_picture_is_about_is_named(example_report):
    """Beside it stands a teacher's member of the same quality, whose label would take the room."""
    about = [("distilled student", "distilled_student", 94_000, 0.102, True)]
    about += [("student alone", "student_alone", 94_000, 0.080, False), ("encoder", "teacher", 507_000, 0.101, False)]
    about += [("sasrec", "teacher", 707_000, 0.096, False), ("teacher", "teacher", 12_500_000, 0.104, True)]
    points = []
    for name, role, size, mean, on_front in about:
        quality = {"ndcg@10": Measurement(mean=mean, per_seed=[mean], ci95=(mean - 0.015, mean + 0.015))}
        named = {"name": name, "role": role, "bytes": size, "metrics": quality, "on_front": on_front}
        points.append(example_report.pareto[0].model_copy(update=named))
    assert pareto_plot(points, "ndcg@10").marks[0].label == "distilled student"


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_model_is_no_picture_of_a_trade_off(example_report, count):
    assert pareto_plot(example_report.pareto[:count], "ndcg@10") is None


def test_two_equal_points_without_a_front_are_drawn(example_report):
    point = example_report.pareto[0]
    plot = pareto_plot([point, point], "ndcg@10")
    assert plot.lines[0].path == ""
    assert len(plot.marks) == 2
