"""Recipes as YAML files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from distilrec.data import NAMED_SETS
from distilrec.encoders import located
from distilrec.errors import RecipeError
from distilrec.recipe.schema import Recipe

__all__ = ["read_recipe", "write_recipe"]

MERGE = "tag:yaml.org,2002:merge"


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; a data file in it may be given relative to the recipe. Raises RecipeError naming the key."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe; `distilrec init FILE` writes one for your data") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise RecipeError(f"{path}{line}: not a YAML file: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with keys such as data, teacher, student")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_first_mistake(error)}") from error
    return _with_paths(recipe, path.parent)


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice in a mapping, of which YAML's own would drop the first without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _first_mistake(error: ValidationError) -> str:
    """Which key is wrong and why, with its value where that is a single one."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    place = ".".join(str(key) for key in first["loc"])
    given = "" if isinstance(first["input"], dict | list | tuple) else f" (given: {first['input']!r})"
    return f"{place}: {said}{given}" if place else f"{said}{given}"


def _with_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Make the paths of data files absolute; a file beside the recipe goes before one in the working folder."""

    def found(path: str) -> str:
        files = [place / path for place in (folder, Path()) if (place / path).exists()]
        return str(files[0].resolve()) if files else path

    return _with_each_path(recipe, found)


def _from_folder(recipe: Recipe, folder: Path) -> Recipe:
    """Make the paths of data files that are there relative to a folder, or absolute where they lie elsewhere."""
    here = folder.resolve()

    def seen(path: str) -> str:
        file = Path(path).parent.resolve() / Path(path).name  # a link stays a link, which may lead elsewhere tomorrow
        if not file.exists():
            return path
        return (file.relative_to(here) if file.is_relative_to(here) else file).as_posix()

    return _with_each_path(recipe, seen)


def _with_each_path(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    data, items = recipe.data, recipe.data.items
    if data.source not in NAMED_SETS:
        data = data.model_copy(update={"source": change(data.source)})
    if items is not None:
        data = data.model_copy(update={"items": items.model_copy(update={"path": change(items.path)})})
    home = None if recipe.teacher_from is None else change(recipe.teacher_from)
    encoders = {name: located(encoder, change) for name, encoder in recipe.encoders.items()}
    return recipe.model_copy(update={"data": data, "teacher_from": home, "encoders": encoders})


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as YAML, without the settings that have their default, so that it runs from any working folder.

    Its folder is made where it isn't there. Raises RecipeError where it can't be written.
    """
    full = _from_folder(recipe, path.parent)
    short = full.model_dump(mode="json", exclude_defaults=True)
    content = _with_tags({"name": recipe.name, **short}, full.model_dump(mode="json"))
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise RecipeError(f"{path} can't be written ({error.strerror}); choose another place for it") from error


def _with_tags(short: Any, full: Any) -> Any:
    """Put the keys back that say which model, split, method or encoder is meant: defaults of their own classes."""
    if isinstance(short, dict):
        tags = {key: full[key] for key in ("model", "kind", "method", "encoder") if isinstance(full.get(key), str)}
        return {**tags, **{key: _with_tags(value, full[key]) for key, value in short.items()}}
    if isinstance(short, list):
        return [_with_tags(*pair) for pair in zip(short, full, strict=True)]
    return short
