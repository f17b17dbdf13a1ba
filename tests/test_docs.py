"""Documents must not promise what isn't there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilrec.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A page that was moved or renamed leaves dead links behind."""
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        other = (page.parent / target) if target else page
        assert other.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in _anchors(other), f"{page.name} links to {target}#{anchor}"


def test_the_settings_of_the_guide_make_a_recipe() -> None:
    """A setting that was renamed would be an error for whoever copies it from the guide."""
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    content: dict[str, Any] = {}
    for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        content |= yaml.safe_load(block)
    recipe = Recipe.model_validate(content)
    parts = {"method", "data", "teacher", "record", "student", "alone", "distilled", "compared", "joint", "evaluation"}
    assert set(content) == parts
    assert recipe.distilled.distillation.temperature in recipe.record.temperatures


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _merged(base[key], more[key]) for key in base.keys() & more.keys() if isinstance(base[key], dict)}
    return {**base, **more, **nested}


def test_the_settings_of_the_page_on_content_make_recipes() -> None:
    """Those of the first sections make one recipe; each that follows makes another of it."""
    text = (ROOT / "docs" / "content.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(each) for each in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)]
    base = _merged(_merged(blocks[0], blocks[1]), blocks[2])
    assert set(Recipe.model_validate(base).encoders) == {"text", "poster", "trailer"}
    for block in blocks[3:]:
        assert Recipe.model_validate(_merged(base, block)) != Recipe.model_validate(base)
