"""Malformed requests are of many kinds, and the same each time; what the server makes of them is the benchmark's."""

from __future__ import annotations

import random

from benchmarks.faults import malformed


def test_requests_are_wrong_in_many_ways_and_the_same_each_time():
    once, twice = ([malformed(random.Random(seed)) for seed in range(300)] for _ in range(2))
    assert once == twice
    heads = [request.split(b"\r\n\r\n", 1)[0] for request in once]
    assert len({head.split(b" ", 1)[0] for head in heads}) > 5
    assert any(len(head) > 20_000 for head in heads)
    assert any(b"Content-Length: -1" in head for head in heads)
    assert any(request.endswith(b"[" * 1_000) for request in once)
