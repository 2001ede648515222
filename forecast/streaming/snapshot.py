"""All states of a stream in one file: safetensors, written whole or not at all, read under the same weights only."""

from pathlib import Path

import numpy as np
import orjson

from forecast.artifacts import atomic
from forecast.errors import ArtifactError
from forecast.streaming.states import States


def save(states: States, stamp: str, path: Path) -> None:
    """`stamp` says under which weights and settings the states are worth something."""
    from safetensors.numpy import save as saved

    slots = np.array(list(states.slots.values()), np.int64)
    names = orjson.dumps(list(states.slots)).decode()
    with atomic(path) as temporary:
        temporary.write_bytes(saved({"records": states.records(slots)}, {"stamp": stamp, "names": names}))


def load(states: States, stamp: str, path: Path) -> States:
    """The states of a file, in new `states`. ArtifactError for one of other weights or settings, or none at all."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            told = file.metadata() or {}
            if told.get("stamp") != stamp:
                raise ArtifactError(
                    f"{path} is a snapshot under other weights or settings", "expected one of the same", "start anew"
                )
            names, records = orjson.loads(told["names"]), file.get_tensor("records")
        if len(names):
            states.put(states.take(names), records)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is no snapshot: {error}", do="start anew") from error
    return states
