"""What Prometheus is told."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class Metrics:
    """Requests by path and status, their time, and what became of bundles; nothing of users."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("distilrec_requests", "Requests.", ("path", "status"), registry=self._registry)
        self._seconds = Histogram(
            "distilrec_seconds", "Time of a request.", ("path",), buckets=SECONDS, registry=self._registry
        )
        self.waiting = Gauge("distilrec_waiting", "Requests under way.", registry=self._registry)
        self.degraded = Counter("distilrec_degraded", "Answers without state.", registry=self._registry)
        self._count = cache(
            lambda path, status: self._requests.labels(path, str(status))
        )  # looking one up takes longer
        self._time = cache(lambda path: self._seconds.labels(path))
        self.bundles = Counter("distilrec_bundles", "New bundles taken up.", registry=self._registry)

    def tell(self, path: str, status: int, seconds: float) -> None:
        """Of one request."""
        self._count(path, status).inc()
        self._time(path).observe(seconds)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self._registry)
