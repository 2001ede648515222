"""Scores of forecasts: sums that add up over batches, and what is read off them. torch only."""

from forecast.metrics.intervals import NOMINAL, Intervals, Joint
from forecast.metrics.running import Errors, SeriesMase, seasonal_scale

__all__ = ["NOMINAL", "Errors", "Intervals", "Joint", "SeriesMase", "seasonal_scale"]
