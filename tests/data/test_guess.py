"""Guessing columns: names in several languages, values where names say nothing, and honest failure."""

import numpy as np
import polars as pl
import pytest

from distilrec.data import Columns, guess, load
from distilrec.data.files import open_frame
from distilrec.data.guess import guess_columns, guess_item_columns
from distilrec.errors import DataError

N = 120
USERS, ITEMS = [n % 17 for n in range(N)], [n % 23 for n in range(N)]
SECONDS = [1_700_000_000 + n for n in range(N)]


def guessed(**data):
    columns, _ = guess_columns(open_frame(pl.DataFrame(data)))
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


@pytest.mark.parametrize(("factor", "unit"), [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds")])
def test_units_of_epochs(factor, unit):
    frame = pl.DataFrame({"user": USERS, "item": ITEMS, "when": [second * factor for second in SECONDS]})
    _, reasons = guess_columns(open_frame(frame))
    assert f"{unit} since 1970, from 2023-11-14 to 2023-11-14" in reasons["time"]


def test_an_id_goes_before_another_column_of_the_same_thing():
    assert guessed(movie=ITEMS, movie_id=ITEMS, user=USERS)["item"] == "movie_id"


def test_a_name_whose_values_do_not_fit_is_passed_over():
    """A column `label` of words isn't a like, and `split` of numbers isn't a part."""
    found = guessed(user=USERS, item=ITEMS, label=["cheap", "dear"] * (N // 2), split=list(range(N)))
    assert found == {"user": "user", "item": "item"}


def test_parts_and_labels():
    parts = (["train", "valid", "test"] * N)[:N]
    assert guessed(user=USERS, item=ITEMS, click=[0, 1] * (N // 2), x=parts) == {
        "user": "user",
        "item": "item",
        "label": "click",
        "part": "x",
    }


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
        ({"item": ITEMS, "price": [1.5] * N}, "looks like the user; name it in columns.user"),
        ({"user": USERS, "x": [0.5] * N}, "looks like the item"),
        ({"a": ITEMS, "b": ITEMS, "c": ITEMS}, "none of 'a', 'b', 'c' looks like the user"),
        ({"user": [], "item": []}, "looks like the user"),
    ],
)
def test_no_user_or_item_is_an_error(data, says):
    with pytest.raises(DataError, match=says):
        guess_columns(open_frame(pl.DataFrame(data)))


def test_item_files():
    items = guess_item_columns(open_frame(pl.DataFrame({"id": [1], "Titel": ["a"], "price": [2]})))
    assert (items.item, items.title) == ("id", "Titel")
    with pytest.raises(DataError, match=r"items\.columns"):
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
