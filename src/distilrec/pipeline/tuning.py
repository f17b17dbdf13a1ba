"""The same search for the student alone and for every way to distil it, on validation only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from distilrec.distillation import KL, Method
from distilrec.pipeline.plan import ALONE, DISTILLED, Plan
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.runner import Progress, run_tasks
from distilrec.pipeline.stages import Store
from distilrec.pipeline.task import Context
from distilrec.pipeline.tasks import TrainStudent
from distilrec.recipe import Alone, Chosen, Distilled, Recipe
from distilrec.rng import child_seed

__all__ = ["tune"]

# Seeds of trials differ from those of the arms, so that no arm is reported under a seed that chose its settings.
TRIAL_SEED = "tuning"
LEAST_DECAY, MOST_DECAY, MOST_DROPOUT = 1e-5, 0.1, 0.5
COMPLETE = optuna.trial.TrialState.COMPLETE


def tune(
    recipe: Recipe,
    out: Path,
    trials: int,
    *,
    alone: int | None = None,
    jobs: int | None = None,
    progress: Progress,
) -> Recipe:
    """Search the settings of each arm with `trials` trials, and return the recipe with the best ones.

    The arms are the student alone, the distilled student, and those that are `compared`. The first trial of each is
    the recipe as it is, but for a weight decay below 1e-5 and a dropout above .5, which become these. All search
    learning rate, weight decay, dropout (where the model has it) and the recency half-life of the true labels; those
    that are distilled also alpha, with soft labels temperature and tail, with other methods each one's weight. A trial
    that diverges counts, with quality 0. More settings share the same number of trials: the student alone is searched
    more densely, never less. A trial of each arm runs at once. Trials are kept in `out`/tuning.db and count when the
    search goes on; the search is Optuna's TPE, each trial seeded.
    alone: trials of the student alone, where several ways to distil compete and only one is kept; else `trials`.
    """
    with Store(out).alone():
        context, plan = plan_of(recipe, out)
        run_tasks(plan.groundwork, context, jobs=jobs, progress=progress)
        studies = {arm: _study(out, arm, plan, recipe.seed) for arm in (ALONE, DISTILLED, *recipe.compared)}
        done = {arm: _finished(study) for arm, study in studies.items()}
        wanted = {arm: (alone or trials) if arm == ALONE else trials for arm in studies}
        progress.begin(sum(max(0, wanted[arm] - count) for arm, count in done.items()), sum(done.values()))
        for number in range(min(done.values()), max(wanted.values())):
            asked = []
            for arm, study in studies.items():
                if done[arm] <= number < wanted[arm]:
                    trial = _ask(study, child_seed(recipe.seed, TRIAL_SEED, arm, number))
                    asked.append((study, trial, _task(plan, arm, trial, number)))
            _run(asked, context, jobs, progress)
        chosen = {}
        for arm, study in studies.items():
            # Of a longer search, only as many trials as were asked for; and those count that the recipe had before.
            first = [trial for trial in study.trials if trial.state == COMPLETE][: wanted[arm]]
            best = max(first, key=lambda trial: trial.value or 0.0)
            spent = len(first) + (recipe.tuned[arm].trials if arm in recipe.tuned else 0)
            chosen[arm] = Chosen(trials=spent, validation=float(best.value or 0.0), settings=dict(best.params))
        return _with_settings(recipe, chosen)


def _ask(study: optuna.Study, seed: int) -> optuna.Trial:
    """A trial of a seed of its own, so that a search that was killed asks for the same again."""
    study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32)
    return study.ask()


def _run(
    asked: Sequence[tuple[optuna.Study, optuna.Trial, TrainStudent]],
    context: Context,
    jobs: int | None,
    progress: Progress,
) -> None:
    """Run a trial of each arm, and tell each study as soon as its own is done: it counts even if others are killed."""
    waiting = {task.stage.name: (study, trial, task) for study, trial, task in asked}

    def tell(name: str) -> None:
        study, trial, task = waiting.pop(name)
        curve = context.store.result(task.stage)["curve"]
        study.tell(trial, max((epoch["validation"] or 0.0 for epoch in curve), default=0.0))

    run_tasks([task for _, _, task in asked], context, jobs=jobs, progress=_Trials(progress, tell))
    for name in list(waiting):  # trained before the search was killed
        tell(name)


def _finished(study: optuna.Study) -> int:
    return sum(trial.state == COMPLETE for trial in study.trials)


class _Trials:
    """Passes on what happens in trials, and says which is done; how many there are has been said already."""

    def __init__(self, progress: Progress, done: Callable[[str], None]) -> None:
        self.step, self._end, self._done = progress.step, progress.end, done

    def begin(self, to_do: int, done: int) -> None:
        """Nothing new."""

    def end(self, stage: str, seconds: float) -> None:
        """A trial is done."""
        self._done(stage)
        self._end(stage, seconds)


def _settings_of(recipe: Recipe, arm: str) -> Alone:
    """An arm's settings; all but those of the student alone are `Distilled`."""
    return {ALONE: recipe.alone, DISTILLED: recipe.distilled}.get(arm) or recipe.compared[arm]


def _study(out: Path, arm: str, plan: Plan, seed: int) -> optuna.Study:
    """One study per arm and its untuned settings; a changed teacher or student begins another."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The untuned student's stage knows all that a trial depends on: data, labels, model, settings.
    settings = _settings_of(plan.recipe, arm)
    untuned = plan.student_task(arm, settings, seed, labels=None if arm == ALONE else plan.labels)
    storage = f"sqlite:///{(out / 'tuning.db').resolve()}"
    study = optuna.create_study(
        storage=storage, study_name=f"{arm} {untuned.stage.key}", direction="maximize", load_if_exists=True
    )
    if not any(trial.state in (COMPLETE, optuna.trial.TrialState.WAITING) for trial in study.trials):
        study.enqueue_trial(_as_it_is(settings, plan.recipe))
    return study


def _task(plan: Plan, arm: str, trial: optuna.Trial, number: int) -> TrainStudent:
    recipe = _apply(plan.recipe, arm, _suggest(trial, plan.recipe, _settings_of(plan.recipe, arm)))
    seed = child_seed(plan.recipe.seed, TRIAL_SEED)
    labels = None if arm == ALONE else plan.labels
    task_of = Plan(recipe, plan.fingerprint, plan.contents).student_task
    return replace(task_of(f"{arm} trial {number}", _settings_of(recipe, arm), seed, labels=labels), may_diverge=True)


def _as_it_is(settings: Alone, recipe: Recipe) -> dict[str, Any]:
    """The settings themselves, as a trial of `_suggest`."""
    own = getattr(recipe.student.model, "dropout", None)
    found: dict[str, Any] = {
        "learning_rate": settings.training.learning_rate,
        "weight_decay": max(settings.training.weight_decay, LEAST_DECAY),
        "recency_half_life": settings.supervision.recency_half_life,
    }
    if own is not None:
        found["dropout"] = min(own if settings.dropout is None else settings.dropout, MOST_DROPOUT)
    if isinstance(settings, Distilled):
        mixed = settings.distillation
        found |= {"alpha": mixed.alpha, "temperature": mixed.temperature, "tail": mixed.tail}
        for method in _searched(mixed.methods):
            found[f"{method.name}.weight"] = method.weight
    return found


def _searched(methods: tuple[Method, ...]) -> list[Method]:
    """The methods whose weights are searched: all but a divergence that stands alone, which alpha weighs."""
    return [method for method in methods if method.weight and (not isinstance(method, KL) or len(methods) > 1)]


def _suggest(trial: optuna.Trial, recipe: Recipe, settings: Alone) -> dict[str, Any]:
    base, half_life = settings.training.learning_rate, settings.supervision.recency_half_life
    most_decay = max(MOST_DECAY, settings.training.weight_decay * 10)
    suggested: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", base / 4, base * 4, log=True),
        "weight_decay": trial.suggest_float("weight_decay", LEAST_DECAY, most_decay, log=True),
        "recency_half_life": trial.suggest_categorical("recency_half_life", _with(half_life, None, 10.0, 30.0, 100.0)),
    }
    if hasattr(recipe.student.model, "dropout"):
        suggested["dropout"] = trial.suggest_float("dropout", 0.0, MOST_DROPOUT)
    if not isinstance(settings, Distilled):
        return suggested
    mixed = settings.distillation
    suggested["alpha"] = trial.suggest_categorical("alpha", _with(mixed.alpha, 0.5, 0.8, 0.95, 1.0))
    if any(isinstance(method, KL) for method in mixed.methods):
        suggested["temperature"] = trial.suggest_categorical("temperature", list(recipe.record.temperatures))
        suggested["tail"] = trial.suggest_categorical("tail", ["mass", "sampled"])
    for method in _searched(mixed.methods):
        name = f"{method.name}.weight"
        suggested[name] = trial.suggest_float(name, method.weight / 10, method.weight * 10, log=True)
    return suggested


def _with(own: float | None, *others: float | None) -> list[float | None]:
    """The others, and the recipe's own value where it isn't among them."""
    return list(others) if own in others else [*others, own]


def _apply(recipe: Recipe, arm: str, settings: dict[str, Any]) -> Recipe:
    """The recipe with an arm's settings; dropout belongs to that arm's student."""
    part = _settings_of(recipe, arm)

    def taken(*names: str) -> dict[str, Any]:
        return {name: settings[name] for name in names if name in settings}

    update: dict[str, Any] = {
        "training": part.training.model_copy(update=taken("learning_rate", "weight_decay")),
        "supervision": part.supervision.model_copy(update=taken("recency_half_life")),
        "dropout": settings.get("dropout", part.dropout),
    }
    if isinstance(part, Distilled):
        mixed = part.distillation
        methods = tuple(_changed(method, settings) for method in mixed.methods)
        update["distillation"] = mixed.model_copy(update={**taken("alpha", "temperature", "tail"), "methods": methods})
    changed = part.model_copy(update=update)
    if arm in (ALONE, DISTILLED):
        return recipe.model_copy(update={"alone" if arm == ALONE else "distilled": changed})
    return recipe.model_copy(update={"compared": {**recipe.compared, arm: changed}})


def _changed(method: Method, settings: dict[str, Any]) -> Method:
    """The method with those of the settings that are its own."""
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{method.name}.")}
    return method.model_copy(update=own)


def _with_settings(recipe: Recipe, chosen: dict[str, Chosen]) -> Recipe:
    for arm, found in chosen.items():
        recipe = _apply(recipe, arm, found.settings)
    return recipe.model_copy(update={"tuned": chosen})
