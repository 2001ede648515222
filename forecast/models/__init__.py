"""Encoders, embeddings and normalisation: (B, L, C) values -> (B, L', D) memory. torch only."""

from forecast.models.base import Encoder
from forecast.models.embed import NoEmbedding, ValueEmbedding
from forecast.models.informer import Informer
from forecast.models.linear import Linear
from forecast.models.normalise import InstanceNorm, NoNorm

__all__ = ["Encoder", "Informer", "InstanceNorm", "Linear", "NoEmbedding", "NoNorm", "ValueEmbedding"]
