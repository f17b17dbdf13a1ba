"""Hours of trials must survive the folder that they ran in."""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from benchmarks.trials import Keeping, keep, restore


def study(out: Path, name: str = "arm key") -> optuna.Study:
    return optuna.create_study(storage=f"sqlite:///{out / 'tuning.db'}", study_name=name, load_if_exists=True)


def test_trials_go_on_in_another_folder(tmp_path: Path) -> None:
    """Trials that are restored twice, or without what they were drawn from, would mislead the search."""
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "kept" / "trials.json"
    first.mkdir()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = study(first)
    for value in (0.25, 0.5):
        trial = drawn.ask()
        trial.suggest_float("rate", 0.1, 1.0, log=True)
        trial.suggest_categorical("half_life", [None, 10.0])
        drawn.tell(trial, value)
    drawn.ask()  # under way, when the session ended
    keep(first, file)
    restore(file, second)
    study(first).add_trial(optuna.trial.create_trial(value=0.75))
    keep(first, tmp_path / "longer.json")
    restore(tmp_path / "longer.json", second)  # has trials of that study already
    found = study(second).trials
    assert [trial.value for trial in found] == [0.25, 0.5]
    assert [trial.params for trial in found] == [trial.params for trial in drawn.trials[:2]]
    assert found[0].distributions == drawn.trials[0].distributions
    keep(second, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_bytes()) == json.loads(file.read_bytes())


def test_nothing_is_kept_where_nothing_was_tuned(tmp_path: Path) -> None:
    restore(tmp_path / "none.json", tmp_path)
    keep(tmp_path, tmp_path / "none.json")
    assert list(tmp_path.iterdir()) == []


class Silent:
    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None: ...

    def end(self, stage: str, seconds: float) -> None: ...


def test_trials_are_kept_as_soon_as_they_are_finished(tmp_path: Path) -> None:
    """A session that is killed must lose no trial but those that were under way."""
    keeping, file = Keeping(Silent(), tmp_path, tmp_path / "kept.json"), tmp_path / "kept.json"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study(tmp_path).add_trial(optuna.trial.create_trial(value=0.5))
    keeping.end("student alone 0", 1.0)
    assert not file.exists()
    keeping.end("student alone trial 1", 1.0)
    assert [trial["value"] for trial in json.loads(file.read_bytes())["arm key"]] == [0.5]
