"""Tuning trials as JSON, so that a search of many hours can go on on another machine.

`distilrec.pipeline.tune` keeps trials in tuning.db, one study for each arm and all that its quality depends on: data,
labels, model and settings. A study that is restored counts where all of that is the same, and else begins anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution

from distilrec.pipeline import Progress

__all__ = ["Keeping", "keep", "restore"]

COMPLETE = (optuna.trial.TrialState.COMPLETE,)


def restore(file: Path, out: Path) -> None:
    """Put the trials of `file` into out/tuning.db; a study that has some there already is left as it is."""
    if not file.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    storage = _storage(out)
    for name, trials in json.loads(file.read_bytes()).items():
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        for trial in [] if study.get_trials(states=COMPLETE) else trials:
            distributions = {key: json_to_distribution(text) for key, text in trial["distributions"].items()}
            study.add_trial(
                optuna.trial.create_trial(params=trial["params"], distributions=distributions, value=trial["value"])
            )


def keep(out: Path, file: Path) -> None:
    """Write the finished trials of out/tuning.db to `file`."""
    if not (out / "tuning.db").exists():
        return
    storage, studies = _storage(out), {}
    for name in sorted(optuna.get_all_study_names(storage)):
        trials = optuna.load_study(storage=storage, study_name=name).get_trials(states=COMPLETE)
        if trials:
            studies[name] = [_content(trial) for trial in trials]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(studies, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(file)


def _content(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    distributions = {key: distribution_to_json(each) for key, each in trial.distributions.items()}
    return {"params": trial.params, "distributions": distributions, "value": trial.value}


def _storage(out: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{(out / 'tuning.db').resolve()}")


class Keeping:
    """Passes on what happens, and keeps the trials that are finished as soon as one more is."""

    def __init__(self, progress: Progress, out: Path, file: Path) -> None:
        self.begin, self.step = progress.begin, progress.step
        self._end, self._out, self._file = progress.end, out, file

    def end(self, stage: str, seconds: float) -> None:
        """A stage is done; of a trial, its quality has been told."""
        self._end(stage, seconds)
        if " trial " in stage:
            keep(self._out, self._file)
