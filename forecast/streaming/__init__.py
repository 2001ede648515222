"""Streams: updates a step at a time, with states that stay."""
