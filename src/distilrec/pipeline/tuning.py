"""The same search for the student alone and for the distilled student, on validation only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from distilrec.models import SequenceConfig
from distilrec.pipeline.plan import ALONE, DISTILLED, Plan
from distilrec.pipeline.run import plan_of
from distilrec.pipeline.runner import Progress, run_tasks
from distilrec.pipeline.tasks import TrainStudent
from distilrec.recipe import Chosen, Recipe
from distilrec.rng import child_seed

__all__ = ["tune"]

# Seeds of trials differ from those of the arms, so that no arm is reported under a seed that chose its settings.
TRIAL_SEED = "tuning"


def tune(recipe: Recipe, out: Path, trials: int, *, jobs: int | None = None, progress: Progress) -> Recipe:
    """Search both arms' settings with `trials` trials each, and return the recipe with the best ones.

    Both arms search learning rate, weight decay, dropout (where the model has it) and the recency half-life of the
    true labels; the distilled arm also alpha, temperature and tail. More settings share the same number of trials:
    the student alone is searched more densely, never less. A trial of each runs at once. Trials are kept in
    `out`/tuning.db and count when the search goes on; the search is Optuna's TPE, seeded.
    """
    context, plan = plan_of(recipe, out)
    run_tasks([*plan.members, plan.teacher, *plan.recordings], context, jobs=jobs, progress=progress)
    studies = {arm: _study(out, arm, plan, recipe.seed) for arm in (ALONE, DISTILLED)}
    done = {arm: _finished(study) for arm, study in studies.items()}
    progress.begin(sum(max(0, trials - count) for count in done.values()), sum(done.values()))
    for number in range(min(done.values()), trials):
        asked = {arm: study.ask() for arm, study in studies.items() if done[arm] <= number}
        tasks = {arm: _task(plan, arm, trial, number) for arm, trial in asked.items()}
        run_tasks(list(tasks.values()), context, jobs=jobs, progress=_Trials(progress))
        for arm, task in tasks.items():
            curve = context.store.result(task.stage)["curve"]
            studies[arm].tell(asked[arm], max(epoch["validation"] or 0.0 for epoch in curve))
    chosen = {}
    for arm, study in studies.items():
        best = study.best_trial
        chosen[arm] = Chosen(trials=_finished(study), validation=float(best.value or 0.0), settings=dict(best.params))
    return _with_settings(recipe, chosen)


def _finished(study: optuna.Study) -> int:
    return sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)


class _Trials:
    """Passes on what happens in trials; how many there are has been said already."""

    def __init__(self, progress: Progress) -> None:
        self.step, self.end = progress.step, progress.end

    def begin(self, to_do: int, done: int) -> None:
        """Nothing new."""


def _study(out: Path, arm: str, plan: Plan, seed: int) -> optuna.Study:
    """One study per arm and its untuned settings; a changed teacher or student begins another."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The untuned student's stage knows all that a trial depends on: data, labels, model, settings.
    settings = plan.recipe.distilled if arm == DISTILLED else plan.recipe.alone
    untuned = plan.student_task(arm, settings, seed, labels=plan.labels if arm == DISTILLED else None)
    storage = f"sqlite:///{(out / 'tuning.db').resolve()}"
    study = optuna.create_study(
        storage=storage, study_name=f"{arm} {untuned.stage.key}", direction="maximize", load_if_exists=True
    )
    # Seeded by what is done, else a search that goes on would begin with the same trials again.
    study.sampler = optuna.samplers.TPESampler(seed=child_seed(seed, TRIAL_SEED, arm, len(study.trials)) % 2**32)
    return study


def _task(plan: Plan, arm: str, trial: optuna.Trial, number: int) -> TrainStudent:
    suggested = _suggest(trial, plan.recipe, distilled=arm == DISTILLED)
    recipe = _apply(plan.recipe, arm, suggested)
    seed = child_seed(plan.recipe.seed, TRIAL_SEED)
    settings = recipe.distilled if arm == DISTILLED else recipe.alone
    labels = plan.labels if arm == DISTILLED else None
    return Plan(recipe, plan.fingerprint).student_task(f"{arm} trial {number}", settings, seed, labels=labels)


def _suggest(trial: optuna.Trial, recipe: Recipe, *, distilled: bool) -> dict[str, Any]:
    base = (recipe.distilled if distilled else recipe.alone).training.learning_rate
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", base / 4, base * 4, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        "recency_half_life": trial.suggest_categorical("recency_half_life", [None, 10.0, 30.0, 100.0]),
    }
    if isinstance(recipe.student.model, SequenceConfig):
        suggested["dropout"] = trial.suggest_float("dropout", 0.0, 0.4)
    if distilled:
        suggested["alpha"] = trial.suggest_categorical("alpha", [0.5, 0.8, 0.95, 1.0])
        suggested["temperature"] = trial.suggest_categorical("temperature", list(recipe.record.temperatures))
        suggested["tail"] = trial.suggest_categorical("tail", ["mass", "sampled"])
    return suggested


def _apply(recipe: Recipe, arm: str, settings: dict[str, Any]) -> Recipe:
    """The recipe with an arm's settings; dropout belongs to that arm's student."""
    part = recipe.distilled if arm == DISTILLED else recipe.alone

    def taken(*names: str) -> dict[str, Any]:
        return {name: settings[name] for name in names if name in settings}

    update: dict[str, Any] = {
        "training": part.training.model_copy(update=taken("learning_rate", "weight_decay")),
        "supervision": part.supervision.model_copy(update=taken("recency_half_life")),
        "dropout": settings.get("dropout", part.dropout),
    }
    if arm == DISTILLED:
        mixed = recipe.distilled.distillation.model_copy(update=taken("alpha", "temperature", "tail"))
        update["distillation"] = mixed
    return recipe.model_copy(update={"distilled" if arm == DISTILLED else "alone": part.model_copy(update=update)})


def _with_settings(recipe: Recipe, chosen: dict[str, Chosen]) -> Recipe:
    for arm, found in chosen.items():
        recipe = _apply(recipe, arm, found.settings)
    return recipe.model_copy(update={"tuned": chosen})
