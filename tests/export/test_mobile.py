"""Files for phones, run by their own runtimes, where the environments of their converters are at hand.

`distilrec export BUNDLE --to litert` and `--to executorch` make them; it takes minutes and gigabytes, so tests don't.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from distilrec.errors import ModelError
from distilrec.export import Thresholds, export, mobile
from distilrec.export.mobile import MOBILE, Mobile
from distilrec.export.whole import Whole
from distilrec.ranking import rank
from tests.export.test_export import bundle, queries, student

STUB = """
import sys
sys.path.insert(0, CONVERTERS)
from loop import serve
if sys.argv[2].endswith("broken"):
    sys.exit("what is wrong with it")
serve(lambda given: [[values.size for values in given] + [values.max() for values in given]])
"""


def test_what_is_asked_comes_over_the_pipe_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that tells what it was given, in a process of its own."""
    converters = Path(mobile.__file__).parent / "converters"
    (tmp_path / "stub.py").write_text(STUB.replace("CONVERTERS", repr(str(converters))), encoding="utf-8")
    monkeypatch.setattr(Mobile, "_python", lambda self: Path(sys.executable))
    stub = Mobile("Stub", "stub==1", str(tmp_path / "stub.py"))
    users, histories = np.array([5, 6]), np.array([[3, 1, -1], [2, 7, 9]])
    for name, expected in (("sasrec", [[2, 3], [2, 9]]), ("matrix_factorization", [[1, 2, 5, 3], [1, 2, 6, 9]])):
        with stub.answering(Whole(student(name), 10), tmp_path / "student", 2) as answer:
            np.testing.assert_array_equal(answer(users, histories), expected)
    with (
        stub.answering(Whole(student("sasrec"), 10), tmp_path / "broken", 2) as answer,
        pytest.raises(ModelError, match="Stub can't run broken: what is wrong with it"),
    ):
        answer(users, histories)


@pytest.fixture(params=sorted(MOBILE))
def target(request: pytest.FixtureRequest) -> str:
    folder = MOBILE[request.param].folder()
    if not (folder / "ready").exists():
        pytest.skip(f"no environment in {folder}")
    return str(request.param)


@pytest.mark.parametrize("name", ["history_encoder", "sasrec", "matrix_factorization"])
def test_the_lists_are_the_students(target: str, name: str, tmp_path: Path) -> None:
    info = export(bundle(tmp_path / "bundle", name), target, tmp_path / "student", thresholds=Thresholds(0.8, 0.8))
    assert info.bytes == (tmp_path / "student").stat().st_size
    assert not list(tmp_path.glob("*.pt2"))
    assert info.overlap > 0.83  # without a history all scores are equal


def test_histories_of_every_length(target: str, tmp_path: Path) -> None:
    model, asked, runtime = student("sasrec"), queries(), MOBILE[target]
    expected, _ = rank(model, asked, 10)
    histories = asked.histories.padded(24, fill=-1)
    histories = np.take_along_axis(histories, np.argsort(histories < 0, axis=1, kind="stable"), axis=1)
    whole = Whole(model, 10)
    length = runtime.write(whole, 24, tmp_path / "student")
    assert length == 64
    with runtime.answering(whole, tmp_path / "student", length) as answer:
        found = answer(asked.users.astype(np.int64), histories)
    np.testing.assert_array_equal(found[1:], expected[1:])  # without a history all scores are equal


def test_what_is_no_student_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "student").write_bytes(b"no student")
    runtime, whole = MOBILE[target], Whole(student("sasrec"), 10)
    refused = pytest.raises(ModelError, match="can't run student")
    with runtime.answering(whole, tmp_path / "student", 64) as answer, refused:
        answer(np.array([0]), np.array([[1, 2]]))
