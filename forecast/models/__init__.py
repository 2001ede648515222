"""Encoders, embeddings and normalisation: (B, L, C) values -> (B, L', D) memory. torch only."""

from forecast.models.aaren import Aaren
from forecast.models.base import Encoder, StreamingEncoder
from forecast.models.covariates import CovariateTokens
from forecast.models.embed import NoEmbedding, ValueEmbedding
from forecast.models.event_embed import EventEmbedding
from forecast.models.informer import Informer
from forecast.models.linear import Linear
from forecast.models.lstm import LSTM
from forecast.models.none import Identity
from forecast.models.normalise import InstanceNorm, NoNorm, RollingNorm
from forecast.models.patch import ChannelEmbedding, PatchEmbedding
from forecast.models.series_embed import FlatSeries, SeriesEmbedding
from forecast.models.tcnca import TCNCA
from forecast.models.transformer import Transformer

__all__ = [
    "Aaren",
    "ChannelEmbedding",
    "CovariateTokens",
    "Encoder",
    "EventEmbedding",
    "FlatSeries",
    "Identity",
    "Informer",
    "InstanceNorm",
    "LSTM",
    "Linear",
    "NoEmbedding",
    "NoNorm",
    "PatchEmbedding",
    "RollingNorm",
    "SeriesEmbedding",
    "StreamingEncoder",
    "TCNCA",
    "Transformer",
    "ValueEmbedding",
]
