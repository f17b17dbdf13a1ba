"""What is read of wrk, and the ratios made of it; that it runs is seen by running it."""

from __future__ import annotations

import pytest

from benchmarks.serving import _figures, _latency

SAID = """
  Latency Distribution
     50%  853.00us
     75%    1.20ms
     99%    3.41ms
Requests/sec:   5123.45
"""


def test_latencies_are_milliseconds():
    assert (_latency(SAID, "50"), _latency(SAID, "99")) == (0.853, 3.41)


def test_ratios_are_within_a_round():
    """Prevents a machine that grew slower between rounds from telling on the ratio."""
    rounds = [(100.0, 50.0, 20.0, 30.0, 60.0), (50.0, 25.0, 10.0, 15.0, 30.0), (100.0, 40.0, 10.0, 30.0, 50.0)]
    ours = "distilrec serve"
    names = ("raw ASGI", ours, "FastAPI", f"{ours}, a click each", f"{ours}, light")
    found = {
        name: [{"requests_per_second": each[place], "p99_ms": place + turn} for turn, each in enumerate(rounds)]
        for place, name in enumerate(names)
    }
    assert _figures(found) == pytest.approx(
        {
            "fraction_of_raw_asgi": 0.5,
            "fraction_of_raw_asgi_light": 0.6,
            "speedup_vs_fastapi": 2.5,
            "p99_ms": 2.0,
            "fraction_of_raw_asgi_with_events": 0.3,
        }
    )
