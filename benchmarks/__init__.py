"""Measurements behind the numbers in the docs: `python -m benchmarks.NAME` writes benchmarks/results/NAME.json."""
