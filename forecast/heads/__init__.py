"""Heads: memory (B, L', D) and context -> a forecast (B, H, T). A head owns its loss through its output."""

from forecast.heads.chain import Chain
from forecast.heads.counts import NegativeBinomial, ZeroInflated
from forecast.heads.direct import Direct
from forecast.heads.distribution import Normal, StudentT
from forecast.heads.effect import Effect
from forecast.heads.flat import Flat
from forecast.heads.flat_label import FlatLabel
from forecast.heads.generative import Generative
from forecast.heads.next_event import NextEvent
from forecast.heads.output import Output, Point, Quantiles
from forecast.heads.pool import Pool
from forecast.heads.segments import Segments
from forecast.heads.timewise import Timewise

__all__ = [
    "Chain", "Direct", "Effect", "Flat", "FlatLabel", "Generative", "NegativeBinomial", "NextEvent", "Normal", "Output",
    "Point", "Pool", "Quantiles", "Segments", "StudentT", "Timewise", "ZeroInflated",
]  # fmt: skip
