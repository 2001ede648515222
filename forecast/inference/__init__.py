"""From a run folder to forecasts and scores. Import from the modules: `forecast.inference.predictor`, …"""
