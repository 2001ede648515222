"""What a finished run looks like: one HTML page and the figures on it, made from the run folder alone.

No torch, no MLflow, no network: a report can be written on any machine that has the folder.
"""
