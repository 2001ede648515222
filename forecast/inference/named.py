"""Names of models beside ours → forecasters: theta, ets, boosting, sktime:CLASS, each with arguments in parentheses.

A name is read, never run: its arguments are plain values, and of sktime only classes that its own registry lists as
forecasters and that stand in sktime.forecasting can be named.
"""

import ast
import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from forecast.errors import UsageError, nearest

if TYPE_CHECKING:
    from forecast.data.module import SeriesModule
    from forecast.inference.baseline import Forecaster
    from forecast.inference.local import Spread

SKTIME = "sktime"
NEEDS: dict[str, dict[str, type]] = {
    "theta": {"history": int, "season": int},
    "ets": {"history": int, "season": int, "refit": bool},
    "boosting": {"lags": int, "season": int, "rows": int, "trees": int},
}
WORDS = (*NEEDS, f"{SKTIME}:CLASS")
HISTORY = "history"  # rows that a local model is fitted on; not of the class
ETS_ROWS = 3000  # before the part, to fit once on
REFUSED = ("agentic",)  # modules of sktime.forecasting that ask a language model what to run


@dataclass(frozen=True)
class Named:
    """What was asked for, checked; `make` fits or prepares it."""

    kind: str
    arguments: Mapping[str, Any]
    cls: str = ""  # of sktime
    module: str = ""

    @property
    def label(self) -> str:
        """The name in a table."""
        name = f"{SKTIME}:{self.cls}" if self.cls else self.kind
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{name}({given})" if given else name


def parse(asked: Any, few: int | None = None) -> list[Named]:
    """The names of `baseline=`: None, a word or a list of words; `few` is baseline_windows. UsageError for what
    cannot be."""
    if few is not None and few < 1:
        raise UsageError(f"baseline_windows is {few}", "expected at least 1")
    words = [] if asked is None else list(asked) if isinstance(asked, list | tuple) else [asked]
    found = [_named(word) for word in words]
    for k, each in enumerate(found):
        if each in found[:k]:
            raise UsageError(f"baseline {each.label} stands twice", do="leave one out")
    return found


def _named(word: Any) -> Named:
    prefix, _, rest = str(word).partition(":")
    kind = prefix.strip() if rest else ""
    name, arguments = _read(str(word), rest if kind else str(word))
    if kind == SKTIME:
        return _of_sktime(name, arguments)
    if kind or name not in NEEDS:
        found = f"{kind}:{name}" if kind else name
        raise UsageError(f"there is no baseline {found}", f"expected one of {', '.join(WORDS)}", _near(found))
    for key, value in arguments.items():
        if key not in NEEDS[name]:
            raise UsageError(f"baseline {name} has no {key}", do=nearest(key, NEEDS[name]))
        _whole(name, key, value, NEEDS[name][key])
    return Named(name, arguments)


def _near(word: str) -> str:
    """A class of sktime without its prefix is the likeliest slip; its name tells without importing sktime."""
    if "orecaster" in word and ":" not in word:
        return f"did you mean {SKTIME}:{word}?"
    return nearest(word, WORDS)


def _read(word: str, text: str) -> tuple[str, dict[str, Any]]:
    """NAME or NAME(key=value, …), values as literals."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if not isinstance(call.func, ast.Name) or call.args or any(each.arg is None for each in call.keywords):
            raise ValueError("not a name with keys")
        return call.func.id, {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(
            f"baseline {word!r} cannot be read", "expected NAME or NAME(key=value, …) with plain values",
            f"e.g. theta, or {SKTIME}:ThetaForecaster(sp=24)",
        ) from error  # fmt: skip


def _whole(name: str, key: str, value: Any, kind: type) -> None:
    if kind is bool and not isinstance(value, bool):
        raise UsageError(f"{key} of baseline {name} is {value!r}", "expected True or False")
    if kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"{key} of baseline {name} is {value!r}", "expected a whole number of at least 1")


@cache
def forecasters() -> dict[str, str]:
    """Class → module, of every forecaster that sktime's registry lists and that is sktime's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sktime.registry import all_estimators

        listed = all_estimators("forecaster", suppress_import_stdout=True)
    own = {name: cls.__module__ for name, cls in listed if cls.__module__.startswith("sktime.forecasting.")}
    return {name: module for name, module in own.items() if module.split(".")[2] not in REFUSED}


def _of_sktime(name: str, arguments: dict[str, Any]) -> Named:
    known = forecasters()
    if name not in known:
        near = nearest(name, known) if get_close_matches(name, known, n=1) else "see docs/baselines.md"
        raise UsageError(f"sktime has no forecaster {name}", "expected a class of sktime.forecasting", near)
    if HISTORY in arguments:
        _whole(f"{SKTIME}:{name}", HISTORY, arguments[HISTORY], int)
    kept = {key: value for key, value in arguments.items() if key != HISTORY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sktime.utils.dependencies import _check_estimator_deps

        cls = getattr(importlib.import_module(known[name]), name)
        for key in kept:
            if key not in cls.get_param_names():
                raise UsageError(f"sktime:{name} has no {key}", do=nearest(key, [*cls.get_param_names(), HISTORY]))
        if not _check_estimator_deps(cls, severity="none"):
            needs = cls.get_class_tag("python_dependencies") or cls.get_class_tag("python_version")
            raise UsageError(f"sktime:{name} needs what is not installed: {needs}", do="install it, or name another")
        try:
            cls(**kept)
        except Exception as error:  # of a library: any
            said = " ".join(str(error).split())
            raise UsageError(f"sktime:{name} cannot be made: {said}", "expected arguments of plain values") from error
    return Named(SKTIME, arguments, name, known[name])


def make(named: Named, data: "SeriesModule", part: str, spread: "Spread") -> "Forecaster":
    """The forecaster; what is fitted once is fitted here."""
    from forecast.inference import fits, local
    from forecast.inference.boosting import Boosting
    from forecast.inference.histories import Histories, usual

    given = dict(named.arguments)
    if named.kind == "boosting":
        return Boosting(data, **given)
    histories, spec = Histories(data), data.spec
    season, horizon = int(given.pop("season", spec.season)), spec.horizon
    rows = int(given.pop(HISTORY, usual(spec.context, season)))
    if named.kind == "ets" and not given.get("refit"):
        once = rows if HISTORY in named.arguments else max(rows, ETS_ROWS)
        return local.Ets(histories, once, season, part, spread)
    if named.kind == "theta":
        return local.Local(histories, rows, partial(local.by_theta, season, horizon))
    fit: Callable[..., fits.Made] = partial(fits.by_ets, season, horizon)
    if named.kind == SKTIME:
        sp = season if _seasonal(named) else 1
        fit = partial(fits.by_sktime, named.module, named.cls, given, sp, horizon)
    return local.Local(histories, rows, partial(local.spread_fit, spread, fit))


def _seasonal(named: Named) -> bool:
    """Whether the class takes a season, `sp`, that was not given: it is told that of the data."""
    cls = getattr(importlib.import_module(named.module), named.cls)
    return "sp" in cls.get_param_names() and "sp" not in named.arguments
