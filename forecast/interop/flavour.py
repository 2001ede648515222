"""A run as a model of MLflow: its signature, an example, what it needs. Written by delivery.py, read by pyfunc.py."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import polars as pl

from forecast.artifacts import Run
from forecast.inference.frame import load
from forecast.interop import table_facts as facts

CODE: Final = Path(__file__).with_name("pyfunc.py")
NEEDS: Final = ("longcast", "torch", "numpy", "polars", "pandas", "safetensors")
KINDS: Final = {facts.NUMBER: "double", facts.TEXT: "string", facts.STAMP: "datetime"}
PARAMS: Final = {float: "double", int: "long", str: "string"}


def requirements() -> list[str]:
    """What the model is run with: this program and what its numbers depend on, as they are here."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDS]


def described(run: Run) -> dict[str, Any]:
    """The arguments of `mlflow.pyfunc.log_model` that say what a run takes and gives: signature and input_example."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, Schema

    predictor = load(run)
    columns: list[Any] = [ColSpec(KINDS[each.kind], each.name, each.required) for each in facts.needed(predictor)]
    given: list[Any] = [ColSpec(_kind(dtype), name, required=False) for name, dtype in facts.outcome(predictor).items()]
    params = ParamSchema([_param(name, value) for name, value in facts.askable(predictor).items()])
    signature = ModelSignature(Schema(columns), Schema(given), params)
    return {"signature": signature, "input_example": facts.example(predictor).to_pandas()}


def _param(name: str, value: Any) -> Any:
    from mlflow.types.schema import ParamSpec

    if isinstance(value, list):
        return ParamSpec(name, "double", value, (-1,))
    return ParamSpec(name, PARAMS[type(value)], value)


def _kind(dtype: pl.DataType) -> str:
    """MLflow's name of a type."""
    if dtype == pl.Datetime:
        return "datetime"
    return {pl.String: "string", pl.Int32: "integer", pl.Float32: "float", pl.Float64: "double"}[type(dtype)]
