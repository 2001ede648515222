"""Forecasts from many origins in the past, made as they would have been made then, and what they were worth."""
