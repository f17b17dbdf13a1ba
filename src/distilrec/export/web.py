"""A folder that a web server hands out as it is: the student, ONNX Runtime as WebAssembly, and a page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import urllib.request
from pathlib import Path

from distilrec.encoders import cache_home
from distilrec.errors import FetchError, ModelError
from distilrec.export.whole import Whole, write_onnx
from distilrec.models import DotProductModel
from distilrec.runtime import Served

__all__ = ["STUDENT", "write_web"]

STUDENT = "student.onnx"
VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = ("index.html", "style.css", "app.js")
LICENCES = "onnxruntime-web {version}: MIT licence, Microsoft Corporation, https://github.com/microsoft/onnxruntime\n"
PACKED = (".wasm", ".mjs", ".js", ".onnx", ".json", ".html", ".css")  # for servers that hand out NAME.gz
SECONDS = 120


def write_web(model: DotProductModel, served: Served, k: int, folder: Path) -> Whole:
    """Write the folder, and return what its student computes: item vectors as whole numbers, and every item's score.

    Raises ModelError where the student doesn't read histories, FetchError where the runtime isn't cached and can't be
    fetched.
    """
    whole = Whole(model, k, int8=True, every=True)
    if whole.users is not None:
        raise ModelError(
            f"a {type(model).__name__} looks users up, so a page has nothing to tell it; distil a student that reads "
            "histories (history_encoder, sasrec)"
        )
    folder.mkdir(exist_ok=True)
    write_onnx(whole, folder / STUDENT)
    name = str(served.manifest.lineage.recipe.get("name") or "Recommendations")
    told = {"name": name, "items": list(served.items.values), "titles": list(served.titles)}
    (folder / "catalogue.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    for page in PAGE:
        shutil.copyfile(Path(__file__).parent / "web" / page, folder / page)
    runtime = _runtime()
    for part in RUNTIME:
        shutil.copyfile(runtime / part, folder / part)
    (folder / "LICENCES.txt").write_text(LICENCES.format(version=VERSION), encoding="utf-8")
    for path in list(folder.iterdir()):
        if path.suffix in PACKED:
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return whole


def _runtime() -> Path:
    """The folder of onnxruntime-web, fetched from npm once, and only as it was when this was written."""
    folder = cache_home() / f"onnxruntime-web-{VERSION}"
    if all((folder / name).is_file() for name in RUNTIME):
        return folder
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    address = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            packed = answer.read()
    except (OSError, ValueError) as error:
        raise FetchError(
            f"{address} could not be fetched ({error}); set NPM_CONFIG_REGISTRY to a mirror, or put "
            f"{' and '.join(RUNTIME)} of onnxruntime-web {VERSION} into {folder}"
        ) from error
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != INTEGRITY:
        raise FetchError(f"{address} isn't onnxruntime-web {VERSION} as npm published it; don't use it")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for name in RUNTIME:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the checksum holds
            partial = folder / f"{name}.partial"
            partial.write_bytes(member.read())
            os.replace(partial, folder / name)
    return folder
