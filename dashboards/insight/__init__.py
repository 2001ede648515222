"""What a model looked at, as a run has recorded it."""
