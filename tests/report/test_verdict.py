"""The sentences say what the numbers say: neither more, nor the opposite."""

import pytest

from distilrec.report import Report, reservations, verdict
from distilrec.report.verdict import gain, retention_interval


def report(alone, distilled, *tests, teacher=0.1, controls=(), gap=0.5):
    """A report from means; a test is (a, b, p_holm, half width), where a and b are arms."""
    means = {"teacher": teacher, "alone": alone, "distilled": distilled, **dict(controls)}
    roles = {"teacher": "teacher", "alone": "student_alone", "distilled": "distilled_student"}
    arms = [
        {
            "name": name,
            "role": roles.get(name, "control"),
            "model": "m",
            "seeds": [0],
            "parameters": 1,
            "bytes": 1,
            "metrics": {"ndcg@10": {"mean": mean, "per_seed": [mean]}},
        }
        for name, mean in means.items()
    ]
    comparisons = [
        {
            "a": a,
            "b": b,
            "metric": "ndcg@10",
            "difference": means[a] - means[b],
            "ci95": [means[a] - means[b] - half, means[a] - means[b] + half],
            "p_value": p / 10,
            "p_holm": p,
            "test": "t",
        }
        for a, b, p, half in tests
    ]
    return Report.model_validate(
        {
            "recipe": {},
            "data": {"name": "", "users": 1, "items": 1, "interactions": 1, "split": "", "fingerprint": ""},
            "arms": arms,
            "comparisons": comparisons,
            "gap_closed": {"ndcg@10": gap},
            "retention": {"ndcg@10": distilled / teacher if teacher else None},
            "compression": {"parameters": 0.03, "bytes": 0.0001},
            "environment": {"versions": {}, "machine": "", "seed": 0, "command": "", "date": ""},
        }
    )


WITH_TEACHER = ("distilled", "teacher", 0.4, 0.004)
BEATS_ALONE = ("distilled", "alone", 0.0001, 0.01)
SIZE = "with 3.0 % of its parameters and < 0.1 % of its bytes"


def test_it_keeps_quality_and_beats_the_student_alone():
    """All numbers by hand: .098/.1, 1 + (-.002 -+ .004)/.1, .098/.07 - 1."""
    assert verdict(report(0.07, 0.098, WITH_TEACHER, BEATS_ALONE)) == (
        "The distilled student keeps 98.0 % of the teacher's NDCG@10 (95 % interval 94.0 to 102.0 %) "
        f"{SIZE}, and beats the same student trained alone by 40.0 % (p < 0.001)."
    )


def test_comparisons_may_stand_the_other_way_round():
    """The order in which evaluation stored a test must not turn a gain into a loss."""
    turned = report(0.07, 0.098, ("teacher", "distilled", 0.4, 0.004), ("alone", "distilled", 0.0001, 0.01))
    assert verdict(turned) == verdict(report(0.07, 0.098, WITH_TEACHER, BEATS_ALONE))


def test_a_gain_that_is_not_significant_is_no_gain():
    text = verdict(report(0.097, 0.098, WITH_TEACHER, ("distilled", "alone", 0.31, 0.01)))
    assert text.endswith(", but does not beat the same student trained alone (+1.0 %, p = 0.310).")


def test_the_corrected_p_decides():
    """p = .02 alone, .2 after Holm's correction: no gain is shown."""
    text = verdict(report(0.09, 0.098, WITH_TEACHER, ("distilled", "alone", 0.2, 0.01)))
    assert "does not beat" in text
    assert "p = 0.200" in text


def test_distillation_that_hurts_is_said_to_hurt():
    text = verdict(report(0.07, 0.063, WITH_TEACHER, ("distilled", "alone", 0.002, 0.003)))
    assert text.endswith(", but falls short of the same student trained alone by 10.0 % (p = 0.002).")


def test_a_student_significantly_above_the_teacher_beats_it():
    text = verdict(report(0.07, 0.11, ("distilled", "teacher", 0.003, 0.004), BEATS_ALONE))
    span = "95 % interval 6.0 to 14.0 %, p = 0.003"
    assert text.startswith(f"The distilled student beats the teacher's NDCG@10 by 10.0 % ({span}) with")


def test_a_student_above_the_teacher_by_chance_does_not_beat_it():
    text = verdict(report(0.07, 0.102, WITH_TEACHER, BEATS_ALONE))
    assert "reaches 102.0 % of the teacher's NDCG@10 (95 % interval 98.0 to 106.0 %)" in text
    assert "beats the teacher" not in text


def test_untested_differences_are_called_untested():
    text = verdict(report(0.07, 0.098))
    assert "interval" not in text
    assert text.endswith(", and was not tested against the same student trained alone (+40.0 %).")


@pytest.mark.parametrize(
    ("control", "p", "said"),
    [
        (0.097, 0.42, ["does as well, within the noise (p = 0.420)"]),
        (0.105, 0.01, ["does better (p = 0.010)"]),
        (0.08, 0.01, []),
    ],
)
def test_a_control_that_does_as_well_takes_the_credit_away(control, p, said):
    """A gain that a shuffled teacher also gives is not the teacher's."""
    tests = (WITH_TEACHER, BEATS_ALONE, ("distilled", "shuffled", p, 0.003))
    found = reservations(report(0.07, 0.098, *tests, controls=[("shuffled", control)]))
    end = "the gain is not shown to come from distillation."
    assert found == [f"But the control “shuffled” {how}: {end}" for how in said]


def test_a_control_is_named_even_where_there_is_no_gain():
    tests = (WITH_TEACHER, ("distilled", "alone", 0.31, 0.01), ("shuffled", "distilled", 0.5, 0.01))
    found = reservations(report(0.097, 0.098, *tests, controls=[("shuffled", 0.097)]))
    assert found == ["But the control “shuffled” does as well, within the noise (p = 0.500)."]


def test_several_controls_are_all_named_and_untested_ones_count():
    tests = (WITH_TEACHER, BEATS_ALONE, ("distilled", "longer", 0.3, 0.01))
    controls = [("longer", 0.097), ("copy", 0.099), ("weak", 0.01)]
    assert reservations(report(0.07, 0.098, *tests, controls=controls)) == [
        "But of the controls, “longer” does as well, within the noise (p = 0.300); “copy” scores as high, untested: "
        "the gain is not shown to come from distillation."
    ]


def test_a_teacher_that_does_not_beat_the_student_alone_is_mentioned():
    """Keeping all of a useless teacher is no achievement."""
    found = reservations(report(0.097, 0.098, WITH_TEACHER, ("distilled", "alone", 0.31, 0.01), gap=None))
    assert found == ["The teacher itself is not shown to beat the student alone."]


def test_a_teacher_and_a_student_of_zero_divide_nothing():
    zero = report(0.0, 0.02, teacher=0.0)
    assert gain(zero) is None
    assert retention_interval(zero) is None
    assert "has NDCG@10 0.0200 where the teacher has none" in verdict(zero)
    assert "(+0.0200)" in verdict(zero)


def test_unknown_sizes_are_left_out(minimal):
    assert "parameters" not in verdict(Report.model_validate(minimal))


def test_each_is_one_sentence(example_report):
    for text in (verdict(example_report), *reservations(example_report)):
        assert text.endswith(".")
        assert ". " not in text
        assert "\n" not in text


def test_what_the_teacher_could_do_with_more_is_said():
    """A teacher held to what its student may know must not pass for all that the teacher can do."""
    base = report(0.07, 0.098, WITH_TEACHER, BEATS_ALONE)
    teacher = base.arm("teacher")
    more = teacher.metrics["ndcg@10"].model_copy(update={"mean": 0.12})
    informed = teacher.model_copy(update={"name": "informed", "knows_more": True, "metrics": {"ndcg@10": more}})
    (found,) = reservations(base.model_copy(update={"arms": [*base.arms, informed]}))
    assert found.endswith("given the validation items too, the teacher has NDCG@10 0.1200.")


def test_a_control_that_uses_the_teacher_does_not_deny_that_the_gain_is_the_teachers():
    tests = (WITH_TEACHER, BEATS_ALONE, ("distilled", "truncated teacher", 0.42, 0.003))
    (found,) = reservations(report(0.07, 0.098, *tests, controls=[("truncated teacher", 0.097)]))
    assert found.endswith("the gain is not shown to need more than a simpler use of the teacher.")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((0.98, None, None), "the smallest that keeps at least 98.0 % of the teacher's NDCG@10: there"),
        ((None, 500_000, 1.5), "the smallest that takes at most 500,000 bytes and answers within 1.5 ms: there"),
        (
            (0.5, 2_000, 1),
            "the smallest that keeps at least 50.0 % of the teacher's NDCG@10, takes at most 2,000 bytes and answers "
            "within 1 ms: there",
        ),
    ],
)
def test_the_size_that_was_searched_is_said_with_its_limits(asked, said):
    """A student whose width nobody chose by hand, and no word of why it has it."""
    base = report(0.07, 0.098, WITH_TEACHER, BEATS_ALONE)
    search = {
        **dict(zip(("keep", "max_bytes", "max_ms"), asked, strict=True)),
        "tried": 24,
        "width": 8,
        "precision": "int8",
        "kept": 0.9861,
        "bytes": 4123,
        "ms": 0.314,
    }
    (found,) = reservations(Report.model_validate({**base.model_dump(by_alias=True), "smallest": search}))
    assert found.startswith(f"Width 8 as int8 was chosen among 24 students on validation, as {said}")
    assert found.endswith("there it keeps 98.6 %, takes 4,123 bytes and answers in 0.31 ms.")
