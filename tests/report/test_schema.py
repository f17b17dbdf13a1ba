"""report.json keeps its shape, and refuses what would mislead a reader."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from distilrec.errors import ArtefactError
from distilrec.report import Report, json_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "report.schema.json"
REGENERATE = (
    "python -c 'from distilrec.report import json_schema; print(json_schema(), end=\"\")' > docs/report.schema.json"
)


def test_a_report_survives_the_round_trip(example_report):
    """A value that changes on its way through the file would be reported wrongly."""
    assert Report.from_json(example_report.to_json()) == example_report


def test_the_minimal_report_is_read_and_written_with_every_key(minimal):
    written = json.loads(Report.model_validate(minimal).to_json())
    assert written["schema"] == 1
    assert written["pareto"] == []
    assert set(written) == set(Report.model_json_schema(by_alias=True)["properties"])


@pytest.mark.parametrize("kind", ["example", "minimal"])
def test_what_is_written_obeys_the_published_schema(kind, request):
    written = json.loads(Report.model_validate(request.getfixturevalue(kind)).to_json())
    jsonschema.validate(written, json.loads(json_schema()))


def test_the_published_schema_is_the_models():
    """Readers in other languages rely on the published file."""
    assert PUBLISHED.read_text(encoding="utf-8") == json_schema(), f"write it again with: {REGENERATE}"


@pytest.mark.parametrize("place", [(), ("data",), ("arms", 0), ("arms", 0, "metrics", "ndcg@10"), ("environment",)])
def test_unknown_keys_are_refused(example, place):
    """A misspelt key would otherwise silently drop a number."""
    part = example
    for step in place:
        part = part[step]
    part["ndgc"] = 1
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Report.model_validate(example)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(example, value):
    """JSON can't hold them: NaN would be written as null and read as "not measured"."""
    example["arms"][0]["metrics"]["ndcg@10"]["mean"] = value
    with pytest.raises(ValidationError, match="finite"):
        Report.model_validate(example)


def test_an_interval_upside_down_is_refused(example):
    example["comparisons"][0]["ci95"] = [0.2, 0.1]
    with pytest.raises(ValidationError, match="from low to high"):
        Report.model_validate(example)


@pytest.mark.parametrize("role", ["teacher", "student_alone", "distilled_student"])
def test_the_three_arms_of_the_question_are_required(minimal, role):
    minimal["arms"] = [arm for arm in minimal["arms"] if arm["role"] != role]
    with pytest.raises(ValidationError, match=f"no arm with the role '{role}'"):
        Report.model_validate(minimal)


def test_a_main_arm_without_the_reports_metric_is_refused(minimal):
    minimal["metric"] = "recall@50"
    with pytest.raises(ValidationError, match="has no 'recall@50'"):
        Report.model_validate(minimal)


def test_two_arms_of_one_name_are_refused(minimal):
    """Every other part refers to arms by name."""
    minimal["arms"][1]["name"] = minimal["arms"][0]["name"]
    with pytest.raises(ValidationError, match="names of their own"):
        Report.model_validate(minimal)


@pytest.mark.parametrize("part", ["comparisons", "curves", "tuning"])
def test_parts_that_name_no_arm_are_refused(example, part):
    example[part][0]["a" if part == "comparisons" else "arm"] = "MF-9"
    with pytest.raises(ValidationError, match=f"{part} names \\['MF-9'\\]"):
        Report.model_validate(example)


def test_a_curve_with_lists_of_different_length_is_refused(example):
    """Plotted, the values would move to other epochs."""
    example["curves"][0]["loss"].pop()
    with pytest.raises(ValidationError, match="loss has 39 values for 40 epochs"):
        Report.model_validate(example)


def test_between_turns_the_sign_with_the_direction(example_report):
    """A difference read the wrong way round would turn the verdict."""
    there = example_report.between("MF-8 distilled", "MF-8 alone")
    back = example_report.between("MF-8 alone", "MF-8 distilled")
    assert there.difference == pytest.approx(0.0270)
    assert back.difference == -there.difference
    assert back.ci95 == (-there.ci95[1], -there.ci95[0])
    assert (back.a, back.b) == (there.b, there.a)
    assert example_report.between("MF-8 alone", "MF-8 distilled", "recall@10") is None


def test_a_damaged_file_is_an_artefact_error():
    with pytest.raises(ArtefactError, match="not a report of schema version 1"):
        Report.from_json("{")


def test_what_validation_measured_is_the_recipes(example):
    """A curve labelled with the headline metric while training was stopped by another."""
    example["recipe"] = {"alone": {"training": {"metric": "recall@50"}}}
    assert Report.model_validate(example).validation_metric == "recall@50"
    assert Report.model_validate({**example, "recipe": {}}).validation_metric == example["metric"]
