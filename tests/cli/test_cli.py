"""The command line, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer.main
from typer.testing import CliRunner

from distilrec.cli import bench, data, run, tools  # noqa: F401  they register their commands
from distilrec.cli.app import app
from distilrec.data import ItemColumns, ItemsConfig, Modality
from distilrec.errors import MissingExtraError, RecipeError
from distilrec.recipe import read_recipe


def distilrec(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "from distilrec.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_command_and_option_has_help() -> None:
    """Prevents an option that nobody can understand without reading the code."""

    def check(command: object, name: str) -> None:
        assert getattr(command, "help", None), f"{name} has no help"
        for parameter in getattr(command, "params", []):
            if parameter.param_type_name == "option" and "--help" not in parameter.opts:
                assert parameter.help, f"{name} {parameter.opts} has no help"
        for sub, child in getattr(command, "commands", {}).items():
            check(child, f"{name} {sub}")

    check(typer.main.get_command(app), "distilrec")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "klicks.csv"
    rows = [(f"u{u}", f"i{(u + n) % 17}", 1_600_000_000 + 10 * n) for u in range(40) for n in range(6)]
    pl.DataFrame(rows, schema=["Kunde", "Artikel", "Zeit"], orient="row").write_csv(path)
    return path


def test_init_writes_a_recipe_that_is_valid_and_says_why(log: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    result = CliRunner().invoke(app, ["init", str(log), "--out", str(recipe)])
    assert result.exit_code == 0, result.output
    assert "Kunde" in result.output
    assert "distilrec run" in result.output
    assert read_recipe(recipe).data.columns is not None
    plan = distilrec("run", recipe, "--out", tmp_path / "run", "--explain", "--json")
    assert plan.returncode == 0, plan.stderr
    assert {row["plan"] for row in json.loads(plan.stdout)} == {"will run: it hasn't been run yet"}


def test_errors_are_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: x\ndata: {sauce: ml-100k}\n", encoding="utf-8")
    result = distilrec("run", recipe, "--out", tmp_path / "run")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "data.source: Field required" in result.stderr
    as_json = distilrec("run", tmp_path / "none.yaml", "--out", tmp_path / "run", "--json")
    assert as_json.returncode == 1
    assert "no such recipe" in json.loads(as_json.stdout)["error"]


def test_since_needs_a_finished_run_and_no_limits(log: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    CliRunner().invoke(app, ["init", str(log), "--out", str(recipe)])
    command = ["run", str(recipe), "--out", str(tmp_path / "today"), "--since", str(tmp_path / "yesterday")]
    assert "no finished run to go on from" in str(CliRunner().invoke(app, [*command, "--explain"]).exception)
    assert "can't go with --keep" in str(CliRunner().invoke(app, [*command, "--keep", "0.9"]).exception)
    itself = ["run", str(recipe), "--out", str(tmp_path / "today"), "--since", str(tmp_path / "x" / ".." / "today")]
    assert "the run to go on from, and would be overwritten" in str(CliRunner().invoke(app, itself).exception)


def test_a_search_is_neither_explained_nor_begun_with_limits_that_make_no_sense(log: Path, tmp_path: Path) -> None:
    """The plan of a run that isn't the one to come, and hours of training for nothing."""
    recipe = tmp_path / "recipe.yaml"
    CliRunner().invoke(app, ["init", str(log), "--out", str(recipe)])
    command = ["run", str(recipe), "--out", str(tmp_path / "run"), "--keep"]
    assert "--explain can't foresee a search" in str(CliRunner().invoke(app, [*command, ".9", "--explain"]).exception)
    assert "for 98 % write 0.98" in str(CliRunner().invoke(app, [*command, "98"]).exception)
    assert not (tmp_path / "run").exists()


def test_describe_and_convert(log: Path, tmp_path: Path) -> None:
    described = CliRunner().invoke(app, ["data", "describe", str(log), "--json"])
    assert json.loads(described.stdout)["interactions"] == 240
    target = tmp_path / "log.parquet"
    assert CliRunner().invoke(app, ["data", "convert", str(log), str(target)]).exit_code == 0
    frame = pl.read_parquet(target)
    assert frame.columns == ["user", "item", "time"]
    assert len(frame) == 240
    assert frame.filter(pl.col("user") == "u0")["time"].is_sorted()
    itself = CliRunner().invoke(app, ["data", "convert", str(log), str(log)])
    assert "is the log itself" in str(itself.exception)
    refused = CliRunner().invoke(app, ["data", "convert", str(log), str(tmp_path / "new" / "log.xlsx")])
    assert "can write .parquet and .csv, not '.xlsx'" in str(refused.exception)
    assert not (tmp_path / "new").exists()


def test_init_elsewhere_is_run_from_anywhere(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that only runs from where it was written fails for whoever goes into its folder."""
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "new" / "recipe.yaml"
    assert CliRunner().invoke(app, ["init", log.name, "--out", "new/recipe.yaml"]).exit_code == 0
    monkeypatch.chdir("/")
    assert read_recipe(recipe).data.source == str(log)


def test_init_without_torch_says_how_to_get_it(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    error = CliRunner().invoke(app, ["init", str(log)]).exception
    assert isinstance(error, MissingExtraError)
    assert "distilrec init needs the package 'torch'" in str(error)
    assert CliRunner().invoke(app, ["data", "describe", str(log)]).exit_code == 0


def test_columns_can_be_named(log: Path, tmp_path: Path) -> None:
    """Without it a file whose columns can't be guessed can't be used before it is rewritten."""
    frame = pl.read_csv(log).rename({"Kunde": "a", "Artikel": "b", "Zeit": "c"})
    frame.with_columns(pl.lit(2).alias("d"), pl.lit("train").alias("e"), f=1, g="a").write_csv(log)
    assert "name the user's column with --user" in str(
        CliRunner().invoke(app, ["data", "describe", str(log)]).exception
    )
    names = ["--user", "a", "--item", "b", "--time", "c", "--rating", "f", "--weight", "d", "--part", ""]
    described = json.loads(CliRunner().invoke(app, ["data", "describe", str(log), *names, "--json"]).stdout)
    assert (described["users"], described["items"], described["times"][0]) == (40, 17, 1_600_000_000)
    target = tmp_path / "new" / "log.parquet"
    assert CliRunner().invoke(app, ["data", "convert", str(log), str(target), *names]).exit_code == 0
    assert pl.read_parquet(target).columns == ["user", "item", "time", "rating", "weight"]
    recipe = tmp_path / "recipe.yaml"
    result = CliRunner().invoke(app, ["init", str(log), "--out", str(recipe), *names, "--json"])
    assert json.loads(result.stdout)["columns"] == {"user": "a", "item": "b", "time": "c", "rating": "f", "weight": "d"}
    columns = read_recipe(recipe).data.columns
    assert columns is not None
    assert columns.named() == {"user": "a", "item": "b", "time": "c", "rating": "f", "weight": "d"}


def test_init_notes_a_column_that_it_passed_over(log: Path, tmp_path: Path) -> None:
    pl.read_csv(log).with_columns(rating=pl.lit("PG-13")).write_csv(log)
    result = CliRunner().invoke(app, ["init", str(log), "--out", str(tmp_path / "recipe.yaml"), "--json"])
    assert "'rating' isn't taken as the rating" in json.loads(result.stdout)["notes"][0]


def test_init_takes_an_items_file(log: Path, tmp_path: Path) -> None:
    items = tmp_path / "artikel.csv"
    items.write_text("Artikel-Nr,Titel,Preis\ni0,Brot,2\n", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    result = CliRunner().invoke(app, ["init", str(log), "--items", str(items), "--out", str(recipe), "--json"])
    said = json.loads(result.stdout)
    assert said["item_attributes"] == ["title", "Preis"]
    assert "16 of 17 items have no row in the items file." in said["notes"]
    found = read_recipe(recipe).data.items
    content = {
        "text": Modality(kind="text", columns=("Titel",)),
        "attributes": Modality(kind="attributes", columns=("Preis",)),
    }
    columns = ItemColumns(item="Artikel-Nr", title="Titel")
    assert found == ItemsConfig(path=str(items), columns=columns, content=content)


def test_init_makes_a_recipe_for_a_named_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    rows = [(u, (u + n) % 17, n % 5 + 1, n) for u in range(40) for n in range(20)]
    pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row").write_parquet(
        folder / "interactions.parquet"
    )
    pl.DataFrame({"item": range(17), "title": [f"T{n}" for n in range(17)]}).write_parquet(folder / "items.parquet")
    monkeypatch.setattr("distilrec.data.named.named_folder", lambda name: tmp_path / name)
    recipe = tmp_path / "recipe.yaml"
    result = CliRunner().invoke(app, ["init", "ml-100k", "--out", str(recipe), "--json"])
    assert json.loads(result.stdout)["next"] == f"distilrec run {recipe} --out runs/ml-100k"
    assert read_recipe(recipe).data.source == "ml-100k"


def test_doctor_knows_torch() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert any("torch" in check["name"].lower() for check in json.loads(result.stdout))


@pytest.mark.parametrize(("text", "size"), [("500k", 500_000), ("2M", 2_000_000), ("1.5GB", 1_500_000_000), ("8", 8)])
def test_sizes(text: str, size: int) -> None:
    assert run.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "small", "inf", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"--max-bytes: .* is not a size"):
        run.parse_bytes(text)


def test_convert_loses_nothing_without_a_word(tmp_path: Path) -> None:
    """Of dislikes a student learns, too; and of the parts of a log that is cut already."""
    log, target = tmp_path / "log.csv", tmp_path / "new.parquet"
    log.write_text(
        "user,item,time,click,split\na,1,1,1,train\na,2,2,0,train\nb,1,1,1,train\nb,1,1,1,train\na,3,3,1,test\n"
        "b,2,2,1,val\n",
        encoding="utf-8",
    )
    command = ["data", "convert", str(log), str(target), "--label", "click", "--part", "split", "--json"]
    said = json.loads(CliRunner().invoke(app, command).stdout)
    assert pl.read_parquet(target).rows() == [
        ("a", 1, 1, 1, "train"), ("a", 2, 2, 0, "train"), ("a", 3, 3, 1, "test"), ("b", 1, 1, 1, "train"),
        ("b", 2, 2, 1, "val"),
    ]  # fmt: skip
    assert said["columns"] == ["user", "item", "time", "label", "part"]
    assert any("repeat" in note for note in said["notes"])
