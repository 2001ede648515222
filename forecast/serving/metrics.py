"""What a server of a model tells Prometheus."""

from collections.abc import Callable, Iterable
from typing import Final

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from forecast.ledger import STATUSES
from forecast.serving.model import Model
from forecast.streaming.serving.metrics import SECONDS

SERIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.request = Histogram(
            "forecast_request_seconds", "Seconds of a request", ["route", "code"], buckets=SECONDS, registry=own
        )
        self.series = Counter("forecast_series", "Series, by what became of them", ["status"], registry=own)
        self.size = Histogram("forecast_batch_series", "Series in a batch", buckets=SERIES, registry=own)
        self.batch = Histogram("forecast_batch_seconds", "Seconds of a batch", buckets=SECONDS, registry=own)
        self.limited = Counter("forecast_limited", "Requests beyond a client's rate", registry=own)
        self.late = Counter("forecast_timeouts", "Requests that waited too long", registry=own)
        self.swaps = Counter("forecast_model_swaps", "Other models, by how they did", ["outcome"], registry=own)
        self.model = Gauge(
            "forecast_model_info", "1 for the model that answers", ["run", "name", "version", "task"], registry=own
        )
        self.since = Gauge("forecast_model_loaded_seconds", "When it was loaded, since 1970", registry=own)
        for word in STATUSES:
            self.series.labels(word)
        for word in ("swapped", "refused", "unreachable"):
            self.swaps.labels(word)
        self.gauge("forecast_process_rss_bytes", "Memory of the process", lambda: psutil.Process().memory_info().rss)

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """One that is looked up when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def serves(self, model: Model) -> None:
        """Another model from now on."""
        self.model.clear()
        self.model.labels(model.run, model.name or "", model.version or "", model.task).set(1)
        self.since.set_to_current_time()

    def saw(self, statuses: Iterable[str], series: int, seconds: float) -> None:
        """A batch."""
        counts: dict[str, int] = {}
        for word in statuses:
            counts[word] = counts.get(word, 0) + 1
        for word, count in counts.items():
            self.series.labels(word).inc(count)
        self.size.observe(series)
        self.batch.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
