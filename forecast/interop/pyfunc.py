"""The model MLflow stores: this file as code, and a run folder of safetensors and JSON beside it."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from forecast.artifacts import Run
from forecast.build import task_of
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.predictor import Predictor

PREDICTORS: dict[str, Any] = {"event": EventPredictor, "classify": ClassPredictor}


class RunModel(PythonModel):
    """A frame of history in, a frame of forecasts out, or of classes (see `predict` of each Predictor)."""

    def load_context(self, context: Any) -> None:
        run = Run(Path(context.artifacts["run"]))
        self.predictor: Any = PREDICTORS.get(task_of(run.read("config.json")), Predictor).load(run)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        return self.predictor.predict(model_input).to_pandas()


set_model(RunModel())
