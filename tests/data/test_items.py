"""Items: attributes and titles, aligned with the log's items."""

import polars as pl
import pytest

from distilrec.data.columns import ItemColumns
from distilrec.data.files import open_frame, open_table
from distilrec.data.interactions import Ids
from distilrec.data.items import align_items, read_items
from distilrec.errors import DataError


def test_text_attributes_become_numbers_where_all_are(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("id,name,price,code,year\n1,A,1.5,007,1990\n2,B,,x,1991\n")
    frame = read_items(open_table(path), ItemColumns(item="id", title="name"))
    assert frame.rows() == [(1, "A", 1.5, "007", 1990), (2, "B", None, "x", 1991)]


def test_recbole_items_have_lists_and_whole_titles(tmp_path):
    path = tmp_path / "a.item"
    path.write_text("item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAction Drama\n")
    frame = read_items(open_table(path), ItemColumns(item="item_id", title="movie_title"))
    assert frame.rows() == [(1, "Toy Story", ["Action", "Drama"])]


def test_alignment_is_by_id_not_by_row():
    """Rows in the file's order would give every item another's title."""
    items = pl.DataFrame({"item": ["c", "a", "a", "z"], "title": ["C", "A", "again", "Z"]})
    aligned, notes = align_items(items, Ids(pl.Series(["a", "b", "c"])))
    assert aligned.rows() == [("a", "A"), ("b", None), ("c", "C")]
    assert notes == (
        "1 of 3 items have no row in the items file.",
        "2 rows of the items file were left out: repeated, or not in the log.",
    )


def test_integer_ids_of_a_log_find_string_ids_of_the_items():
    aligned, _ = align_items(pl.DataFrame({"item": ["1", "x"], "a": [5, 6]}), Ids(pl.Series([1])))
    assert aligned.rows() == [(1, 5)]


@pytest.mark.parametrize(
    ("data", "columns", "says"),
    [
        ({"a": [1]}, ItemColumns(item="id"), "has no column 'id'"),
        ({"id": [1, None]}, ItemColumns(item="id"), "row 2: no id in column 'id'"),
        ({"id": [1], "item": [1]}, ItemColumns(item="id"), "has a column 'item' beside"),
    ],
)
def test_bad_items(data, columns, says):
    with pytest.raises(DataError, match=says):
        read_items(open_frame(pl.DataFrame(data)), columns)
