"""Encoders, embeddings and normalisation: (B, L, C) values -> (B, L', D) memory. torch only."""

from forecast.models.base import Encoder, StreamingEncoder
from forecast.models.embed import NoEmbedding, ValueEmbedding
from forecast.models.informer import Informer
from forecast.models.linear import Linear
from forecast.models.lstm import LSTM
from forecast.models.none import Identity
from forecast.models.normalise import InstanceNorm, NoNorm
from forecast.models.transformer import Transformer

__all__ = [
    "LSTM",
    "Encoder",
    "Identity",
    "Informer",
    "InstanceNorm",
    "Linear",
    "NoEmbedding",
    "NoNorm",
    "StreamingEncoder",
    "Transformer",
    "ValueEmbedding",
]
