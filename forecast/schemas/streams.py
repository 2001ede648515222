"""What `forecast stream` takes: feeds, the store of states."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from forecast.schemas.choices import Engine, Gaps, Sync
from forecast.where import RUNS


@dataclass
class Stdin:
    """conf/feed/stdin.yaml."""

    kind: str = "stdin"
    batch: int = 1000
    wait_ms: float = 5.0


@dataclass
class File:
    """conf/feed/file.yaml."""

    kind: str = "file"
    path: str = MISSING
    batch: int = 1000
    follow: bool = False


@dataclass
class Http:
    """conf/feed/http.yaml."""

    kind: str = "http"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: Any = None  # a name or a list of names
    batch: int = 1000
    queue: int = 256
    max_body: int = 8 << 20
    max_series: int = 1_000_000
    keep: int = 1000
    listeners: int = 100


@dataclass
class Replay:
    """conf/feed/replay.yaml."""

    kind: str = "replay"
    path: str = MISSING
    batch: int = 1000
    windowed: bool | None = None
    scores: str | None = None


@dataclass
class Mqtt:
    """conf/feed/mqtt.yaml."""

    kind: str = "mqtt"
    host: str = "127.0.0.1"
    port: int = 1883
    topic: str = "readings/#"
    qos: int = 1
    client: str = "forecast"
    publish: str | None = "forecasts"
    username: str | None = None
    password_env: str | None = None
    tls: bool = False
    version: str = "5"
    batch: int = 1000
    wait_ms: float = 5.0
    queue: int = 10_000
    timeout_s: float = 30.0


@dataclass
class Kafka:
    """conf/feed/kafka.yaml."""

    kind: str = "kafka"
    servers: str = "127.0.0.1:9092"
    topic: str = MISSING
    group: str = "forecast"
    publish: str | None = None
    batch: int = 1000
    wait_ms: float = 5.0
    timeout_s: float = 30.0
    settings: Any = None  # of librdkafka, by name


@dataclass
class State:
    """conf/state/store.yaml."""

    path: str | None = None
    sync: Sync = Sync.full
    most: int = 1_000_000


@dataclass
class Stream:
    """conf/stream.yaml."""

    run: str = MISSING
    feed: Any = MISSING
    output: str | None = None
    rejects: str | None = None
    every: bool = True
    levels: Any = None  # a number or a list of numbers
    gaps: Gaps | None = None
    longest: float | None = None
    rewind: int = 0
    correct: bool = False
    alarms: float = 0.001
    engine: Engine = Engine.auto
    threads: int | None = None
    state: State = field(default_factory=State)
    runs: str = RUNS
