"""Which implementation runs: the torch reference, or its Triton twin of the same name and signature in kernels/.

FORECAST_KERNELS=auto (default) takes the twin for tensors on a GPU where Triton can be imported, else the reference;
=torch always takes the reference; =triton always the twin, and where there is none that is an error.
"""

import importlib
import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from forecast.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)
MODES = ("auto", "torch", "triton")


def pick(reference: Callable[P, R], x: Tensor) -> Callable[P, R]:
    """`reference`, or its twin where x's device and FORECAST_KERNELS ask for it."""
    mode = os.environ.get("FORECAST_KERNELS", "auto")
    if mode not in MODES:
        raise UsageError(f"FORECAST_KERNELS is {mode}", f"expected one of {', '.join(MODES)}", "unset it")
    name = f"{reference.__module__.rpartition('.')[2]}.{reference.__name__}"
    if mode == "torch" or (mode == "auto" and not x.is_cuda):
        _say(name, "torch", f"FORECAST_KERNELS={mode}, tensors on {x.device.type}")
        return reference
    if not x.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        found = f"FORECAST_KERNELS=triton, but tensors are on {x.device.type}"
        raise UsageError(found, "Triton needs a GPU", "set FORECAST_KERNELS=auto")
    twin = _twin(name)
    if isinstance(twin, str):
        if mode == "triton":
            raise UsageError(f"FORECAST_KERNELS=triton, but {twin}", "expected a kernel", "set FORECAST_KERNELS=auto")
        _say(name, "torch", twin)
        return reference
    _say(name, "triton", f"FORECAST_KERNELS={mode}, tensors on {x.device.type}")
    return twin


def run(reference: Callable[..., R], x: Tensor, *args: Any) -> R:
    """What `pick` picks, called with autocast off: an operator says itself in which precision it computes."""
    with torch.autocast(x.device.type, enabled=False):
        return pick(reference, x)(*args)


def plainly() -> bool:
    """Whether what stands behind an operator may be called itself: nothing is traced, and no gradient is asked for.

    The first call of an operator of one's own makes torch load its compiler, which takes seconds and 250 MiB: more than
    all else that a process which only forecasts needs.
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


@cache
def _twin(name: str) -> Any:
    """The kernel of that name, or why there is none."""
    module, _, function = name.partition(".")
    try:
        return getattr(importlib.import_module(f"forecast.kernels.{module}"), function)
    except (ImportError, AttributeError) as fault:
        return f"no kernel {name}: {fault}"


@cache
def _say(name: str, chosen: str, why: str) -> None:
    """Each choice once."""
    log.info("%s: %s (%s)", name, chosen, why)
