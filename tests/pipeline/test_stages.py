"""Stages are re-run exactly when something they depend on changed."""

from pathlib import Path

import pytest

from distilrec.errors import ArtefactError
from distilrec.pipeline.stages import Stage, Store


def test_a_changed_setting_changes_the_keys_of_all_that_depend_on_it() -> None:
    def chain(reg: float) -> tuple[Stage, Stage, Stage]:
        data = Stage("data", {"fingerprint": "f"})
        member = Stage("member ease", {"reg": reg}, (data,))
        return data, member, Stage("teacher", {}, (member,))

    before, after = chain(1.0), chain(2.0)
    assert before[0].key == after[0].key
    assert before[1].key != after[1].key
    assert before[2].key != after[2].key


def test_why_names_the_setting_that_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = Stage("teacher", {"training": {"epochs": 5, "patience": 2}})
    assert store.why(old) == "will run: it hasn't been run yet"
    store.folder(old)
    assert store.why(old) == "will go on: it was interrupted"
    store.finish(old, {"bytes": 3})
    assert store.why(old) == "done"
    assert store.result(old) == {"bytes": 3}
    new = Stage("teacher", {"training": {"epochs": 6, "patience": 2}})
    assert store.why(new) == "will run: training.epochs (5 -> 6) changed"


def test_why_names_the_parent_that_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.finish(Stage("teacher", {}, (Stage("member", {"reg": 1}),)), {})
    assert "stage 'member' changed" in store.why(Stage("teacher", {}, (Stage("member", {"reg": 2}),)))


def test_stages_whose_names_begin_alike_are_not_confused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.finish(Stage("student alone 1", {"seed": 1}), {})
    assert store.why(Stage("student alone", {"seed": 1})) == "will run: it hasn't been run yet"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_can_be_no_folder_is_refused(place: str, tmp_path: Path) -> None:
    """Whoever mistypes --out would read a traceback."""
    (tmp_path / "file").touch()
    store = Store(tmp_path / place)
    with pytest.raises(ArtefactError, match=rf"{place}: can't be made a run's folder \(.*\); name another --out"):
        store.make()
    with pytest.raises(ArtefactError, match="can't be made"), store.alone():
        pass
