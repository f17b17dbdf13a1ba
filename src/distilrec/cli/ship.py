"""Commands that take a bundle to where it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distilrec.cli.app import Json, app
from distilrec.cli.output import show
from distilrec.errors import RecipeError, require

BundlePath = Annotated[Path, typer.Argument(help="A bundle: RUN/bundle, or what save_pretrained wrote.")]


@app.command("export")
def export_command(
    bundle: BundlePath,
    to: Annotated[str, typer.Option("--to", help="onnx, or onnx-int8, a quarter of its size.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default: student.onnx or the like, beside BUNDLE.")
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
    """Write a bundle's student as one file for another runtime: a history in, the best items and scores out.

    Before anything is written, the export answers the held-out queries that lie in the bundle, and is compared with
    the student in PyTorch; where they differ by more than the thresholds, the command fails and says by how much. What
    was measured goes into the bundle's card, too.

    Example: distilrec export runs/quickstart/bundle --to onnx-int8
    """
    require("torch", "train", "distilrec export")
    from distilrec.export import TARGETS, Thresholds, export

    target = next((each for each in TARGETS if each == to), None)
    if target is None:
        raise RecipeError(f"--to {to}: it is one of {', '.join(TARGETS)}")
    path = out or bundle.resolve().parent / f"student{target.removeprefix('onnx')}.onnx"
    info = export(bundle, target, path, k, Thresholds(least_overlap, least_quality))
    show({"file": str(path), **info.model_dump()}, as_json)
