"""Tasks: one LightningModule each, with the trainer, callbacks and checkpoints around it. Lightning lives here.

Import from the modules: `forecast.tasks.forecast`, `forecast.tasks.trainer`, …
"""
