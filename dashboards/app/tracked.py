"""What MLflow's server knows, asked over its REST interface in a thread of its own: no page waits for a dead server."""

import math
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

import orjson
import requests

from forecast.dashboards.app.cards import TASKS, Card
from forecast.dashboards.load import Row

State = Literal["ok", "down", "none"]
FRESH_S: Final = 5.0  # an answer older than this is asked for again
TIMEOUT_S: Final = 3.0  # of a request
FIRST_S: Final = 0.3  # how long the first page waits for the first answer
PAGES: Final = 10  # of runs, at most
PAGE: Final = 200  # runs in each
LARGEST: Final = 32 << 20  # bytes of an answer


class Tracked(NamedTuple):
    """`words` say in a sentence how the server is; `runs` are those it had when it answered last."""

    state: State
    words: str
    runs: tuple[Card, ...]
    links: dict[str, str] = {}  # run id -> its page there


class Tracker:
    """Asks a server now and then, whenever someone wants to know, and never lets them wait longer than FIRST_S."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._at, self._busy = -FRESH_S, False
        self._last = Tracked("down", f"MLflow at {self.url} has not answered yet.", ())

    def now(self) -> Tracked:
        """The last answer; a new one is on its way if that is old."""
        with self._lock:
            due = not self._busy and time.monotonic() - self._at > FRESH_S
            self._busy = self._busy or due
        if due:
            threading.Thread(target=self._refresh, name="mlflow", daemon=True).start()
        if not self._first.is_set():
            self._first.wait(FIRST_S)
            self._first.set()  # one page waits, no more
        return self._last

    def _refresh(self) -> None:
        try:
            found = asked(self.url)
        except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as fault:
            found = Tracked("down", f"MLflow at {self.url} does not answer ({_why(fault)}).", self._last.runs)
        with self._lock:
            self._last, self._at, self._busy = found, time.monotonic(), False
        self._first.set()


def asked(url: str) -> Tracked:
    """All runs of all experiments there."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between two processes of one machine
        found = _post(session, f"{url}/api/2.0/mlflow/experiments/search", {"max_results": 1000})
        ids = [each["experiment_id"] for each in found.get("experiments", [])]
        cards: list[Card] = []
        links: dict[str, str] = {}
        token = ""
        for _ in range(PAGES if ids else 0):
            query = {"experiment_ids": ids, "max_results": PAGE, "page_token": token}
            page = _post(session, f"{url}/api/2.0/mlflow/runs/search", {k: v for k, v in query.items() if v})
            for run in page.get("runs", []):
                if (made := _card(run)) is not None:
                    cards.append(made)
                    info = run["info"]
                    links[made.id] = f"{url}/#/experiments/{quote(info['experiment_id'])}/runs/{quote(info['run_id'])}"
            if not (token := page.get("next_page_token", "")):
                break
    return Tracked("ok", f"MLflow at {url} knows {len(cards):,d} runs.", tuple(cards), links)


def _post(session: requests.Session, url: str, query: dict[str, Any]) -> dict[str, Any]:
    with session.post(url, json=query, timeout=TIMEOUT_S, stream=True) as reply:
        if reply.status_code != 200:
            raise ValueError(f"status {reply.status_code}")
        body = reply.raw.read(LARGEST + 1, decode_content=True)
    if len(body) > LARGEST:
        raise ValueError(f"an answer over {LARGEST >> 20} MiB")
    value = orjson.loads(body)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _card(run: dict[str, Any]) -> Card | None:
    """A run there that forecast train has tracked; None of others, such as a sweep itself."""
    info, data = run["info"], run.get("data", {})
    tags = {each["key"]: each.get("value", "") for each in data.get("tags", [])}
    id = tags.get("forecast.run", "")
    if not id or id.startswith("sweep/"):
        return None
    scores = {each["key"]: float(each["value"]) for each in data.get("metrics", []) if each.get("value") is not None}
    own = {key.removeprefix("test/"): value for key, value in scores.items() if key.startswith("test/")}
    scaled = {key.removesuffix("_z"): value for key, value in own.items() if key.endswith("_z")}
    name = str(info.get("run_name") or tags.get("model", id))
    rest = {key: value for key, value in own.items() if not key.endswith(("_z", "_by_step")) and math.isfinite(value)}
    began = datetime.fromtimestamp(int(info.get("start_time") or 0) / 1000, UTC)
    whole = {key: int(tags[key]) if tags.get(key, "").isdecimal() else None for key in ("seed", "horizon")}
    kind = TASKS.get(tags.get("task", ""), "series")
    rows = (Row(name, "model", scaled, rest, {}, {}),) if own else ()
    return Card(
        id, None, kind, tags.get("dataset", ""), name, whole["seed"], whole["horizon"], None,
        began.isoformat(timespec="seconds"), info.get("status") == "FINISHED", f"mlflow/{id}", rows, None, None, None,
        parts=(tags.get("model", ""), "", "", ""), sweep=tags.get("forecast.sweep", ""),
    )  # fmt: skip


def _why(fault: Exception) -> str:
    if isinstance(fault, requests.Timeout):
        return f"silent for {TIMEOUT_S:.0f} s"
    if isinstance(fault, requests.ConnectionError):
        return "nobody listens there"
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__
