"""What a server tells Prometheus."""

from collections.abc import Callable
from typing import Final

import numpy as np
import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from forecast.streaming.fold import STATUSES
from forecast.streaming.streamer import Batch

SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
READINGS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


class Metrics:
    """Of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.readings = Counter("forecast_readings", "Readings, by what became of them", ["status"], registry=own)
        self.refused = Counter("forecast_refused", "Readings that changed no state, but for duplicates", registry=own)
        self.forecasts = Counter("forecast_forecasts", "Forecasts", registry=own)
        self.alarms = Counter("forecast_alarms", "Readings that raised an alarm", registry=own)
        self.request = Histogram(
            "forecast_request_seconds", "Seconds of a request", ["route", "code"], buckets=SECONDS, registry=own
        )
        self.batch = Histogram("forecast_batch_seconds", "Seconds of a batch", buckets=SECONDS, registry=own)
        self.size = Histogram("forecast_batch_readings", "Readings in a batch", buckets=READINGS, registry=own)
        for word in (*STATUSES, "unreadable"):
            self.readings.labels(word)
        self.gauge("forecast_process_rss_bytes", "Memory of the process", lambda: psutil.Process().memory_info().rss)

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """One that is looked up when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def saw(self, batch: Batch, seconds: float) -> None:
        counts = np.bincount(batch.taken.status, minlength=len(STATUSES))
        for word, count in zip(STATUSES, counts.tolist(), strict=True):
            if count:
                self.readings.labels(word).inc(count)
        if unreadable := len(batch.parsed.refused):
            self.readings.labels("unreadable").inc(unreadable)
        self.refused.inc(len(batch.refused))
        self.forecasts.inc(len(batch.lines))
        self.alarms.inc(int(batch.taken.alarm.any(axis=1).sum()))
        self.size.observe(len(batch.parsed.names))
        self.batch.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
