"""The model MLflow stores: this file as code, and a run folder of safetensors and JSON beside it."""

from typing import Any

import mlflow

from forecast.inference.predictor import Predictor


class RunModel(mlflow.pyfunc.PythonModel):
    """A frame of history in, a frame of forecasts out (see `Predictor.predict`)."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor.load(context.artifacts["run"])

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return self.predictor.predict(model_input).to_pandas()


mlflow.models.set_model(RunModel())
