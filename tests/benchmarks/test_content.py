"""Figures must be those that were asked for: right arm, right metric, right sign."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.bridged import parted
from benchmarks.content import FIGURES
from benchmarks.cross_domain import figures as across_figures
from distilrec.data import Columns, ItemColumns, from_dataframe
from distilrec.report import Across, Report
from tests.benchmarks.test_from_report import CONTENT

AFTER = "ndcg@10 after 3 items"
COLD, WARM = "ndcg@10 of cold items", "ndcg@10 of warm items"


def report(arms: dict[str, dict[str, float]], *tests: tuple[str, str, str, float]) -> Report:
    """Arms with their metrics, and tests of a against b by a metric with a corrected p."""
    roles = {"teacher": "teacher", "student alone": "student_alone", "distilled student": "distilled_student"}
    content: dict[str, Any] = copy.deepcopy(CONTENT)
    content["arms"] = [
        {
            **CONTENT["arms"][0],
            "name": name,
            "role": roles.get(name, "control"),
            "metrics": {key: {"mean": mean, "per_seed": [mean]} for key, mean in ({"ndcg@10": 0.1} | metrics).items()},
        }
        for name, metrics in arms.items()
    ]
    content["comparisons"] = [
        {
            "a": a,
            "b": b,
            "metric": metric,
            "difference": 0.1,
            "ci95": [0.0, 0.2],
            "p_value": p,
            "p_holm": p,
            "test": "-",
        }
        for a, b, metric, p in tests
    ]
    return Report.model_validate(content)


def test_cold_users_after_three_items():
    arms = {"teacher": 0.10, "student alone": 0.08, "distilled student": 0.096, "ease-300": 0.07, "item-knn": 0.06}
    found = FIGURES["cold-users"](
        report(
            {name: {AFTER: value} for name, value in arms.items()},
            ("student alone", "distilled student", "ndcg@10", 0.9),
            ("student alone", "distilled student", AFTER, 0.01),
        )
    )
    assert found == pytest.approx(
        {
            "retention_ndcg@10_3_items": 0.96,
            "gain_vs_alone_3_items": 0.2,
            "p_value_vs_alone_3_items": 0.01,
            "student_ndcg@10_3_items": 0.096,
            "ease_ndcg@10_3_items": 0.07,
            "item_knn_ndcg@10_3_items": 0.06,
        }
    )


def test_cross_modal_students_against_themselves():
    arms = {"teacher": 0.2, "student alone": 0.1, "distilled student": 0.1, "text-only, alone": 0.10}
    arms |= {"text-only, distilled": 0.11, "image-only, alone": 0.08, "image-only, distilled": 0.06}
    pairs = [
        (f"{name}-only, distilled", f"{name}-only, alone", "ndcg@10", p) for name, p in (("text", 0.02), ("image", 1))
    ]
    found = FIGURES["cross-modal"](report({name: {"ndcg@10": value} for name, value in arms.items()}, *pairs))
    assert found == pytest.approx(
        {"text_only_gain": 0.1, "text_only_p_value": 0.02, "image_only_gain": -0.25, "image_only_p_value": 1.0}
    )


def test_multimodal_students_against_themselves():
    arms = {"teacher": 0.2, "student alone": 0.1, "distilled student": 0.15, "ids-only, alone": 0.1}
    arms |= {"ids-only, distilled": 0.12, "hybrid": 0.16}
    pairs = [
        ("distilled student", "student alone", "ndcg@10", 0.01),
        ("distilled student", "teacher", "ndcg@10", 0.3),
        ("ids-only, distilled", "ids-only, alone", "ndcg@10", 0.04),
    ]
    found = FIGURES["multimodal"](report({name: {"ndcg@10": value} for name, value in arms.items()}, *pairs))
    assert found["ids_only_gain"] == pytest.approx(0.2)
    assert found["ids_only_p_value"] == 0.04
    assert found["hybrid_ndcg@10"] == 0.16
    assert found["p_value_vs_alone"] == 0.01


def test_cold_items_among_themselves_and_in_one_list():
    def metrics(cold: float, warm: float, cold_in_list: float, warm_in_list: float) -> dict[str, float]:
        together = (" in one list", " in one list")
        return {COLD: cold, WARM: warm, COLD + together[0]: cold_in_list, WARM + together[1]: warm_in_list}

    arms = {
        "teacher": metrics(0.06, 0.2, 0.01, 0.2),
        "student alone": metrics(0.03, 0.15, 0.01, 0.15),
        "distilled student": metrics(0.065, 0.19, 0.05, 0.18),
        "content-kNN": metrics(0.05, 0.02, 0.04, 0.02),
        "ridge regression": metrics(0.04, 0.2, 0.06, 0.12),
        "hybrid": metrics(0.07, 0.17, 0.06, 0.16),
        "warm-only, alone": metrics(0.0, 0.16, 0.0, 0.16),
        "warm-only, distilled": metrics(0.0, 0.2, 0.0, 0.2),
    }
    found = FIGURES["cold-items"](report(arms, ("distilled student", "ridge regression", COLD, 0.03)))
    assert found["cold_ndcg@10"] == 0.065
    assert found["cold_ndcg@10_content_knn"] == 0.05
    assert found["cold_ndcg@10_ridge"] == 0.04
    assert found["cold_p_value_vs_ridge"] == 0.03
    assert found["warm_ndcg@10_loss"] == pytest.approx(0.1)
    assert found["harmonic_mean"] == pytest.approx(2 * 0.05 * 0.18 / 0.23)
    assert found["best_other_harmonic_mean"] == found["harmonic_mean_hybrid"] == pytest.approx(2 * 0.06 * 0.16 / 0.22)
    assert found["best_other_harmonic_mean_at_2_percent"] == pytest.approx(2 * 0.01 * 0.2 / 0.21)  # the teacher's
    assert found["warm_ndcg@10_loss_hybrid"] == pytest.approx(0.2)


def test_gains_across_domains():
    def change(share: float, low: float, p: float) -> dict[str, Any]:
        return {"share": share, "ci95": [low, share + 0.1], "p_value": p / 2, "p_holm": p}

    def pair(other: str, gain: float, sport_low: float) -> Across:
        empty = {"users": 1, "items": 1, "interactions": 1, "arms": [], "over_own": change(0.02, -0.1, 0.5)}
        domains = [
            {**empty, "name": other, "over_alone": change(gain, 0.0, 0.01)},
            {**empty, "name": "sport", "over_alone": change(0.1, sport_low, 0.2)},
        ]
        return Across.model_validate({"schema": 1, "name": "n", "metric": "ndcg@10", "users": 1, "domains": domains})

    found = across_figures({"phone": pair("phone", 0.3, -0.03), "cloth": pair("cloth", 0.2, 0.01)})
    assert (found["phone_gain"], found["cloth_gain"]) == (0.3, 0.2)
    assert (found["phone_p_value"], found["cloth_from_other_domains_p_value"]) == (0.01, 0.5)
    assert found["sport_change_lower95"] == -0.03


def test_a_parted_log_keeps_one_domain_of_each_user():
    log = pl.DataFrame({"user": np.repeat(np.arange(50), 4), "item": list(range(4)) * 50, "time": range(200)})
    genres = [["Comedy", "Drama"], ["War"], None, ["Musical"]]
    items = pl.DataFrame({"item": range(4), "genres": genres})
    columns = Columns(user="user", item="item", time="time")
    found = parted(from_dataframe(log, columns, items=items, item_columns=ItemColumns(item="item")).dataset)
    assert found.group_by("user").agg(pl.col("domain").n_unique())["domain"].max() == 1
    assert set(found.filter(pl.col("domain") == "comic")["item"]) == {0, 3}
    assert set(found.filter(pl.col("domain") == "other")["item"]) == {1, 2}
    assert found.height == 100
    assert 10 < found["user"].filter(found["domain"] == "comic").n_unique() < 40
