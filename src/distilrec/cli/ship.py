"""Commands that take a bundle to where it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from distilrec.cli.app import Json, app
from distilrec.cli.output import show, show_table
from distilrec.errors import RecipeError, require

if TYPE_CHECKING:
    from distilrec.serving import Settings

SERVING = ("starlette", "uvicorn", "msgspec", "prometheus_client", "onnxruntime")
BundlePath = Annotated[Path, typer.Argument(help="A bundle: RUN/bundle, or what save_pretrained wrote.")]


@app.command("export")
def export_command(
    bundle: BundlePath,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="onnx; onnx-int8, item vectors in a quarter of their bytes; web, a folder with a page; litert and "
            "executorch, for phones.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file, or web's folder; default: student.onnx or the like, beside BUNDLE."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items in an answer.")] = 10,
    least_overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the ten best items that it must have in common.")
    ] = 0.95,
    least_quality: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the student's NDCG@10 that it must keep.")
    ] = 0.98,
    as_json: Json = False,
) -> None:
    """Write a bundle's student for another runtime: a history in, the best items and scores out.

    Before anything is written, the export answers the held-out queries that lie in the bundle, and is compared with
    the student in PyTorch; where they differ by more than the thresholds, the command fails and says by how much. What
    was measured goes into the bundle's card, too.

    With --to web it is a folder for any web server, with the student in whole numbers, ONNX Runtime as WebAssembly,
    and a page on which a person searches the catalogue, chooses, and sees what comes next, computed in the tab.

    With --to litert or executorch the file takes one history of a fixed length, -1 behind its end. The first time an
    environment for the converter is installed into the cache, up to two gigabytes.

    Examples: distilrec export runs/quickstart/bundle --to onnx-int8;
    distilrec export runs/mine/bundle --to web --out site && python -m http.server --directory site
    """
    require("torch", "train", "distilrec export")
    from distilrec.export import TARGETS, Thresholds, export

    target = next((each for each in TARGETS if each == to), None)
    if target is None:
        raise RecipeError(f"--to {to}: it is one of {', '.join(TARGETS)}")
    names = {"web": "web", "litert": "student.tflite", "executorch": "student.pte"}
    name = names.get(target, f"student{target.removeprefix('onnx')}.onnx")
    path = out or bundle.resolve().parent / name
    info = export(bundle, target, path, k, Thresholds(least_overlap, least_quality))
    show({"written": str(path), **info.model_dump(exclude_none=True)}, as_json)


@app.command()
def serve(
    bundle: BundlePath,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is everyone's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at.")] = 8000,
    state: Annotated[
        str | None, typer.Option(help="sqlite:PATH or redis://HOST:PORT/0; default: a file beside the bundle.")
    ] = None,
    durable: Annotated[bool, typer.Option("--durable", help="With SQLite, wait for the disk at each click.")] = False,
    keep_days: Annotated[
        float, typer.Option(min=0, max=36_500, help="Forget who clicked nothing for so many days; 0: nobody.")
    ] = 90,
    web: Annotated[
        Path | None, typer.Option(help="A folder that `distilrec export --to web` wrote, to hand out at /.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="An API key, several times for several; better DISTILREC_KEYS, by commas.")
    ] = None,
    cors: Annotated[list[str] | None, typer.Option(help="An origin whose pages may ask.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Requests a second of one key or address.")] = None,
    body_limit: Annotated[int, typer.Option(min=1_000, help="Bytes of a request.")] = 1_000_000,
    watch: Annotated[float, typer.Option(min=0, help="Seconds between looks for a new bundle; 0: SIGHUP only.")] = 2.0,
    recall: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of the best items, the share to find among many; 1: score all.")
    ] = 0.95,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line in the log for each request.")] = False,
) -> None:
    """Answer over HTTP from a bundle: recommendations, clicks that change the next answer, new items.

    One process. Several may share the state, each on a port of its own behind a proxy. Try it at
    http://127.0.0.1:8000/docs. A bundle that is written into the folder is taken up without dropping a request, if it
    answers as its student did in PyTorch.

    Example: distilrec serve runs/quickstart/bundle --port 8000
    """
    for package in SERVING:
        require(package, "serve", "distilrec serve")
    import os

    import uvicorn

    from distilrec.serving import create_app
    from distilrec.serving.logs import configure
    from distilrec.serving.protocol import BoundedProtocol

    keys = [*(key or ()), *filter(None, os.environ.get("DISTILREC_KEYS", "").split(","))]
    settings = _settings(
        bundle=bundle,
        state=state,
        durable=durable,
        keep_days=keep_days,
        web=web,
        keys=tuple(keys),
        cors=tuple(cors or ()),
        rate=rate,
        body_limit=body_limit,
        watch=watch,
        recall=recall,
    )
    configure(requests=not quiet)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
        limit_concurrency=None,
    )


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A finished run: what `distilrec run` wrote.")],
    clicks: Annotated[int | None, typer.Option(min=1, help="Play only so many clicks; default: all held out.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Users at once.")] = 16,
    as_json: Json = False,
) -> None:
    """Play a run's held-out clicks as live traffic, against servers of its teacher and of its students.

    Servers start with what training knew of each user. For each click, in the order of their times, the user's ten best
    items are asked for first, and compared with it where it is of the test part; then the click is told, which changes
    the next answer. So for the best of the teacher's members that can be served, the student alone, the distilled
    student, and the recipe's further students. Latency is the client's, which shares the machine. The table is also
    written to RUN/replay/replay.json.

    Example: distilrec replay runs/quickstart
    """
    require("torch", "train", "distilrec replay")
    for package in SERVING:
        require(package, "serve", "distilrec replay")
    from distilrec.pipeline import replay as play

    with Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def on_click(name: str, number: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=of)
            progress.update(tasks[name], completed=number)

        courses = play(run, clicks=clicks, connections=connections, on_click=on_click)
    if as_json:
        show({course.name: course.told() for course in courses}, as_json=True)
        return
    rows = []
    for course in courses:
        told = course.told()
        versus = told["distilled_minus_this"]
        rows.append(
            [
                course.name,
                f"{told['ndcg@10']:.4f}",
                f"{told['recall@10']:.4f}",
                *(f"{told[kind][p]:.1f}" for kind, p in (("recommend_ms", "p50"), ("recommend_ms", "p99"))),
                f"{told['click_ms']['p50']:.1f}",
                f"{told['requests_per_second']:,.0f}",
                "" if versus is None else f"{versus['ndcg@10']:+.4f} (p {versus['p']:.2g})",
            ]
        )
    columns = ["served", "NDCG@10", "recall@10", "p50 ms", "p99 ms", "click p50 ms", "requests/s", "distilled gains"]
    show_table(f"{len(courses[0].replayed.ranks)} test clicks", columns, rows)


def _settings(**given: Any) -> Settings:
    """Raises RecipeError on what can't be meant."""
    from pydantic import ValidationError

    from distilrec.serving import Settings

    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RecipeError(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error
