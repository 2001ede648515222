"""forecast stream: readings in, a forecast after each of them out; docs/streaming.md."""

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from forecast.errors import RunError, UsageError
from forecast.streaming.feeds import Answering, Feed, feed, outlet
from forecast.streaming.live import Live
from forecast.streaming.sinks import FileSink, Stdout
from forecast.streaming.store import Store
from forecast.streaming.streamer import Sink, Streamer
from forecast.verbs.checks import levels_of, run_of
from forecast.verbs.tables import replayed

if TYPE_CHECKING:
    from omegaconf import DictConfig

REFUSED: Final = ("unreadable", "late", "off the grid", "gap", "implausible", "too long", "not begun")
TOLD: Final = ("duplicate", "revised", "restarted", "unknown mark", "ended", "alarms")


def stream(cfg: "DictConfig", overrides: list[str]) -> None:
    """Until the feed ends, or SIGTERM or Ctrl-C comes: then what was taken is finished and committed."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    with stopping() as stop:
        source, streamer = made(asked)
        began = time.monotonic()
        try:
            with written():
                source.run(streamer, stop)
            if found := getattr(source, "found", None):
                sys.stderr.write(f"{replayed(found)}\n\n")
            sys.stderr.write(f"{summary(streamer, time.monotonic() - began)}\n")
        finally:
            streamer.close()
    if stop.is_set() and stop.signal == signal.SIGINT:
        raise KeyboardInterrupt


def made(asked: dict[str, Any]) -> tuple[Feed, Streamer]:
    """The feed and the stream of a config."""
    options, state = dict(asked["feed"]), asked["state"]
    if asked["threads"] is not None:
        import torch

        if asked["threads"] < 1:
            raise UsageError(f"threads is {asked['threads']}", "expected at least 1")
        torch.set_num_threads(asked["threads"])
    if state["most"] < options.get("batch", 1):
        raise UsageError(f"state.most is {state['most']}", f"expected at least feed.batch, {options['batch']}")
    levels = levels_of(asked["levels"])
    if asked["output"] is not None and state["path"] is None:
        free(asked["output"], None)
    source = feed(options.pop("kind"), **options)
    sink: Sink | None = outlet(source)
    if sink is not None and asked["output"] is not None:
        raise UsageError("output and feed.publish are both set", "expected one of them", "set feed.publish=null")
    if not isinstance(source, Answering):
        return source, streamer_of(asked, levels, sink or Stdout())
    source.open()
    try:
        return source, streamer_of(asked, levels, None, keep=source.keep)
    except BaseException:
        source.close()
        raise


def streamer_of(asked: dict[str, Any], levels: list[float] | None, sink: Sink | None, *, keep: int = 0) -> Streamer:
    """The stream of a config. sink: where output goes unless the config names a file; None: its feed gives it to those
    who send; keep: lines for listeners."""
    state = asked["state"]
    run = run_of(asked)
    live = Live.load(
        run, levels=levels, gaps=asked["gaps"], longest=asked["longest"], rewind=asked["rewind"],
        correct=asked["correct"], budget=asked["alarms"], most=state["most"], engine=asked["engine"],
    )  # fmt: skip
    if isinstance(live, Live) and asked["gaps"] is None and live.fold.gaps == "error":
        live.fold.gaps = "fill"  # or a series would wait for ever for the reading it lacks
        sys.stderr.write("the model knows no gaps: steps left out are filled with the last value (gaps=fill)\n")
    sync = state["path"] is not None and state["sync"] == "full"
    store = None
    if state["path"] is not None:
        store = Store(state["path"], live.stamp, sync=state["sync"])
        live.states.fetch = store.fetch
    if asked["output"] is not None:
        sink = FileSink(free(asked["output"], store), sync=sync)
    rejects = None if asked["rejects"] is None else FileSink(asked["rejects"], sync=sync)
    return Streamer(live, store=store, sink=sink, rejects=rejects, keep=keep, every=asked["every"], run=run.path.name)


def free(output: str, store: Store | None) -> Path:
    """The output file; without a state that knows it, one that is there is not added to."""
    path = Path(output).expanduser()
    if path.exists() and path.stat().st_size and (store is None or "output" not in store.facts()):
        raise UsageError(f"{path} exists", do="name another file")
    return path


def summary(streamer: Streamer, seconds: float) -> str:
    """One line for a person."""
    counts = streamer.counts - streamer.before
    series = len(streamer.live.states) if streamer.store is None else streamer.store.count()
    parts = [f"{counts['lines']:,} lines", f"{counts['forecasts']:,} forecasts", f"{series:,} series"]
    if refused := [f"{counts[word]:,} {word}" for word in REFUSED if counts[word]]:
        parts.append(f"refused: {', '.join(refused)} (the first: {streamer.reason})")
    parts += [f"{counts[word]:,} {word}" for word in TOLD if counts[word]]
    return f"{'; '.join(parts)}; {seconds:.1f} s"


@contextmanager
def written() -> Iterator[None]:
    """What could not be written ends the stream with one line: what was committed stays."""
    try:
        yield
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody is there for what is left either
        raise RunError("the program that reads the forecasts has ended", do="start both again") from error
    except (OSError, sqlite3.Error) as error:
        do = "make room; with state.path the stream goes on where it was"
        raise RunError(f"the stream cannot be written: {getattr(error, 'strerror', None) or error}", do=do) from error


class Stop(Event):
    """Set by a signal, and which."""

    signal: int | None = None


@contextmanager
def stopping() -> Iterator[Stop]:
    """SIGTERM and Ctrl-C end the stream after the batch at hand; a second one ends it at once."""
    stop, before = Stop(), dict[int, Any]()

    def ask(number: int, _: Any) -> None:
        if stop.is_set():
            signal.signal(number, before[number])
            signal.raise_signal(signal.Signals(number))
        stop.signal = number
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for own, handler in before.items():
            signal.signal(own, handler)
