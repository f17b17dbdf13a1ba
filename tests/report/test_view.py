"""Key figures and tables tell what the report holds."""

from distilrec.report import Report
from distilrec.report.view import (
    comparisons_by_metric,
    difference_spans,
    has_costs,
    in_order,
    key_figures,
    metric_tables,
)


def test_key_figures_of_the_example(example_report):
    figures = [(figure.value, figure.label) for figure in key_figures(example_report)]
    assert figures == [
        ("98.7 %", "of the teacher's NDCG@10"),
        ("+40.8 %", "over the student alone"),
        ("95.7 %", "of the gap closed"),
        ("0.7 %", "of the parameters"),
        ("0.7 %", "of the bytes"),
        ("12.1 %", "of the median latency"),
    ]


def test_unknown_figures_are_left_out(minimal):
    assert [figure.value for figure in key_figures(Report.model_validate(minimal))] == ["98.7 %", "+40.8 %"]


def test_an_undefined_gap_says_why(example):
    """A missing number must not look like zero."""
    example["gap_closed"]["ndcg@10"] = None
    gap = key_figures(Report.model_validate(example))[2]
    assert gap.value == "–"
    assert "not shown to beat" in gap.note


def test_every_metric_stands_in_one_table(example_report):
    tables = {table.title: table.metrics for table in metric_tables(example_report)}
    assert tables == {
        "Ranking": ["ndcg@10", "recall@10", "mrr@10", "hit_rate@10", "auc"],
        "Click and like prediction": ["like_auc", "like_log_loss"],
        "Beyond accuracy": ["coverage@10", "novelty@10", "popularity_shift@10"],
    }


def test_tables_without_content_are_left_out(minimal):
    report = Report.model_validate(minimal)
    assert metric_tables(report) == []
    assert not has_costs(report)


def test_controls_come_last(example):
    example["arms"].reverse()
    roles = [arm.role for arm in in_order(Report.model_validate(example).arms)]
    assert roles[:3] == ["teacher", "student_alone", "distilled_student"]


def test_zero_lies_left_of_gains_and_right_of_losses(example_report):
    (tests,) = comparisons_by_metric(example_report).values()
    zero, bars = difference_spans(tests)
    for test, bar in zip(tests, bars, strict=True):
        assert (bar.low > zero) == (test.ci95[0] > 0)
        assert (bar.mid > zero) == (test.difference > 0)
