"""The service's metrics, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "mftn_requests", "Completed requests.", ["route", "method", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "mftn_request_seconds",
            "Time from a request's headers to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.images = Counter("mftn_images", "Images and frames processed.", registry=self._registry)
        self.faces = Counter("mftn_faces", "Faces classified.", registry=self._registry)
        self.batch = Histogram(
            "mftn_batch_faces", "Faces per run of the network.", buckets=(1, 2, 4, 8, 16, 32), registry=self._registry
        )
        self.waiting = Gauge("mftn_waiting_requests", "Requests in progress.", registry=self._registry)
        self.held = Gauge("mftn_held_bytes", "Bytes of uploads in memory.", registry=self._registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
