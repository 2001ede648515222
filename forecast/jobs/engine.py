"""The engine that a config names."""

from collections.abc import Mapping
from typing import Any

from forecast.errors import UsageError
from forecast.jobs.types import Engine

OWN = {"local": ("processes",), "ray": ("address", "actors", "cpus", "gpus")}


def engine(settings: Mapping[str, Any]) -> Engine:
    """From `engine` of conf/predict.yaml; UsageError for a setting of another engine."""
    kind = settings["kind"]
    for key, value in settings.items():
        if key != "kind" and key not in OWN[kind] and value is not None:
            raise UsageError(
                f"engine.{key}={value} with engine={kind}", f"expected {' or '.join(OWN[kind])}", "leave it out"
            )
    given = {key: settings[key] for key in OWN[kind] if settings[key] is not None}
    if kind == "ray":
        from forecast.jobs.ray import Ray

        made: Engine = Ray(**given)
        return made
    from forecast.jobs.local import Local

    return Local(**given)
