"""The process beside a training that sends its journal: `python -m forecast.verbs.follow FOLDER URI`.

A process and not a thread: importing MLflow and talking to it would take turns with the training under Python's lock,
and what hangs here can be ended. It says on stdout how it fares, one word and what belongs to it a line; stdin closes
when nothing more will come, or when the training was killed.
"""

import os
import sys
import threading
from pathlib import Path

from forecast.spool import SQLITE, sending, trouble

EVERY_S = 10.0  # metrics wait so long for others to share a request with
TIMEOUT_S = 10
LONGEST_PAUSE_S = 60.0


def main(folder: Path, uri: str) -> int:
    """Follow the journal until its training ends; 0 when all was sent."""
    if hasattr(os, "nice"):
        os.nice(10)  # the training goes first
    over = threading.Event()
    threading.Thread(target=_listen, args=(over,), daemon=True).start()
    pause = EVERY_S / 2
    while True:
        try:
            _send(folder, uri, over)
            return 0
        except OSError as error:  # the store's errors are Unsent; this is the run folder's disk
            say("failed", str(error))
        except Exception as error:
            say("failed", str(error) or type(error).__name__)
        if over.is_set():
            return 1
        over.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _listen(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def _send(folder: Path, uri: str, over: threading.Event) -> None:
    """Open the store and send until the training is over."""
    from forecast.delivery import Delivery
    from forecast.store import Store, Unsent

    def ask() -> None:
        say("probes")
        if why := trouble(uri, TIMEOUT_S / 2):
            raise Unsent(why)

    ask()
    with sending(folder) as mine:
        if not mine:
            raise Unsent("another process is sending this run")
        say("opens")  # importing MLflow and making a database take seconds, and are no server's fault
        store = Store(uri, TIMEOUT_S)
        if not uri.startswith(SQLITE):
            say("sends")
        delivery = Delivery(store.open(), folder)
        while True:
            last = over.is_set()  # asked first: what was written before it was set is sent below
            say("sends")
            for _ in delivery.advance():
                say("sends")
            if last:
                delivery.killed()
                return
            say("rests")
            over.wait(EVERY_S)
            ask()


def say(*words: str) -> None:
    """A line for the training; when that was killed, for nobody."""
    try:
        print(" ".join(" ".join(words).split()), flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
