"""The page in a real browser: its lists are the student's, and it asks nobody else."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import sync_playwright

from distilrec.errors import FetchError, ModelError
from distilrec.export import Thresholds, export
from distilrec.export.whole import Whole
from distilrec.ranking import rank
from tests.export.test_export import N_ITEMS, bundle, queries, student

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    try:
        export(bundle(folder / "bundle"), "web", folder / "site", thresholds=Thresholds(0.8, 0.8))
    except FetchError as error:
        pytest.skip(str(error))
    handler = functools.partial(Quiet, directory=str(folder / "site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(site: str, browser: Any) -> Iterator[Any]:
    """Once the first list is there; whatever goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.goto(site)
    opened.wait_for_selector("#list li")
    yield opened
    context.close()
    assert wrong == []


def shown(page: Any, where: str) -> list[int]:
    return [int(row.get_attribute("data-item")) for row in page.query_selector_all(f"{where} li")]


def test_the_lists_are_the_students(page: Any) -> None:
    """Of every length that the student reads, and longer."""
    model, asked = student("history_encoder"), queries()
    expected, _ = rank(model, asked, 10)
    shared = []
    for row in range(len(asked)):
        history = asked.histories[row : row + 1].flat()[1].tolist()
        found = page.evaluate(f"import('./app.js').then(app => app.recommend({history}))")
        items = [each["item"] for each in found["items"]]
        with torch.inference_mode():
            coded, scores = Whole(model, 10, int8=True).eval()(torch.tensor([history or [-1]]))
        assert items == (coded[0].tolist() if history else expected[row].tolist())  # without one all scores are equal
        np.testing.assert_allclose([each["score"] for each in found["items"]], scores[0], rtol=1e-3, atol=1e-4)
        shared.append(len(set(items) & set(expected[row].tolist())) / 10)
    assert np.mean(shared) >= 0.9  # whole numbers against floats


def test_choosing_changes_the_list_at_once_and_asks_nobody(page: Any) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    before = shown(page, "#list")
    page.fill("#search", "item 17")
    page.click("#results li:first-child button")
    page.wait_for_selector("#picks li")
    assert shown(page, "#picks") == [17]
    after = shown(page, "#list")
    assert after != before
    assert 17 not in after
    assert "because of Item 17 (+" in page.inner_text("#list")
    page.click("#list li:nth-child(2) button")
    page.wait_for_function("document.querySelectorAll('#picks li').length === 2")
    assert shown(page, "#picks") == [17, after[1]]
    page.click("#picks li:first-child button")
    page.wait_for_function("document.querySelectorAll('#picks li').length === 1")
    page.click("#clear")
    page.wait_for_function("document.querySelectorAll('#picks li').length === 0")
    assert shown(page, "#list") == before
    assert requests == []


def test_by_keyboard_alone(page: Any) -> None:
    page.focus("#search")
    page.keyboard.type("item 29")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#picks li")
    assert shown(page, "#picks") == [29]


def test_for_screen_readers_and_small_screens(page: Any) -> None:
    """Each button says what it is for, what changes is said, and nothing is wider than a phone."""
    labels = [button.get_attribute("aria-label") for button in page.query_selector_all("#list button")]
    assert len(set(labels)) == 10
    assert all(label.startswith("Choose Item ") for label in labels)
    assert page.get_attribute("#status", "role") == "status"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_label("Title").is_enabled()


def test_titles_are_text_and_never_markup(page: Any) -> None:
    """Prevents a title from running as a script in the tab of whoever looks at it."""
    page.fill("#search", "<b>7")
    assert page.inner_text("#results li div") == "Item <b>7</b>"
    assert page.get_attribute("meta[http-equiv]", "content").startswith("default-src 'self'; script-src 'self' 'wasm")


def test_the_search_says_how_many_there_are(page: Any) -> None:
    page.fill("#search", "ITEM 1")
    assert page.inner_text("#matches") == f"8 of {sum(str(n)[0] == '1' for n in range(N_ITEMS))} titles"
    page.fill("#search", "nothing like it")
    assert page.inner_text("#matches") == "0 titles"


def test_a_student_of_users_has_no_page(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle", "matrix_factorization")
    with pytest.raises(ModelError, match="looks users up, so a page has nothing to tell it"):
        export(folder, "web", tmp_path / "site")
