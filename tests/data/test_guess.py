"""Guessing columns: names in several languages, values where names say nothing, and honest failure."""

import re

import numpy as np
import polars as pl
import pytest

from distilrec.data import Columns, DataConfig, guess, load
from distilrec.data.files import open_frame
from distilrec.data.guess import guess_columns, guess_item_columns
from distilrec.data.split_kinds import ColumnSplit
from distilrec.errors import DataError

N = 120
USERS, ITEMS = [n % 17 for n in range(N)], [n % 23 for n in range(N)]
SECONDS = [1_700_000_000 + n for n in range(N)]


def guessed(**data):
    columns, _, _ = guess_columns(open_frame(pl.DataFrame(data)))
    return columns.named()


@pytest.mark.parametrize(
    ("user", "item", "time", "rating"),
    [
        ("userId", "movieId", "timestamp", "rating"),
        ("reviewerID", "asin", "unixReviewTime", "overall"),
        ("CUSTOMER_ID", "SKU", "event_time", "Score"),
        ("Kunden-Nr", "Artikel", "Zeitstempel", "Bewertung"),
        ("id_utilisateur", "produit", "horodatage", "note"),
        ("Usuario", "Película", "fecha", "Puntuación"),
        ("id_utente", "prodotto", "data", "voto"),
        ("пользователь", "товар", "дата", "оценка"),
        ("用户ID", "商品ID", "时间戳", "评分"),
        ("ユーザーID", "アイテム", "日時", "評価"),
        ("사용자", "상품", "시간", "평점"),
    ],
)
def test_names_in_many_languages(user, item, time, rating):
    found = guessed(**{rating: [n % 5 + 1 for n in range(N)], time: SECONDS, item: ITEMS, user: USERS, "x": ["-"] * N})
    assert found == {"user": user, "item": item, "time": time, "rating": rating}


def test_values_where_names_say_nothing():
    found = guessed(a=USERS, b=[f"i{n}" for n in ITEMS], c=[n % 5 + 1 for n in range(N)], d=SECONDS)
    assert found == {"user": "a", "item": "b", "time": "d", "rating": "c"}


def test_a_quantity_is_no_rating():
    """Most of a shop's purchases, of one piece each, would be taken for dislikes."""
    quantity = [1 + (n % 4 == 0) + (n % 9 == 0) for n in range(N)]
    assert guessed(user=USERS, item=ITEMS, timestamp=SECONDS, quantity=quantity) == {
        "user": "user", "item": "item", "time": "timestamp",
    }  # fmt: skip


@pytest.mark.parametrize(("factor", "unit"), [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds")])
def test_units_of_epochs(factor, unit):
    frame = pl.DataFrame({"user": USERS, "item": ITEMS, "when": [second * factor for second in SECONDS]})
    _, reasons, _ = guess_columns(open_frame(frame))
    assert f"{unit} since 1970, from 2023-11-14 to 2023-11-14" in reasons["time"]


def test_an_id_goes_before_another_column_of_the_same_thing():
    assert guessed(movie=ITEMS, movie_id=ITEMS, user=USERS)["item"] == "movie_id"


def test_a_name_whose_values_do_not_fit_is_passed_over():
    """A column `label` of words isn't a like, and `split` of numbers isn't a part."""
    found = guessed(user=USERS, item=ITEMS, label=["cheap", "dear"] * (N // 2), split=list(range(N)))
    assert found == {"user": "user", "item": "item"}


def write_log(folder, **columns):
    path = folder / "log.csv"
    frame = pl.DataFrame({"user": USERS, "item": ITEMS, **columns})
    frame.select(pl.all().cast(pl.String)).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(("timestamp", bad) for bad in ("-5", "NaN", "soon", "N/A")),
        *(("date", bad) for bad in ("soon", "1960-01-01", "01.02.2024")),
        *(("rating", bad) for bad in ("NaN", "inf", "N/A")),
        ("weight", "-1"),
        ("label", "maybe"),
        ("split", "holdout"),
    ],
)
def test_one_bad_value_is_named_and_does_not_hide_its_column(tmp_path, name, bad):
    """A log without its times would be split by lot, and one without its ratings has only likes, silently."""
    good = {"timestamp": SECONDS, "date": ["2024-01-31"] * N, "split": ["train", "valid", "test"] * (N // 3)}
    values = [str(value) for value in good.get(name, [n % 2 for n in range(N)])]
    values[60] = bad
    path = write_log(tmp_path, **{name: values})
    for config in (guess(path).config, DataConfig(source=str(path))):
        with pytest.raises(DataError, match=f"log.csv, line 62: '{bad}' in column '{name}'"):
            load(config)


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("rating", ["G", "PG-13"], "'rating' isn't taken as the rating, though its name says so: .* aren't numbers"),
        ("rating", ["4", "N/A"], "at least half of its values aren't numbers"),
        ("date", ["today", "tomorrow"], "'date' isn't taken as the time, though its name says so: .* aren't times"),
        ("date", [None, None], "'date' isn't taken as the time, though its name says so: it is empty"),
    ],
)
def test_a_column_that_is_passed_over_is_noted(tmp_path, name, words, says):
    path = write_log(tmp_path, **{name: words * (N // 2)})
    found = guess(path)
    assert found.columns.named() == {"user": "user", "item": "item"}
    assert len(found.notes) == 1
    for notes in (found.notes, load(DataConfig(source=str(path))).dataset.notes):
        assert any(re.search(says, note) for note in notes)


def test_a_column_all_of_whose_values_fit_goes_first():
    """A file with a good column would be refused for one that was no more than named like it."""
    assert guessed(user=USERS, item=ITEMS, score=["?", *"12345" * (N // 5)][:N], stars=[5] * N)["rating"] == "stars"


def test_dates_that_cannot_be_times_are_not_taken_for_their_values_alone():
    """Birthdays would be read as times, and those before 1970 refused."""
    assert "time" not in guessed(user=USERS, item=ITEMS, born=["1960-01-01", "2001-05-05"] * (N // 2))


def test_ids_that_are_whole_floats():
    """pandas makes floats of integers beside a gap; another column would be taken as the user."""
    assert guessed(user_id=[float(n) for n in USERS], item=ITEMS, shop=USERS)["user"] == "user_id"


def test_given_columns_are_not_guessed(tmp_path):
    frame = pl.DataFrame(
        {"user": USERS, "item": ITEMS, "a": SECONDS, "rating": [n % 5 for n in range(N)], "w": [1] * N}
    )
    columns, reasons, notes = guess_columns(open_frame(frame), {"item": "w", "rating": ""})
    assert columns == Columns(user="user", item="w", time="a")
    assert list(reasons) == ["user", "time"]
    assert notes == ()
    path = tmp_path / "log.parquet"
    frame.write_parquet(path)
    assert guess(path, {"rating": ""}).config.like_threshold is None
    given = load(DataConfig(source=str(path)), given={"weight": "w", "rating": ""}).dataset.interactions
    assert given.ratings is None
    assert given.weights is not None


@pytest.mark.parametrize("given", [{"time": "when"}, Columns(user="user", item="item", rating="when")])
def test_a_given_column_that_is_not_there(tmp_path, given):
    with pytest.raises(
        DataError, match=r"log\.csv has no column 'when' \(given as (time|rating)\); it has 'user', 'item'"
    ):
        guess(write_log(tmp_path), given)


def test_a_column_that_is_given_twice():
    with pytest.raises(DataError, match="column 'item' has two meanings"):
        guess_columns(open_frame(pl.DataFrame({"user": USERS, "item": ITEMS})), {"user": "item", "item": "item"})


def test_a_table_of_items_is_no_log():
    """Genres would become users, and a recommender of items to genres be trained."""
    titles = pl.DataFrame({"item_id": list(range(N)), "title": [f"T{n}" for n in range(N)], "genre": USERS})
    with pytest.raises(DataError, match=r"'item_id' never repeats, as in a table of items.*--user"):
        guess_columns(open_frame(titles))
    people = pl.DataFrame({"user": list(range(N)), "town": USERS})
    with pytest.raises(DataError, match=r"'user' never repeats, as in a table of users.*--item"):
        guess_columns(open_frame(people))
    assert guess_columns(open_frame(titles), {"user": "genre"})[0].user == "genre"


def test_an_item_that_repeats_after_the_first_rows_is_enough():
    """In a large log by users of their own, the first rows may hold each item once."""
    items = [*range(10_000), 0]
    frame = pl.DataFrame({"item": items, "x": [n % 17 for n in items]})
    assert guess_columns(open_frame(frame))[0].user == "x"


def test_parts_and_labels():
    parts = (["train", "valid", "test"] * N)[:N]
    assert guessed(user=USERS, item=ITEMS, click=[0, 1] * (N // 2), x=parts) == {
        "user": "user",
        "item": "item",
        "label": "click",
        "part": "x",
    }


def test_parts_without_validation_get_some_of_train(tmp_path):
    """Else the recipe that init writes could not run."""
    for name, names, share in (("two", ["train", "Test"], 0.1), ("three", ["train", "val", "test"], 0.0)):
        frame = pl.DataFrame({"user": USERS, "item": ITEMS, "part": (names * N)[:N]})
        frame.write_csv(tmp_path / f"{name}.csv")
        assert guess(tmp_path / f"{name}.csv").config.split == ColumnSplit(validation=share)


def test_a_file_gets_a_recipe_that_loads(tmp_path):
    path = tmp_path / "log.csv"
    frame = pl.DataFrame(
        {"userId": USERS, "itemId": ITEMS, "rating": [n % 5 + 1 for n in range(N)], "timestamp": SECONDS}
    )
    frame.write_csv(path)
    found = guess(path)
    assert found.config.like_threshold == 4
    assert found.config.split.kind == "leave-last-out"
    assert list(found.reasons) == ["user", "item", "time", "rating"]
    assert load(found.config).dataset.interactions.n_items > 0
    frame.select("userId", "itemId").write_csv(path)
    assert guess(path).config.split.kind == "random"


@pytest.mark.parametrize("values", [[0.5 * n for n in range(1, 11)], list(range(1, 6))])
def test_the_threshold_is_a_rating_of_the_scale(tmp_path, values):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user": USERS, "item": ITEMS, "rating": np.resize(values, N)}).write_parquet(path)
    assert guess(path).config.like_threshold == 4


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {"item": ITEMS, "price": [1.5] * N},
            "like the user; name the user's column with --user, or as columns.user in a recipe",
        ),
        ({"user": USERS, "x": [0.5] * N}, "looks like the item"),
        ({"a": ITEMS, "b": ITEMS, "c": ITEMS}, "none of 'a', 'b', 'c' looks like the user"),
        ({"user": [], "item": []}, "has no rows"),
        ({"user": [None] * N, "item": ITEMS, "shop": USERS}, "'user' isn't taken as the user.*: it is empty"),
    ],
)
def test_no_user_or_item_is_an_error(data, says):
    with pytest.raises(DataError, match=says):
        guess_columns(open_frame(pl.DataFrame(data)))


def test_item_files():
    items = guess_item_columns(open_frame(pl.DataFrame({"id": [1], "Titel": ["a"], "price": [2]})))
    assert (items.item, items.title) == ("id", "Titel")
    with pytest.raises(DataError, match=r"items\.columns\.item"):
        guess_item_columns(open_frame(pl.DataFrame({"price": [2]})))


def test_amounts_have_no_threshold(tmp_path):
    """70 % of the range of play counts would leave one liked row in a hundred."""
    rows = {"user": [n % 40 for n in range(400)], "item": [n % 23 for n in range(400)]}
    path = tmp_path / "plays.csv"
    pl.DataFrame({**rows, "score": [n * n for n in range(400)]}).write_csv(path)
    assert guess(path).config.like_threshold is None
    stars = tmp_path / "stars.csv"
    pl.DataFrame({**rows, "score": [1 + n % 5 for n in range(400)]}).write_csv(stars)
    assert guess(stars).config.like_threshold == 4
    given = guess(stars, Columns(user="user", item="item", rating="score")).config
    assert given.like_threshold == 4
    assert given.split.kind == "random"
