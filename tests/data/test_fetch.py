"""Downloads against a server on this machine that cuts, lies, changes, redirects and hangs."""

import gzip
import hashlib
import io
import json
import os
import pty
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from forecast.data.address import CardFile, check_url
from forecast.data.fetch import Fetched, Limits, fetch
from forecast.errors import DataError
from tests.server import Source, serving

BODY = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = Limits(cap=1 << 20, connect=2, read=2, tries=4, pause=0.01)

Serve = Callable[..., Source]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda body=BODY, **how: stack.enter_context(serving(Source(body, **how)))


def get(source: Source, folder: Path, limits: Limits = QUICK, **facts: object) -> Fetched:
    """The one file of a card, fetched."""
    facts = {"path": "sub/data.csv", "sha256": SHA, "url": source.url, **facts}
    (got,) = fetch((CardFile(**facts),), folder, limits=limits)  # type: ignore[arg-type]
    return got


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def begun(folder: Path, source: Source, count: int, *, mark: str = '"one"', body: bytes = BODY) -> Path:
    """A part as a killed process leaves it."""
    part = folder / "sub" / "data.csv.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(body[:count])
    part.with_name("data.csv.part.json").write_text(json.dumps({"url": source.url, "mark": mark}))
    return part


def test_a_file_is_fetched_once_and_nothing_else_is_left(serve: Serve, tmp_path: Path) -> None:
    source, told = serve(), []
    file = CardFile("sub/data.csv", SHA, bytes=len(BODY), url=source.url)
    (got,) = fetch((file,), tmp_path, lambda *facts: told.append(facts), QUICK)
    assert got == Fetched(tmp_path / "sub" / "data.csv", SHA, True, True)
    assert got.path.read_bytes() == BODY and left(tmp_path) == ["data.csv"]
    assert told[0] == ("data.csv", 0, len(BODY)) and told[-1] == ("data.csv", len(BODY), len(BODY))
    assert not get(source, tmp_path).new and len(source.seen) == 1


def test_the_digest_that_a_card_lacks_is_found(serve: Serve, tmp_path: Path) -> None:
    got = get(serve(), tmp_path, sha256="")
    assert (got.sha256, got.claimed) == (SHA, False)


def test_what_is_there_is_never_written_over(serve: Serve, tmp_path: Path) -> None:
    source, mine = serve(), tmp_path / "sub" / "data.csv"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match="is there, with the sha256 .* move it away"):
        get(source, tmp_path)
    assert mine.read_bytes() == b"mine" and not source.seen


@pytest.mark.parametrize("etag", ['"one"', 'W/"one"'])
def test_a_part_goes_on(serve: Serve, tmp_path: Path, etag: str) -> None:
    source = serve(etag=etag)
    begun(tmp_path, source, 100_000, mark=etag)
    assert get(source, tmp_path).path.read_bytes() == BODY
    assert source.seen == ["bytes=100000-"] and left(tmp_path) == ["data.csv"]


def test_a_whole_part_needs_no_bytes_more(serve: Serve, tmp_path: Path) -> None:
    source = serve()
    begun(tmp_path, source, len(BODY))
    assert get(source, tmp_path).path.read_bytes() == BODY


def test_the_time_of_change_stands_in_for_an_etag(serve: Serve, tmp_path: Path) -> None:
    when = "Tue, 01 Jan 2030 00:00:00 GMT"
    source = serve(etag=None, headers={"Last-Modified": when}, cuts=[50_000])
    assert get(source, tmp_path).path.read_bytes() == BODY
    assert source.seen == [None, "bytes=50000-"]


@pytest.mark.parametrize("how", [
    {"etag": '"two"'},  # it changed
    {"etag": 'W/"two"'},
    {"ranges": False},  # it knows no ranges
])  # fmt: skip
def test_a_part_that_does_not_fit_starts_anew(serve: Serve, tmp_path: Path, how: dict[str, object]) -> None:
    source = serve(**how)
    begun(tmp_path, source, 100_000, body=bytes(300_000))
    assert get(source, tmp_path, sha256="").sha256 == SHA


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "http://127.0.0.1/other", "mark": "one"}', '{"mark": "one"}'])
def test_a_part_of_unknown_origin_starts_anew(serve: Serve, tmp_path: Path, note: str) -> None:
    source = serve()
    part = begun(tmp_path, source, 100_000, body=bytes(300_000))
    part.with_name("data.csv.part.json").write_text(note)
    assert get(source, tmp_path, sha256="").sha256 == SHA and source.seen == [None]


def test_a_part_longer_than_the_file_starts_anew(serve: Serve, tmp_path: Path) -> None:
    source = serve()
    begun(tmp_path, source, 400_000, body=bytes(400_000))
    assert get(source, tmp_path, sha256="").sha256 == SHA


@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_connection_goes_on_where_it_broke(serve: Serve, tmp_path: Path, chunked: bool) -> None:
    source = serve(cuts=[70_000, 1, 100_000], chunked=chunked, piece=10_000)
    assert get(source, tmp_path, bytes=len(BODY)).path.read_bytes() == BODY
    assert source.seen == [None, "bytes=70000-", "bytes=70001-", "bytes=170001-"]


def test_a_connection_that_always_breaks_keeps_what_came(serve: Serve, tmp_path: Path) -> None:
    source = serve(cuts=[10_000] * 9)
    with pytest.raises(DataError, match="after 4 tries: .*; 40,000 bytes are kept: run the same command again"):
        get(source, tmp_path)
    assert left(tmp_path) == ["data.csv.part", "data.csv.part.json"]
    source.cuts.clear()
    assert get(source, tmp_path).path.read_bytes() == BODY


def test_without_an_etag_a_broken_connection_starts_anew(serve: Serve, tmp_path: Path) -> None:
    source = serve(etag=None, cuts=[70_000])
    assert get(source, tmp_path).sha256 == SHA and source.seen == [None, None]


def test_a_busy_server_is_asked_again(serve: Serve, tmp_path: Path) -> None:
    source = serve(fails=2)
    assert get(source, tmp_path).sha256 == SHA and len(source.seen) == 3


@pytest.mark.parametrize(("how", "message"), [
    ({"status": 404}, "the server says 404"),
    ({"status": 403}, "the server says 403"),
    ({"status": 503}, "after 4 tries: the server says 503"),
    ({"hangs": True}, "after 4 tries: .*timed out"),
    ({"headers": {"Content-Encoding": "gzip"}}, "a transfer in gzip"),
    ({"claims": 999_999}, "has 999,999 bytes; expected 300,000"),
])  # fmt: skip
def test_a_bad_answer_is_one_line_and_leaves_nothing(
    serve: Serve, tmp_path: Path, how: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as fault:
        get(serve(**how), tmp_path, QUICK._replace(read=0.1), bytes=len(BODY))
    assert "\n" not in str(fault.value) and left(tmp_path) == []


def test_a_length_that_promises_too_much_is_a_broken_connection(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="after 4 tries"):
        get(serve(claims=len(BODY) + 1, ranges=False), tmp_path)
    assert left(tmp_path) == ["data.csv.part", "data.csv.part.json"]


def test_a_length_that_promises_too_little_is_a_wrong_file(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gave 299,999 bytes"):
        get(serve(claims=len(BODY) - 1), tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("facts", [{"bytes": 299_999}, {}])
@pytest.mark.parametrize("chunked", [False, True])
def test_too_much_is_stopped(serve: Serve, tmp_path: Path, facts: dict[str, int], chunked: bool) -> None:
    message = "sends more than 299,999 bytes" if chunked else "has 300,000 bytes; expected (at most )?299,999"
    with pytest.raises(DataError, match=message):
        get(serve(chunked=chunked), tmp_path, QUICK._replace(cap=299_999), **facts)
    assert left(tmp_path) == []


def test_a_wrong_digest_removes_the_part(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"gave 300,000 bytes with the sha256 {SHA[:12]}…, which are removed"):
        get(serve(), tmp_path, sha256="0" * 64)
    assert left(tmp_path) == []


def test_a_full_disk_is_seen_before_the_download(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=1 << 20))
    with pytest.raises(DataError, match="has 1 MiB free"):
        get(serve(), tmp_path)
    assert left(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_came(serve: Serve, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"data\.csv\.part cannot be written: File too large; make room, and go on"):
            get(serve(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "sub" / "data.csv.part").stat().st_size == 200_000
    assert get(serve(), tmp_path).sha256 == SHA


def test_a_redirect_on_this_machine_is_followed(serve: Serve, tmp_path: Path) -> None:
    there = serve()
    assert get(serve(location=there.url), tmp_path).sha256 == SHA


@pytest.mark.parametrize("location", [
    "http://example.org/data.csv", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1@example.org/",
    "http://user@127.0.0.1/", "https://", "//example.org/x",
])  # fmt: skip
def test_a_redirect_elsewhere_is_refused(serve: Serve, tmp_path: Path, location: str) -> None:
    with pytest.raises(DataError, match="redirects, and names the address"):
        get(serve(location=location), tmp_path)
    assert left(tmp_path) == []


def test_redirects_end(serve: Serve, tmp_path: Path) -> None:
    source = serve(location="/again")
    with pytest.raises(DataError, match="redirects more than 5 times"):
        get(source, tmp_path)


@pytest.mark.parametrize("url", [
    "http://example.org/x", "http://127.0.0.1.example.org/x", "http://localhost.example.org", "file:///etc/passwd",
    "http://127.0.0.1\\@example.org/", "https:///x", "data.csv", "https://a b/x", "https://[::1/x", "https://h:port/x",
])  # fmt: skip
def test_only_https_is_an_address(url: str) -> None:
    with pytest.raises(DataError, match="expected https://"):
        check_url(url, "the card")


@pytest.mark.parametrize(
    "url", ["https://example.org/x", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]/x"]
)
def test_https_and_this_machine_are_addresses(url: str) -> None:
    check_url(url, "the card")


def test_https_never_redirects_to_plain_http_even_here() -> None:
    with pytest.raises(DataError):
        check_url("http://127.0.0.1/x", "it", within="https://example.org/x")


def test_links_that_lead_out_are_refused(serve: Serve, tmp_path: Path) -> None:
    inner, outer = tmp_path / "in", tmp_path / "out"
    inner.mkdir(), outer.mkdir()
    (inner / "sub").symlink_to(outer)
    with pytest.raises(DataError, match="leads out of"):
        get(serve(), inner)
    (inner / "sub").unlink()
    (inner / "sub").mkdir()
    (outer / "precious").write_text("mine")
    (inner / "sub" / "data.csv.part").symlink_to(outer / "precious")
    with pytest.raises(DataError, match="cannot be written"):
        get(serve(), inner)
    assert (outer / "precious").read_text() == "mine"


@pytest.mark.parametrize("path", ["../data.csv", "/tmp/data.csv", "a/../../data.csv", "C:\\data.csv", "..\\x", ""])
def test_paths_that_lead_out_are_refused(serve: Serve, tmp_path: Path, path: str) -> None:
    source = serve()
    with pytest.raises(DataError, match="leads out of"):
        get(source, tmp_path, path=path)
    assert not source.seen


def test_two_at_once_do_not_mix(serve: Serve, tmp_path: Path) -> None:
    source = serve(pause=0.05, piece=30_000)
    first = threading.Thread(target=lambda: get(source, tmp_path))
    first.start()
    while not source.seen:
        time.sleep(0.01)
    with pytest.raises(DataError, match="is being fetched by another process"):
        get(source, tmp_path)
    first.join()
    assert not get(source, tmp_path).new


# ── archives ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLE = b"ds,y\n" + b"".join(b"2024-01-01 %02d:00,%d\n" % (h % 24, h) for h in range(5000))


def zipped(members: dict[str, bytes], modes: dict[str, int] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            packed.writestr(info, content)
    return out.getvalue()


def tarred(members: dict[str, bytes | tuple[bytes, str]]) -> bytes:
    """A .tar.gz; a pair is a kind of member that is no file, and where it points to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                packed.addfile(info)
            else:
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(("name", "body", "member"), [
    ("a.zip", zipped({"README": b"x", "deep/data.csv": TABLE}), "deep/data.csv"),
    ("a.tar.gz", tarred({"README": b"x", "deep/data.csv": TABLE, "after": b"y"}), "deep/data.csv"),
    ("a.tgz", tarred({"data.csv": TABLE}), ""),
    ("data.csv.gz", gzip.compress(TABLE), ""),
], ids=count(1))  # fmt: skip
def test_only_the_named_member_is_unpacked(serve: Serve, tmp_path: Path, name: str, body: bytes, member: str) -> None:
    source = serve(body, name=name, cuts=[50])
    digest = hashlib.sha256(TABLE).hexdigest()
    got = get(source, tmp_path, sha256=digest, bytes=len(TABLE), member=member)
    assert got.path.read_bytes() == TABLE and left(tmp_path) == ["data.csv"]


DEVICE, SYMLINK, HARD = (tarfile.CHRTYPE, ""), (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../../etc/passwd")


@pytest.mark.parametrize(("name", "body", "message"), [
    ("a.zip", zipped({"../evil": b"x", "data.csv": TABLE}), "'../evil' leads out"),
    ("a.zip", zipped({"/evil": b"x", "data.csv": TABLE}), "'/evil' leads out"),
    ("a.zip", zipped({"..\\evil": b"x", "data.csv": TABLE}), "leads out"),
    ("a.zip", zipped({"data.csv": b"/etc/passwd"}, {"data.csv": stat.S_IFLNK | 0o777}), "is a link"),
    ("a.zip", zipped({"data.csv": b""}, {"data.csv": stat.S_IFCHR | 0o777}), "is no file"),
    ("a.zip", zipped({"data.csv": bytes(50_000_000)}), "has 50,000,000 bytes; expected at most"),
    ("a.zip", zipped({"other": b"x"}), "it has no 'data.csv'; found other"),
    ("a.zip", zipped({"data.csv": TABLE})[:-30], "cannot be unpacked"),
    ("a.zip", b"<html>no archive</html>", "cannot be unpacked"),
    ("a.tar.gz", tarred({"../evil": b"x", "data.csv": TABLE}), "'../evil' leads out"),
    ("a.tar.gz", tarred({"/evil": b"x", "data.csv": TABLE}), "'/evil' leads out"),
    ("a.tar.gz", tarred({"data.csv": SYMLINK}), "link"),
    ("a.tar.gz", tarred({"data.csv": HARD}), "link|outside"),
    ("a.tar.gz", tarred({"data.csv": DEVICE}), "special file"),
    ("a.tar.gz", tarred({"data.csv": bytes(50_000_000)}), "unpacks to more than"),
    ("a.tar.gz", tarred({"before": bytes(50_000_000), "data.csv": TABLE}), "unpacks to more than"),
    ("a.tar.gz", tarred({"other": b"x"}), "it has no 'data.csv'; found other"),
    ("a.tar.gz", tarred({"data.csv": BODY})[:-20_000], "cannot be unpacked"),
    ("a.csv.gz", gzip.compress(bytes(50_000_000)), "unpacks to more than"),
    ("a.csv.gz", TABLE, "cannot be unpacked"),
], ids=count(1))  # fmt: skip
def test_an_archive_that_is_not_to_be_trusted(
    serve: Serve, tmp_path: Path, name: str, body: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as fault:
        get(serve(body, name=name), tmp_path / "in", sha256="")
    assert "\n" not in str(fault.value) and left(tmp_path) == []


def test_many_small_members_are_too_many(serve: Serve, tmp_path: Path) -> None:
    many = {f"{i}": b"" for i in range(10_001)}
    for name, body in (
        ("a.zip", zipped({**many, "data.csv": TABLE})),
        ("a.tar.gz", tarred({**many, "data.csv": TABLE})),
    ):
        with pytest.raises(DataError, match="more than (10,000 members|2,097,152 bytes)"):
            get(serve(body, name=name), tmp_path, sha256="")


# ── death at any moment ───────────────────────────────────────────────────────────────────────────────────────────────

CLIENT = """
import sys
from pathlib import Path
from forecast.data.address import CardFile
from forecast.data.fetch import fetch
print("ready", flush=True)
list(fetch((CardFile("data.csv", sys.argv[2], url=sys.argv[1]),), Path(sys.argv[3])))
"""


def client(source: Source, folder: Path) -> "subprocess.Popen[str]":
    """A process that fetches; it says so when it begins."""
    words = [sys.executable, "-c", CLIENT, source.url, SHA, str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def killed_and_resumed(source: Source, folder: Path, moments: list[float]) -> None:
    """Kill clients so many seconds after their request, or their start where that is 0; the next has the right file."""
    for moment in moments:
        asked = len(source.seen)
        with client(source, folder) as process:
            while moment and len(source.seen) == asked and process.poll() is None:
                time.sleep(0.005)  # on a busy machine a request may be long in coming
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
    with client(source, folder) as last:
        assert last.wait(30) == 0
    assert (folder / "data.csv").read_bytes() == BODY
    assert left(folder) == ["data.csv"]


def test_a_client_that_is_killed_leaves_what_the_next_one_needs(serve: Serve, tmp_path: Path) -> None:
    source, chance = serve(pause=0.01, piece=10_000), random.Random(7)
    killed_and_resumed(source, tmp_path, [chance.uniform(0.02, 0.3) for _ in range(3)])
    assert any(asked for asked in source.seen), "no kill met a download: the test proves nothing"


def test_ctrl_c_keeps_the_part_and_ends_with_130(serve: Serve, tmp_path: Path) -> None:
    source = serve(pause=0.5, piece=5_000)
    (tmp_path / "card.yaml").write_text(
        "{name: t, kind: series, time: {column: ds, freq: h}, channels: [{name: y}],"
        f" files: [{{path: data.csv, sha256: {SHA}, url: '{source.url}'}}]}}"
    )
    words = [sys.executable, "-m", "forecast", "data", "fetch", "card.yaml", "to=here"]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(words, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    part = tmp_path / "here" / "data.csv.part"
    while not (part.is_file() and part.stat().st_size):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "forecast: interrupted\n")
    assert "run the same command again to go on" in out and part.stat().st_size
    source.pause = 0
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"fetched: {tmp_path / 'here' / 'data.csv'}, 0.3 MB\n")
    assert source.seen[-1] is not None


def test_a_terminal_shows_how_far_it_is(serve: Serve, tmp_path: Path) -> None:
    source = serve(pause=0.1, piece=60_000)
    (tmp_path / "card.yaml").write_text(
        "{name: t, kind: series, time: {column: ds, freq: h}, channels: [{name: y}],"
        f" files: [{{path: data.csv, url: '{source.url}'}}]}}"
    )
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "forecast", "data", "fetch", "card.yaml", "to=here"]
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(words, cwd=tmp_path, env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"/300.0 kB" in shown and b"B/s" in shown and "━".encode() in shown
    assert SHA.encode() in shown and b"the card names no sha256" in shown
