"""The report is whole, harmless and honest, whatever the run left behind."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from forecast.dashboards import load
from forecast.dashboards.report import write_report
from forecast.dashboards.scores import headline, score_table
from forecast.dashboards.series.summary import summarise
from forecast.errors import ArtifactError

RunDir = Callable[[int], Path]
FETCHING = {"src", "srcset", "href", "action", "data", "poster", "background"}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags in order, text, and whether they nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="session")
def reports(_finished: dict[int, Path]) -> dict[int, str]:
    """The untouched reports of both runs."""
    return {channels: write_report(path).read_text(encoding="utf-8") for channels, path in _finished.items()}


def page(run_dir: Path) -> tuple[str, Page]:
    return parse(write_report(run_dir).read_text(encoding="utf-8"))


def parse(html: str) -> tuple[str, Page]:
    parsed = Page(html)
    assert parsed.open == []
    return html, parsed


def change(run_dir: Path, name: str, **values: object) -> None:
    path = run_dir / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("channels", [1, 7])
def test_report_is_one_file_that_asks_for_nothing(reports: dict[int, str], channels: int) -> None:
    html, parsed = parse(reports[channels])
    assert len(html.encode()) < 2_000_000
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in parsed.tags}
    for _, attrs in parsed.tags:
        assert all(attrs[key].startswith("#") for key in FETCHING & set(attrs))
        assert not [key for key in attrs if key.startswith("on")]
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]{0,2})", html)) <= {"#p"}  # clip paths of its own figures


def test_ids_are_unique_and_links_lead_somewhere(reports: dict[int, str]) -> None:
    html, parsed = parse(reports[7])
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {attrs["href"][1:] for _, attrs in parsed.tags if "href" in attrs}
    used |= set(re.findall(r"url\(#([^)]+)\)", html))
    used |= {attrs["aria-labelledby"] for _, attrs in parsed.tags if "aria-labelledby" in attrs}
    assert used <= set(ids)


def test_headings_pictures_and_tables_are_accessible(reports: dict[int, str]) -> None:
    _, parsed = parse(reports[7])
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all(len(attrs["aria-label"]) > 20 and attrs["role"] == "img" for attrs in parsed.all("svg"))
    assert len(parsed.all("figcaption")) == len(parsed.all("figure")) == 10
    assert len(parsed.all("caption")) == len(parsed.all("table")) == 2
    assert parsed.all("html") == [{"lang": "en"}]


def test_colours_are_variables_in_both_schemes(reports: dict[int, str]) -> None:
    html = reports[1]
    assert "prefers-color-scheme:dark" in html
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.S))
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []
    for name in set(re.findall(r"var\(--([a-z]+)\)", html)):
        assert f"--{name}:" in html


def test_numbers_on_the_page_are_those_of_the_run(run_dir: RunDir, reports: dict[int, str]) -> None:
    path = run_dir(1)
    html, parsed = parse(reports[1])
    rows = json.loads((path / "metrics.json").read_text())["rows"]
    for row in rows:
        assert f"{row['scaled']['mse']:#.4g}" in html
    words = "".join(parsed.words)
    assert "forecast train model=informer data=electricity task.horizon=24 '+note=a b'" in words
    for fact in (
        "informer on electricity",
        "24 hours",
        "2014-11-23 10:15 UTC",
        "0123456789",
        "kWh",
        "d_model: 64",
    ):
        assert fact in words


def test_labels_are_not_rounded_with_the_coordinates(reports: dict[int, str]) -> None:
    best = re.search(r"best: MSE (0\.\d+)", reports[1])
    assert best is not None
    assert f"MSE {float(best[1]):#.3g}</text>" in reports[1]


@pytest.mark.parametrize(
    ("mse", "words", "tone"),
    [
        (0.5, "50\u00a0% below seasonal naive and 38\u00a0% below ridge", "good"),
        (0.9, "10\u00a0% below seasonal naive and 12\u00a0% above ridge", "bad"),
        (1.02, "2.0\u00a0% above seasonal naive", "bad"),
        (3.0, "3.0 times seasonal naive", "bad"),
        (1.0, "level with seasonal naive", "bad"),
    ],
)
def test_headline_is_honest(run_dir: RunDir, mse: float, words: str, tone: str) -> None:
    path = run_dir(1)
    rows = [{"name": "ridge", "kind": "naive", "scaled": {"mse": 0.8}},
            {"name": "seasonal naive", "kind": "naive", "scaled": {"mse": 1.0}},
            {"name": "informer", "kind": "model", "scaled": {"mse": mse}}]  # fmt: skip
    change(path, "metrics.json", rows=rows)
    said, verdict, mood = headline(load.read(path))
    assert words in said
    assert mood == tone
    assert ("better" in verdict) == (tone == "bad")


def test_the_best_mse_does_not_hide_a_worse_mae(run_dir: RunDir) -> None:
    path = run_dir(1)
    rows = [
        {"name": "ridge", "kind": "naive", "scaled": {"mse": 0.6, "mae": 0.4}},
        {"name": "informer", "kind": "model", "scaled": {"mse": 0.5, "mae": 0.45}},
    ]
    change(path, "metrics.json", rows=rows)
    _, verdict, mood = headline(load.read(path))
    assert (verdict, mood) == ("By MSE informer is the best row; by MAE ridge is better.", "")


def test_a_stream_stands_beside_the_model_and_is_no_rival_of_it(run_dir: RunDir) -> None:
    path = run_dir(1)
    saved = json.loads((path / "metrics.json").read_text())
    informer = saved["rows"][0]
    row = {**informer, "name": "informer, streamed", "kind": "streamed", "scaled": {"mse": 1e-6, "mae": 1e-3}}
    facts = {"mse": 1e-6, "mae": 1e-3, "ratio": 1.0123, "origin": "2014-01-01 00:00", "steps": 26280,
             "bytes_per_series": 6180, "seconds": 0.4}  # fmt: skip
    before = headline(load.read(path))
    change(path, "metrics.json", rows=[*saved["rows"], row], stream=facts)
    run = load.read(path)
    assert [each.name for each in run.rows][:2] == ["informer", "informer, streamed"]
    assert headline(run) == before
    assert run.yardstick is not None and run.yardstick.name == "seasonal naive"
    words = "".join(score_table(run))
    assert "its MSE is 1.012 of that of windows, after up to 26,280 steps; a state takes 6,180 bytes" in words
    change(path, "metrics.json", rows=saved["rows"], stream={"refused": "it <looks> ahead", "do": "set a=b"})
    assert "Not scored as a stream: it &lt;looks&gt; ahead; set a=b." in "".join(score_table(load.read(path)))


def test_names_from_files_cannot_become_html(run_dir: RunDir) -> None:
    path, evil = run_dir(1), '<script>alert("1")</script>$x_$'
    for name in ("metrics.json", "data.json"):
        (path / name).write_text((path / name).read_text().replace("load", json.dumps(evil)[1:-1]))
    change(path, "metrics.json", model=evil, dataset=evil)
    change(path, "config.json", **{evil: evil})
    change(path, "env.json", command=evil, **{evil: evil})
    (path / "overrides.json").write_text(json.dumps([evil]))
    frame = pl.read_parquet(path / "predictions.parquet")
    frame.with_columns(pl.lit(evil).alias("channel"), pl.lit(evil).alias("unique_id")).write_parquet(
        path / "predictions.parquet"
    )
    html, parsed = page(path)
    assert "<script" not in html
    assert parsed.all("script") == []
    assert evil in "".join(parsed.words)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("predictions.parquet", "wrote no predictions"),
        ("history.csv", "wrote no history"),
        ("metrics.json", "wrote no scores"),
        ("data.json", "no facts about its data"),
        ("config.json", "config.json is missing"),
        ("env.json", "env.json is missing"),
        ("overrides.json", "forecast train"),
    ],
)
def test_what_is_missing_is_said(run_dir: RunDir, lost: str, said: str) -> None:
    path = run_dir(1)
    for name in {lost, "predictions.parquet"}:  # without predictions it is quick
        (path / name).unlink()
    assert said in page(path)[0]


def test_an_empty_folder_still_has_a_report(tmp_path: Path) -> None:
    assert "no scores" in page(tmp_path)[0]


def test_predictions_without_rows_are_said(run_dir: RunDir) -> None:
    path = run_dir(1)
    frame = pl.read_parquet(path / "predictions.parquet")
    for empty in (
        frame.clear(),
        frame.with_columns(y=None),
        frame.with_columns(y_hat=float("nan")),
        pl.DataFrame(),
    ):
        empty.write_parquet(path / "predictions.parquet")
        assert summarise(load.read(path)) is None
    assert "No forecasts to show" in page(path)[0]


def test_damaged_files_are_named(run_dir: RunDir, tmp_path: Path) -> None:
    path = run_dir(1)
    (path / "report.html").write_text("the last one")
    for name in ("metrics.json", "history.csv", "predictions.parquet"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(b"[1" if name != "history.csv" else b"step,epoch\n1,x\n")
        with pytest.raises(ArtifactError, match=name):
            write_report(path)
        (path / name).write_bytes(whole)
    assert (path / "report.html").read_text() == "the last one"
    with pytest.raises(ArtifactError, match="no run folder"):
        write_report(tmp_path / "nowhere")


def test_the_same_run_gives_the_same_report(run_dir: RunDir, reports: dict[int, str]) -> None:
    path = run_dir(1)
    assert write_report(path).read_text(encoding="utf-8") == reports[1]
    assert [p.name for p in path.iterdir() if p.name.endswith(".tmp")] == []


def test_dashboards_need_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, forecast.dashboards.report, forecast.dashboards.figures\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'pytorch_lightning', 'hydra', 'matplotlib.pyplot'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
