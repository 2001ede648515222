"""The dashboard that `forecast ui` serves: pages over run folders, MLflow, jobs and a live stream."""
