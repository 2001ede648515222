"""The model MLflow stores: this file as code, and a run folder of safetensors and JSON beside it."""

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from forecast.inference.predictor import Predictor


class RunModel(PythonModel):
    """A frame of history in, a frame of forecasts out (see `Predictor.predict`)."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor.load(context.artifacts["run"])

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return self.predictor.predict(model_input).to_pandas()


set_model(RunModel())
