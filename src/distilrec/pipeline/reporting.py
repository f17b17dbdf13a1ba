"""From finished stages to the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distilrec.data import audit, audit_domain
from distilrec.evaluation import agreement, cost, slices, statistics
from distilrec.metrics import coverage, novelty, popularity_shift
from distilrec.models import Outgrown
from distilrec.pipeline.environment import environment
from distilrec.pipeline.examples import K, disagreements, examples
from distilrec.pipeline.measure import Test, load_test
from distilrec.pipeline.plan import ALONE, DISTILLED, HYBRID, TEACHER, Arm, Plan, other_arms
from distilrec.pipeline.refresh import EARLIER, RefreshPlan, drift_of
from distilrec.pipeline.task import Context
from distilrec.pipeline.tasks import TrainStudent
from distilrec.recipe import Chosen
from distilrec.report import Report
from distilrec.rng import generator
from distilrec.scoring import Queries

__all__ = ["make_report"]

LATENCY_QUERIES = 200
RECENT = 200  # items of a history whose popularity is what a user is used to
LIKE_METRIC = "like_auc"
SEVERITY = {"ok": "ok", "note": "info", "warning": "warning"}


def make_report(plan: Plan, context: Context) -> Report:
    """Put together everything that a run has measured. Latency is measured now, while nothing else runs."""
    return _Maker(plan, context).report()


@dataclass
class _Maker:
    plan: Plan
    context: Context

    @property
    def metric(self) -> str:
        return self.plan.recipe.evaluation.metrics[0]

    @cached_property
    def shown(self) -> list[Arm]:
        """The arms of the table; other widths go into the picture only."""
        return [arm for arm in self.plan.arms if arm.width is None]

    @cached_property
    def tests(self) -> dict[str, list[Test]]:
        """The tests of each arm, one per seed."""
        folder = self.context.store.folder
        return {arm.name: [load_test(folder(task.stage)) for task in self.plan.tests(arm)] for arm in self.plan.arms}

    @cached_property
    def results(self) -> dict[str, list[dict[str, Any]]]:
        """What the training of each arm said, one per seed."""
        return {arm.name: [self.context.store.result(t.stage) for t in arm.trained] for arm in self.plan.arms}

    @cached_property
    def latencies(self) -> dict[str, cost.Latency]:
        queries = self.queries
        some = queries[generator(0, "latency").permutation(len(queries))[:LATENCY_QUERIES]]
        return {arm.name: cost.latency(self.context.model(arm.trained[0].stage), some) for arm in self.plan.arms}

    @cached_property
    def queries(self) -> Queries:
        """The test queries."""
        return self.context.prepared.split.queries("test")[0]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        return self.context.prepared.split.train.item_counts()

    def values(self, arm: str, metric: str | None = None) -> NDArray[np.float64]:
        """(S, Q): per-query values of each seed."""
        return np.stack([test.metrics[metric or self.metric] for test in self.tests[arm]])

    def report(self) -> Report:
        teacher, alone, distilled = (float(self.values(name).mean()) for name in (TEACHER, ALONE, DISTILLED))
        comparisons = self.comparisons()
        gap = next(c for c in comparisons if (c["a"], c["b"]) == (TEACHER, ALONE))
        significant = gap["difference"] > 0 and gap["p_holm"] < 0.05
        names = {arm.name for arm in self.shown}
        prepared, both = self.context.prepared, (self.tests[TEACHER][0].lists, self.tests[DISTILLED][0].lists)
        quality = self.values(TEACHER).mean(0) + self.values(DISTILLED).mean(0)
        content = {
            "schema": 1,
            "metric": self.metric,
            "recipe": self.plan.recipe.model_dump(mode="json"),
            "data": self.data(),
            "teacher_weights": self.teacher_weights(),
            "arms": [self.arm(arm) for arm in self.shown],
            "comparisons": comparisons,
            "gap_closed": {self.metric: (distilled - alone) / (teacher - alone) if significant else None},
            "retention": {self.metric: distilled / teacher if teacher else None},
            "compression": self.compression(),
            "flops_per_query": self.flops(),
            "agreement": self.agreement(),
            "slices": self.slices(),
            "pareto": self.pareto(),
            "curves": self.curves(),
            "examples": examples(prepared, *both, quality),
            "disagreements": disagreements(prepared, *both),
            "audit": self.audit(),
            # A tuned recipe may tell of arms that it no longer holds.
            "tuning": self.tuning({name: each for name, each in self.plan.recipe.tuned.items() if name in names}),
            "tried": self.tuning(self.plan.recipe.tried),
            "smallest": self.smallest(),
            "hybrid": self.hybrid(),
            "teacher_blend": self.teacher_blend(),
            "drift": self.drift(),
            "environment": environment(self.plan.recipe.seed),
        }
        return Report.model_validate(content)

    def data(self) -> dict[str, Any]:
        dataset = self.context.prepared.dataset
        log = dataset.interactions
        return {
            "name": dataset.name,
            "users": log.n_users,
            "items": log.n_items,
            "interactions": len(log),
            "split": self.plan.recipe.data.split.kind,
            "fingerprint": dataset.fingerprint,
            "notes": [*dataset.notes, *(note for made in self.encoded for note in made["notes"])],
        }

    @property
    def encoded(self) -> list[dict[str, Any]]:
        """What the encoding of each modality said."""
        return [self.context.store.result(task.stage) for task in self.plan.encodings.values()]

    def teacher_weights(self) -> dict[str, float]:
        weights = self.context.store.result(self.plan.teacher.stage).get("weights", ())
        return dict(zip(self.plan.teacher_names, weights, strict=False))

    def measurement(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """values: (S, Q), or (S, 1) for what has one value per seed."""
        per_seed = [float(value) for value in np.nanmean(values, axis=1)]
        kept = self.by_user(values)
        return {
            "mean": float(np.mean(per_seed)),
            "std": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
            "ci95": statistics.interval(kept, generator(0, "interval")) if kept.shape[1] > 1 else None,
            "per_seed": per_seed,
        }

    def arm(self, arm: Arm) -> dict[str, Any]:
        tests, results = self.tests[arm.name], self.results[arm.name]
        values = {name: self.values(arm.name, name) for name in tests[0].metrics} | self.beyond_accuracy(tests)
        # What no query has a value for, such as the shift against empty histories, isn't shown.
        metrics = {name: self.measurement(each) for name, each in values.items() if not np.isnan(each).all()}
        latency = self.latencies[arm.name]
        model = self.context.model(arm.trained[0].stage)
        first = arm.trained[0]
        recordings = first.recordings if isinstance(first, TrainStudent) else ()
        return {
            "name": arm.name,
            "role": arm.role,
            "model": type(model.inner if isinstance(model, Outgrown) else model).__name__,
            "method": arm.method,
            "knows_more": arm.knows_more,
            "seeds": list(arm.seeds),
            "parameters": results[0]["parameters"],
            "bytes": results[0]["bytes"],
            "metrics": metrics,
            "latency_ms": asdict(latency),
            "train_seconds": float(np.mean([result["train_seconds"] for result in results])),
            "record_seconds": sum(self.context.store.result(s)["seconds"] for s in recordings) if recordings else None,
        }

    def beyond_accuracy(self, tests: list[Test]) -> dict[str, NDArray[np.float64]]:
        """(S, 1) or (S, Q): what lists are like, whether or not they hit."""
        n_items = self.context.prepared.split.train.n_items
        recent = self.queries.histories.padded(RECENT, fill=-1)
        each = [test.lists for test in tests]
        return {
            f"coverage@{K}": np.array([[coverage(lists, n_items, K)] for lists in each]),
            f"novelty@{K}": np.stack([novelty(lists, self.counts, K) for lists in each]),
            f"popularity_shift@{K}": np.stack([popularity_shift(lists, recent, self.counts, K) for lists in each]),
        }

    def comparisons(self) -> list[dict[str, Any]]:
        """Distilled against everything, teacher and other methods against student alone; p-values corrected over all.

        Where dislikes are known, the three main arms are also compared by how well they tell them from likes.
        """
        others = [arm.name for arm in self.shown if arm.name != DISTILLED]
        pairs = [(self.metric, DISTILLED, name) for name in others] + [(self.metric, TEACHER, ALONE)]
        pairs += [(self.metric, name, ALONE) for name in self.plan.recipe.compared]
        pairs += [(self.metric, *pair) for pair in self.further]
        for metric in self.special:
            pairs += [(metric, DISTILLED, name) for name in others]
            pairs += [(metric, *pair) for pair in self.further]
        if LIKE_METRIC in self.tests[DISTILLED][0].metrics:
            pairs += [(LIKE_METRIC, *two) for two in ((DISTILLED, TEACHER), (DISTILLED, ALONE), (TEACHER, ALONE))]
        # Words are read by models of text only.
        pairs = [pair for pair in pairs if all(pair[0] in self.tests[arm][0].metrics for arm in pair[1:])]
        tests = [
            statistics.compare(*self.both(metric, a, b), rng=generator(0, "compare", a, b)) for metric, a, b in pairs
        ]
        corrected = statistics.holm([test.p_value for test in tests])
        return [
            {
                "a": a,
                "b": b,
                "metric": metric,
                "difference": test.difference,
                "ci95": test.ci95,
                "p_value": test.p_value,
                "p_holm": float(p),
                "p_wilcoxon": test.p_wilcoxon,
                "test": statistics.TEST,
            }
            for (metric, a, b), test, p in zip(pairs, tests, corrected, strict=True)
        ]

    @property
    def further(self) -> list[tuple[str, str]]:
        """The arms of each further student: distilled, and alone."""
        arms = map(other_arms, self.plan.recipe.students)
        return [(distilled, alone) for alone, distilled in arms]

    @property
    def special(self) -> list[str]:
        """What is measured besides where items or users were held out."""
        told = (f"{self.metric} of ", f"{self.metric} after ")
        return [name for name in self.tests[DISTILLED][0].metrics if name.startswith(told)]

    def both(self, metric: str, a: str, b: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values of two arms, of the users whom the metric concerns."""
        return self.by_user(self.values(a, metric)), self.by_user(self.values(b, metric))

    def by_user(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S, U): one value for each user from those (S, Q) of queries, NaN where a query isn't concerned.

        Other values, of a whole seed or, as for likes, of users, are as they are.
        """
        users, concerned = self.queries.users, ~np.isnan(values).any(axis=0)
        if values.shape[1] != len(users):
            return values[:, concerned]
        return statistics.by_user(values[:, concerned], users[concerned])

    def compression(self) -> dict[str, Any]:
        teacher, student = self.results[TEACHER][0], self.results[DISTILLED][0]
        return {
            "parameters": student["parameters"] / teacher["parameters"],
            "bytes": student["bytes"] / teacher["bytes"],
            "latency": self.latencies[DISTILLED].p50 / self.latencies[TEACHER].p50,
        }

    def flops(self) -> dict[str, float]:
        models = {arm.name: self.context.model(arm.trained[0].stage) for arm in self.shown}
        return {name: float(cost.flops_per_query(model, self.queries)) for name, model in models.items()}

    def agreement(self) -> dict[str, Any]:
        teacher = self.tests[TEACHER][0].lists
        measures: dict[str, Callable[[NDArray[np.int32]], NDArray[np.float64]]] = {
            f"overlap@{K}": lambda lists: agreement.overlap(teacher, lists, K),
            f"rank_biased_overlap@{K}": lambda lists: agreement.rank_biased_overlap(teacher, lists, K),
            f"rank_correlation@{K}": lambda lists: agreement.rank_correlation(teacher, lists, K),
        }
        return {
            name: {
                measure: self.estimate(np.stack([f(test.lists) for test in self.tests[name]]))
                for measure, f in measures.items()
            }
            for name in (DISTILLED, ALONE)
        }

    def estimate(self, values: NDArray[np.float64]) -> dict[str, Any]:
        ci95 = statistics.interval(self.by_user(values), generator(0, "interval"))
        return {"mean": float(values.mean()), "ci95": ci95}

    def slices(self) -> list[dict[str, Any]]:
        queries, targets = self.context.prepared.split.queries("test")
        values = {name: self.values(name).mean(axis=0) for name in (TEACHER, ALONE, DISTILLED)}
        cuts = {
            "history length": slices.by_history_length(values, queries.histories.lengths),
            "item popularity": slices.by_target_popularity(values, targets, self.counts),
        }
        return [
            {"by": by, "bins": [{"label": b.label, "count": b.count, "values": b.values} for b in bins if b.count]}
            for by, bins in cuts.items()
        ]

    def pareto(self) -> list[dict[str, Any]]:
        points = []
        for arm in self.plan.arms:
            if (arm.role == "control" and arm.width is None) or arm.knows_more:
                continue
            result, latency = self.results[arm.name][0], self.latencies[arm.name]
            role = arm.role
            if arm.width is not None:
                role = "student_alone" if arm.name.startswith(ALONE) else "distilled_student"
            points.append(
                {
                    "name": arm.name,
                    "role": role,
                    "parameters": result["parameters"],
                    "bytes": result["bytes"],
                    "precision": "float32" if arm.student is None else arm.student.precision,
                    "latency_p50_ms": latency.p50,
                    "metrics": {self.metric: self.estimate(self.values(arm.name))},
                }
            )
        for point in points:
            place = _place(point, self.metric)
            point["on_front"] = not any(
                better != place and better[0] >= place[0] and better[1] <= place[1]
                for better in (_place(other, self.metric) for other in points)
            )
        return points

    def curves(self) -> list[dict[str, Any]]:
        return [
            self.curve(arm, seed, result["curve"])
            for arm in self.shown
            for seed, result in zip(arm.seeds, self.results[arm.name], strict=True)
            if result["curve"]
        ]

    def curve(self, arm: Arm, seed: int, epochs: list[dict[str, Any]]) -> dict[str, Any]:
        # A term without weight in an epoch, by its schedule, isn't computed there.
        parts = list(dict.fromkeys(name for epoch in epochs for name in epoch["losses"] if name != "loss"))
        return {
            "arm": arm.name,
            "seed": seed,
            "epochs": [epoch["epoch"] for epoch in epochs],
            "loss": [epoch["losses"]["loss"] for epoch in epochs],
            "validation": [epoch["validation"] for epoch in epochs],
            "losses": {name: [epoch["losses"].get(name, 0.0) for epoch in epochs] for name in parts},
        }

    def audit(self) -> list[dict[str, Any]]:
        prepared = self.context.prepared
        findings = audit(prepared.split) + ([] if prepared.whole is None else [audit_domain(prepared)])
        return [
            {"check": f.check, "severity": SEVERITY[f.severity], "sentence": f.sentence, "value": f.value}
            for f in findings
        ]

    def tuning(self, found: dict[str, Chosen]) -> list[dict[str, Any]]:
        return [
            {
                "arm": name,
                "trials": chosen.trials,
                "settings": chosen.settings,
                "validation": chosen.validation,
                "note": "on validation, before this run; the recipe holds what was chosen",
            }
            for name, chosen in found.items()
        ]

    def smallest(self) -> dict[str, Any] | None:
        """What a search for the smallest student chose, and for which limits."""
        note, student = self.plan.recipe.smallest, self.plan.recipe.student
        if note is None:
            return None
        width = student.model.model_dump()["embedding_size"]
        return {**note.model_dump(), "width": width, "precision": student.precision}

    def hybrid(self) -> dict[str, Any] | None:
        """What each part of the hybrid weighs."""
        if HYBRID not in self.results:
            return None
        said = self.results[HYBRID][0]
        by_user, by_item = (_in_order(said["weights"][known]) for known in ("user", "item"))
        return {"members": said["members"], "by_user": by_user, "by_item": by_item}

    def teacher_blend(self) -> dict[str, Any] | None:
        """What each member of a teacher weighs whose weights hang on what is known."""
        found = self.context.store.result(self.plan.teacher.stage).get("by_history")
        if found is None:
            return None
        return {"members": list(self.plan.teacher_names), "by_user": _in_order(found), "by_item": {}}

    def drift(self) -> dict[str, Any] | None:
        """What is new since the run that this one goes on from, and what that did to its models."""
        if not isinstance(self.plan, RefreshPlan):
            return None
        pairs = zip(self.tests[DISTILLED], self.tests[EARLIER], strict=True)
        shared = np.stack([agreement.overlap(today.lists, before.lists, K) for today, before in pairs])
        return drift_of(self.plan, self.context, {f"overlap@{K}": self.estimate(shared)})


def _in_order(steps: Mapping[str, Any]) -> dict[str, Any]:
    """Steps such as "0", "1–2" and "10 and more", which lie in a file by their letters, from few to many."""
    return dict(sorted(steps.items(), key=lambda pair: int(re.split(r"\D", pair[0], maxsplit=1)[0])))


def _place(point: dict[str, Any], metric: str) -> tuple[float, int]:
    """Quality and bytes of a point of the picture."""
    return point["metrics"][metric]["mean"], point["bytes"]
