"""One teacher over several domains, and a run for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from distilrec.bundle import Bundle
from distilrec.cli import run as run_commands  # noqa: F401  it registers them
from distilrec.cli.app import app
from distilrec.errors import ArtefactError, DataError, RecipeError
from distilrec.pipeline import across_again, explain_across, run, run_across
from distilrec.pipeline.prepare import plan_of
from distilrec.recipe import Recipe, read_recipe
from distilrec.report import Report
from distilrec.rng import generator
from tests.pipeline.test_run import Counter

N_USERS, N_CLUSTERS = 90, 3
LEARNED = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}


def log(films: int, books: int = 6) -> pl.DataFrame:
    """Users of three clusters, who take their cluster's films and books; items are numbered from 0 in both domains."""
    rng, rows = generator(0, "log"), []
    for user in range(N_USERS):
        for name, wanted in (("films", films), ("books", books)):
            own = np.arange(10) * N_CLUSTERS + user % N_CLUSTERS
            rows += [(user, int(item), n, name) for n, item in enumerate(rng.choice(own, wanted, replace=False))]
    return pl.DataFrame(rows, schema=["user", "item", "time", "domain"], orient="row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("domains")
    log(films=4).write_parquet(place / "log.parquet")
    log(films=4, books=8).write_parquet(place / "new.parquet")
    return place


def across(folder: Path, **changed: Any) -> Recipe:
    content = {
        "data": {
            "source": str(folder / "log.parquet"),
            "columns": {"user": "user", "item": "item", "time": "time", "domain": "domain"},
        },
        "teacher": [{"name": "ials", "model": {"model": "ials", "embedding_size": 8}},
                    {"name": "knn", "model": {"model": "item_knn"}}],
        "record": {"k": 10, "tail": 5},
        "student": {"model": {"model": "matrix_factorization", "embedding_size": 6}},
        "alone": {"training": LEARNED},
        "distilled": {"distillation": {"alpha": 1.0}, "training": LEARNED},
        "evaluation": {
            "seeds": 2,
            "metrics": ["ndcg@10"],
            "rivals": {"small": {"model": "ials", "embedding_size": 6}},
        },
    }  # fmt: skip
    return Recipe.model_validate(content | changed)


@pytest.fixture(scope="module")
def done(folder) -> Path:
    out = folder / "run"
    run_across(across(folder), out, progress=Counter())
    return out


def test_each_task_comes_after_what_it_depends_on(done: Path) -> None:
    """Prevents a search for settings, which runs the groundwork alone, from missing a part of the teacher."""
    _, plan = plan_of(read_recipe(done / "films" / "recipe.yaml"), done / "films")
    for tasks in (plan.groundwork, plan.tasks):
        made = {plan.data.key, plan.whole.teacher.stage.key}
        for task in tasks:
            missing = [parent.name for parent in task.stage.parents if parent.key not in made]
            assert not missing, (task.stage.name, missing)
            made.add(task.stage.key)


def report(folder: Path) -> Report:
    return Report.from_json((folder / "report.json").read_bytes())


def test_each_domain_is_a_run_with_the_arms_of_its_own_teacher(done):
    for name in ("books", "films"):
        found = report(done / name)
        assert found.data.name == f"log: {name}"
        assert [arm.name for arm in found.arms] == [
            "teacher", "student alone", "distilled student", "teacher, given validation items too", "small",
            "single-domain teacher", "taught by single-domain teacher",
        ]  # fmt: skip
        student = Bundle.from_pretrained(done / name / "bundle")
        listed = student.recommend(users=[0], k=5)
        assert set(listed["item"]) <= set(range(30))


def test_the_overview_holds_what_the_reports_do(done):
    found = json.loads((done / "domains.json").read_text(encoding="utf-8"))
    assert [domain["name"] for domain in found["domains"]] == ["books", "films"]
    assert found["users"] == N_USERS
    for domain in found["domains"]:
        own = report(done / domain["name"])
        alone, distilled = (own.arm(role).metrics["ndcg@10"].mean for role in ("student_alone", "distilled_student"))
        assert domain["over_alone"]["share"] == pytest.approx((distilled - alone) / alone)
        test = own.between("distilled student", "taught by single-domain teacher")
        base = next(arm for arm in own.arms if arm.name == "taught by single-domain teacher")
        assert domain["over_own"]["ci95"][0] == pytest.approx(test.ci95[0] / base.metrics["ndcg@10"].mean)
    page = (done / "report.html").read_text(encoding="utf-8")
    assert 'href="films/report.html"' in page
    assert "student alone" in page


def test_the_teacher_is_no_larger_for_a_domain_than_for_all(done):
    sizes = {name: report(done / name).arm("teacher").parameters for name in ("books", "films")}
    assert sizes["books"] == sizes["films"]


def test_nothing_is_run_twice_and_reports_can_be_made_again(folder, done):
    counter = Counter()
    run_across(across(folder), done, progress=counter)
    assert counter.ended == []
    before = (done / "domains.json").read_bytes()
    (done / "report.html").unlink()
    across_again(done)
    assert (done / "domains.json").read_bytes() == before
    assert (done / "report.html").is_file()


def test_a_domains_recipe_runs_by_itself_and_asks_for_the_teacher(done, tmp_path):
    recipe = read_recipe(done / "films" / "recipe.yaml")
    counter = Counter()
    run(recipe, done / "films", progress=counter)
    assert counter.ended == []
    lost = recipe.model_copy(update={"teacher_from": str(tmp_path)})
    with pytest.raises(ArtefactError, match="has no finished teacher of these data and settings"):
        run(lost, tmp_path / "films", progress=Counter())


def test_explain_goes_as_far_as_the_teacher(folder, done, tmp_path):
    assert [why for _, why in explain_across(across(folder), done)][:3] == ["done"] * 3
    names = [name for name, _ in explain_across(across(folder), tmp_path)]
    assert names == ["member ials", "member knn", "teacher", "domain books", "domain films"]


def test_users_new_to_a_domain_are_known_by_what_they_took_in_the_other(folder):
    """Of a cluster's ten films those of one's cluster are to be found; who is new here has only books."""
    data = {
        "source": str(folder / "new.parquet"),
        "columns": {"user": "user", "item": "item", "domain": "domain"},
        "split": {"kind": "cold-users", "share": 0.3, "after": [0], "targets": 4},
    }
    out = folder / "new"
    longer = {"training": {**LEARNED, "epochs": 40, "patience": 40}}
    settings = {"alone": longer, "distilled": {"distillation": {"alpha": 1.0}, **longer}}
    evaluation = {"seeds": 1, "metrics": ["ndcg@10"]}
    run_across(across(folder, data=data, evaluation=evaluation, **settings), out, progress=Counter())
    arms = {arm.name: arm.metrics["ndcg@10"].mean for arm in report(out / "films").arms}
    assert arms["teacher"] > 0.4
    assert arms["distilled student"] > 1.5 * arms["student alone"]
    assert arms["distilled student"] > 1.5 * arms["taught by single-domain teacher"]


def test_the_command_line_runs_shows_and_refuses(folder, done):
    path = folder / "across.yaml"
    path.write_text(yaml.safe_dump(across(folder).model_dump(mode="json")), encoding="utf-8")
    runner = CliRunner()
    shown = runner.invoke(app, ["run", str(path), "--out", str(done)])
    assert shown.exit_code == 0, shown.output
    assert "taught by single-domain teacher" in shown.output
    assert json.loads(runner.invoke(app, ["report", str(done), "--json"]).stdout)["metric"] == "ndcg@10"
    refused = runner.invoke(app, ["run", str(path), "--out", str(done), "--keep", "0.9"])
    assert refused.exit_code == 2 or refused.exception is not None
    refused = runner.invoke(app, ["evaluate", str(path), "--out", str(done)])
    assert isinstance(refused.exception, RecipeError)
    assert "one domain" in str(refused.exception)


def test_each_domain_is_tuned_and_its_recipe_runs_there(folder, done):
    path = folder / "tuned.yaml"
    (done / "recipe.yaml").unlink()
    path.write_text(yaml.safe_dump(across(folder).model_dump(mode="json")), encoding="utf-8")
    shown = CliRunner().invoke(app, ["tune", str(path), "--out", str(done), "--trials", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    places = json.loads(shown.stdout)
    assert list(places) == ["books", "films"]
    tuned = read_recipe(Path(places["films"]))
    assert tuned.tuned["distilled student"].trials == 1
    assert tuned.data.domain == "films"
    counter = Counter()
    run(tuned, done / "films", progress=counter)
    assert not any(name.startswith(("teacher", "soft labels", "member")) for name in counter.ended)
    assert len(across_again(done).domains) == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"since": "runs/monday"}, "since isn't for a teacher over several domains"),
        ({"record": {"members": True}}, r"record\.members isn't for a teacher over several domains"),
        ({"evaluation": {"controls": ["truncated teacher"]}}, "'truncated teacher' isn't for a teacher over several"),
        (
            {"distilled": {"supervision": {"loss": "bpr"}}},
            "a sampled loss, where students look users up, isn't for a teacher over several",
        ),
        ({"teacher_from": "runs/all"}, r"teacher_from is for a student of one domain; name it in data\.domain"),
    ],
)
def test_what_does_not_go_with_domains_is_refused(folder, changed, said):
    with pytest.raises(ValueError, match=said):
        across(folder, **changed)


def test_a_domain_without_queries_is_named_before_the_teacher_is_trained(folder, tmp_path):
    lonely = pl.DataFrame({"user": [1, 2], "item": [100, 100], "time": [0, 0], "domain": ["music"] * 2})
    pl.concat([log(films=4), lonely], how="vertical_relaxed").write_parquet(tmp_path / "log.parquet")
    data = {**across(folder).data.model_dump(mode="json"), "source": str(tmp_path / "log.parquet")}
    counter = Counter()
    with pytest.raises(DataError, match="domain 'music': the split 'leave-last-out' leaves no validation query there"):
        run_across(across(folder, data=data), tmp_path / "run", progress=counter)
    assert counter.ended == []


def test_a_domain_is_not_gone_on_from(done):
    recipe = read_recipe(done / "films" / "recipe.yaml").model_copy(update={"since": str(done / "films")})
    with pytest.raises(RecipeError, match="a run of one domain of several isn't continued"):
        run(recipe, done / "again", progress=Counter())


def test_a_domain_is_not_called_like_a_runs_own_folder(folder, tmp_path):
    renamed = log(films=4).with_columns(pl.col("domain").replace("films", "stages"))
    renamed.write_parquet(tmp_path / "log.parquet")
    data = {**across(folder).data.model_dump(mode="json"), "source": str(tmp_path / "log.parquet")}
    with pytest.raises(DataError, match="a domain can't be called 'stages'"):
        run_across(across(folder, data=data), tmp_path / "run", progress=Counter())
