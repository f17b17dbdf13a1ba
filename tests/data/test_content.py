"""Content: which items have it, reading it block by block, and refusing what can't be meant."""

import numpy as np
import polars as pl
import pytest

from distilrec.data import DataConfig, Modality, contents_of, describe, from_dataframe, load
from distilrec.data.files import open_frame, open_table
from distilrec.data.interactions import Ids
from distilrec.errors import DataError

IDS = Ids(pl.Series(["a", "b", "c", "d"]))


def read(contents, rows=1024):
    return {
        contents.item_ids.values[int(place)]: value
        for places, values in contents.blocks(rows)
        for place, value in zip(places, values, strict=True)
    }


def frame(**columns):
    return open_frame(pl.DataFrame({"id": ["c", "a", "a", "z"], **columns}), "items.parquet")


def test_texts_are_joined_and_lists_told():
    table = frame(title=[" C ", "A", "again", "Z"], genres=[["x", "y"], [], None, ["q"]], plot=[None, "p", "q", "r"])
    contents = contents_of(table, "id", Modality(kind="text", columns=("title", "genres", "plot")), IDS)
    assert read(contents) == {"c": "C\nx, y", "a": "A\np"}
    assert contents.known.tolist() == [True, False, True, False]


@pytest.mark.parametrize("rows", [1, 2, 1024])
def test_of_several_rows_the_first_with_content_counts(rows):
    """An empty first row must not hide what a later row of the same item says."""
    contents = contents_of(frame(plot=["", "", "yes", "z"]), "id", Modality(kind="text", columns=("plot",)), IDS)
    assert read(contents, rows) == {"a": "yes"}


def test_images_as_bytes_and_as_files_beside_the_table(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(b"one")
    pl.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "file": ["pictures/1.png", "pictures/none.png", None, ""],
            "jpg": [b"", b"x", None, b"y"],
        }
    ).write_parquet(tmp_path / "items.parquet")
    table = open_table(tmp_path / "items.parquet")
    assert read(contents_of(table, "id", Modality(kind="image", columns=("file",)), IDS)) == {"a": b"one"}
    assert read(contents_of(table, "id", Modality(kind="audio", columns=("jpg",)), IDS)) == {"b": b"x", "d": b"y"}


def test_of_several_rows_the_first_whose_file_is_there_counts(tmp_path):
    (tmp_path / "b.png").write_bytes(b"two")
    pl.DataFrame({"id": ["a", "a"], "file": ["gone.png", "b.png"]}).write_parquet(tmp_path / "items.parquet")
    contents = contents_of(open_table(tmp_path / "items.parquet"), "id", Modality(kind="image", columns=("file",)), IDS)
    assert read(contents) == {"a": b"two"}
    assert contents.of(np.array([0])) == {0: b"two"}


def test_vectors_have_one_length():
    modality = Modality(kind="vectors", columns=("v",))
    contents = contents_of(frame(v=[[1.0, 2.0], None, [3.0, 4.0], []]), "id", modality, IDS)
    found = read(contents)
    assert {key: value.tolist() for key, value in found.items()} == {"c": [1.0, 2.0], "a": [3.0, 4.0]}
    uneven = contents_of(frame(v=[[1.0, 2.0], [1.0], [3.0, 4.0], []]), "id", modality, IDS)
    with pytest.raises(DataError, match=r"'v' holds vectors of lengths \[1, 2\]"):
        read(uneven)


def test_attributes_keep_their_types():
    contents = contents_of(
        frame(year=[1990, None, None, 1], tags=[["x"], [], ["y"], []]),
        "id",
        Modality(kind="attributes", columns=("year", "tags")),
        IDS,
    )
    assert read(contents) == {"c": {"year": 1990, "tags": ["x"]}, "a": {"year": None, "tags": ["y"]}}


@pytest.mark.parametrize(
    ("kind", "column", "message"),
    [
        ("text", "nothing", "has no column 'nothing'"),
        ("text", "jpg", "holds Binary, and text takes anything but bytes"),
        ("image", "year", "holds Int64, and image takes bytes or file names"),
        ("vectors", "year", "holds Int64, and vectors takes lists of numbers"),
    ],
)
def test_a_column_that_cannot_be_meant(kind, column, message):
    table = frame(jpg=[b"", b"x", None, b"y"], year=[1, 2, 3, 4])
    with pytest.raises(DataError, match=message):
        contents_of(table, "id", Modality(kind=kind, columns=(column,)), IDS)


def test_the_fingerprint_follows_the_content(tmp_path):
    """Else a changed plot, or another picture under the same name, would keep its old vector."""
    modality = Modality(kind="text", columns=("plot",))

    def of(plot, **changed):
        return contents_of(frame(plot=plot), "id", modality.model_copy(update=changed), IDS).fingerprint

    plots = ["p", "q", "r", "s"]
    assert of(plots) == of(plots) != of([*plots[:3], "t"])
    assert of(plots) != of(plots, knows_later=True)
    picture = tmp_path / "1.png"
    picture.write_bytes(b"one")
    pl.DataFrame({"id": ["a"], "file": ["1.png"]}).write_parquet(tmp_path / "items.parquet")

    def of_files():
        table = open_table(tmp_path / "items.parquet")
        return contents_of(table, "id", Modality(kind="image", columns=("file",)), IDS).fingerprint

    before = of_files()
    picture.write_bytes(b"other")
    assert of_files() != before


def test_coverage_is_by_items_and_by_interactions():
    log = pl.DataFrame({"user": [1, 1, 2, 2], "item": ["a", "b", "a", "a"]})
    items = pl.DataFrame({"item": ["a", "b"], "plot": ["A", None], "awards": ["won", "none"], "jpg": [b"x", b"y"]})
    content = {
        "text": Modality(kind="text", columns=("plot",)),
        "awards": Modality(kind="text", columns=("awards",), knows_later=True),
    }
    prepared = from_dataframe(log, items=items, content=content, preparation=DataConfig(source="", repeats="keep"))
    found = describe(prepared.dataset)
    assert found.content["text"].model_dump() == {
        "kind": "text", "items": 0.5, "interactions": 0.75, "knows_later": False,
    }  # fmt: skip
    assert found.content["awards"].knows_later
    assert set(found.attributes) == {"plot", "awards"}  # bytes stay where they are


def test_from_a_recipes_data(tmp_path):
    pl.DataFrame({"user": [1, 1, 1], "item": [5, 6, 7], "time": [1, 2, 3]}).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item": [6, 7], "about": ["six", "seven"]}).write_csv(tmp_path / "items.csv")
    items = {"path": str(tmp_path / "items.csv"), "content": {"text": {"kind": "text", "columns": ["about"]}}}
    dataset = load(DataConfig(source=str(tmp_path / "log.csv"), items=items)).dataset
    assert dataset.contents["text"].known.tolist() == [False, True, True]
    assert [values for _, values in dataset.contents["text"].blocks()] == [["six", "seven"]]
    assert np.array_equal(dataset.contents["text"].item_ids.values, dataset.item_ids.values)


def test_the_content_of_some_items_is_that_of_all():
    table = frame(plot=["C", "", "A", "Z"])
    contents = contents_of(table, "id", Modality(kind="text", columns=("plot",)), IDS)
    assert contents.of(np.array([2, 3, 0, 2])) == {2: "C", 0: "A"}
    assert contents.of(np.array([1, 3])) == {}
    assert contents.of(np.array([], np.int32)) == {}


def test_numbers_of_a_text_file_are_numbers(tmp_path):
    """As strings each price would be a category of its own."""
    path = tmp_path / "items.csv"
    path.write_text("id,year,price,kind\na,1990,1.5,x\nb,,2,7\nc,2010,,\n", encoding="utf-8")
    modality = Modality(kind="attributes", columns=("year", "price", "kind"))
    contents = contents_of(open_table(path), "id", modality, IDS)
    frame = pl.DataFrame(list(read(contents).values()), orient="row")
    assert (
        frame.to_dicts()
        == pl.DataFrame({"year": [1990.0, None, 2010.0], "price": [1.5, 2.0, None], "kind": ["x", "7", None]})
        .rename(dict(zip(["year", "price", "kind"], frame.columns, strict=True)))
        .to_dicts()
    )


def test_numbers_that_are_none_are_no_content():
    price = [float("nan"), 2.0, 3.0, 4.0]
    contents = contents_of(frame(price=price), "id", Modality(kind="attributes", columns=("price",)), IDS)
    assert contents.known.tolist() == [True, False, False, False]


def test_file_names_that_lead_nowhere_are_counted(tmp_path):
    """A folder that was moved would take the pictures of half a catalogue without a word."""
    (tmp_path / "there.png").write_bytes(b"x")
    names = ["there.png", "gone.png", None, "far/gone.png"]
    pl.DataFrame({"id": [0, 1, 2, 3], "picture": names}).write_parquet(tmp_path / "items.parquet")
    modality = Modality(kind="image", columns=("picture",))
    contents = contents_of(open_table(tmp_path / "items.parquet"), "id", modality, Ids(pl.Series([0, 1, 2, 3])))
    assert contents.known.tolist() == [True, False, False, False]
    assert contents.lost == (2, str(tmp_path / "gone.png"))


def test_an_items_file_of_other_ids_is_refused(tmp_path):
    """Titles and content would be missing of every item, which reads like empty columns."""
    pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"]}).write_csv(tmp_path / "log.csv")
    pl.DataFrame({"item": ["A-1", "B-1"], "title": ["x", "y"]}).write_csv(tmp_path / "items.csv")
    with pytest.raises(DataError, match=r"none of the ids in column 'item', such as 'A-1', is an item of log.*'a'"):
        load(DataConfig(source=str(tmp_path / "log.csv"), items={"path": str(tmp_path / "items.csv")}))
