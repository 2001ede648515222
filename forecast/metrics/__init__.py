"""Scores of forecasts: sums that add up over batches, and what is read off them. torch only."""

from forecast.metrics.running import Errors, SeriesMase, seasonal_scale

__all__ = ["Errors", "SeriesMase", "seasonal_scale"]
