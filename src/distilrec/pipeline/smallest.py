"""The smallest student that will do."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from distilrec.errors import RecipeError
from distilrec.evaluation import cost
from distilrec.models import Precision, quantize_, save_model
from distilrec.pipeline.choice import choose
from distilrec.pipeline.plan import Plan
from distilrec.pipeline.prepare import plan_of
from distilrec.pipeline.runner import Progress, run_tasks
from distilrec.pipeline.task import Context
from distilrec.pipeline.tasks import TrainStudent
from distilrec.ranking import evaluate
from distilrec.recipe import Recipe, Smallest
from distilrec.rng import child_seed

__all__ = ["Limits", "find_smallest"]

WIDTHS = (4, 8, 16, 32, 64)
PRECISIONS: tuple[Precision, ...] = ("pq", "int8", "float16", "float32")
LATENCY_QUERIES = 100


@dataclass(frozen=True)
class Limits:
    """keep: least share, 0 to 1, of the teacher's validation NDCG@10. bytes: of the weights file. ms: median per query.

    Raises RecipeError where a limit is one that no student can meet.
    """

    keep: float | None
    bytes: int | None
    ms: float | None

    def __post_init__(self) -> None:
        if self.keep is not None and not 0 <= self.keep <= 1:
            raise RecipeError(
                f"--keep {self.keep:g} is no share of the teacher's NDCG@10, which lies between 0 and 1; for "
                f"{self.keep:g} % write {self.keep / 100:g}"
            )
        for name, value in {"--max-bytes": self.bytes, "--max-ms": self.ms}.items():
            if value is not None and not value > 0:
                raise RecipeError(f"{name} {value:g}: no student is that small or fast; write a number above 0")


@dataclass(frozen=True)
class _Candidate:
    recipe: Recipe
    kept: float
    bytes: int
    ms: float

    def excess(self, limits: Limits) -> float:
        """By which share of itself the limit is missed that is missed most; 0 where all are met."""
        shares = [0.0]
        if limits.keep:
            shares.append(1 - self.kept / limits.keep)
        if limits.bytes is not None:
            shares.append(self.bytes / limits.bytes - 1)
        if limits.ms is not None:
            shares.append(self.ms / limits.ms - 1)
        return max(shares)

    def says(self) -> str:
        width = getattr(self.recipe.student.model, "embedding_size", "?")
        precision = self.recipe.student.precision
        return f"width {width} as {precision}: keeps {self.kept:.1%} in {self.bytes:,} bytes and {self.ms:.2f} ms"

    def chosen(self, limits: Limits, tried: int) -> Recipe:
        """The recipe, with a note of what was asked for and found."""
        note = Smallest(
            keep=limits.keep,
            max_bytes=limits.bytes,
            max_ms=limits.ms,
            tried=tried,
            kept=self.kept,
            bytes=self.bytes,
            ms=self.ms,
        )
        return self.recipe.model_copy(update={"smallest": note})


def find_smallest(recipe: Recipe, out: Path, limits: Limits, *, jobs: int | None = None, progress: Progress) -> Recipe:
    """The recipe with the student of fewest bytes that satisfies all limits on validation.

    The recipe's own width, those of `evaluation.widths` and 4 to 64 are each distilled once, with the recipe's
    settings, and saved at each precision; sizes and latencies are those of the saved model. Without a size among the
    limits, the smallest that keeps enough is chosen; the recipe's `smallest` says what was asked for and found. Raises
    RecipeError where none will do, with the candidates that miss the limits by least.
    `method: auto` is settled first, at the recipe's own width.
    """
    recipe = choose(recipe, out, jobs=jobs, progress=progress)
    context, plan = plan_of(recipe, out)
    tasks = [(variant, _task(variant, plan)) for variant in _variants(recipe)]
    run_tasks([*plan.groundwork, *(task for _, task in tasks)], context, jobs=jobs, progress=progress)
    queries, targets = context.prepared.split.queries("validation")
    best = evaluate(context.model(plan.teacher.stage), queries, targets)["ndcg@10"].mean()
    candidates = [
        _measured(variant, task, precision, context, float(best)) for variant, task in tasks for precision in PRECISIONS
    ]
    fitting = sorted((c for c in candidates if c.excess(limits) == 0), key=lambda c: (c.bytes, -c.kept))
    if not fitting:
        nearest = sorted(candidates, key=lambda c: (c.excess(limits), -c.kept))[:3]
        raise RecipeError(
            "No student satisfies all limits on validation. The nearest: "
            + "; ".join(candidate.says() for candidate in nearest)
            + ". Loosen a limit, or give the student more widths in evaluation.widths"
        )
    return fitting[0].chosen(limits, len(candidates))


def _variants(recipe: Recipe) -> list[Recipe]:
    """The recipe with a float32 student of each width that the model can have."""
    given = getattr(recipe.student.model, "embedding_size", 0)
    variants = []
    for width in sorted({given, *recipe.evaluation.widths, *WIDTHS}):
        with suppress(RecipeError):  # heads may not divide a width of ours
            variants.append(recipe.with_student(embedding_size=width, precision="float32"))
    return variants


def _task(variant: Recipe, plan: Plan) -> TrainStudent:
    model = variant.student.model
    name = f"try width {getattr(model, 'embedding_size', 0)}"
    seed = child_seed(variant.seed, "smallest")
    return Plan(variant, plan.fingerprint, plan.contents).student_task(
        name, variant.distilled, seed, labels=plan.labels
    )


def _measured(
    variant: Recipe, task: TrainStudent, precision: Precision, context: Context, teacher: float
) -> _Candidate:
    queries, targets = context.prepared.split.queries("validation")
    model = quantize_(context.model(task.stage), precision)
    quality = float(evaluate(model, queries, targets)["ndcg@10"].mean())
    with TemporaryDirectory() as folder:
        size = save_model(model, Path(folder), precision)
    milliseconds = cost.latency(model, queries[:LATENCY_QUERIES], repetitions=LATENCY_QUERIES).p50
    chosen = variant.with_student(precision=precision)
    return _Candidate(chosen, quality / teacher if teacher else 0.0, size, milliseconds)
