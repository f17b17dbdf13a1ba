"""Reading tables: every format gives the same log, and every fault is one sentence that names its place."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from distilrec.data.columns import Columns
from distilrec.data.files import open_frame, open_table
from distilrec.data.typed import read_log
from distilrec.errors import DataError

UIRT = Columns(user="u", item="i", rating="r", time="t")
UI = Columns(user="u", item="i")


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path, columns=UIRT, file_format="auto"):
    return read_log(open_table(path, file_format), columns).rows()


EXPECTED = [(1, "ä", 10, 4.0), (2, "b c", 5, 3.5)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", 'u,i,r,t\n1,ä,4,10\n2,"b c",3.5,5\n'),
        ("log.csv", "u;i;r;t\r\n1;ä;4;10\r\n2;b c;3.5;5\r\n"),
        ("log.csv", "\ufeffu,i,r,t\n1,ä,4,10\n\n2,b c,3.5,5\n\n"),
        ("log.tsv", "t\tu\ti\tr\n10\t1\tä\t4\n5\t2\tb c\t3.5"),
        ("log.inter", "u:token\ti:token\tr:float\tt:float\n1\tä\t4\t10\n2\tb c\t3.5\t5\n"),
    ],
    ids=["comma", "semicolon, CRLF", "BOM, blank lines", "tabs", "recbole"],
)
def test_text_formats_give_the_same_log(tmp_path, name, content):
    columns = Columns(user="u", item="i", time="t", rating="r")
    assert rows_of(written(tmp_path, name, content), columns) == EXPECTED


@pytest.mark.parametrize("library", ["polars", "lazy", "pandas", "pyarrow", "parquet"])
def test_frames_and_parquet_give_the_same_log(tmp_path, library):
    frame = pl.DataFrame({"u": [1, 2], "i": ["ä", "b c"], "r": [4.0, 3.5], "t": [10, 5]})
    columns = Columns(user="u", item="i", time="t", rating="r")
    if library == "parquet":
        frame.write_parquet(tmp_path / "log.parquet")
        table = open_table(tmp_path / "log.parquet")
    else:
        made = {"polars": frame, "lazy": frame.lazy(), "pandas": pd.DataFrame(frame.to_dict(as_series=False))}
        table = open_frame(made.get(library, pa.table(frame.to_dict(as_series=False))))
    assert read_log(table, columns).rows() == EXPECTED


def test_movielens_ratings(tmp_path):
    columns = Columns(user="user_id", item="item_id", rating="rating", time="timestamp")
    tabs = written(tmp_path, "u.data", "196\t242\t3\t881250949\n")
    colons = written(tmp_path, "ratings.dat", "196::242::3::881250949\n")
    assert rows_of(tabs, columns) == rows_of(colons, columns) == [(196, 242, 881250949, 3.0)]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_items_in_either_encoding(tmp_path, encoding):
    """A Latin-1 file read as UTF-8 fails; one read with replacement loses its accents silently."""
    flags = "|".join("1" if place in (1, 8) else "0" for place in range(19))
    item = written(tmp_path, "u.item", f"7|Misérables, Les (1995)|01-Jan-1995||http://x|{flags}\n".encode(encoding))
    movies = written(tmp_path, "movies.dat", "7::Misérables, Les (1995)::Action|Drama\n".encode(encoding))
    expected = [("7", "Misérables, Les (1995)", ["Action", "Drama"])]
    assert open_table(item).frame.collect().rows() == open_table(movies).frame.collect().rows() == expected


def test_movies_csv_has_lists_of_genres(tmp_path):
    path = written(tmp_path, "movies.csv", 'movieId,title,genres\n1,"A, B",X|Y\n')
    assert open_table(path).frame.collect().rows() == [("1", "A, B", ["X", "Y"])]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "-2"], [1, -2]),
        (["007", "1"], ["007", "1"]),
        (["1", "x1"], ["1", "x1"]),
        (["1.0", "2"], ["1.0", "2"]),
        (["9" * 30, "1"], ["9" * 30, "1"]),
        (["ユーザー", "مستخدم"], ["ユーザー", "مستخدم"]),
    ],
)
def test_ids_from_text_stay_the_users(tmp_path, ids, expected):
    """ "007" read as 7 could never be found again under the user's own id."""
    path = written(tmp_path, "log.csv", "u,i\n" + "".join(f"{one},a\n" for one in ids))
    assert read_log(open_table(path), UI)["user"].to_list() == expected


def test_a_string_id_after_thousands_of_integers_makes_all_strings(tmp_path):
    """The type is told from the first rows; a later exception must not become a null or an error."""
    path = written(tmp_path, "log.csv", "u,i\n" + "5,1\n" * 2000 + "x,1\n")
    assert read_log(open_table(path), UI)["user"].unique().sort().to_list() == ["5", "x"]


MICRO = int(datetime(2024, 3, 1, 12, 30, tzinfo=UTC).timestamp()) * 10**6
DAY = int(datetime(2024, 3, 31, tzinfo=UTC).timestamp()) * 10**6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1709296200", 1709296200),
        ("1709296200.0", 1709296200),
        ("1709296200.25", 1709296200250000),
        ("1709296200000000001", 1709296200000000001),
        ("2024-03-01 12:30:00", MICRO),
        ("2024-03-01T12:30:00Z", MICRO),
        ("2024-03-01T14:30:00+02:00", MICRO),
        ("2024-03-01 12:30", MICRO),
        ("2024-03-31", DAY),
        ("31.03.2024", DAY),
        ("31/03/2024", DAY),
        ("03/31/2024", DAY),
    ],
)
def test_times_as_text(tmp_path, text, expected):
    path = written(tmp_path, "log.csv", f"u,i,t\na,b,{text}\n")
    assert read_log(open_table(path), Columns(user="u", item="i", time="t"))["time"].to_list() == [expected]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([3, 1], [3, 1]),
        ([3.0, 1.0], [3, 1]),
        ([0.5, 1.0], [500_000, 1_000_000]),
        ([date(2024, 3, 31)] * 2, [DAY] * 2),
        ([datetime(2024, 3, 1, 12, 30)] * 2, [MICRO] * 2),
        (pl.Series([datetime(2024, 3, 1, 12, 30)] * 2, dtype=pl.Datetime("ns", "UTC")), [MICRO] * 2),
    ],
)
def test_times_in_frames(times, expected):
    frame = pl.DataFrame({"u": [1, 2], "i": [1, 2], "t": times})
    assert read_log(open_frame(frame), Columns(user="u", item="i", time="t"))["time"].to_list() == expected


def test_labels_weights_and_parts(tmp_path):
    path = written(tmp_path, "log.csv", "u,i,l,w,p\na,b,1,0.5,Train\na,c,false,2,valid\na,d,0,0,test\n")
    frame = read_log(open_table(path), Columns(user="u", item="i", label="l", weight="w", part="p"))
    assert frame.rows() == [("a", "b", 0.5, True, 0), ("a", "c", 2.0, False, 1), ("a", "d", 0.0, False, 2)]


GOOD = b"u,i,r,t\n1,2,3,4\n"
DATED = b"u,i,r,t\n1,2,3,2024-01-31\n"
BAD_FILES = {
    "empty": (b"", "log.csv is empty"),
    "header only": (b"u,i,r,t\n", "has no rows"),
    "missing column": (b"u,i,r\n1,2,3\n", "has no column 't'.* it has 'u', 'i', 'r'"),
    "no user": (GOOD + b",2,3,4\n", "log.csv, line 3: no value in column 'u'"),
    "short row": (GOOD + b"1,2,3\n", "log.csv, line 3: no value in column 't'"),
    "long row": (GOOD + b"1,2,3,4,5\n", "log.csv, line 3 has 5 fields, and the header 4"),
    "after blank lines": (GOOD + b"\n\n1,,3,4\n", "log.csv, line 5: no value in column 'i'"),
    "after a quoted newline": (b'u,i,r,t\n1,"a\nb",3,4\n1,2,x,4\n', "log.csv, line 4: 'x' in column 'r'"),
    "NaN rating": (GOOD + b"1,2,NaN,4\n", "line 3: 'NaN' in column 'r' isn't a finite number"),
    "infinite rating": (GOOD + b"1,2,inf,4\n", "line 3: 'inf' in column 'r'"),
    "negative time": (GOOD + b"1,2,3,-4\n", "line 3: '-4' in column 't' isn't a time"),
    "infinite time": (b"u,i,r,t\n1,2,3,4.5\n1,2,3,inf\n", "line 3: 'inf' in column 't'"),
    "NaN time": (b"u,i,r,t\n1,2,3,4.5\n1,2,3,nan\n", "line 3: 'nan' in column 't'"),
    "text for time": (b"u,i,r,t\n1,2,3,soon\n", "column 't' begins with 'soon'"),
    "late text for time": (GOOD + b"1,2,3,4\n" * 1500 + b"1,2,3,soon\n", "line 1503: 'soon' in column 't'"),
    "ambiguous dates": (b"u,i,r,t\n1,2,3,01/02/2024\n", "day and month can't be told apart"),
    "broken UTF-8": (GOOD + b"\xff\xfe,2,3,4\n", "log.csv, line 3 isn't UTF-8"),
    "broken header": (b"\xff\xfeu,i\n", "log.csv, line 1 isn't UTF-8"),
    "bad date among good ones": (DATED + b"1,2,3,soon\n1,2,3,2024-01-31\n", "line 3: 'soon' in column 't'"),
    "bad date first": (b"u,i,r,t\n1,2,3,soon\n" + DATED[8:] * 2, "line 2: 'soon' in column 't'"),
    "another form of date": (
        DATED + DATED[8:] * 2 + b"1,2,3,2024-01-31 10:00\n",
        "line 5: '2024-01-31 10:00' in column 't'",
    ),
    "bad number first": (b"u,i,r,t\n1,2,3,N/A\n" + GOOD[8:] * 2, "line 2: 'N/A' in column 't'"),
    "bad among ambiguous dates": (b"u,i,r,t\n1,2,3,soon\n" + b"1,2,3,01/02/2024\n" * 2, "dates like '01/02/2024'"),
    "open quote": (GOOD + b'1,"2,3,4\n' + GOOD[8:] * 9, r"log.csv, line 3 has a quote that isn't closed; close it"),
    "open quote before others": (b'u,i,r,t\n1,"a\nb",3,4\n1,"2,3,4\n1,"2",3,4\n', "line 4 has a quote"),
    "open quote in a long file": (GOOD + b'1,"2,3,4\n' + GOOD[8:] * 50_000, "line 3 has a quote"),
    "quote within a field": (GOOD + b'1,27" screen,3,4\n' + GOOD[8:] * 9, "line 3 has a quote"),
    "line of 10 MB": (GOOD + b"x" * 10_000_000 + b",2,3,4\n", "log.csv, line 3: 'xxx.* in column 'u' isn't an id"),
    "after a long field": (b"u,i,r,t,x\n1,2,3,4," + b"x" * 200_000 + b"\n1,,3,4,x\n", "line 3: no value in column 'i'"),
    "no separator": (b"x" * 100_000, "has no column 'u'"),
}


@pytest.mark.parametrize(("content", "says"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_one_clear_sentence(tmp_path, content, says):
    with pytest.raises(DataError, match=says) as caught:
        rows_of(written(tmp_path, "log.csv", content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_folder_a_missing_file_and_an_unknown_extension(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        open_table(tmp_path)
    with pytest.raises(DataError, match="doesn't exist"):
        open_table(tmp_path / "log.csv")
    with pytest.raises(DataError, match=r"unknown extension '\.xlsx'"):
        open_table(written(tmp_path, "log.xlsx", b"x"))
    with pytest.raises(DataError, match=r"expected u\.data"):
        open_table(written(tmp_path, "mine.csv", b"x"), "movielens")


@pytest.mark.parametrize("header", ["196\t242\t3\t881250949", "u:token\ti:token\tr:float\tt"])
def test_a_recbole_file_without_its_header(tmp_path, header):
    """Its first row would be taken as the header, and be lost."""
    path = written(tmp_path, "log.inter", f"{header}\n22\t377\t1\t878887116\n")
    field = header.rpartition("\t")[2] if ":" in header else "196"
    with pytest.raises(DataError, match=rf"log\.inter, line 1: '{field}' isn't a field of RecBole's header"):
        open_table(path)


def test_a_parquet_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"log\.parquet can't be read"):
        rows_of(written(tmp_path, "log.parquet", b"not parquet at all"))


def test_a_short_movielens_line_is_named(tmp_path):
    path = written(tmp_path, "ratings.dat", "1::2::3::4\n1::2::3\n")
    with pytest.raises(DataError, match=r"ratings\.dat, line 2: no value in column 'timestamp'"):
        rows_of(path, Columns(user="user_id", item="item_id", time="timestamp"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"u": [1, None], "i": [1, 2]}, "row 2: no value in column 'u'"),
        ({"u": [1.5, 2.0], "i": [1, 2]}, "row 1: 1.5 in column 'u' isn't an id"),
        ({"u": [True, False], "i": [1, 2]}, "column 'u' holds Boolean"),
        ({"u": [None, None], "i": [1, 2]}, "row 1: no value in column 'u'"),
        ({"u": pl.Series([2**63, 1], dtype=pl.UInt64), "i": [1, 2]}, "isn't an id"),
    ],
)
def test_frames_with_bad_ids(data, says):
    with pytest.raises(DataError, match=says):
        read_log(open_frame(pl.DataFrame(data)), UI)


def test_ids_of_pandas_floats_and_categories():
    """pandas makes floats of integers beside a null; they are still the user's integers."""
    frame = pd.DataFrame({"u": [1.0, 2.0], "i": pd.Categorical(["a", "b"])})
    assert read_log(open_frame(frame), UI).rows() == [(1, "a"), (2, "b")]


def test_something_that_is_no_frame():
    with pytest.raises(DataError, match="a dict isn't a DataFrame"):
        open_frame({"u": [1]})


def test_rows_keep_the_order_of_the_file(tmp_path):
    """Ties in time are broken by it; a parallel reader that shuffles would change histories between runs."""
    n = 200_000
    path = tmp_path / "log.csv"
    pl.DataFrame({"u": np.arange(n), "i": np.arange(n)}).write_csv(path)
    assert (read_log(open_table(path), UI)["user"].to_numpy() == np.arange(n)).all()


def test_an_empty_id_is_named(tmp_path):
    """All who are anonymous would be one user."""
    path = tmp_path / "log.csv"
    path.write_text('user,item\n"x","a"\n"","b"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"line 3: no value in column 'user'"):
        read_log(open_table(path), Columns(user="user", item="item"))
    with pytest.raises(DataError, match="no value in column 'item'"):
        read_log(open_frame(pl.DataFrame({"user": ["a"], "item": ["  "]})), Columns(user="user", item="item"))


def test_a_pandas_column_of_mixed_types_is_named():
    frame = pd.DataFrame({"time": [1, 2, 3], "user": [1, "a", 2]})
    with pytest.raises(DataError, match=r"column 'user' can't be read .*\.astype\(str\)"):
        open_frame(frame)
