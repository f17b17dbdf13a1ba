"""A synthetic report, shaped like a run on a small film log; fixtures give a fresh copy to each test."""

from __future__ import annotations

import math
from typing import Any

import pytest

from distilrec.report import Report

TEACHER, ALONE, DISTILLED = "EASE + SASRec", "MF-8 alone", "MF-8 distilled"
TITLES = [
    "Star Wars: Episode V - The Empire Strikes Back (1980)",
    "Raiders of the Lost Ark (1981)",
    "Fargo (1996)",
    "Contact (1997)",
    "L.A. Confidential (1997)",
    "The Umbrellas of Cherbourg (Les parapluies de Cherbourg) (1964)",
    "Good Will Hunting (1997)",
    "Titanic (1997)",
    "Air Force One (1997)",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1963)",
    "Heat (1995)",
    "Trainspotting (1996)",
    "Kundun (1997)",
    "In & Out (1997)",
    "Wag the Dog (1997)",
    "Amistad (1997)",
    "Mrs. Dalloway (1997)",
    "Seven Years in Tibet (1997)",
]
NDCG = {
    TEACHER: 0.0943,
    ALONE: 0.0661,
    DISTILLED: 0.0931,
    "longer training": 0.0668,
    "shuffled teacher": 0.0482,
    "popularity teacher": 0.0597,
    "self-distillation": 0.0702,
}
ROLES = {TEACHER: "teacher", ALONE: "student_alone", DISTILLED: "distilled_student"}
METHODS = {
    DISTILLED: "soft-label KL",
    "longer training": "four times the epochs",
    "shuffled teacher": "soft labels of other users",
    "popularity teacher": "soft labels of popularity",
    "self-distillation": "soft labels of its own size",
}


def estimate(mean: float, half: float) -> dict[str, Any]:
    """A mean with a symmetric interval."""
    return {"mean": mean, "ci95": [mean - half, mean + half]}


def measured(mean: float, half: float) -> dict[str, Any]:
    """An estimate over three seeds."""
    return {**estimate(mean, half), "std": 0.001, "per_seed": [mean - 0.001, mean, mean + 0.001]}


def _metrics(ndcg: float) -> dict[str, Any]:
    return {
        "ndcg@10": measured(ndcg, 0.0079),
        "recall@10": measured(1.9 * ndcg, 0.012),
        "mrr@10": measured(0.68 * ndcg, 0.006),
        "hit_rate@10": measured(1.9 * ndcg, 0.012),
        "auc": measured(0.9 + ndcg, 0.004),
        "like_auc": measured(0.7 + ndcg, 0.004),
        "like_log_loss": measured(0.52 - ndcg, 0.003),
        "coverage@10": {"mean": 2.7 * ndcg, "per_seed": [2.7 * ndcg]},
        "novelty@10": measured(8 + 3 * ndcg, 0.03),
        "popularity_shift@10": measured(0.02 - 0.4 * ndcg, 0.003),
    }


def _arm(name: str) -> dict[str, Any]:
    large = name == TEACHER
    p50 = 1.73 if large else 0.21
    return {
        "name": name,
        "role": ROLES.get(name, "control"),
        "model": "ensemble of EASE and SASRec-64" if large else "matrix factorization, width 8",
        "method": METHODS.get(name),
        "seeds": [0, 1, 2],
        "parameters": 3_140_864 if large else 22_728,
        "bytes": 12_563_456 if large else 90_912,
        "metrics": _metrics(NDCG[name]),
        "latency_ms": {"p50": p50, "p95": 1.4 * p50, "p99": 2.2 * p50},
        "train_seconds": 1512 if large else 63,
        "record_seconds": 41 if large else None,
    }


def comparison(a: str, b: str, p_holm: float, half: float = 0.006, **other: Any) -> dict[str, Any]:
    """A test of `a` against `b`, whose difference follows from the arms."""
    difference = NDCG[a] - NDCG[b]
    return {
        "a": a,
        "b": b,
        "metric": "ndcg@10",
        "difference": difference,
        "ci95": [difference - half, difference + half],
        "p_value": p_holm / 4,
        "p_holm": p_holm,
        "test": "paired t over 943 users",
        **other,
    }


def _curve(arm: str, seed: int, epochs: int, top: float) -> dict[str, Any]:
    steps = list(range(1, epochs + 1))
    loss = [2.1 + 4.2 * math.exp(-step / 9) for step in steps]
    quality = [top * (1 - math.exp(-s / 7)) + 0.0012 * math.sin(2.1 * s + 5 * seed) for s in steps]
    terms = {"response": [0.7 * x for x in loss], "hidden_state": [0.3 * x for x in loss]}
    return {
        "arm": arm,
        "seed": seed,
        "epochs": steps,
        "loss": loss,
        "validation": [value if step % 2 else None for step, value in zip(steps, quality, strict=True)],
        "losses": terms if arm == DISTILLED else {},
    }


def _example(index: int) -> dict[str, Any]:
    titles = TITLES[index:] + TITLES[:index]
    held_out = [2, 3, 15, 8, 10][index]

    def listed(places: list[int]) -> list[dict[str, Any]]:
        return [{"item": str(i), "title": titles[i], "hit": i == held_out} for i in places]

    return {
        "user": str(index * 217 + 6),
        "history": titles[::-1] * (1 + index // 3),
        "held_out": [titles[held_out]],
        "teacher": listed(list(range(10))),
        "student": listed([1, 0, 3, 10, 2, 12, 5, 11, 7, 13]),
    }


def _point(name: str, role: str, parameters: int, ndcg: float, *, front: bool, width: int = 4) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "parameters": parameters,
        "bytes": parameters * width,
        "precision": "float32" if width == 4 else "int8",
        "latency_p50_ms": 0.18 + parameters / 2e6,
        "metrics": {"ndcg@10": estimate(ndcg, 0.006)},
        "on_front": front,
    }


def _pareto() -> list[dict[str, Any]]:
    alone = {2: 0.041, 4: 0.054, 8: 0.0661, 16: 0.068, 32: 0.067}
    distilled = {2: 0.049, 4: 0.071, 8: 0.0931, 16: 0.0935, 32: 0.0939}
    return [
        *(_point(f"MF-{d} alone", "student_alone", 2841 * d, y, front=False) for d, y in alone.items()),
        *(_point(f"MF-{d} distilled", "distilled_student", 2841 * d, y, front=d > 4) for d, y in distilled.items()),
        _point("MF-8 distilled, int8", "distilled_student", 22_728, 0.0919, front=True, width=1),
        _point(TEACHER, "teacher", 3_140_864, 0.0943, front=True),
    ]


def _slice(by: str, groups: dict[str, int]) -> dict[str, Any]:
    def value(group: int, arm: int, ndcg: float) -> float:
        return ndcg * (0.55 + 0.25 * group + 0.03 * math.sin(3 * group + arm))

    bins = [
        {"label": name, "count": count, "values": {arm: value(i, j, NDCG[arm]) for j, arm in enumerate(NDCG)}}
        for i, (name, count) in enumerate(groups.items())
    ]
    return {"by": by, "bins": bins}


def _audit() -> list[dict[str, Any]]:
    rows = [
        ("train_test_overlap", "ok", "No test interaction occurs in training.", 0),
        ("teacher_fingerprint", "ok", "The teacher was trained on the training part of this split.", None),
        (
            "time_order",
            "warning",
            "Some test interactions are older than training ones of other users.",
            0.0081,
        ),
        ("cold_items", "info", "3 test items never occur in training; no arm can find them.", 3),
    ]
    return [dict(zip(("check", "severity", "sentence", "value"), row, strict=True)) for row in rows]


def _drift() -> dict[str, Any]:
    def change(before: float, now: float) -> dict[str, Any]:
        ends = {"before": estimate(before, 0.008), "now": estimate(now, 0.02)}
        return {**ends, "difference": now - before, "ci95": [now - before - 0.022, now - before + 0.022]}

    return {
        "since": "runs/monday",
        "new_interactions": 5004,
        "gone_interactions": 3,
        "new_users": 30,
        "new_items": 35,
        "unknown_to_teacher": 0.0131,
        "popularity": 0.412,
        "popularity_by_chance": 0.297,
        "queries": 4974,
        "users": 113,
        "teacher": change(0.0943, 0.0671),
        "student": change(0.0931, 0.0688),
        "overlap": {"overlap@10": estimate(0.71, 0.01)},
        "labels_reused": 0.834,
        "retrain": True,
        "sentence": "Train the teacher again: on new interactions its NDCG@10 is 0.0671.",
    }


def _open_parts() -> dict[str, Any]:
    settings = {"learning_rate": 0.00316227, "weight_decay": 1e-05, "batch_size": 256, "temperature": 2.0}
    return {
        "teacher_weights": {"sasrec": 0.62, "ease": 0.38},
        "flops_per_query": {name: 6_281_728 if name == TEACHER else 45_456 for name in NDCG},
        "agreement": {
            DISTILLED: {"overlap@10": estimate(0.612, 0.01), "rank_correlation": estimate(0.732, 0.01)},
            ALONE: {"overlap@10": estimate(0.214, 0.01)},
        },
        "slices": [
            _slice("history length", {"5–20": 214, "21–50": 251, "51–100": 187, "101–200": 173, "201+": 118}),
            _slice("item popularity", {"1–10": 61, "11–50": 197, "51–150": 318, "151+": 367}),
        ],
        "pareto": _pareto(),
        "curves": [
            _curve(arm, seed, epochs - 3 * seed, top)
            for arm, epochs, top in ((TEACHER, 40, 0.098), (ALONE, 61, 0.069), (DISTILLED, 53, 0.096))
            for seed in range(3)
        ],
        "examples": [_example(i) for i in range(5)],
        "disagreements": [
            {
                "item": str(i),
                "title": title,
                "teacher_rank": 40.2 + 31 * i,
                "student_rank": 212.7 - 26 * i,
                "teacher_exposure": 0.043 - 0.004 * i,
                "student_exposure": 0.002 + 0.011 * i,
            }
            for i, title in enumerate(TITLES[4:12])
        ],
        "audit": _audit(),
        "smallest": {
            "keep": 0.95,
            "max_bytes": 100_000,
            "max_ms": None,
            "tried": 24,
            "width": 8,
            "precision": "int8",
            "kept": 0.972,
            "bytes": 91_200,
            "ms": 0.21,
        },
        "drift": _drift(),
        "tuning": [
            {"arm": arm, "trials": 20, "settings": settings, "validation": best, "note": note}
            for arm, best, note in (
                (TEACHER, 0.0981, "Parts tuned one by one, then the weights."),
                (ALONE, 0.0702, ""),
                (DISTILLED, 0.0968, "Same budget as the student alone."),
            )
        ],
    }


def minimal_dict() -> dict[str, Any]:
    """The least that a report may hold: three arms, no test, and none of the open parts."""
    arms = [
        {**_arm(name), "metrics": {"ndcg@10": {"mean": NDCG[name], "per_seed": []}}}
        for name in (TEACHER, ALONE, DISTILLED)
    ]
    for arm in arms:
        del arm["latency_ms"], arm["train_seconds"], arm["record_seconds"], arm["method"]
    empty = {"name": "log", "users": 3, "items": 2, "interactions": 4, "split": "none", "fingerprint": "0"}
    return {
        "schema": 1,
        "recipe": {},
        "data": empty,
        "arms": arms,
        "comparisons": [],
        "gap_closed": {},
        "retention": {"ndcg@10": NDCG[DISTILLED] / NDCG[TEACHER]},
        "compression": {"parameters": None, "bytes": None},
        "environment": {"versions": {}, "machine": "", "seed": 0, "command": "", "date": "2025-01-01"},
    }


def example_dict() -> dict[str, Any]:
    """Every part of a report, as it stands in report.json."""
    small, large = 22_728, 3_140_864
    return {
        "schema": 1,
        "metric": "ndcg@10",
        "recipe": {
            "name": "films",
            "data": {"source": "films-100k", "split": "leave_one_out"},
            "teacher": {"ensemble": [{"model": "ease", "reg": 250.0}, {"model": "sasrec", "width": 64}]},
            "student": {"model": "matrix_factorization", "width": 8},
            "distillation": {"method": "soft_label_kl", "temperature": 2.0, "mixing": 0.7},
        },
        "data": {
            "name": "films-100k",
            "users": 943,
            "items": 1682,
            "interactions": 100_000,
            "split": "leave-one-out by time",
            "fingerprint": "9f2c1e7a04bd5563",
            "notes": ["All 100,000 ratings count as interactions.", "2 duplicate rows were dropped."],
        },
        "arms": [_arm(name) for name in NDCG],
        "comparisons": [
            comparison(DISTILLED, ALONE, 0.0001),
            comparison(DISTILLED, TEACHER, 0.62, half=0.0035),
            comparison(TEACHER, ALONE, 0.0001),
            *(comparison(DISTILLED, name, 0.0002) for name in list(NDCG)[3:]),
        ],
        "gap_closed": {"ndcg@10": 0.957},
        "retention": {"ndcg@10": NDCG[DISTILLED] / NDCG[TEACHER]},
        "compression": {"parameters": small / large, "bytes": small / large, "latency": 0.21 / 1.73},
        **_open_parts(),
        "environment": {
            "versions": {"distilrec": "0.1.0", "python": "3.11.9", "torch": "2.6.0", "numpy": "2.2.1"},
            "machine": "Linux x86-64, 2 cores, 8 GB",
            "threads": 2,
            "seed": 0,
            "command": "distilrec run recipes/films.yaml --out runs/films",
            "date": "2025-06-01T10:20:00+00:00",
            "commit": "4be2f01",
        },
    }


@pytest.fixture
def minimal() -> dict[str, Any]:
    return minimal_dict()


@pytest.fixture
def example() -> dict[str, Any]:
    return example_dict()


@pytest.fixture
def example_report() -> Report:
    return Report.model_validate(example_dict())
