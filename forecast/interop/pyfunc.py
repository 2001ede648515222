"""The model MLflow stores: this file as code, and a run folder of safetensors and JSON beside it. No pickle.

A frame with the columns of the training in, the table of `forecast_frame` out; see docs/mlflow.md.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import polars.selectors as cs
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel

from forecast.artifacts import Run
from forecast.errors import ForecastError
from forecast.inference.frame import forecast_frame, load
from forecast.interop.table_facts import asked_of

SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's server sets it


class RunModel(PythonModel):
    """A frame of history in, a frame of forecasts out, of next events, or of classes."""

    def load_context(self, context: Any) -> None:
        self.predictor = load(Run(Path(context.artifacts["run"])))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """`params` as the signature has them; what cannot be forecast is a row that says why. MlflowException, which
        its server answers with 400, for a frame or a parameter that makes no sense."""
        try:
            made = forecast_frame(pl.from_pandas(model_input), self.predictor, asked_of(params or {}))
        except ForecastError as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from error
        if os.environ.get(SERVED) == "true":  # JSON has no NaN, and its server would write one
            return made.with_columns(cs.float().fill_nan(None)).to_dicts()
        return made.to_pandas()


set_model(RunModel())
