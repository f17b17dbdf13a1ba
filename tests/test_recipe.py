"""A recipe is read strictly, and what is written is read again as the same."""

from pathlib import Path

import pytest
import yaml

from distilrec.distillation import BD, Mutual
from distilrec.errors import RecipeError
from distilrec.recipe import Recipe, read_recipe, write_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))
CONTENT = {
    "data": {"source": "log.csv", "split": {"kind": "global-time", "quantiles": [0.7, 0.8]}},
    "teacher": [
        {"name": "sasrec", "model": {"model": "sasrec", "embedding_size": 32}, "training": {"epochs": 3}},
        {"name": "ease", "model": {"model": "ease"}},
    ],
    "student": {"model": {"model": "sasrec", "embedding_size": 8}, "precision": "int8"},
    "distilled": {"distillation": {"methods": [{"method": "rrd"}, {"method": "kl", "weight": 2}]}},
    "joint": {"training": {"epochs": 4}, "method": {"method": "bd", "drawn": 3}},
}


JOINT = "data: {source: a}\nteacher: [{name: ease, model: {model: ease}}]\nstudent: {model: {model: sasrec}}\n"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_that_we_ship_are_valid(path: Path) -> None:
    read_recipe(path)


def test_round_trip(tmp_path: Path) -> None:
    """Prevents a run whose recipe.yaml can't be run again."""
    recipe = Recipe.model_validate(CONTENT)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe
    assert "patience" not in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


def test_how_two_sides_learn_may_be_a_name() -> None:
    """Prevents a name that is read as another method, or as none."""
    given = [Recipe.model_validate(CONTENT | {"joint": joint}).joint for joint in ({}, {"method": "bd"})]
    assert [joint and joint.method for joint in given] == [Mutual(), BD()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [\nname: x", "line 2: not a YAML file: expected ',' or ']'"),
        (f"{JOINT}evaluation: {{metrics: [recall@10, ndgc@10]}}", "ndgc@10"),
        ("just a word", "a recipe is a mapping"),
        ("name: x", "data: Field required"),
        ("data: {source: a}\nteacher: []\nstudent: {model: {model: sasrec}}", "teacher: Tuple should have at least 1"),
        ("data: {source: a}\nteacher: [{name: a, model: {model: bert}}]\nstudent: {model: {model: sasrec}}", "bert"),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: ease, lr: 1}}]\nstudent: {model: {model: sasrec}}",
            "teacher.0.model.ease.lr: Extra inputs are not permitted",
        ),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: ease}}]\nstudent: {model: {model: ease}}",
            "ease can't be distilled into",
        ),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: ease}}, {name: a, model: {model: ease}}]\n"
            "student: {model: {model: sasrec}}",
            "names of their own",
        ),
        (
            "data: {source: a}\nteacher: [{name: popularity, model: {model: popularity}}]\n"
            "student: {model: {model: sasrec}}\nevaluation: {controls: [popularity]}",
            "'popularity' is the name of two things",
        ),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: ease}}]\nstudent: {model: {model: sasrec}}\n"
            "evaluation: {controls: [truncated teacher]}",
            "'truncated teacher' needs a member with vectors",
        ),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: ease}}]\n"
            "student: {model: {model: sasrec, content: {modalities: [text, text]}}}",
            "content names 'text' twice",
        ),
        (f"{JOINT}joint: {{}}", "None is no member with vectors"),
        (f"{JOINT}joint: {{teacher: ease}}", "'ease' is no member with vectors"),
        (f"{JOINT}joint: {{method: bdd}}", "joint.method: Input tag 'bdd'"),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: matrix_factorization}}]\n"
            "student: {model: {model: sasrec}}\njoint: {}",
            "two models that read histories or two that look users up",
        ),
        (
            "data: {source: a}\nteacher: [{name: a, model: {model: sasrec, history_length: 9}}]\n"
            "student: {model: {model: sasrec}}\njoint: {}",
            "the teacher reads 9 items, the student 50",
        ),
    ],
)
def test_mistakes_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.yaml") as raised:
        read_recipe(tmp_path / "recipe.yaml")
    assert said in str(raised.value)
    assert "Value error" not in str(raised.value)
    assert len(str(raised.value)) < 400  # and not the whole recipe with it


def test_any_teacher_of_students_with_user_vectors_can_be_truncated() -> None:
    content = {
        "data": {"source": "log.csv"},
        "teacher": [{"name": "ease", "model": {"model": "ease"}}],
        "student": {"model": {"model": "matrix_factorization"}},
        "evaluation": {"controls": ["truncated teacher"]},
    }
    assert Recipe.model_validate(content).evaluation.controls == ("truncated teacher",)


def test_a_data_file_may_lie_beside_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item\na,b\n", encoding="utf-8")
    write_recipe(Recipe.model_validate(CONTENT), tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml").data.source == str(tmp_path / "log.csv")


def test_a_recipe_finds_its_files_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path relative to where the recipe was written would be another file elsewhere, or none."""
    for name in ("log.csv", "own/items.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("user,item\na,b\n", encoding="utf-8")
    (tmp_path / "own" / "today.csv").symlink_to(tmp_path / "log.csv")
    monkeypatch.chdir(tmp_path)
    for source, written in (
        ("log.csv", str(tmp_path / "log.csv")),
        ("own/today.csv", "today.csv"),
        ("ml-100k", "ml-100k"),
        ("known/by/name.csv", "known/by/name.csv"),
    ):
        data = {"source": source, "items": {"path": "own/items.csv"}}
        write_recipe(Recipe.model_validate(CONTENT | {"data": data}), Path("own/recipe.yaml"))
        content = yaml.safe_load(Path("own/recipe.yaml").read_text(encoding="utf-8"))
        assert content["data"]["source"] == written
        assert content["data"]["items"]["path"] == "items.csv"
    assert read_recipe(Path("own/recipe.yaml")).data.items.path == str(tmp_path / "own" / "items.csv")


def test_a_recipe_makes_its_folder_or_says_that_it_cannot(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(CONTENT)
    write_recipe(recipe, tmp_path / "new" / "folder" / "recipe.yaml")
    assert read_recipe(tmp_path / "new" / "folder" / "recipe.yaml") == recipe
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"recipe\.yaml can't be written \(.*\); choose another place"):
        write_recipe(recipe, tmp_path / "file" / "recipe.yaml")


def test_the_tags_of_encoders_are_written(tmp_path: Path) -> None:
    """A run's own recipe could not be read again, so neither reported on, nor tuned, nor gone on from."""
    items = {"path": "items.parquet", "content": {"text": {"kind": "text", "columns": ["plot"]}}}
    content = {**CONTENT, "data": {"source": "log.csv", "items": items}}
    student = {"model": "sasrec", "embedding_size": 8, "content": {"modalities": ["text"]}}
    content |= {"student": {"model": student}, "encoders": {"text": {"encoder": "text", "model": "owner/name"}}}
    del content["joint"]
    recipe = Recipe.model_validate(content)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_the_files_of_encoders_are_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "graph.onnx").touch()
    items = {"path": "items.parquet", "content": {"poster": {"kind": "image", "columns": ["poster"]}}}
    content = {
        "data": {"source": "log.csv", "items": items},
        "teacher": [{"name": "ease", "model": {"model": "ease"}}],
        "student": {"model": {"model": "sasrec", "content": {"modalities": ["poster"]}}},
        "encoders": {"poster": {"encoder": "onnx_image", "path": "own/graph.onnx"}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert recipe.encoders["poster"].path == str(tmp_path / "own" / "graph.onnx")
    write_recipe(recipe, tmp_path / "again.yaml")
    written = yaml.safe_load((tmp_path / "again.yaml").read_text(encoding="utf-8"))
    assert written["encoders"]["poster"]["path"] == "own/graph.onnx"


def test_a_key_that_comes_twice_is_named(tmp_path: Path) -> None:
    """YAML's own reader keeps the second and drops the first without a word."""
    (tmp_path / "recipe.yaml").write_text("name: a\ndata: {source: a}\nname: b\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="line 3: not a YAML file: the key 'name' comes twice"):
        read_recipe(tmp_path / "recipe.yaml")
