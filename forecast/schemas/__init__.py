"""The schemas of configs, a dataclass for each verb and kind of part; forecast.config registers and checks them."""

from forecast.schemas.streams import File, Http, Kafka, Mqtt, Replay, State, Stdin, Stream
from forecast.schemas.training import (
    Augment,
    Classify,
    Event,
    Events,
    Folder,
    Forecast,
    Labelled,
    Optim,
    Series,
    Train,
    Trainer,
)
from forecast.schemas.verbs import Backtest, Evaluate, Export, JobEngine, Predict, Serve

__all__ = [
    "Augment",
    "Backtest",
    "Classify",
    "Evaluate",
    "Event",
    "Events",
    "Export",
    "File",
    "Folder",
    "Forecast",
    "Http",
    "JobEngine",
    "Kafka",
    "Labelled",
    "Mqtt",
    "Optim",
    "Predict",
    "Replay",
    "Series",
    "Serve",
    "State",
    "Stdin",
    "Stream",
    "Train",
    "Trainer",
]
