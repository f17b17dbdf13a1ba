"""Runs whose models know items by content: fusion teachers, further students, cold items and cold users."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import distilrec
from distilrec.bundle import Bundle
from distilrec.data import LeaveLastOut, clusters
from distilrec.errors import ArtefactError, DataError, DistilRecError, RecipeError
from distilrec.pipeline import explain, report_again, run, run_part, tune
from distilrec.pipeline.plan import JOINT, Plan
from distilrec.pipeline.tasks import TrainJointly
from distilrec.recipe import Recipe, read_recipe, write_recipe
from distilrec.rng import generator
from tests.encoders import tiny
from tests.pipeline.test_run import Counter

N_ITEMS, N_CLUSTERS = 40, 4
TRAINING = {"epochs": 3, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Vectors and graphs don't go where the user's own are kept; processes of a run see it, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Clusters whose items can be told by vectors, and by attributes; three items have none."""
    folder = tmp_path_factory.mktemp("data")
    log = clusters(n_users=120, n_items=N_ITEMS, n_clusters=N_CLUSTERS).interactions
    users, items = log.histories.flat()
    pl.DataFrame({"user": users, "item": items, "time": np.arange(len(users))}).write_parquet(folder / "log.parquet")
    rng = generator(0, "vectors")
    vectors = np.eye(N_CLUSTERS)[np.arange(N_ITEMS) % N_CLUSTERS] + 0.3 * rng.normal(size=(N_ITEMS, N_CLUSTERS))
    listed: list[list[float] | None] = [None if n >= N_ITEMS - 3 else vectors[n].tolist() for n in range(N_ITEMS)]
    pl.DataFrame(
        {
            "item": range(N_ITEMS),
            "title": [f"Item {n}" for n in range(N_ITEMS)],
            "vector": listed,
            "kind": [f"kind {n % N_CLUSTERS}" for n in range(N_ITEMS)],
            "stars": [float(n % 5) for n in range(N_ITEMS)],
        }
    ).write_parquet(folder / "items.parquet")
    return folder


def model(*modalities: str, **settings: Any) -> dict[str, Any]:
    content = {"modalities": modalities, **settings} if modalities else None
    return {"model": "history_encoder", "embedding_size": 8, "history_length": 8, "dropout": 0.0, "content": content}


def content(files: Path, **changed: Any) -> dict[str, Any]:
    return {
        "name": "content",
        "data": {
            "source": str(files / "log.parquet"),
            "split": {"kind": "cold-items", "share": 0.3},
            "items": {
                "path": str(files / "items.parquet"),
                "columns": {"item": "item", "title": "title"},
                "content": {
                    "vector": {"kind": "vectors", "columns": ["vector"]},
                    "kind": {"kind": "attributes", "columns": ["kind"]},
                    "stars": {"kind": "attributes", "columns": ["stars"], "knows_later": True},
                },
            },
        },
        "teacher": [{"name": "fusion", "model": model("vector", "kind"), "training": TRAINING}],
        "record": {"kind": "factored"},
        "student": {"model": model("vector")},
        "alone": {"training": TRAINING},
        "distilled": {"training": TRAINING},
        "hybrid": {
            "members": {"ease": {"model": "ease"}, "like": {"model": "content_knn", "weights": {"vector": 1.0}}}
        },
        "students": {
            "kind-only": {"model": model("kind", ids=False)},
            "ids-only": {"model": model()},
            "placing": {"model": model("vector", "kind", new_only=True)},
        },
        "evaluation": {
            "seeds": 2,
            "metrics": ["ndcg@10", "recall@10"],
            "controls": ["content-kNN", "ridge regression", "popularity", "random", "shuffled teacher"],
            "ablation": True,
        },
        **changed,
    }


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("runs") / "cold"
    return out, run(Recipe.model_validate(content(files)), out, jobs=1, progress=Counter())


def test_cold_and_warm_items_are_measured_in_every_arm(finished):
    _, report = finished
    arms = {arm.name: arm for arm in report.arms}
    told = [f"ndcg@10 of {name} items{place}" for name in ("cold", "warm") for place in ("", " in one list")]
    for arm in arms.values():
        assert set(told) <= set(arm.metrics), arm.name
    among = {name: arm.metrics["ndcg@10 of cold items"].mean for name, arm in arms.items()}
    assert among["content-kNN"] > 0.5 > among["random"]
    assert among["ridge regression"] > among["random"]
    assert arms["ridge regression"].role == "teacher"  # it is as large, so it says nothing against distilling
    assert among["distilled student"] > 0.5
    assert among["placing, distilled"] > 0.5


def test_every_student_is_compared_with_itself_alone(finished):
    _, report = finished
    pairs = {(c.a, c.b, c.metric) for c in report.comparisons}
    for name in ("kind-only", "ids-only"):
        assert (f"{name}, distilled", f"{name}, alone", "ndcg@10") in pairs
        assert (f"{name}, distilled", f"{name}, alone", "ndcg@10 of cold items") in pairs
    assert ("distilled student", "ridge regression", "ndcg@10 of cold items") in pairs


def test_warm_items_keep_what_was_asked(finished):
    """On validation; on test it may be a little more or less."""
    _, report = finished
    metrics = report.arm("distilled_student").metrics
    assert metrics["ndcg@10 of warm items in one list"].mean > 0.8 * metrics["ndcg@10 of warm items"].mean


def test_the_teacher_is_tested_with_each_source_alone_and_without_it(finished):
    _, report = finished
    arms = {arm.name: arm.metrics["ndcg@10 of cold items"].mean for arm in report.arms}
    assert arms["teacher, ids only"] < 0.6 < arms["teacher, vector only"]
    assert {f"teacher, {kind}" for kind in ("kind only", "without vector", "without kind", "without ids")} <= set(arms)
    assert len({arms[name] for name in arms if name.startswith("teacher")}) > 4


def test_a_hybrid_is_at_least_as_good_as_its_parts(finished):
    """Its weights are fitted on validation, so it may lose a little, but not as if they were drawn."""
    _, report = finished
    arms = {arm.name: arm.metrics["ndcg@10"].mean for arm in report.arms}
    assert arms["hybrid"] > arms["distilled student"] - 0.03
    told = report.hybrid
    assert told is not None
    assert told.members == ["student", "ease", "like"]
    assert {len(weights) for rows in (told.by_user, told.by_item) for weights in rows.values()} == {3}
    assert "What the hybrid listens to" in (finished[0] / "report.html").read_text(encoding="utf-8")


def test_the_page_is_made_again(finished):
    out, report = finished
    again = report_again(out)
    assert [arm.metrics for arm in again.arms] == [arm.metrics for arm in report.arms]
    assert (out / "report.html").stat().st_size > 10_000
    assert {stage for stage, why in explain(read_recipe(out / "recipe.yaml"), out) if why == "done"} >= {"content kind"}


def test_the_bundle_takes_new_items(finished, tmp_path):
    out, _ = finished
    bundle = distilrec.from_pretrained(out / "bundle")
    new = pl.DataFrame(
        {"item": [900, 901], "title": ["Nine hundred", None], "vector": [[3.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]]}
    )
    wider = bundle.add_items(new)
    with pytest.raises(DataError, match="candidate 900 isn't an item"):
        bundle.recommend(histories=[[0]], candidates=[900])
    scores = wider.recommend(histories=[[0, 4, 8], [1, 5, 9]], candidates=[900, 901])
    assert scores.filter(pl.col("rank") == 1)["item"].to_list() == [900, 901]
    assert wider.recommend(histories=[[900]], k=3).height == 3
    assert wider.items["title"].to_list()[-2:] == ["Nine hundred", "901"]
    wider.save_pretrained(tmp_path / "wider")
    again = Bundle.from_pretrained(tmp_path / "wider")
    assert again.recommend(histories=[[900, 4]], k=5).equals(wider.recommend(histories=[[900, 4]], k=5))
    given = bundle.add_items(new.drop("vector"), vectors={"vector": np.array([[3.0, 0, 0, 0], [0, 3.0, 0, 0]])})
    assert given.recommend(histories=[[900]], k=3).equals(wider.recommend(histories=[[900]], k=3))


def test_new_items_have_attributes(finished):
    bundle = distilrec.from_pretrained(finished[0] / "bundle")
    new = {"item": [900, 901], "vector": [[3.0, 0.0, 0.0, 0.0]] * 2, "kind": ["kind 1|kind 2", None]}
    assert bundle.add_items(pl.DataFrame(new)).served.attributes["kind"][-2:] == [["kind 1", "kind 2"], []]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"item": [0], "vector": [[1.0, 0.0, 0.0, 0.0]]}, "0 is there already"),
        ({"item": [900, 900], "vector": [[1.0, 0.0, 0.0, 0.0]] * 2}, "900 comes twice"),
        ({"item": ["x"], "vector": [[1.0, 0.0, 0.0, 0.0]]}, "'x' is of another type"),
        ({"id": [900]}, "there is no column 'item'"),
        (
            {"item": [900], "title": ["x"]},
            "nothing is known of these items, such as 900; give one of the columns vector",
        ),
        ({"item": [900], "vector": [None]}, "nothing is known of these items"),
    ],
)
def test_new_items_that_cannot_be_taken(finished, items, message):
    with pytest.raises(DataError, match=message):
        distilrec.from_pretrained(finished[0] / "bundle").add_items(pl.DataFrame(items))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"vector": np.ones((2, 4))}, r"have the shape \(2, 4\); give a row for each of the 1 items"),
        ({"vector": np.ones(4)}, r"have the shape \(4,\)"),
        ({"vector": [None, [1.0] * 4]}, "are no rows of numbers of one length"),
        ({"vector": np.ones((1, 3))}, r"of 'vector' have the shape \(1, 3\), expected \(1, 4\)"),
        ({"vektor": np.ones((1, 4))}, "no content is called 'vektor'; this student reads"),
    ],
)
def test_new_vectors_that_cannot_be_taken(finished, vectors, message):
    with pytest.raises(DataError, match=message):
        distilrec.from_pretrained(finished[0] / "bundle").add_items(pl.DataFrame({"item": [900]}), vectors=vectors)


def test_what_cannot_be_read_of_a_new_item_counts_as_missing(finished, caplog):
    """As in training, where one broken value doesn't stop a catalogue; what is left must suffice."""
    bundle = distilrec.from_pretrained(finished[0] / "bundle")
    new = {"item": [900, 901], "vector": [[3.0, 0.0, 0.0, 0.0], [np.nan, 0.0, 0.0, 0.0]]}
    with pytest.raises(DataError, match="nothing is known of these items, such as 901"):
        bundle.add_items(pl.DataFrame(new))
    assert "vector of 901: the vector holds NaN or infinity; it counts as missing" in caplog.text


def test_a_search_in_words_finds_what_they_describe(files, tmp_path):
    """The words of a cluster must lead to its items, alone, after a history, and for items added later."""
    words = [f"w{n}" for n in range(N_CLUSTERS * 8)]
    rng = generator(0, "texts")
    texts = [" ".join(rng.choice(words[n % N_CLUSTERS :: N_CLUSTERS], 4)) for n in range(N_ITEMS)]
    more = pl.Series([None] * N_ITEMS, dtype=pl.String)  # a column that new items needn't have
    pl.DataFrame({"item": range(N_ITEMS), "text": texts, "more": more}).write_parquet(tmp_path / "texts.parquet")
    items = {
        "path": str(tmp_path / "texts.parquet"),
        "columns": {"item": "item"},
        "content": {"text": {"kind": "text", "columns": ["text", "more"]}},
    }
    training = {**TRAINING, "epochs": 15, "evaluate_every": 5}
    changed = content(
        files,
        data={"source": str(files / "log.parquet"), "items": items},
        encoders={"text": {"encoder": "text", "model": tiny.bert(tmp_path / "bert", words), "backend": "torch"}},
        teacher=[{"name": "reader", "model": model("text", ids=False), "training": training}],
        student={"model": model("text", ids=False)},
        alone={"training": training},
        distilled={"training": training},
        students={},
        hybrid=None,
        evaluation={"seeds": 1, "metrics": ["ndcg@10"]},
    )
    changed["fine_tuning"] = {"text": {"pairs": 64, "max_length": 16}}
    run(Recipe.model_validate(changed), tmp_path / "run", jobs=1, progress=Counter())
    shutil.rmtree(tmp_path / "run" / "stages")  # the adapter, too, has gone along
    bundle = distilrec.from_pretrained(tmp_path / "run" / "bundle")

    def share(found, cluster):
        """Of the ten best how many belong to a cluster."""
        return (found["item"] % N_CLUSTERS == cluster).mean()

    searched = " ".join(words[1::N_CLUSTERS][:4])
    assert share(bundle.recommend(texts=[searched]), 1) > 0.6
    both = bundle.recommend(users=[2, 3], texts=[searched, searched])
    assert both["user"].unique(maintain_order=True).to_list() == [2, 3]
    assert bundle.recommend(histories=[[0, 4]], texts=[searched], candidates=[1, 2])["item"].to_list()[0] == 1
    wider = bundle.add_items(pl.DataFrame({"item": [901], "text": [" ".join(words[1::N_CLUSTERS][4:])]}))
    assert 901 in wider.recommend(texts=[searched], k=12)["item"].to_list()
    assert read_recipe(tmp_path / "run" / "recipe.yaml").encoders["text"].model == str(tmp_path / "bert")
    (tmp_path / "bert").rename(tmp_path / "gone")  # the bundle reads words by itself, and needs it for new items only
    again = distilrec.from_pretrained(tmp_path / "run" / "bundle")
    assert again.recommend(texts=[searched]).equals(bundle.recommend(texts=[searched]))
    with pytest.raises(DistilRecError, match="bert"):
        again.add_items(pl.DataFrame({"item": [901], "text": ["w1"]}))
    with pytest.raises(DataError, match="2 texts but 1 users or histories"):
        bundle.recommend(users=[1], texts=["w1", "w2"])
    with pytest.raises(DataError, match="texts is 'w1', expected a list"):
        bundle.recommend(texts="w1")


def test_held_out_users_are_asked_for_by_what_is_written_on_their_items(files, tmp_path):
    """Each cluster has words of its own, so the words of two items must find as much as the items do, nearly."""
    words = [f"w{n}" for n in range(N_CLUSTERS * 8)]
    rng = generator(0, "texts")
    texts = [" ".join(rng.choice(words[n % N_CLUSTERS :: N_CLUSTERS], 4)) for n in range(N_ITEMS)]
    pl.DataFrame({"item": range(N_ITEMS), "text": texts}).write_parquet(tmp_path / "texts.parquet")
    reads = {"text": {"kind": "text", "columns": ["text"]}}
    training = {**TRAINING, "epochs": 15, "evaluate_every": 5}
    changed = content(
        files,
        data={
            "source": str(files / "log.parquet"),
            "split": {"kind": "cold-users", "share": 0.3, "after": [0, 2], "targets": 3},
            "items": {"path": str(tmp_path / "texts.parquet"), "columns": {"item": "item"}, "content": reads},
        },
        encoders={"text": {"encoder": "text", "model": tiny.bert(tmp_path / "bert", words), "backend": "torch"}},
        teacher=[{"name": "reader", "model": model("text"), "training": training}],
        student={"model": model("text")},
        alone={"training": training},
        distilled={"training": training},
        students={"ids-only": {"model": model()}},
        hybrid=None,
        evaluation={"seeds": 1, "metrics": ["ndcg@10"]},
    )
    report = run(Recipe.model_validate(changed), tmp_path / "run", jobs=1, progress=Counter())
    metrics = report.arm("distilled_student").metrics
    nothing, items, said = (
        metrics[f"ndcg@10 after {known}"].mean for known in ("0 items", "2 items", "the text of 2 items")
    )
    assert said > nothing + 0.2
    assert said > 0.8 * items
    others = {arm.name: arm.metrics for arm in report.arms}
    assert "ndcg@10 after the text of 2 items" in others["teacher"]
    assert "ndcg@10 after the text of 2 items" not in others["ids-only, distilled"]
    metric = "ndcg@10 after the text of 2 items"
    assert report.between("distilled student", "student alone", metric) is not None
    assert report.between("distilled student", "ids-only, distilled", metric) is None
    changed["data"]["split"]["after"] = [0]
    assert not any("words" in name for name, _ in explain(Recipe.model_validate(changed), tmp_path / "run"))
    changed["data"]["split"]["after"] = [0, 1, 2]
    plans = dict(explain(Recipe.model_validate(changed), tmp_path / "run"))
    assert plans["test of teacher"].startswith("will run")  # there are other queries now


def test_students_that_read_content_are_tuned(files, tmp_path):
    """A search makes the content that its students read, and they are the recipe's."""
    changed = content(files, students={}, hybrid=None, evaluation={"seeds": 1, "metrics": ["ndcg@10"]})
    tuned = tune(Recipe.model_validate(changed), tmp_path, 1, jobs=1, progress=Counter())
    assert tuned.tuned["distilled student"].trials == 1


def test_only_texts_that_are_read_are_fine_tuned(files):
    with pytest.raises(ValueError, match=r"fine_tuning\.vector: fine-tuned are encoders of text that have no"):
        Recipe.model_validate(content(files, fine_tuning={"vector": {}}))


def test_words_need_a_student_that_reads_text(finished):
    with pytest.raises(DataError, match="can't be searched in words"):
        distilrec.from_pretrained(finished[0] / "bundle").recommend(texts=["slow films about space"])


def test_cold_users_are_measured_by_what_is_known_of_them(files, tmp_path):
    changed = content(files, students={}, evaluation={"seeds": 2, "metrics": ["ndcg@10"], "controls": ["popularity"]})
    changed["data"]["split"] = {"kind": "cold-users", "share": 0.3, "after": [0, 2, 5], "targets": 3}
    changed["teacher"].append({"name": "popular", "model": {"model": "popularity"}})
    changed |= {"record": {}, "weighing": "by-history"}
    report = run(Recipe.model_validate(changed), tmp_path, jobs=1, progress=Counter())
    blend = report.teacher_blend
    assert blend is not None
    assert blend.members == ["fusion", "popular"] == list(report.teacher_weights)
    assert list(blend.by_user) == ["0", "1–2", "3–9", "10–29", "30 and more"]
    assert all(sum(weights) == pytest.approx(1) for weights in blend.by_user.values())
    assert "What the teacher listens to" in (tmp_path / "report.html").read_text(encoding="utf-8")
    metrics = report.arm("distilled_student").metrics
    assert metrics["ndcg@10 after 5 items"].mean > metrics["ndcg@10 after 0 items"].mean
    # Of each user three queries count together: intervals are wider than if they were three users.
    whole, part = metrics["ndcg@10"].ci95, metrics["ndcg@10 after 5 items"].ci95
    assert whole is not None
    assert part is not None
    assert whole[1] - whole[0] > 0.7 * (part[1] - part[0])
    assert {c.metric for c in report.comparisons} == {"ndcg@10", *(f"ndcg@10 after {n} items" for n in (0, 2, 5))}


def test_encoding_alone_and_only_what_changed(files, tmp_path):
    said = run_part(Recipe.model_validate(content(files)), tmp_path, "content", jobs=1, progress=Counter())
    assert {name: result["items"] for name, result in said.items()} == {"content kind": 40, "content vector": 37}
    changed = content(files)
    changed["data"]["items"]["content"]["vector"]["columns"] = ["vector"]
    changed["encoders"] = {"kind": {"encoder": "attributes", "categories": 2}}
    plan = dict(explain(Recipe.model_validate(changed), tmp_path))
    assert plan["content vector"] == "done"
    assert (
        plan["content kind"].startswith("will run: encoder.categories (256 -> 2) changed")
        or "categories" in plan["content kind"]
    )


def test_an_encoder_that_changed_is_no_longer_that_of_the_run(files, tmp_path):
    """Prevents results that rest on the vectors of another model."""
    recipe = Recipe.model_validate(content(files))
    run_part(recipe, tmp_path, "content", jobs=1, progress=Counter())
    run_part(recipe, tmp_path, "content", jobs=1, progress=Counter())
    told = next((tmp_path / "stages").glob("content-vector-*")) / "encoder.json"
    changed = json.loads(told.read_text(encoding="utf-8")) | {"fingerprint": "0" * 16}
    told.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"encoders\.vector: The Vectors isn't the one that it was"):
        run_part(recipe, tmp_path, "content", jobs=1, progress=Counter())


def test_jointly_trained_students_give_new_items_room_too(files):
    changed = content(files, joint={"training": TRAINING}, hybrid=None)
    plan = Plan(Recipe.model_validate(changed), "f", {"vector": "v", "kind": "k"})
    [task, _] = next(arm for arm in plan.arms if arm.name == JOINT).trained
    assert isinstance(task, TrainJointly)
    assert task.cold_cost == 0.02


def test_a_recipe_with_content_is_written_and_read(files, tmp_path):
    recipe = Recipe.model_validate(content(files))
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"student": {"model": model("audio")}},
            "student reads the content 'audio', which data.items.content doesn't name",
        ),
        ({"student": {"model": model("stars")}}, "student reads 'stars', which was written with later knowledge"),
        (
            {"encoders": {"vector": {"encoder": "attributes"}}},
            "encoders.vector reads attributes, and the content is vectors",
        ),
        (
            {"students": {"long": {"model": {"model": "sasrec", "history_length": 9}}}},
            "histories of the same length; 8, not 9",
        ),
        (
            {"encoders": {"kinds": {"encoder": "attributes", "categories": 16}}},
            "encoders.kinds: no such content in data.items.content, which names vector, kind, stars",
        ),
        (
            {
                "teacher": [{"name": "t", "model": model("vector", new_only=True)}],
                "record": {"members": True, "checkpoints": 2},
                "evaluation": {},
            },
            "record.checkpoints: teacher t places new items once its training is done",
        ),
        (
            {"student": {"model": {**model("vector"), "item_bias": False}}},
            "student: cold-items gives items room in one list by their bias; set item_bias to true",
        ),
        (
            {
                "teacher": [{"name": "ids", "model": {**model(), "item_bias": False}}],
                "evaluation": {"controls": ["ridge regression"]},
            },
            "teacher ids: cold-items gives items room",
        ),
    ],
)
def test_recipes_that_cannot_be_run(files, change, message):
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate(content(files, **change))


def test_students_that_look_users_up_cannot_be_asked_by_others(files):
    changed = content(files, student={"model": {"model": "matrix_factorization"}}, students={}, hybrid=None)
    changed["data"]["split"] = {"kind": "cold-users"}
    changed |= {"alone": {}, "distilled": {}, "evaluation": {}, "record": {}}
    with pytest.raises(ValueError, match="student knows users by their training, and cold-users asks for others"):
        Recipe.model_validate(changed)


def test_a_run_with_content_is_not_continued(finished, files, tmp_path):
    out, _ = finished
    recipe = Recipe.model_validate({**content(files), "since": str(out)})
    with pytest.raises(RecipeError, match=r"holds out users or items \(cold-items\) isn't continued"):
        explain(recipe, tmp_path)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": LeaveLastOut()})})
    with pytest.raises(RecipeError, match="aren't continued; run the recipe anew"):
        explain(recipe, tmp_path)


def test_the_report_is_json(finished):
    out, _ = finished
    told = json.loads((out / "report.json").read_text())
    assert told["data"]["split"] == "cold-items"
