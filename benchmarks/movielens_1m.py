"""The figures of a finished run on MovieLens 1M: `python -m benchmarks.movielens_1m`.

Before it: `distilrec run recipes/movielens-1m.yaml --out runs/movielens-1m`.
"""

from __future__ import annotations

from benchmarks.from_report import METRIC, detail, figures
from benchmarks.harness import ROOT, write_result
from distilrec.report import Report
from distilrec.report.parts import Arm

__all__ = ["further_figures", "main"]

RUN = "runs/movielens-1m"
NEURAL = {"HistoryEncoder", "LightGCN", "MatrixFactorization", "SASRec"}


def main() -> None:
    """Read the run's report and write the result."""
    report = Report.from_json((ROOT / RUN / "report.json").read_bytes())
    command = f"distilrec run recipes/movielens-1m.yaml --out {RUN} && python -m benchmarks.movielens_1m"
    found = figures(report) | further_figures(report)
    print(write_result("movielens_1m", command, found, detail(report), environment=report.environment))


def further_figures(report: Report) -> dict[str, float]:
    """What is asked of this run beside the common figures.

    `sasrec_ndcg@10`: of the best SASRec among the teacher's members. `parameters_over_best_neural`: the
    distilled student's over those of the best neural member. `bytes_ratio`: distilled student / teacher.
    """
    neural = [arm for arm in report.arms if arm.role == "teacher" and arm.model in NEURAL]
    sasrec = [arm for arm in neural if arm.model == "SASRec"]
    if not sasrec or report.compression.bytes is None:
        raise ValueError(f"The report needs a SASRec as teacher or as its member, and sizes; it has {neural}")
    return {
        f"sasrec_{METRIC}": _quality(max(sasrec, key=_quality)),
        "parameters_over_best_neural": report.arm("distilled_student").parameters
        / max(neural, key=_quality).parameters,
        "bytes_ratio": report.compression.bytes,
    }


def _quality(arm: Arm) -> float:
    return arm.metrics[METRIC].mean


if __name__ == "__main__":
    main()
