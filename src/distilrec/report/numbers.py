"""How numbers read, in the verdict and on the page."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "count",
    "interval",
    "label",
    "milliseconds",
    "number",
    "p_value",
    "percent",
    "plain",
    "seconds",
    "size",
]

_NAMES = {
    "auc": "AUC",
    "hit_rate": "Hit rate",
    "like_auc": "Like AUC",
    "like_f1": "Like F1",
    "like_log_loss": "Like log-loss",
    "map": "MAP",
    "mrr": "MRR",
    "ndcg": "NDCG",
}


def label(metric: str) -> str:
    """The printed name of a metric.

    >>> label("ndcg@10"), label("like_auc"), label("popularity_shift@10")
    ('NDCG@10', 'Like AUC', 'Popularity shift@10')
    """
    name, at, cut_off = metric.partition("@")
    return _NAMES.get(name, name.replace("_", " ").capitalize()) + at + cut_off


def number(value: float, decimals: int = 4, *, sign: bool = False) -> str:
    """A fixed number of decimals, and a true minus sign.

    >>> number(0.09312), number(-0.00001), number(0.0267, sign=True)
    ('0.0931', '0.0000', '+0.0267')
    """
    rounded = round(value, decimals) + 0.0  # turns -0.0 into 0.0
    return format(rounded, f"{'+' if sign and rounded else ''},.{decimals}f").replace("-", "−")


def interval(mean: float, ci95: Sequence[float] | None, decimals: int = 4, *, sign: bool = False) -> str:
    """A mean with its interval, where there is one.

    >>> interval(0.0931, (0.0852, 0.101))
    '0.0931 [0.0852, 0.1010]'
    """
    text = number(mean, decimals, sign=sign)
    if ci95 is None:
        return text
    low, high = (number(bound, decimals, sign=sign) for bound in ci95)
    return f"{text} [{low}, {high}]"


def percent(share: float, *, sign: bool = False) -> str:
    """A share in percent with one decimal; a small one is not rounded to nothing.

    >>> percent(0.9871), percent(0.412, sign=True), percent(0.0002)
    ('98.7 %', '+41.2 %', '< 0.1 %')
    """
    if not sign and 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{number(100 * share, 1, sign=sign)} %"


def p_value(p: float) -> str:
    """Three decimals, and never p = 0.

    >>> p_value(0.31), p_value(0.00002)
    ('p = 0.310', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def count(value: float) -> str:
    """A whole number with separators.

    >>> count(1297408)
    '1,297,408'
    """
    return f"{round(value):,}"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"


def size(value: float, unit: str = "B") -> str:
    """Three digits and a decimal prefix.

    >>> size(155_648), size(999), size(2_400_000, "FLOP"), size(999_700)
    ('156 kB', '999 B', '2.40 MFLOP', '1.00 MB')
    """
    if value < 999.5:
        return f"{value:.0f} {unit}"
    prefixes = "kMGT"
    while value >= 999.5 and prefixes:
        value, prefix, prefixes = value / 1000, prefixes[0], prefixes[1:]
    return f"{_three_digits(value)} {prefix}{unit}"


def milliseconds(value: float) -> str:
    """Three digits.

    >>> milliseconds(0.2134), milliseconds(41.26)
    ('0.21 ms', '41.3 ms')
    """
    return f"{_three_digits(value)} ms"


def seconds(value: float) -> str:
    """A duration in its two largest units.

    >>> seconds(0.4), seconds(38.2), seconds(250), seconds(7512)
    ('0.4 s', '38 s', '4 min 10 s', '2 h 05 min')
    """
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def plain(value: object) -> str:
    """A setting or finding of any type: floats with four digits, texts as they are.

    >>> plain(0.000316227), plain(20000), plain("topk"), plain([64, 32])
    ('0.0003162', '20000', 'topk', '[64, 32]')
    """
    return format(value, ".4g") if isinstance(value, float) else str(value)
