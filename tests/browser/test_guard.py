"""What the dashboard's server refuses, and what it lets out; no browser is needed for that."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from forecast.dashboards.app.guard import LARGEST
from tests.browser.look import Site
from tests.browser.runs import IDS

TOKEN = "a-token-of-enough-signs"
UPDATE = "/_dash-update-component"


@pytest.fixture
def here(site, one: Path) -> Site:
    (one / "train" / IDS["series"] / "report.html").write_text("<h1>hours</h1><script>alert(1)</script>")
    return site(one)


@pytest.fixture
def client(here: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=here.url, timeout=20, trust_env=False) as client:
        yield client


def test_names_of_other_hosts_are_refused(client: httpx.Client, here: Site) -> None:
    port = urlsplit(here.url).port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "LOCALHOST.", f"[::1]:{port}"):
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", f"127.0.0.1.evil.example:{port}", "evil@127.0.0.1", "127.0.0.2", "[::1", "", "a/b"):
        reply = client.get("/", headers={"Host": host})
        assert (reply.status_code, "error" in reply.json()) == (403, True), host


def test_pages_of_other_hosts_are_refused(client: httpx.Client, here: Site) -> None:
    ours = here.url.replace("http://", "")
    assert client.post(UPDATE, json={}, headers={"Origin": here.url}).status_code != 403
    for origin in ("http://evil.example", "null", f"http://{ours}.evil.example", "http://127.0.0.1:1", ""):
        assert client.post(UPDATE, json={}, headers={"Origin": origin}).status_code == 403, origin
        assert client.get("/", headers={"Origin": origin}).status_code == 403, origin


def test_a_websocket_of_another_page_is_refused(here: Site) -> None:
    url = here.url.replace("http", "ws") + "/_dash-ws-callback"
    with connect(url, origin=here.url):
        pass
    for origin in (None, "http://evil.example", "http://127.0.0.1:1"):
        with pytest.raises((InvalidStatus, ConnectionClosed)), connect(url, origin=origin) as socket:
            socket.recv(timeout=5)


def test_large_requests_and_other_methods_are_refused(client: httpx.Client) -> None:
    assert client.post(UPDATE, content=b" " * (LARGEST + 1)).status_code == 413
    assert client.post(UPDATE, content=iter([b" "] * 3)).status_code == 411  # without a length
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert client.request(method, "/").status_code == 405, method


@pytest.mark.parametrize("path", [
    "/assets/..%2fapp.py", "/assets/%2e%2e/app.py", "/_dash-component-suites/dash/..%2f..%2fjinja2/__init__.py",
    "/_dash-component-suites/os/path.py", "/report/..%2f..%2f..%2fetc%2fpasswd", "/report/%00", "/docs",
    "/openapi.json",
])  # fmt: skip
def test_paths_lead_nowhere_else(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert (
        reply.status_code in (404, 500) or "<title>forecast</title>" in reply.text
    )  # the page says that there is none
    assert "import " not in reply.text and "root:" not in reply.text


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'{"output": "no.such", "inputs": []}',
    b'{"output": "..menu.children...content.children..", "inputs": [], "outputs": 3}',
    b'{"output": "..menu.children...content.children..", "inputs": [{"id": "address", "property": "x", "value": {}}]}',
])  # fmt: skip
def test_what_is_no_request_gets_one_line(client: httpx.Client, body: bytes) -> None:
    reply = client.post(UPDATE, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code >= 400
    assert "Traceback" not in reply.text and ".py" not in reply.text and len(reply.text) < 200


def test_every_reply_says_what_may_be_loaded(client: httpx.Client) -> None:
    for path in ("/", "/assets/page.css", "/healthz", "/nowhere"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert "unsafe" not in policy["script-src"]
        assert "http" not in str(policy)
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_the_report_of_a_run_runs_nothing(client: httpx.Client) -> None:
    reply = client.get(f"/report/{IDS['series']}")
    assert reply.text.startswith("<h1>hours</h1>")
    assert "script-src" not in reply.headers["content-security-policy"]  # so default-src 'none' holds
    assert "sandbox" in reply.headers["content-security-policy"]
    assert client.get("/report/none").status_code == 404
    assert client.get(f"/report/{IDS['events']}").status_code == 404


def test_with_a_token_nothing_is_seen_without_it(site, one: Path) -> None:
    here = site(one, token=TOKEN)
    with httpx.Client(base_url=here.url, timeout=20, trust_env=False) as client:
        assert client.get("/healthz").text == "ok"
        for path in ("/", "/assets/page.css", f"/report/{IDS['series']}", "/?token=wrong", "/?token="):
            assert client.get(path).status_code == 401, path
        assert client.post(UPDATE, json={}).status_code == 401
        assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/", headers={"Host": "192.168.1.7:8050"}).status_code == 401  # an address is no name
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
        with pytest.raises(InvalidStatus, match="403"), connect(
            here.url.replace("http", "ws") + "/_dash-ws-callback", origin=here.url
        ):  # fmt: skip
            pass
        first = client.get(f"/explorer?run=a&token={TOKEN}")
        assert (first.status_code, first.headers["location"]) == (303, "/explorer?run=a")
        assert "HttpOnly" in first.headers["set-cookie"] and "SameSite=strict" in first.headers["set-cookie"]
        assert client.get("/").status_code == 200  # by the cookie
        assert (
            client.get(f"//evil.example?token={TOKEN}", headers={"Cookie": ""}).headers.get("location", "/")[:2] != "//"
        )
