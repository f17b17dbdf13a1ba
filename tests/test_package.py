"""What `import distilrec` offers."""

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
