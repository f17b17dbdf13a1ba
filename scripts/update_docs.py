"""Write the measured numbers into README and docs: `python scripts/update_docs.py [--check]`.

A region looks like this, its marks at the beginning of a line; what stands between them is replaced:

    <!-- begin:results -->
    <!-- end:results -->

With --check nothing is written, and a file that would change makes the exit status 1.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from distilrec.distillation import METHODS
from distilrec.report.leaderboard import COLUMNS, Row
from distilrec.report.leaderboard_picture import leaderboard_picture, leaderboard_title
from distilrec.report.numbers import count, interval, milliseconds, seconds, size

ROOT = Path(__file__).resolve().parent.parent
REGION = re.compile(r"^(<!-- begin:(?P<name>[a-z0-9-]+) -->\n).*?^(<!-- end:(?P=name) -->)$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^<!-- (begin|end):", re.MULTILINE)
METRIC = "ndcg@10"
ALPHA = 0.05
ROLES = ("teacher", "student_alone", "distilled_student")

ENGLISH = {
    "head": ("Data", "Model", "NDCG@10 [95 % interval]", "Parameters", "Weights", "One query"),
    "teacher": "teacher",
    "student_alone": "student alone",
    "distilled_student": "**distilled student**",
    "none": "No result has been measured yet.",
    "source": "Measured by `{command}` on {machine}; commit {commit}, {date}.",
    "time": "From an empty folder to the report: {time}.",
}
CHINESE = {
    "head": ("数据", "模型", "NDCG@10 [95 % 置信区间]", "参数量", "权重大小", "单次查询"),
    "teacher": "教师",
    "student_alone": "单独训练的学生",
    "distilled_student": "**蒸馏后的学生**",
    "none": "尚无测量结果。",
    "source": "测量命令：`{command}`；机器：{machine}；提交：{commit}；日期：{date}。",
    "time": "从空目录到生成报告：{time}。",
}
PICTURES = "pictures"  # a folder of docs/
SHOWN = ("quickstart", "movielens_1m")

Words = Mapping[str, Any]
Result = Mapping[str, Any]
Renderer: TypeAlias = Callable[[Mapping[str, Result], Words], str]


def results_table(results: Mapping[str, Result], words: Words) -> str:
    """Teacher, student alone and distilled student of each recipe whose result is committed."""
    found = [results[name] for name in SHOWN if name in results]
    if not found:
        return f"{words['none']}\n"
    head = [_row(words["head"]), _row(["---"] * len(words["head"]))]
    rows = [_row(_arm(result, role, words)) for result in found for role in ROLES]
    notes = [_note(result, words) for result in found]
    return "\n".join([*head, *rows, "", *notes]) + "\n"


def training_table(results: Mapping[str, Result], words: Words) -> str:
    """How fast training is beside other libraries, and how good what each has trained."""
    result = results.get("training")
    if result is None:
        return f"{words['none']}\n"
    head = ["Model", "Data", "Beside", "Epoch", "Time to their best", "Our NDCG@10", "Theirs"]
    rows = [head, ["---"] * len(head)]
    for name, cell in result["detail"].items():
        found, own = cell["figures"], cell["detail"].get(f"validation_{METRIC}", {})
        speeds = [found.get(key) for key in ("epoch_speedup", "time_to_quality_speedup")]
        quality = [found.get(f"{side}_test_{METRIC}", own.get(side)) for side in ("ours", "theirs")]
        rows.append(
            [
                *name.split("."),
                *("" if speed is None else f"× {speed:.3g}" for speed in speeds),
                *("" if value is None else f"{value:.4f}" for value in quality),
            ]
        )
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


def figures_table(name: str) -> Renderer:
    """What a benchmark was asked for, number by number."""

    def table(results: Mapping[str, Result], words: Words) -> str:
        result = results.get(name)
        if result is None:
            return f"{words['none']}\n"
        rows = [[f"`{key}`", f"{value:.3g}"] for key, value in result["figures"].items()]
        lines = [_row(["Figure", "Value"]), _row(["---"] * 2), *map(_row, rows), "", *_measured(result, words)]
        return "\n".join(lines) + "\n"

    return table


def losses_table(results: Mapping[str, Result], words: Words) -> str:
    """What a training step of each method costs beside one of plain soft labels, for each kind of student."""
    result = results.get("losses")
    if result is None:
        return f"{words['none']}\n"
    costs = [result["detail"][student] for student in ("matrix_factorization", "history_encoder")]
    rows = [["Method", "Matrix factorisation", "History encoder"], ["---"] * 3]
    for name in sorted(costs[0]):
        rows.append([f"`{name}`", *(f"{found[name]['over_kl']:.2f}" if name in found else "" for found in costs)])
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


def methods_table(_results: Mapping[str, Result], _words: Words) -> str:
    """Every distillation method, in a sentence, and what it needs."""
    rows = [_row(["Method", "What it moves", "Needs"]), _row(["---"] * 3)]
    for name, method in sorted(METHODS.items()):
        said = inspect.cleandoc(method.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        needs = ", ".join(need.replace("_", " ") for need in method().needs)
        rows.append(_row([f"`{name}`", said.replace("|", "\\|"), needs]))
    return "\n".join(rows) + "\n"


def leaderboard_table(name: str) -> Renderer:
    """Every method on one data set, a table per student width."""

    def table(results: Mapping[str, Result], words: Words) -> str:
        result = results.get(f"methods_{name}")
        if result is None:
            return f"{words['none']}\n"
        lines = []
        for width, found in result["detail"].items():
            rows = [Row.model_validate(row) for row in found["leaderboard"]]
            best = f"Best on validation: `{found['best_on_validation']}`. {_against_soft_labels(rows)}"
            title = _title(found, width)
            lines += [f"![{title}]({PICTURES}/{_picture_name(name, width)})", ""]
            lines += [f"{title}:", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
            lines += [*(_row(row.cells()) for row in rows), "", best, "", _source({**result, **found}, words), ""]
        return "\n".join(lines[:-1]) + "\n"

    return table


def _against_soft_labels(rows: Sequence[Row]) -> str:
    """Which methods are shown to be better than plain soft labels, and which worse."""
    others = [row for row in rows if row.role == "distilled_student"]
    tested = [(row.arm, row.over_soft_labels, row.p_over_soft_labels) for row in others]
    signs = {arm: gain > 0 for arm, gain, p in tested if gain is not None and p is not None and p < ALPHA}
    better, worse = (", ".join(f"`{arm}`" for arm, up in signs.items() if up == way) or "none" for way in (True, False))
    if len(others) < 2:
        return "No other method was measured."
    return f"Shown to be better than plain soft labels (p < {ALPHA}, corrected): {better}; shown to be worse: {worse}."


def pictures(results: Mapping[str, Result]) -> dict[str, str]:
    """File name and SVG text of each leaderboard."""
    return {
        _picture_name(name.removeprefix("methods_"), width): leaderboard_picture(
            _title(found, width), [Row.model_validate(row) for row in found["leaderboard"]]
        )
        for name, result in results.items()
        if name.startswith("methods_")
        for width, found in result["detail"].items()
    }


def _title(found: Mapping[str, Any], width: str) -> str:
    return leaderboard_title(found["name"], width, found["metric"])


def _picture_name(name: str, width: str) -> str:
    return f"{name}-{width.replace(' ', '-')}.svg"


def serving_table(results: Mapping[str, Result], words: Words) -> str:
    """Requests a second and latency of each server, medians over rounds."""
    result = results.get("serving")
    if result is None:
        return f"{words['none']}\n"
    keys = ("requests_per_second", "p50_ms", "p99_ms")
    rows = [["Server", "Requests a second", "p50 ms", "p99 ms"], ["---"] * 4]
    for name, runs in result["detail"]["runs"].items():
        rate, *times = (median(run[key] for run in runs) for key in keys)
        rows.append([name, f"{rate:,.0f}", *(f"{value:.2f}" for value in times)])
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


def sizes_table(results: Mapping[str, Result], words: Words) -> str:
    """Exact and approximate search by the number of items."""
    result = results.get("large_catalogue")
    if result is None:
        return f"{words['none']}\n"
    rows = [["Items", "All scored, p50 ms", "Near ones, p50 ms", "Recall@10", "Cells", "Seconds to load"], ["---"] * 6]
    for cell in result["detail"]["sizes"]:
        exact, near = (f"{cell[kind]['p50_ms']:.2f}" for kind in ("exact", "near"))
        cells = f"{cell['cells_looked_through']} of {cell['cells']}"
        rows.append(
            [f"{cell['items']:,}", exact, near, f"{cell['recall@10']:.3f}", cells, f"{cell['seconds_to_build']:.1f}"]
        )
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


def exports_table(results: Mapping[str, Result], words: Words) -> str:
    """Each target: its bytes, how far its lists are the student's, and the time of one query."""
    result = results.get("exports")
    if result is None:
        return f"{words['none']}\n"
    rows = [["Target", "Student", "Overlap@10", "NDCG@10 kept", "p50 ms", "p99 ms"], ["---"] * 6]
    for name, info in result["detail"]["targets"].items():
        times = (f"{info[key]:.2f}" for key in ("p50_ms", "p99_ms"))
        rows.append([f"`{name}`", size(info["bytes"]), f"{info['overlap']:.4f}", f"{info['quality']:.2%}", *times])
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


def replay_table(results: Mapping[str, Result], words: Words) -> str:
    """What `distilrec replay` found, and how fast each model and its server are."""
    result = results.get("replay")
    if result is None:
        return f"{words['none']}\n"
    detail = result["detail"]
    head = [
        "Served",
        "NDCG@10 on the stream",
        "Distilled gains",
        "Model, queries a second",
        "Server, requests a second",
    ]
    rows = [head, ["---"] * len(head)]
    for name, told in detail["replayed"].items():
        versus = told["distilled_minus_this"]
        gain = "" if versus is None else f"{versus['ndcg@10']:+.4f} (p {versus['p']:.2g})"
        speeds = (median(detail[key][name]) for key in ("model_queries_per_second", "server_requests_per_second"))
        rows.append([name, f"{told['ndcg@10']:.4f}", gain, *(f"{speed:,.0f}" for speed in speeds)])
    return "\n".join([*map(_row, rows), "", *_measured(result, words)]) + "\n"


RENDERERS: dict[str, Renderer] = {
    "results": results_table,
    "methods": methods_table,
    "losses": losses_table,
    **{f"methods-{path.stem}": leaderboard_table(path.stem) for path in (ROOT / "recipes" / "methods").glob("*.yaml")},
    "training": training_table,
    "evaluation": figures_table("evaluation"),
    "scale": figures_table("scale"),
    "serving": serving_table,
    "large-catalogue": sizes_table,
    "replay": replay_table,
    "exports": exports_table,
    **{name: figures_table(name) for name in ("footprint", "faults", "web")},
}


def updated(text: str, results: Mapping[str, Result], words: Words) -> str:
    """The text with its regions filled; ValueError on a mark without its other half and on unknown names.

    >>> updated("a\\n<!-- begin:results -->\\nold\\n<!-- end:results -->\\nb", {}, ENGLISH).splitlines()[2]
    'No result has been measured yet.'
    """
    regions = list(REGION.finditer(text))
    if len(MARK.findall(text)) != 2 * len(regions):
        raise ValueError("a begin or end mark lacks its other half")
    unknown = {match["name"] for match in regions} - RENDERERS.keys()
    if unknown:
        raise ValueError(f"unknown region {min(unknown)!r}; known are {sorted(RENDERERS)}")
    return REGION.sub(lambda match: match[1] + RENDERERS[match["name"]](results, words) + match[3], text)


def main(root: Path, *, check: bool) -> list[str]:
    """Fill the regions of all files, or with `check` only look; give the names of those that differ."""
    results = {}
    for path in sorted((root / "benchmarks" / "results").glob("*.json")):
        results[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    texts = {root / "docs" / PICTURES / name: text for name, text in pictures(results).items()}
    for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]:
        try:
            words = CHINESE if path.name.endswith(".zh-CN.md") else ENGLISH
            texts[path] = updated(path.read_text(encoding="utf-8"), results, words)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(root)}: {error}") from error
    stale = sorted(set((root / "docs" / PICTURES).glob("*.svg")) - texts.keys())
    differing = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in () if check else stale:
        path.unlink()
    for path in () if check else differing:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(texts[path], encoding="utf-8")
        partial.replace(path)
    return [str(path.relative_to(root)) for path in [*differing, *stale]]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _arm(result: Result, role: str, words: Words) -> list[str]:
    detail = result["detail"]
    arm = next(arm for arm in detail["arms"] if arm["role"] == role)
    quality, latency = arm["metrics"][METRIC], arm["latency_ms"]
    return [
        detail["data"]["name"],
        f"{words[role]} ({arm['model']})",
        interval(quality["mean"], quality["ci95"]),
        count(arm["parameters"]),
        size(arm["bytes"]),
        "" if latency is None else milliseconds(latency["p50"]),
    ]


def _note(result: Result, words: Words) -> str:
    text = f"{result['detail']['data']['name']}: {_source(result, words)}"
    total = result["figures"].get("seconds_total")
    return text if total is None else f"{text} {words['time'].format(time=seconds(total))}"


def _measured(result: Result, words: Words) -> list[str]:
    """Where and when: of the result itself, or of its parts where each was measured by itself."""
    parts: list[Result] = [part for part in result["detail"].values() if isinstance(part, dict) and "command" in part]
    return list(dict.fromkeys(_source({**part, "command": result["command"]}, words) for part in parts or [result]))


def _source(result: Result, words: Words) -> str:
    revision, *changed = (result["commit"] or "?").split("-")  # with "-changed" where the files were
    commit = "-".join([revision[:10], *changed])
    return str(words["source"].format(**{**result, "commit": commit, "date": result["date"][:10]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the measured numbers into README and docs.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    arguments = parser.parse_args()
    found = main(ROOT, check=arguments.check)
    if found and arguments.check:
        sys.exit(f"{', '.join(found)}: other numbers than in benchmarks/results; run `make docs` and commit it")
