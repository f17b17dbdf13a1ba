"""The picture must say what the rows say."""

from __future__ import annotations

from xml.etree import ElementTree

from distilrec.report import leaderboard_picture
from distilrec.report.leaderboard import Row

SVG = "{http://www.w3.org/2000/svg}"


def row(arm: str, role: str, quality: float, ci95: tuple[float, float] | None = None) -> Row:
    nothing = dict.fromkeys(Row.model_fields)
    return Row.model_validate(
        {**nothing, "arm": arm, "role": role, "quality": quality, "ci95": ci95, "train_seconds": 1}
    )


ROWS = [
    row("teacher, given more than its student may know", "teacher", 0.45),
    row("teacher", "teacher", 0.4, (0.3, 0.5)),
    row("student alone", "student_alone", 0.1, (0.0, 0.2)),
    row("<b>&", "distilled_student", 0.2),
    row("distilled student", "distilled_student", 0.3),
]


def test_rows_come_best_first_at_places_in_proportion() -> None:
    root = ElementTree.fromstring(leaderboard_picture("Quality", ROWS))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "Quality"
    assert [text for text in texts if text in {each.arm for each in ROWS}] == [
        "teacher, given more than its student may know", "teacher", "distilled student", "<b>&", "student alone"
    ]  # fmt: skip
    assert [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "plain"] == ["distilled student"]
    plain, other = (float(circle.get("cx", "nan")) for circle in root.iter(f"{SVG}circle"))
    whiskers = [line for line in root.iter(f"{SVG}line") if line.get("class") == "whisker teacher"]
    low, high = (float(whiskers[1].get(end, "nan")) for end in ("x1", "x2"))
    # From 0.3 to 0.5 it is twice as far as from 0.2 to 0.3; places are rounded to a tenth.
    assert abs((high - low) - 2 * (plain - other)) < 0.5
    assert abs(low - plain) < 0.2
    names = [text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert all(float(text.get("x", "nan")) > 7 * len(text.text or "") for text in names)
    assert "teacher 0.4000, distilled student 0.3000" in root.get("aria-label", "")


def test_lines_stand_at_teacher_and_student_alone() -> None:
    root = ElementTree.fromstring(leaderboard_picture("Quality", ROWS))
    lines = [line for line in root.iter(f"{SVG}line") if (line.get("class") or "").startswith("line ")]
    assert [line.get("class") for line in lines] == ["line teacher", "line student_alone"]
    squares = list(root.iter(f"{SVG}rect"))
    assert abs(float(lines[0].get("x1", "nan")) - float(squares[1].get("x", "nan")) - 4.5) < 0.2
