"""Values of the config, checked before anything is read: a wrong one is a fault of usage, not of the data."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from forecast.data.card import plain_splits
from forecast.errors import DataError, UsageError


@contextmanager
def asked(given: bool = True) -> Iterator[None]:
    """What is wrong inside is the fault of what was asked for, if it was `given`."""
    try:
        yield
    except DataError as fault:
        if not given:
            raise
        raise UsageError(fault.found, fault.expected, fault.do) from fault


def whole(key: str, value: Any, least: int, example: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{key} is {value}", "expected a whole number", f"set {key}={example}")
    if value < least:
        expected = f"expected {least} or more" if least < 1 else f"expected at least {least}"
        raise UsageError(f"{key} is {value}", expected, f"set {key}={example}")
    return value


def least_context(steps: Any, context: int, gaps: str) -> int | None:
    """data.min_context: None for the whole context, which alone a model without masks can see."""
    if steps is None:
        return None
    if whole("data.min_context", steps, 1, 1) > context:
        raise UsageError(f"data.min_context is {steps}", f"expected at most {context}, the context", "lower it")
    if gaps == "error" and steps < context:
        raise UsageError(
            f"data.min_context is {steps} with data.gaps=error",
            "expected a model that is told what it did not see",
            "set data.gaps=mask",
        )
    return int(steps)


def numbers(key: str, values: Any) -> tuple[float, ...]:
    """A number or a list of numbers."""
    if values is None:
        return ()
    try:
        return tuple(float(v) for v in (values if isinstance(values, Sequence) and values != "" else [values]))
    except (TypeError, ValueError):
        raise UsageError(f"{key} is {values}", "expected a number or a list of numbers", f"set {key}=-999") from None


def shares(key: str, splits: Any) -> dict[str, Any] | None:
    """Shares, rows or dates of train, val and test; what they mean is checked by `split`."""
    if splits is None:
        return None
    if not isinstance(splits, Mapping):
        raise UsageError(
            f"{key} is {splits}",
            "expected train, val and test",
            f"set '{key}={{train: .7, val: .1, test: .2}}', rows, or '{key}={{val: 2024-01-31, test: 2024-03-01}}'",
        )
    with asked():
        return plain_splits(splits)
