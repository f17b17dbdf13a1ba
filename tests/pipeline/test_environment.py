"""What a report says of how its run was made."""

import sys

import pytest

from distilrec.pipeline.environment import environment


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("/usr/bin/distilrec", "distilrec run 'my recipe.yaml'"),
        ("/lib/distilrec/__main__.py", "distilrec run 'my recipe.yaml'"),
        ("script.py", "from Python"),
    ],
)
def test_the_command_is_what_was_typed(program: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents `python -m distilrec` from passing for a script of one's own."""
    monkeypatch.setattr(sys, "argv", [program, "run", "my recipe.yaml"])
    assert environment(0)["command"] == command


def test_the_number_of_threads_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes hang on it, and whoever runs it again needs it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(0)["threads"] == 3
