"""The page of `distilrec export --to web` in Chromium: `python -m benchmarks.web`.

Exports the distilled student of benchmarks.replay (MovieLens 1M), or another BUNDLE, opens the folder in headless
Chromium, and asks the page's own code for what follows each of 500 held-out histories. Measured: the student's size,
the median of the milliseconds that the page says a recommendation took, and how many of the ten best items are those
that the student gave in PyTorch. Needs Chromium and playwright.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.harness import RESULTS, ROOT, write_result
from distilrec.evaluation.agreement import overlap
from distilrec.export import export
from distilrec.runtime import Served

__all__ = ["main"]

QUERIES, K = 500, 10


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def _site(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, look, and write results/web.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web")
    parser.add_argument("bundle", type=Path, nargs="?", default=ROOT / "runs" / "replay" / "bundle")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args(arguments)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        parser.error("Chromium is needed: apt install chromium")
    served = Served.load(given.bundle)
    held_out = served.held_out()
    with tempfile.TemporaryDirectory() as own:
        export(given.bundle, "web", Path(own, "site"))
        sizes = {path.name: path.stat().st_size for path in sorted(Path(own, "site").iterdir())}
        with _site(Path(own, "site")) as address, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector("#list li")
            told = [page.evaluate(_ask(held_out.queries.histories[n : n + 1].flat()[1])) for n in range(QUERIES)]
            version = browser.version
            browser.close()
    lists = np.array([[each["item"] for each in answer["items"]][:K] for answer in told])
    times = [answer["milliseconds"] for answer in told]
    figures = {
        "student_kib": sizes["student.onnx"] / 1024,
        "recommend_ms": float(np.median(times)),
        "top10_overlap": float(overlap(lists, held_out.expected[:QUERIES].padded(K, fill=-1), K).mean()),
    }
    manifest = served.manifest
    detail: dict[str, Any] = {
        "student": manifest.student.model_dump(mode="json"),
        "items": manifest.items,
        "recipe": str(manifest.lineage.recipe.get("name")),
        "bytes": sizes,
        "recommend_ms_p99": float(np.percentile(times, 99)),
        "chromium": version,
        "queries": QUERIES,
    }
    print(write_result("web", "python -m benchmarks.web", figures, detail, folder=given.out), figures)


def _ask(history: Any) -> str:
    shown = "({items, milliseconds}) => ({items, milliseconds})"
    return f"import('./app.js').then(app => app.recommend({history.tolist()})).then({shown})"


if __name__ == "__main__":
    main()
