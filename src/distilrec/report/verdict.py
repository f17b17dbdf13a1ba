"""The answer of a run in one sentence, whether it flatters or not, and what takes from it."""

from __future__ import annotations

from distilrec.report.numbers import count, label, milliseconds, number, p_value, percent
from distilrec.report.parts import Arm, Comparison
from distilrec.report.schema import Report

__all__ = ["gain", "reservations", "retention_interval", "verdict"]

ALPHA = 0.05
TEACHER_USED = {"top-10 as positives", "truncated teacher"}  # controls that profit from the teacher's knowledge, too


def verdict(report: Report) -> str:
    """Say in one sentence what distillation kept, at what size, and whether it beat training alone.

    "Beats" and "falls short" need a Holm-corrected p < 0.05.
    """
    return f"The distilled student {_against_teacher(report)}{_at_size(report)}, {_against_alone(report)}."


def reservations(report: Report) -> list[str]:
    """Sentences to be read with the verdict.

    They name the controls that do as well as the distilled student, a teacher that is not shown to beat the student
    alone, what a teacher can do with more than a student with user vectors may know, and a method or a size that was
    chosen.
    """
    found = (_controls(report), _weak_teacher(report), _informed_teacher(report), _choice(report), _size(report))
    return [text for text in found if text]


def retention_interval(report: Report) -> tuple[float, float] | None:
    """The 95 % interval of distilled / teacher, or None where the two were not compared.

    It is the interval of the paired difference over the teacher's mean: 1 + ci95 / teacher. Deviation from an
    interval of the ratio: the teacher's mean counts as known, as it does in "keeps so much of this number".
    """
    teacher = report.arm("teacher")
    mean = teacher.metrics[report.metric].mean
    test = report.between(report.arm("distilled_student").name, teacher.name)
    if test is None or mean <= 0:
        return None
    low, high = test.ci95
    return 1 + low / mean, 1 + high / mean


def gain(report: Report) -> float | None:
    """(distilled - alone) / alone, or None where the student alone has 0."""
    alone = report.arm("student_alone").metrics[report.metric].mean
    distilled = report.arm("distilled_student").metrics[report.metric].mean
    return (distilled - alone) / alone if alone > 0 else None


def _significant(test: Comparison) -> bool:
    return test.p_holm < ALPHA


def _against_teacher(report: Report) -> str:
    name, metric = report.arm("teacher").name, label(report.metric)
    test = report.between(report.arm("distilled_student").name, name)
    kept, bounds = report.retention.get(report.metric), retention_interval(report)
    if kept is None:
        mean = report.arm("distilled_student").metrics[report.metric].mean
        return f"has {metric} {number(mean)} where the teacher has none"
    if test and bounds and _significant(test) and test.difference > 0:
        span = f"95 % interval {number(100 * bounds[0] - 100, 1)} to {percent(bounds[1] - 1)}"
        return f"beats the teacher's {metric} by {percent(kept - 1)} ({span}, {p_value(test.p_holm)})"
    verb = "keeps" if kept < 1 else "reaches"
    span = f" (95 % interval {number(100 * bounds[0], 1)} to {percent(bounds[1])})" if bounds else ""
    return f"{verb} {percent(kept)} of the teacher's {metric}{span}"


def _at_size(report: Report) -> str:
    ratios = {"parameters": report.compression.parameters, "bytes": report.compression.bytes}
    parts = [f"{percent(ratio)} of its {unit}" for unit, ratio in ratios.items() if ratio is not None]
    return " with " + " and ".join(parts) if parts else ""


def _against_alone(report: Report) -> str:
    alone, distilled = report.arm("student_alone"), report.arm("distilled_student")
    test, relative = report.between(distilled.name, alone.name), gain(report)
    other = "the same student trained alone"
    means = [arm.metrics[report.metric].mean for arm in (distilled, alone)]
    amount = number(means[0] - means[1], sign=True) if relative is None else percent(relative, sign=True)
    if test is None:
        return f"and was not tested against {other} ({amount})"
    if not _significant(test):
        return f"but does not beat {other} ({amount}, {p_value(test.p_holm)})"
    if test.difference > 0:
        return f"and beats {other} by {amount.lstrip('+')} ({p_value(test.p_holm)})"
    return f"but falls short of {other} by {amount.lstrip('−')} ({p_value(test.p_holm)})"


def _control(report: Report, control: Arm) -> str | None:
    """How a control that does as well as the distilled student does, or None."""
    distilled = report.arm("distilled_student")
    test = report.between(control.name, distilled.name)
    if test is None:
        mean = control.metrics[report.metric].mean if report.metric in control.metrics else None
        reached = mean is not None and mean >= distilled.metrics[report.metric].mean
        return "scores as high, untested" if reached else None
    if not _significant(test):
        return f"does as well, within the noise ({p_value(test.p_holm)})"
    return f"does better ({p_value(test.p_holm)})" if test.difference > 0 else None


def _controls(report: Report) -> str | None:
    found = {arm.name: _control(report, arm) for arm in report.arms if arm.role == "control"}
    equals = {name: text for name, text in found.items() if text}
    if not equals:
        return None
    said = "; ".join(f"“{name}” {text}" for name, text in equals.items())
    opening = "But the control " if len(equals) == 1 else "But of the controls, "
    test = report.between(report.arm("distilled_student").name, report.arm("student_alone").name)
    if test is None or not _significant(test) or test.difference <= 0:
        return f"{opening}{said}."
    simpler = equals.keys() <= TEACHER_USED
    source = "need more than a simpler use of the teacher" if simpler else "come from distillation"
    return f"{opening}{said}: the gain is not shown to {source}."


def _weak_teacher(report: Report) -> str | None:
    if report.gap_closed.get(report.metric, 0.0) is not None:
        return None
    return "The teacher itself is not shown to beat the student alone."


def _informed_teacher(report: Report) -> str | None:
    more = [arm for arm in report.arms if arm.knows_more]
    if not more:
        return None
    reached = number(more[0].metrics[report.metric].mean)
    return (
        "Teacher and student answer from the end of training, as a student with user vectors must; given the "
        f"validation items too, the teacher has {label(report.metric)} {reached}."
    )


def _choice(report: Report) -> str | None:
    """Why `method: auto` took the method it did."""
    if not report.tried:
        return None
    best, *others = report.tried
    if not others:
        return f"The method is {best.arm}: nothing else was tried."
    found, following = (number(row.validation or 0.0) for row in (best, others[0]))
    trials = "one trial" if best.trials == 1 else f"{best.trials} trials"
    return (
        f"The method was chosen among {len(report.tried)}, with {trials} each: {best.arm}, since it had the best "
        f"{label(report.validation_metric)} on validation, {found}; {others[0].arm} came next with {following}."
    )


def _size(report: Report) -> str | None:
    """Which size a search for the smallest student chose, and for which limits."""
    found = report.smallest
    if found is None:
        return None
    asked = []
    if found.keep is not None:
        asked.append(f"keeps at least {percent(found.keep)} of the teacher's NDCG@10")
    if found.max_bytes is not None:
        asked.append(f"takes at most {count(found.max_bytes)} bytes")
    if found.max_ms is not None:
        asked.append(f"answers within {found.max_ms:g} ms")
    limits = " and ".join([", ".join(asked[:-1]), asked[-1]] if len(asked) > 1 else asked)
    return (
        f"Width {found.width} as {found.precision} was chosen among {found.tried} students on validation, as the "
        f"smallest that {limits}: there it keeps {percent(found.kept)}, takes "
        f"{count(found.bytes)} bytes and answers in {milliseconds(found.ms)}."
    )
