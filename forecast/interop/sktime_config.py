"""The config of an estimator: composed by Hydra as `forecast train` does, once for each model and list of overrides."""

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sklearn.utils import check_random_state

from forecast import config as schema
from forecast.errors import UsageError
from forecast.where import CONF

# An estimator says nothing, tracks nothing, and leaves the process as it found it.
ALWAYS: Final = (
    "track=none",
    "quiet=true",
    "predictions=false",
    "insight=false",
    "trainer.deterministic=false",
    "trainer.save_every=null",
)


def settings(
    model: str, task: str, overrides: tuple[str, ...], keys: Mapping[str, Any], *, usual: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The plain config of a training of `model`: `usual` and then `overrides` over the defaults, and `keys` (dotted)
    unless an override names them too. UsageError for a wrong key or value."""
    cfg = deepcopy(_composed((f"task={task}", f"model={model}", *ALWAYS, *usual, *overrides)))
    said = {word.lstrip("+~").partition("=")[0] for word in overrides}
    try:
        for key, value in keys.items():
            if key not in said and value is not None:
                OmegaConf.update(cfg, key, value.item() if isinstance(value, np.generic) else value)
        schema.check(cfg)
        return schema.plain(cfg)
    except OmegaConfBaseException as error:
        raise _wrong(error) from error


def seed_of(random_state: Any) -> int:
    """A seed from what scikit-learn calls a random state; None draws one from numpy's generator."""
    if isinstance(random_state, int | np.integer) and 0 <= random_state < 1 << 31:
        return int(random_state)
    return int(check_random_state(random_state).randint(1 << 31, dtype=np.int64))


@lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """Hydra's own state, which may be that of a program around us, is put back."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    schema.register()
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise _wrong(error) from error
    finally:
        GlobalHydra.instance().hydra = around


def _wrong(error: Exception) -> UsageError:
    said = str(error).strip().split("\n")[0].rstrip(".")
    return UsageError(f"overrides: {said}", "expected keys of forecast train", "see forecast train --help")
