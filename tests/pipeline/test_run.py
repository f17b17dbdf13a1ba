"""A whole run on small data with a known answer, from recipe to report and bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import polars as pl
import pytest
import torch

from distilrec.bundle import Bundle
from distilrec.data import cycles
from distilrec.errors import ArtefactError, DataError, RecipeError
from distilrec.models import load_model
from distilrec.pipeline import (
    Limits,
    bench_methods,
    choose,
    explain,
    find_smallest,
    forecast_labels,
    replay,
    report_again,
    run,
    run_part,
    tune,
)
from distilrec.pipeline.plan import Plan
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.replay import bundles
from distilrec.pipeline.smallest import _Candidate
from distilrec.ranking import evaluate
from distilrec.recipe import Auto, Chosen, Recipe, read_recipe, write_recipe
from distilrec.recipe.parts import Evaluation
from distilrec.report import Report, leaderboard, reservations

FADING = {"method": "kl", "schedule": {"first": 1, "last": 0}}  # has no weight in the second epoch
ARMS = ("student alone", "distilled student", "rrd+kl")


class Counter:
    """Counts what a run does."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def begin(self, to_do: int, done: int) -> None: ...

    def step(self, stage: str, done: int, of: int, text: str) -> None: ...

    def end(self, stage: str, seconds: float) -> None:
        self.ended.append(stage)


def content(source: Path) -> dict[str, Any]:
    training = {"epochs": 2, "batch_size": 64, "learning_rate": 0.02}
    return {
        "name": "cycles",
        "data": {"source": str(source), "like_threshold": 4},
        "teacher": [
            {
                "name": "encoder",
                "model": {"model": "history_encoder", "embedding_size": 16, "history_length": 8},
                "training": {**training, "epochs": 8},
            },
            {"name": "ease", "model": {"model": "ease", "reg": 10}},
        ],
        "record": {"k": 5, "tail": 3},
        "student": {"model": {"model": "history_encoder", "embedding_size": 4, "history_length": 8}},
        "alone": {"training": training},
        "distilled": {"training": training, "distillation": {"alpha": 0.9, "temperature": 2.0, "tail": "sampled"}},
        "compared": {
            "rrd+kl": {
                "training": training,
                "distillation": {"methods": [FADING, {"method": "rrd", "pool": 5, "interesting": 3}]},
            }
        },
        "joint": {"training": training, "distillation": {"alpha": 0.5}},
        "evaluation": {
            "metrics": ["ndcg@10", "recall@5", "auc"],
            "seeds": 2,
            "controls": [
                "trained longer", "recency-weighted", "label smoothing", "self-distilled",
                "shuffled teacher", "popularity teacher", "top-10 as positives", "truncated teacher",
            ],
            "widths": [2],
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = cycles(n_users=120, n_items=30, length=8)
    users, positions = data.interactions.flat()
    items = data.interactions.histories.values[positions]
    log = pl.DataFrame({"user": users + 1000, "item": items, "time": 2 * (positions % 8), "rating": 5})
    # Each user dislikes one of the following items, before the validation item, after it, and after the test item.
    others = log.filter(pl.col("time").is_in([2, 12, 14])).with_columns(
        (pl.col("item") + 10) % 30, pl.col("time") + 1, rating=pl.lit(1, dtype=pl.Int32)
    )
    path = tmp_path_factory.mktemp("data") / "log.parquet"
    pl.concat([log, others]).with_columns(pl.format("ü{}", "item").alias("item")).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report, list[str]]:
    out, counter = tmp_path_factory.mktemp("run"), Counter()
    report = run(Recipe.model_validate(content(source)), out, jobs=2, progress=counter)
    return out, report, counter.ended


def test_the_report_has_all_arms_and_is_written(finished: tuple[Path, Report, list[str]]) -> None:
    out, report, _ = finished
    names = [arm.name for arm in report.arms]
    assert names[:3] == ["teacher", "student alone", "distilled student"]
    assert len(names) == 3 + 1 + 1 + 2 + 8
    assert report.teacher_weights.keys() == {"encoder", "ease"}
    assert max(report.teacher_weights.values()) > 0
    assert Report.from_json((out / "report.json").read_bytes()) == report
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    assert {point.role for point in report.pareto} == {"teacher", "student_alone", "distilled_student"}
    assert len(report.examples) == 5
    assert all(curve.epochs for curve in report.curves)


def test_a_replay_finds_what_was_measured(finished: tuple[Path, Report, list[str]]) -> None:
    """Prevents a server whose answers, click by click, aren't those that the report speaks of."""
    out, _, _ = finished
    seen: list[str] = []
    courses = replay(out, connections=3, on_click=lambda name, *_: seen.append(name))
    assert [course.name for course in courses] == ["teacher encoder", "student alone", "distilled student"]
    assert seen.count("student alone") == len(courses[0].replayed.click_ms) > 0
    context, _ = plan_of(read_recipe(out / "recipe.yaml"), out)
    queries, targets = context.prepared.split.queries("test")
    for course, folder in zip(courses, bundles(out).values(), strict=True):
        expected = evaluate(load_model(folder), queries, targets, metrics=("ndcg@10",))["ndcg@10"]
        assert course.told()["ndcg@10"] == pytest.approx(float(np.mean(expected)), abs=1e-6)
    told = json.loads((out / "replay" / "replay.json").read_text(encoding="utf-8"))
    assert told["distilled student"]["ndcg@10"] == courses[-1].told()["ndcg@10"]
    with pytest.raises(RecipeError, match="no test click is among the first 1"):
        replay(out, clicks=1, on_click=lambda *_: None)
    with pytest.raises(ArtefactError, match="no run to replay"):
        replay(out / "nowhere", on_click=lambda *_: None)


def test_every_arm_says_what_it_costs(finished: tuple[Path, Report, list[str]]) -> None:
    """Prevents a control, or a model outside of PyTorch, whose cost nobody can compare."""
    _, report, _ = finished
    flops = report.flops_per_query
    assert set(flops) == {arm.name for arm in report.arms}
    assert all(arm.latency_ms is not None for arm in report.arms)
    assert flops["ease"] == 7 * 2 * 30  # all test histories have seven items
    assert flops["teacher"] == flops["encoder"]  # which has all of the ensemble's weight
    assert flops["self-distilled"] == flops["student alone"] == flops["distilled student"]


def test_scores_tell_likes_from_dislikes(finished: tuple[Path, Report, list[str]]) -> None:
    """Metrics that no arm shows, or whose calibration was fitted on what it is measured on."""
    _, report, _ = finished
    for arm in report.arms:
        assert arm.metrics["like_auc"].ci95 is not None
        assert len(arm.metrics["like_log_loss"].per_seed) == len(arm.seeds)
    # The next item of a cycle is liked, the one ten places on is not.
    assert report.arm("teacher").metrics["like_auc"].mean > 0.9
    assert report.arm("teacher").metrics["like_accuracy"].mean > 0.8
    compared = [(test.a, test.b) for test in report.comparisons if test.metric == "like_auc"]
    assert ("distilled student", "student alone") in compared


def test_joint_training_stands_beside_the_recorded_one(finished: tuple[Path, Report, list[str]]) -> None:
    """A second way to distil that is in no report can't be compared with the first."""
    _, report, _ = finished
    arm = next(arm for arm in report.arms if arm.name == "jointly trained student")
    assert (arm.role, arm.method, arm.seeds, arm.record_seconds) == ("distilled_student", "joint", [0, 1], None)
    assert arm.parameters == report.arm("distilled_student").parameters
    assert report.between("distilled student", arm.name) is not None
    assert arm.name in {point.name for point in report.pareto}
    assert all(set(curve.losses) == {"student", "teacher"} for curve in report.curves if curve.arm == arm.name)


def test_other_methods_stand_beside_soft_labels_and_the_student_alone(finished: tuple[Path, Report, list[str]]) -> None:
    """A method that is compared with one of the two only may owe its place to the other."""
    _, report, _ = finished
    arm = next(arm for arm in report.arms if arm.name == "rrd+kl")
    assert (arm.role, arm.method, arm.seeds) == ("distilled_student", "rrd+kl", [0, 1])
    assert report.between("rrd+kl", "student alone") is not None
    assert report.between("distilled student", "rrd+kl") is not None
    curve = next(curve for curve in report.curves if curve.arm == "rrd+kl")
    assert {"rrd", "distillation"} <= set(curve.losses)
    assert curve.losses["distillation"][0] > curve.losses["distillation"][1] == 0
    rows = leaderboard(report)
    assert [row.role for row in rows[:4]] == ["teacher"] * 3 + ["student_alone"]
    assert len(rows) == len(report.arms)
    row = next(row for row in rows if row.arm == "rrd+kl")
    assert row.over_alone == pytest.approx(row.quality - rows[3].quality)


def test_joint_training_says_by_which_method(source: Path) -> None:
    """A method that the recipe names, and that no task gets."""
    changed = content(source)
    changed["joint"]["method"] = "bd"
    arms, before = (Plan(Recipe.model_validate(c), "data").arms for c in (changed, content(source)))
    arm, other = (next(arm for arm in some if arm.name == "jointly trained student") for some in (arms, before))
    assert arm.method == "joint, bd"
    assert [task.settings.method.method for task in (arm.trained[0], other.trained[0])] == ["bd", "mutual"]
    assert arm.trained[0].stage.key != other.trained[0].stage.key


def test_what_is_done_is_not_done_again(source: Path, finished: tuple[Path, Report, list[str]]) -> None:
    out, report, ended = finished
    recipe, counter = Recipe.model_validate(content(source)), Counter()
    assert len(ended) == len(set(ended)) > 20
    again = run(recipe, out, jobs=1, progress=counter)
    assert counter.ended == []
    assert [arm.metrics for arm in again.arms] == [arm.metrics for arm in report.arms]


def test_a_changed_setting_reruns_only_what_depends_on_it(
    source: Path, finished: tuple[Path, Report, list[str]]
) -> None:
    changed = content(source)
    changed["distilled"]["distillation"]["alpha"] = 0.5
    plan = dict(explain(Recipe.model_validate(changed), finished[0]))
    assert plan["teacher"] == plan["soft labels"] == plan["student alone 0"] == "done"
    assert plan["distilled student 0"] == "will run: distillation.alpha (0.9 -> 0.5) changed"
    assert plan["jointly trained student 0"] == "done"
    assert plan["test of distilled student 0"] == "will run: stage 'distilled student 0' changed"


def test_another_run_gives_the_same_numbers(
    source: Path, finished: tuple[Path, Report, list[str]], tmp_path: Path
) -> None:
    """Prevents results that hang on the number of processes or on the order of stages."""
    fewer = content(source)
    fewer["evaluation"] |= {"controls": [], "widths": [], "seeds": 1}
    report = run(Recipe.model_validate(fewer), tmp_path, jobs=1, progress=Counter())
    for role in ("teacher", "student_alone", "distilled_student"):
        first = finished[1].arm(role).metrics["ndcg@10"].per_seed[0]
        assert report.arm(role).metrics["ndcg@10"].per_seed[0] == first


def test_the_bundle_answers_in_the_users_own_ids(source: Path, finished: tuple[Path, Report, list[str]]) -> None:
    bundle = Bundle.from_pretrained(finished[0] / "bundle")
    frame = bundle.recommend(users=[1000, 1007], k=3)
    assert frame.columns == ["user", "item", "title", "score", "rank"]
    assert frame["user"].to_list() == [1000] * 3 + [1007] * 3
    assert frame["rank"].to_list() == [1, 2, 3] * 2
    assert all(item.startswith("ü") for item in frame["item"])
    log = pl.read_parquet(source).filter(pl.col("rating") == 5)
    everything = bundle.recommend(users=log["user"].unique().to_list(), k=3).select("user", "item")
    assert everything.join(log, on=["user", "item"]).is_empty()  # not even the newest click comes back
    cold = bundle.recommend(histories=[["ü1", "ü2", "not there"], []], k=2)
    assert cold.columns[0] == "query"
    assert not set(cold.filter(pl.col("query") == 0)["item"]) & {"ü1", "ü2"}
    some = bundle.recommend(histories=[["ü1"]], k=10, candidates=["ü5", "ü6"])
    assert set(some["item"]) == {"ü5", "ü6"}
    with pytest.raises(DataError, match="user 1 isn't known"):
        bundle.recommend(users=[1])
    with pytest.raises(DataError, match="candidate 'x' isn't an item"):
        bundle.recommend(histories=[["ü1"]], candidates=["x"])
    with pytest.raises(DataError, match="give users, histories, texts, or some of them together"):
        bundle.recommend()


def test_the_report_can_be_made_again(finished: tuple[Path, Report, list[str]]) -> None:
    again = report_again(finished[0])
    assert [arm.metrics for arm in again.arms] == [arm.metrics for arm in finished[1].arms]


def test_parts_of_a_run_and_the_forecast(source: Path, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(content(source))
    forecast = forecast_labels(recipe, tmp_path)
    assert list(run_part(recipe, tmp_path, "teacher", jobs=1, progress=Counter())) == ["teacher"]
    labels = run_part(recipe, tmp_path, "soft labels", jobs=1, progress=Counter())["soft labels"]
    assert labels["queries"] == forecast["queries"]
    assert labels["bytes"] == forecast["bytes"]
    with pytest.raises(ArtefactError, match=r"no run to report on.*distilrec run RECIPE --out"):
        report_again(tmp_path)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    said = rf"stages aren't done, .*; finish the run with: distilrec run {tmp_path}/recipe.yaml --out {tmp_path}$"
    with pytest.raises(ArtefactError, match=said):
        report_again(tmp_path)
    (tmp_path / "width-4").mkdir()
    write_recipe(recipe, tmp_path / "width-4" / "recipe.yaml")
    with pytest.raises(ArtefactError, match="finish the run with: distilrec bench, as it was begun"):
        report_again(tmp_path / "width-4")
    (tmp_path / "recipe.yaml").unlink()
    with pytest.raises(ArtefactError, match=r"holds several runs; report on one of them: .*width-4"):
        report_again(tmp_path)


def test_tuning_gives_both_arms_the_same_trials_and_goes_on(source: Path, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(content(source))
    tune(recipe, tmp_path, 1, jobs=1, progress=Counter())
    counter = Counter()
    tuned = tune(recipe, tmp_path, 2, jobs=1, progress=counter)
    assert [name for name in counter.ended if "trial" in name] == [f"{arm} trial 1" for arm in ARMS]
    assert {arm: chosen.trials for arm, chosen in tuned.tuned.items()} == dict.fromkeys(ARMS, 2)
    assert tuned.compared["rrd+kl"].distillation.methods[1].weight == tuned.tuned["rrd+kl"].settings["rrd.weight"]
    chosen = tuned.tuned["distilled student"].settings
    assert tuned.distilled.training.learning_rate == chosen["learning_rate"]
    assert tuned.distilled.distillation.alpha == chosen["alpha"]
    assert tuned.alone.dropout == tuned.tuned["student alone"].settings["dropout"]


def test_a_search_that_was_killed_asks_for_the_same_trials(source: Path, tmp_path: Path) -> None:
    """Prevents trainings that had finished from being thrown away, and another choice after a kill."""

    class Killed(Counter):
        def end(self, stage: str, seconds: float) -> None:
            super().end(stage, seconds)
            if stage == "student alone trial 1":
                raise KeyboardInterrupt

    recipe = Recipe.model_validate(content(source))
    tune(recipe, tmp_path, 1, jobs=1, progress=Counter())
    with pytest.raises(KeyboardInterrupt):
        tune(recipe, tmp_path, 2, jobs=1, progress=Killed())
    counter = Counter()
    tune(recipe, tmp_path, 2, jobs=1, progress=counter)
    assert [name for name in counter.ended if "trial" in name] == [f"{arm} trial 1" for arm in ARMS[1:]]


def test_methods_are_compared_on_equal_terms(source: Path, tmp_path: Path) -> None:
    """Prevents a budget that differs between arms, and a teacher that is trained anew for each width."""
    settings = content(source)
    del settings["joint"]
    settings["compared"] = {"rrd": settings["compared"]["rrd+kl"]}
    settings["evaluation"] = {"metrics": ["ndcg@10"], "seeds": 1}
    recipe, counter = Recipe.model_validate(settings), Counter()
    reports = bench_methods(recipe, tmp_path, ["rrd"], trials=0, widths=[2, 4], jobs=1, progress=counter)
    assert list(reports) == [2, 4]
    assert counter.ended.count("teacher") == counter.ended.count("soft labels") == 1
    tuned = bench_methods(recipe, tmp_path, ["kl", "rrd"], trials=1, widths=[2], jobs=1, progress=counter)[2]
    assert {row.arm: row.trials for row in tuned.tuning} == {"student alone": 1, "distilled student": 1, "rrd": 1}
    assert (tmp_path / "width-4" / "report.html").is_file()
    again = read_recipe(tmp_path / "width-4" / "recipe.yaml")
    notes = {name: Chosen(trials=1, validation=0.1, settings={}) for name in ("rrd", "what it compared before")}
    write_recipe(again.model_copy(update={"tuned": notes}), tmp_path / "width-4" / "recipe.yaml")
    told = report_again(tmp_path / "width-4")
    assert told.arms[2].metrics == reports[4].arms[2].metrics
    assert [row.arm for row in told.tuning] == ["rrd"]
    with pytest.raises(RecipeError, match="No method is called 'rdd'; there are"):
        bench_methods(recipe, tmp_path, ["rdd"], progress=counter)
    with pytest.raises(RecipeError, match=r"'rrd' needs lists of 100 items, not 5"):
        bench_methods(recipe.model_copy(update={"compared": {}}), tmp_path, ["rrd"], progress=counter)


def test_auto_takes_the_method_that_validates_best(source: Path, tmp_path: Path) -> None:
    """Prevents a choice that can't be followed, costs again on the next run, or starves the student alone."""
    settings = content(source)
    del settings["joint"]
    settings["compared"] = {"rrd": settings["compared"]["rrd+kl"]}
    # What learns nothing can't be the best.
    settings["distilled"]["training"] = {**settings["distilled"]["training"], "learning_rate": 1e-9}
    # What is compared is tried, too, named or not; and trials of an earlier search aren't of this one.
    settings["method"] = {"method": "auto", "among": ["rank_distil"], "trials": 1}
    settings["record"] = {"k": 12, "tail": 3}
    settings["tuned"] = {"distilled student": {"trials": 20, "validation": 0.5, "settings": {}}}
    settings["evaluation"] = {"metrics": ["ndcg@10"], "seeds": 1}
    recipe, counter = Recipe.model_validate(settings), Counter()
    found = choose(recipe, tmp_path, jobs=1, progress=counter)
    assert [name for name in counter.ended if "trial" in name] == [
        "student alone trial 0", "distilled student trial 0", "rrd trial 0", "rank_distil trial 0",
        "student alone trial 1", "student alone trial 2",
    ]  # fmt: skip
    assert found.method is None
    assert set(found.tried) == {"rrd", "kl", "rank_distil"}
    best = next(iter(found.tried))
    assert found.tried[best].validation > found.tried["kl"].validation
    assert found.distilled.distillation.methods == recipe.taught_by(best).distillation.methods
    assert {chosen.trials for chosen in found.tried.values()} == {1}
    assert found.tuned["student alone"].trials == 3
    assert dict(explain(recipe, tmp_path))["teacher"] == "done"
    counter.ended.clear()
    report = run(recipe, tmp_path, jobs=1, progress=counter)
    assert not [name for name in counter.ended if "trial" in name]
    assert read_recipe(tmp_path / "recipe.yaml") == found
    assert [row.arm for row in report.tried] == list(found.tried)
    assert f"chosen among 3, with one trial each: {best}, since" in reservations(report)[-1]
    assert report.arm("distilled_student").method == found.own_method
    assert "Methods that were tried" in (tmp_path / "report.html").read_text(encoding="utf-8")
    later = recipe.model_copy(update={"since": "runs/monday"})
    for refused in (lambda: choose(later, tmp_path, progress=counter), lambda: explain(later, tmp_path)):
        with pytest.raises(RecipeError, match="method: auto begins anew"):
            refused()


def test_auto_needs_no_more_than_its_name(source: Path, tmp_path: Path) -> None:
    """Methods that need longer lists than were recorded are left out, and not an error."""
    settings = content(source)
    del settings["joint"], settings["compared"]
    settings["method"] = "auto"
    recipe = Recipe.model_validate(settings)
    assert recipe.method == Auto(trials=2)
    found = choose(recipe.model_copy(update={"method": Auto(trials=1)}), tmp_path, jobs=1, progress=Counter())
    assert "kl" in found.tried
    assert "rce_kd" not in found.tried  # needs scores, and lists were recorded
    for method, message in (
        ("rrd", "method"),
        ({"method": "auto", "among": []}, "at least 1 item"),
        ({"method": "auto", "among": ["rdd"]}, "No method is called 'rdd'"),
        ({"method": "auto", "among": ["unkd"]}, "'unkd' needs the teacher's score of any item"),
    ):
        with pytest.raises(ValueError, match=message):
            Recipe.model_validate({**settings, "method": method})


def test_the_smallest_student_that_will_do(source: Path, tmp_path: Path) -> None:
    changed = content(source)
    changed["evaluation"]["widths"] = [2, 16]
    recipe = Recipe.model_validate(changed)
    found = find_smallest(recipe, tmp_path, Limits(keep=0.0, bytes=None, ms=None), jobs=1, progress=Counter())
    assert found.student.model.model_dump()["embedding_size"] == 2
    note = found.smallest
    assert note is not None
    assert (note.keep, note.max_bytes, note.max_ms, note.tried) == (0.0, None, None, 24)
    assert note.kept > 0
    assert 0 < note.bytes < 1000
    with pytest.raises(RecipeError, match=r"No student satisfies all limits.*The nearest: width 2 as"):
        find_smallest(recipe, tmp_path, Limits(keep=1.0, bytes=10, ms=None), jobs=1, progress=Counter())
    found = found.model_copy(update={"evaluation": Evaluation(metrics=("ndcg@10",), seeds=1)})
    report = run(found.model_copy(update={"joint": None, "compared": {}}), tmp_path, jobs=1, progress=Counter())
    assert report.smallest is not None
    assert report.smallest.model_dump() == {**note.model_dump(), "width": 2, "precision": found.student.precision}
    assert read_recipe(tmp_path / "recipe.yaml").smallest == note
    assert "was chosen among 24 students on validation" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ((98, None, None), r"--keep 98 is no share.*; for 98 % write 0\.98"),
        ((float("nan"), None, None), "is no share"),
        ((None, 0, None), "--max-bytes 0: no student is that small"),
        ((None, None, 0.0), "--max-ms 0: no student is that small or fast"),
    ],
)
def test_limits_that_no_student_can_meet_are_refused(limits: tuple[Any, Any, Any], said: str) -> None:
    """A search of many students would end with none, and 98 would be read as 9,800 %."""
    with pytest.raises(RecipeError, match=said):
        Limits(*limits)


def test_the_nearest_student_is_the_one_that_misses_the_limits_by_least(source: Path) -> None:
    """The best of all students is the largest, and says nothing of how far a limit on bytes has to be loosened."""
    recipe = Recipe.model_validate(content(source))
    limits = Limits(keep=0.9, bytes=100, ms=2.0)
    large, small, slow = (_Candidate(recipe, *found) for found in ((1.0, 300, 1.0), (0.6, 110, 1.0), (0.9, 50, 3.0)))
    assert [candidate.excess(limits) for candidate in (large, small, slow)] == pytest.approx([2.0, 1 / 3, 0.5])
    assert _Candidate(recipe, 0.9, 100, 2.0).excess(limits) == 0
    assert large.excess(Limits(keep=0.0, bytes=None, ms=None)) == 0


def test_two_runs_in_one_folder_do_not_mix(source: Path, tmp_path: Path) -> None:
    """Both would write the same stages, and each would read the other's unfinished files."""
    recipe = Recipe.model_validate(content(source))
    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(ArtefactError, match="another run is under way there"):
        run_part(recipe, tmp_path, "teacher", jobs=1, progress=Counter())


def test_the_global_generators_are_left_alone(source: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002  the global generator is what this test is about
    before = torch.random.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    run_part(Recipe.model_validate(content(source)), tmp_path, "teacher", jobs=1, progress=Counter())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(np.asarray(before[1]), np.asarray(np.random.get_state()[1]))  # noqa: NPY002


def test_a_student_with_user_vectors_is_compared_at_equal_knowledge(source: Path, tmp_path: Path) -> None:
    """Otherwise the teacher is credited with items of the test users that the student was never shown."""
    settings = content(source)
    del settings["joint"], settings["compared"]
    settings["student"] = {"model": {"model": "matrix_factorization", "embedding_size": 4}}
    settings["evaluation"] = {"metrics": ["ndcg@10"], "seeds": 1, "controls": ["truncated teacher"]}
    report = run(Recipe.model_validate(settings), tmp_path / "run", jobs=1, progress=Counter())
    informed = next(arm for arm in report.arms if arm.knows_more)
    assert "ndcg@10 from train" not in report.arm("teacher").metrics
    assert report.arm("teacher").metrics["ndcg@10"].mean == informed.metrics["ndcg@10 from train"].mean
    assert informed.metrics["ndcg@10"].mean > report.arm("teacher").metrics["ndcg@10"].mean  # the next of a cycle
    assert len(report.pareto) == 3 + 2  # without it
    factorised = next(arm for arm in report.arms if arm.name == "truncated teacher")
    assert factorised.method == "the teacher's final scores, factorised to the student's size without training"
    assert factorised.parameters == report.arm("student_alone").parameters
    with pytest.raises(DataError, match="doesn't read histories"):
        Bundle.from_pretrained(tmp_path / "run" / "bundle").recommend(histories=[["ü1"]])


def test_lists_of_all_items_are_refused_before_anything_is_trained(source: Path, tmp_path: Path) -> None:
    settings = content(source)
    settings["teacher"], settings["record"] = settings["teacher"][:1], {"kind": "factored", "k": 100}
    settings["compared"] = {"dllm2rec": {"distillation": {"methods": [{"method": "dllm2rec"}]}}}
    with pytest.raises(RecipeError, match=r"'dllm2rec' needs items.*hold all 30 items; lower record\.k"):
        explain(Recipe.model_validate(settings), tmp_path)


def test_a_split_that_leaves_nothing_to_train_on_is_named(source: Path, tmp_path: Path) -> None:
    """Prevents first weights from being measured as if they had been trained."""
    settings = content(source)
    settings["data"]["split"] = {"kind": "random", "ratios": [0, 0.5, 0.5]}
    with pytest.raises(DataError, match="the split 'random' leaves nothing to train on"):
        run(Recipe.model_validate(settings), tmp_path, jobs=1, progress=Counter())
