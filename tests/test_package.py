"""What `import distilrec` offers."""

import subprocess
import sys

import pytest

import distilrec
from distilrec.errors import MissingExtraError


@pytest.mark.parametrize("name", ["Recipe", "fit", "read_recipe", "run", "run_across"])
def test_without_torch_the_line_that_installs_it_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installed the core only would read a traceback that ends in our own files."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=rf"^distilrec.{name} needs .*pip install 'distilrec\[train\]'$"):
        getattr(distilrec, name)


WITHOUT = ("torch", "scipy", "optuna", "jinja2", "polars", "pyarrow", "narwhals", "transformers", "onnx")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "serve"),
        (["doctor", "--json"], 0, "pip install 'distilrec[data]'"),
        (["data", "describe", "log.csv"], 1, "reading interaction logs needs the package 'polars'"),
        (["run", "recipe.yaml", "--out", "run"], 1, "needs the package 'torch'"),
        (["serve", "nowhere"], 1, "nowhere is no bundle"),
    ],
)
def test_a_server_has_neither_torch_nor_tables(arguments: list[str], code: int, said: str) -> None:
    """Prevents a server from installing gigabytes, and an engineer on one from a traceback."""
    program = f"""
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in {WITHOUT} else found(name, *more)
sys.modules.update(dict.fromkeys({WITHOUT}))
sys.argv = ["distilrec", *{arguments}]
from distilrec.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert said in " ".join((ended.stdout + ended.stderr).split()), ended.stdout + ended.stderr
