"""Files for phones, run by their own runtimes, where the environments of their converters are at hand.

`distilrec export BUNDLE --to litert` and `--to executorch` make them; it takes minutes and gigabytes, so tests don't.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distilrec.errors import ModelError
from distilrec.export import Thresholds, export
from distilrec.export.mobile import MOBILE
from distilrec.export.whole import Whole
from distilrec.ranking import rank
from tests.export.test_export import bundle, queries, student


@pytest.fixture(params=sorted(MOBILE))
def target(request: pytest.FixtureRequest) -> str:
    mobile = MOBILE[request.param]
    if not (mobile.folder() / "ready").exists():
        pytest.skip(f"no environment in {mobile.folder()}")
    return str(request.param)


@pytest.mark.parametrize("name", ["history_encoder", "sasrec", "matrix_factorization"])
def test_the_lists_are_the_students(target: str, name: str, tmp_path: Path) -> None:
    info = export(bundle(tmp_path / "bundle", name), target, tmp_path / "student", thresholds=Thresholds(0.8, 0.8))
    assert info.bytes == (tmp_path / "student").stat().st_size
    assert not list(tmp_path.glob("*.pt2"))
    assert info.overlap > 0.83  # without a history all scores are equal


def test_histories_of_every_length(target: str, tmp_path: Path) -> None:
    model, asked, mobile = student("sasrec"), queries(), MOBILE[target]
    expected, _ = rank(model, asked, 10)
    histories = asked.histories.padded(24, fill=-1)
    histories = np.take_along_axis(histories, np.argsort(histories < 0, axis=1, kind="stable"), axis=1)
    whole = Whole(model, 10)
    length = mobile.write(whole, 24, tmp_path / "student")
    assert length == 64
    with mobile.answering(whole, tmp_path / "student", length) as answer:
        found = answer(asked.users.astype(np.int64), histories)
    np.testing.assert_array_equal(found[1:], expected[1:])  # without a history all scores are equal


def test_what_is_no_student_is_refused(target: str, tmp_path: Path) -> None:
    (tmp_path / "student").write_bytes(b"no student")
    mobile, whole = MOBILE[target], Whole(student("sasrec"), 10)
    refused = pytest.raises(ModelError, match="can't run student")
    with mobile.answering(whole, tmp_path / "student", 64) as answer, refused:
        answer(np.array([0]), np.array([[1, 2]]))
