"""Several domains in one log, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from distilrec.data import (
    Columns,
    ItemColumns,
    Preparation,
    Prepared,
    audit_domain,
    from_dataframe,
    load,
    taken_elsewhere,
)
from distilrec.data.config import DataConfig
from distilrec.data.domains import twins, twins_in_test
from distilrec.errors import DataError

COLUMNS = Columns(user="user", item="item", time="time", domain="domain")
# Item 7 is a book and a film; "c" reads only, and "d" only watches.
LOG = pl.DataFrame(
    [
        ("a", 7, 1, "books"), ("a", 8, 2, "books"), ("a", 7, 3, "films"), ("a", 9, 5, "books"), ("a", 5, 9, "films"),
        ("b", 8, 1, "books"), ("b", 5, 2, "films"), ("b", 6, 3, "films"), ("b", 7, 4, "films"),
        ("c", 9, 1, "books"), ("c", 8, 2, "books"), ("c", 7, 3, "books"),
        ("d", 5, 1, "films"),
    ],
    schema=["user", "item", "time", "domain"],
    orient="row",
)  # fmt: skip


def two_shops() -> tuple[Columns, pl.DataFrame]:
    """Users 0 to 9 took p0 and its twin q0; of the others nobody took the same pair as somebody else."""
    rows = [
        (user, f"{shop}0", "test" if user < 3 and shop == "p" else "train", shop) for user in range(10) for shop in "pq"
    ]
    rows += [(user, f"p{user}", "test", "p") for user in range(10, 15)]
    rows += [(user, f"q{user}", "train", "q") for user in range(10, 16)]
    frame = pl.DataFrame(rows, schema=["user", "item", "part", "domain"], orient="row")
    return Columns(user="user", item="item", part="part", domain="domain"), frame


TWO_SHOPS = two_shops()


def told(prepared: Prepared) -> dict[str, list[tuple[object, int]]]:
    """Each user's items, in the log's own ids, and the part of each."""
    log = prepared.split.log
    rows: dict[str, list[tuple[object, int]]] = {}
    for user, position in zip(*log.flat(), strict=True):
        external = prepared.dataset.item_ids.values[int(log.histories.values[position])]
        name = prepared.dataset.user_ids.values[int(user)]
        rows.setdefault(name, []).append((external, int(prepared.split.part[position])))
    return rows


def one(name: str, frame: pl.DataFrame = LOG, **settings: object) -> Prepared:
    preparation = Preparation.model_validate({"domain": name, **settings})
    return from_dataframe(frame, COLUMNS, preparation=preparation)


class TestAllDomains:
    def test_items_that_share_an_id_are_told_apart(self):
        dataset = from_dataframe(LOG, COLUMNS).dataset
        assert dataset.item_ids.values.to_list() == [
            "books/7", "books/8", "books/9", "films/5", "films/6", "films/7",
        ]  # fmt: skip
        assert dataset.domains is not None
        assert dataset.domains.names == ("books", "films")
        assert dataset.domains.of_items.tolist() == [0, 0, 0, 1, 1, 1]
        assert dataset.domains.own_ids.to_list() == [7, 8, 9, 5, 6, 7]

    def test_ids_that_differ_stay_as_they_are(self):
        dataset = from_dataframe(LOG.filter(pl.col("item") != 7), COLUMNS).dataset
        assert dataset.item_ids.values.to_list() == [5, 6, 8, 9]
        assert dataset.domains is not None
        assert dataset.domains.of_items.tolist() == [1, 1, 0, 0]

    def test_each_domain_is_split_by_itself(self):
        """ "a" has three books, of which the last two are held out, and two films, of which none is."""
        rows = told(from_dataframe(LOG, COLUMNS))
        assert rows["a"] == [("books/7", 0), ("books/8", 1), ("films/7", 0), ("books/9", 2), ("films/5", 0)]
        assert rows["b"] == [("books/8", 0), ("films/5", 0), ("films/6", 1), ("films/7", 2)]

    def test_items_left_out_leave_the_domains_in_step(self):
        dataset = from_dataframe(LOG, COLUMNS, preparation=Preparation(min_item_interactions=2)).dataset
        assert dataset.item_ids.values.to_list() == ["books/7", "books/8", "books/9", "films/5", "films/7"]
        assert dataset.domains is not None
        assert dataset.domains.of_items.tolist() == [0, 0, 0, 1, 1]
        assert dataset.domains.own_ids.to_list() == [7, 8, 9, 5, 7]

    def test_a_part_column_is_each_domains_own(self):
        frame = LOG.with_columns(part=pl.Series(["train", "test"] * 6 + ["train"]))
        columns = COLUMNS.model_copy(update={"part": "part"})
        prepared = from_dataframe(frame, columns, preparation=Preparation.model_validate({"split": {"kind": "column"}}))
        assert told(prepared)["b"] == [("books/8", 2), ("films/5", 0), ("films/6", 2), ("films/7", 0)]

    def test_cold_users_are_drawn_anew_for_each_domain_and_asked_after_what_they_took_elsewhere(self):
        users = range(40)
        frame = pl.DataFrame(
            [(u, f"{domain}{n}", n, domain) for u in users for domain in ("p", "q") for n in range(3)],
            schema=["user", "item", "time", "domain"],
            orient="row",
        )
        split = {"kind": "cold-users", "share": 0.2, "after": [0], "targets": 3}
        whole = from_dataframe(frame, COLUMNS, preparation=Preparation.model_validate({"split": split}))
        held_out = {}
        for name in ("p", "q"):
            queries, targets = one(name, frame, split=split).split.queries("test")
            held_out[name] = set(queries.users.tolist())
            assert len(queries) == 4
            assert (queries.histories.lengths == 0).all()
            assert (targets.lengths == 3).all()
        assert held_out["p"] != held_out["q"]
        queries, _ = whole.split.queries("test")
        elsewhere_too = [user for user in held_out["p"] if user not in held_out["q"]]
        rows = [int(np.flatnonzero(queries.users == user)[0]) for user in elsewhere_too]
        assert (queries.histories.lengths[rows] == 3).all()

    def test_a_share_of_users_is_that_of_the_domain(self):
        """Forty users of one domain beside 160 of another: eight of the forty, not all of them."""
        rows = [(user, f"p{n}", n, "p") for user in range(40) for n in range(3)]
        rows += [(user, f"q{n}", n, "q") for user in range(40, 200) for n in range(3)]
        frame = pl.DataFrame(rows, schema=["user", "item", "time", "domain"], orient="row")
        split = {"kind": "cold-users", "share": 0.2, "after": [0], "targets": 3}
        assert len(one("p", frame, split=split).split.queries("test")[0]) == 4
        assert len(one("q", frame, split=split).split.queries("test")[0]) == 16

    def test_moments_are_those_of_the_whole_log(self):
        """Else the domain of later times would train after the moments of the other."""
        rows = [(0, n, n, "early") for n in range(6)] + [(0, n + 10, n + 100, "late") for n in range(6)]
        frame = pl.DataFrame(rows, schema=["user", "item", "time", "domain"], orient="row")
        split = {"kind": "global-time", "quantiles": [0.5, 0.75]}
        whole = from_dataframe(frame, COLUMNS, preparation=Preparation.model_validate({"split": split})).split
        assert whole.part.tolist() == [0] * 6 + [1] * 3 + [2] * 3

    def test_a_single_domain_is_refused(self):
        with pytest.raises(DataError, match="1 domains, from 'books' to 'books'; there must be 2 to 100"):
            from_dataframe(LOG.filter(pl.col("domain") == "books"), COLUMNS)

    def test_a_domain_that_can_name_no_folder_is_named(self, tmp_path: Path):
        LOG.with_columns(pl.col("domain").replace("films", "../films")).write_csv(tmp_path / "log.csv")
        with pytest.raises(DataError, match=r"line 4: '../films' in column 'domain' isn't a name of letters"):
            load(DataConfig(source=str(tmp_path / "log.csv"), columns=COLUMNS))

    def test_a_domain_that_cannot_be_split_is_named(self):
        with pytest.raises(DataError, match="domain 'books': split: kind 'column' needs a column"):
            from_dataframe(LOG, COLUMNS, preparation=Preparation.model_validate({"split": {"kind": "column"}}))

    def test_one_items_file_for_items_that_share_an_id_is_refused(self):
        items = pl.DataFrame({"item": [5, 7], "title": ["E", "G"]})
        with pytest.raises(DataError, match="items of two domains share an id"):
            from_dataframe(LOG, COLUMNS, items=items, item_columns=ItemColumns(item="item", title="title"))


class TestOneDomain:
    def test_it_has_its_own_users_items_and_ids(self):
        books = one("books")
        assert told(books) == {
            "a": [(7, 0), (8, 1), (9, 2)],
            "b": [(8, 0)],
            "c": [(9, 0), (8, 1), (7, 2)],
        }
        assert books.dataset.item_ids.values.to_list() == [7, 8, 9]
        assert told(one("films")) == {
            "a": [(7, 0), (5, 0)],
            "b": [(5, 0), (6, 1), (7, 2)],
            "d": [(5, 0)],
        }

    def test_its_parts_are_those_that_it_has_among_all(self):
        whole = told(from_dataframe(LOG, COLUMNS))
        for name in ("books", "films"):
            for user, rows in told(one(name)).items():
                assert [(f"{name}/{item}", part) for item, part in rows] == [
                    row for row in whole[user] if str(row[0]).startswith(name)
                ]

    def test_what_users_took_elsewhere_ends_before_what_is_held_out_here(self):
        """ "a" took film 7 at 3, after book 8 at 2, which is held out; of "b" nothing is held out among books."""
        books = one("books")
        assert books.whole is not None
        ids = books.whole.dataset.item_ids.values
        found = taken_elsewhere(books)
        rows = [[ids[int(item)] for item in found[n : n + 1].flat()[1]] for n in range(len(found))]
        assert dict(zip(books.dataset.user_ids.values, rows, strict=True)) == {"a": [], "b": ["films/5"], "c": []}

    def test_without_times_all_that_was_trained_on_elsewhere_counts(self):
        frame = LOG.with_columns(part=pl.lit("train")).drop("time")
        columns = Columns(user="user", item="item", part="part", domain="domain")
        preparation = Preparation.model_validate({"domain": "books", "split": {"kind": "column"}})
        books = from_dataframe(frame, columns, preparation=preparation)
        assert books.whole is not None
        assert books.places is not None
        assert taken_elsewhere(books).lengths.tolist() == [2, 3, 0]
        assert books.dataset.user_ids.values.to_list() == ["a", "b", "c"]
        assert books.places.users.tolist() == [0, 1, 2]
        assert books.places.items.tolist() == [0, 1, 2]

    def test_dislikes_go_along(self):
        frame = LOG.with_columns(label=pl.Series([1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1]))
        columns = COLUMNS.model_copy(update={"label": "label"})
        films = from_dataframe(frame, columns, preparation=Preparation.model_validate({"domain": "films"}))
        assert films.negatives_split is not None
        users, items = films.negatives_split.log.histories.flat()
        ids = films.dataset.user_ids.values, films.dataset.item_ids.values
        found = [(ids[0][int(u)], ids[1][int(i)]) for u, i in zip(users, items, strict=True)]
        assert found == [("a", 5), ("b", 7)]

    def test_items_and_content_are_its_own(self):
        frame = LOG.filter(pl.col("item") != 7)
        items = pl.DataFrame({"item": [5, 6, 8, 9], "title": list("EFHI"), "vector": [[1.0], [2.0], None, [4.0]]})
        from distilrec.data import Modality

        films = from_dataframe(
            frame,
            COLUMNS,
            items=items,
            item_columns=ItemColumns(item="item", title="title"),
            content={"vector": Modality(kind="vectors", columns=("vector",))},
            preparation=Preparation(domain="books"),
        )
        assert films.dataset.titles(np.array([0, 1])) == ["H", "I"]
        contents = films.dataset.contents["vector"]
        assert contents.known.tolist() == [False, True]
        assert [(places.tolist(), [v.tolist() for v in values]) for places, values in contents.blocks()] == [
            ([1], [[4.0]])
        ]

    def test_what_is_listed_in_two_domains_is_named(self):
        """Three of the ten users of p0 and its twin q0 have p0 in test."""
        columns, frame = TWO_SHOPS
        preparation = Preparation.model_validate({"domain": "p", "split": {"kind": "column"}})
        prepared = from_dataframe(frame, columns, preparation=preparation)
        assert twins_in_test(prepared) == (3, 8)
        finding = audit_domain(prepared)
        assert (finding.severity, finding.value) == ("warning", 3 / 8)
        assert finding.sentence.startswith("3 of 8 test items have a twin in another domain")
        elsewhere = from_dataframe(frame, columns, preparation=preparation.model_copy(update={"domain": "q"}))
        assert audit_domain(elsewhere).severity == "ok"

    def test_what_is_listed_in_two_domains_is_kept_in_the_smaller(self):
        columns, frame = TWO_SHOPS
        dropping = Preparation.model_validate({"twins": "drop", "split": {"kind": "column"}})
        prepared = from_dataframe(frame, columns, preparation=dropping)
        assert "q0" not in prepared.dataset.item_ids.values
        assert prepared.dataset.item_ids.values.to_list()[0] == "p0"
        assert len(prepared.dataset.interactions) == len(frame) - 10
        assert prepared.dataset.notes[-1] == (
            "1 items are in two domains under two ids; they were dropped, with 10 interactions, from the larger one."
        )
        one = from_dataframe(frame, columns, preparation=dropping.model_copy(update={"domain": "p"}))
        assert audit_domain(one).severity == "ok"
        with pytest.raises(DataError, match=r"twins: drop.*columns\.domain"):
            from_dataframe(frame.drop("domain"), columns.model_copy(update={"domain": None}), preparation=dropping)

    def test_twins_are_those_of_a_count_of_all_pairs(self):
        """Items of both domains with planted twins, some with a user or two astray, against counting every pair."""
        rng = np.random.default_rng(0)
        first = [rng.choice(200, size, replace=False) for size in rng.integers(1, 20, 60)]
        astray = [np.append(users[len(users) // 8 :], rng.integers(200)) for users in first[:40]]
        rows = [*first, *(np.unique(users) for users in astray), *(rng.choice(200, 5) for _ in range(20))]
        pairs = [(user, item) for item, users in enumerate(rows) for user in set(users.tolist())]
        log = from_dataframe(
            pl.DataFrame(pairs, schema=["user", "item"], orient="row"), Columns(user="user", item="item")
        )
        counted = []
        for one in range(60):
            for two in range(60, 120):
                a, b = set(rows[one].tolist()), set(rows[two].tolist())
                both = len(a & b) - 1
                if both > 0 and both / (len(a) + len(b) - both - 2) >= 0.8:
                    counted.append((one, two))
        assert len(counted) > 10
        found = twins(log.dataset.interactions, np.repeat([0, 1], 60).astype(np.uint8))
        assert list(zip(*(side.tolist() for side in found), strict=True)) == counted

    def test_a_crawler_who_took_everything_costs_no_square(self, monkeypatch):
        """Items that one user took, and hardly anyone else, would all be compared with each other."""
        monkeypatch.setattr("distilrec.data.domains.ALIKE", 20)
        rows = [(0, item) for item in range(200)] + [(1 + item % 90, item) for item in range(200)]
        rows += [(user, item) for user in range(100, 110) for item in (198, 199)]
        log = from_dataframe(
            pl.DataFrame(rows, schema=["user", "item"], orient="row"), Columns(user="user", item="item")
        )
        one, two = twins(log.dataset.interactions, (np.arange(200) % 2).astype(np.uint8))
        assert (198, 199) in set(zip(one.tolist(), two.tolist(), strict=True))

    def test_another_name_is_refused(self):
        with pytest.raises(DataError, match="no domain is called 'music'; there are books, films"):
            one("music")

    def test_a_log_without_domains_is_refused(self):
        with pytest.raises(DataError, match=r"name the column in columns\.domain"):
            from_dataframe(
                LOG.filter(pl.col("domain") == "books").drop("domain"),
                Columns(user="user", item="item", time="time"),
                preparation=Preparation(domain="books"),
            )
