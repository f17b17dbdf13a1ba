"""From a file or DataFrame to a split data set."""

import polars as pl
import pytest
from pydantic import ValidationError

from distilrec.data import Columns, DataConfig, ItemColumns, Preparation, RandomSplit, from_dataframe, load
from distilrec.errors import DataError

LOG = "userId,movieId,rating,timestamp\n" + "".join(
    f"{u},{i},{(u + i) % 5 + 1},{100 + i}\n" for u in (1, 2) for i in range(6)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DISTILREC_DATA", raising=False)
    (tmp_path / "ratings.csv").write_text(LOG)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n0,A,X|Y\n1,B,X\n2,C,X\n3,D,X\n4,E,X\n5,F,X\n")
    return tmp_path


def test_a_file_with_items_and_negatives(folder):
    config = DataConfig(
        source=str(folder / "ratings.csv"), items={"path": str(folder / "movies.csv")}, like_threshold=3
    )
    prepared = load(config)
    assert prepared.dataset.name == "ratings"
    assert prepared.dataset.titles([0, 5]) == ["A", "F"]
    assert len(prepared.dataset.interactions) + len(prepared.dataset.negatives) == 12
    assert len(prepared.negatives_split.part) == len(prepared.dataset.negatives)
    assert prepared.dataset.notes[0].startswith("The columns were guessed: 'userId' is the user")


def test_loading_twice_gives_the_same_bytes(folder):
    config = DataConfig(source=str(folder / "ratings.csv"), split=RandomSplit(seed=4), like_threshold=3)
    first, second = load(config), load(config)
    assert first.dataset.fingerprint == second.dataset.fingerprint
    assert first.split.part.tobytes() == second.split.part.tobytes()
    assert first.negatives_split.part.tobytes() == second.negatives_split.part.tobytes()


def test_a_name_under_the_data_home(folder, monkeypatch):
    (folder / "mine").mkdir()
    pl.DataFrame({"user_id": [1, 1, 1], "item_id": [3, 4, 5], "split": ["train", "valid", "test"]}).write_parquet(
        folder / "mine" / "interactions.parquet"
    )
    monkeypatch.setenv("DISTILREC_DATA", str(folder))
    for source in ("mine", "mine/interactions.parquet"):
        prepared = load(DataConfig(source=source, split={"kind": "column"}))
        assert prepared.split.part.tolist() == [0, 1, 2]


def test_a_missing_source_names_it(folder):
    with pytest.raises(DataError, match=r"nowhere\.csv doesn't exist"):
        load(DataConfig(source=str(folder / "nowhere.csv")))


def test_a_data_home_that_is_not_there_is_named(folder, monkeypatch):
    """A mistyped DISTILREC_DATA would look like a data set that was never there."""
    monkeypatch.setenv("DISTILREC_DATA", str(folder / "mistyped"))
    with pytest.raises(DataError, match=r"mine doesn't exist, and neither does .*mistyped that DISTILREC_DATA names"):
        load(DataConfig(source="mine"))
    assert load(DataConfig(source=str(folder / "ratings.csv"))).dataset.name == "ratings"


def test_recbole_items_beside_a_log_are_found(folder):
    rows = [line.replace(",", "\t") for line in LOG.splitlines()[1:]]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "mine.inter").write_text("\n".join([header, *rows]) + "\n")
    assert load(DataConfig(source=str(folder / "mine.inter"))).dataset.items is None
    (folder / "mine.item").write_text("item_id:token\ttitle:token_seq\n0\tA B\n5\tF\n")
    (folder / "ratings.item").write_text("item_id:token\n0\n")
    assert load(DataConfig(source=str(folder / "mine.inter"))).dataset.titles([0, 5]) == ["A B", "F"]
    assert load(DataConfig(source=str(folder / "ratings.csv"))).dataset.items is None
    given = DataConfig(source=str(folder / "mine.inter"), items={"path": str(folder / "movies.csv")})
    assert load(given).dataset.titles([0, 5]) == ["A", "F"]


def test_from_dataframe_with_items():
    log = pl.DataFrame({"who": ["a", "a"], "what": [2, 1]})
    items = pl.DataFrame({"nr": [1, 2], "called": ["one", "two"]})
    prepared = from_dataframe(
        log,
        Columns(user="who", item="what"),
        items=items,
        item_columns=ItemColumns(item="nr", title="called"),
        preparation=Preparation(repeats="keep"),
    )
    assert prepared.dataset.items.rows() == [(1, "one"), (2, "two")]
    assert prepared.negatives_split is None


@pytest.mark.parametrize(
    "settings",
    [
        {"sorce": "x"},
        {"source": "x", "repeats": "all"},
        {"source": "x", "min_user_interactions": 0},
        {"source": "x", "like_threshold": float("nan")},
        {"source": "x", "columns": {"user": "a", "item": "a"}},
        {"source": "x", "columns": {"user": "a"}},
        {"source": "x", "split": {"kind": "time"}},
    ],
)
def test_a_typo_is_an_error(settings):
    with pytest.raises(ValidationError):
        DataConfig(**settings)


def test_a_config_survives_json():
    """The effective recipe is stored and read again."""
    config = DataConfig(
        source="x", split={"kind": "global-time", "validation_from": "2024-01-01", "test_from": "2024-02-01"}
    )
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
