"""Distil a student from any DataFrame, and ask it for recommendations in your own ids.

    python examples/from_a_dataframe.py [LOG.csv] [--out runs/from_a_dataframe]

Without a file MovieLens 100k is used, fetched once by name.
"""

from __future__ import annotations

import argparse

import polars as pl

import distilrec
from distilrec.data import DataConfig, load


def movielens() -> pl.DataFrame:
    """One row per rating: user, item, time."""
    prepared = load(DataConfig(source="ml-100k"))
    log, dataset = prepared.split.log, prepared.dataset
    users, positions = log.flat()
    items = dataset.item_ids.values.gather(log.histories.values[positions])
    assert log.times is not None  # MovieLens has them
    return pl.DataFrame({"user": dataset.user_ids.values.gather(users), "item": items, "time": log.times[positions]})


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", help="a CSV file with a user, an item and a time column")
    parser.add_argument("--out", default="runs/from_a_dataframe")
    arguments = parser.parse_args()
    frame = pl.read_csv(arguments.log) if arguments.log else movielens()

    student = distilrec.fit(frame, out=arguments.out)  # pandas and PyArrow tables do as well

    known = student.users["user"].head(2).to_list()
    print(student.recommend(users=known, k=3))
    clicks = student.items["item"].head(2).to_list()
    print(student.recommend(histories=[clicks], k=3))  # someone new, with two clicks
    print(f"The report is in {arguments.out}/report.html")


if __name__ == "__main__":  # stages run in processes of their own
    main()
