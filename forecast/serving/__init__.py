"""A server of a trained model: `forecast serve`; docs/serving.md."""
