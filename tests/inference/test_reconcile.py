"""Reconciled forecasts add up, keep what adds up already, and MinT with equal errors is OLS."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.hierarchy import Hierarchy
from forecast.errors import DataError
from forecast.inference.reconcile import bottom_up, covariance, errors_of, project, reconcile, shrunk

TREE = pl.DataFrame({"parent": ["all", "all", "n", "n", "s", "s", "s"], "child": ["n", "s", "a", "b", "c", "d", "e"]})
GROUPS = pl.DataFrame({"unique_id": list("abcd"), "land": ["x", "x", "y", "y"], "kind": ["p", "q", "p", "q"]})
BOTH = pytest.mark.parametrize("table", [TREE, GROUPS], ids=["tree", "groups"])


def errors(hierarchy: Hierarchy, count: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, len(hierarchy.nodes))) + 0.2


def test_the_summing_matrix_of_a_tree_and_of_crossed_groups() -> None:
    tree = Hierarchy.of(TREE)
    assert tree.aggregates == ("all", "n", "s") and tree.bottom == tuple("abcde")
    assert tree.sums.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]
    crossed = Hierarchy.of(GROUPS)
    assert crossed.aggregates == ("total", "land=x", "land=y", "kind=p", "kind=q")
    assert crossed.sums[3].tolist() == [1, 0, 1, 0]


@given(st.integers(0, 10_000), st.sampled_from([TREE, GROUPS]), st.sampled_from(["ols", "wls", "mint"]))
def test_what_comes_out_adds_up_and_stays(seed: int, table: pl.DataFrame, method: str) -> None:
    h = Hierarchy.of(table)
    rng = np.random.default_rng(seed)
    base = rng.normal(100, 30, (6, len(h.nodes)))
    w = None if method == "ols" else covariance(method, errors(h, seed=seed))
    out = project(base, h, w)
    count = len(h.aggregates)
    np.testing.assert_allclose(out[:, :count], out[:, count:] @ h.sums.T, atol=1e-9, rtol=0)
    np.testing.assert_allclose(project(out, h, w), out, atol=1e-9)  # S G S = S: what adds up is left as it is
    w = np.eye(len(h.nodes)) if w is None else w
    inverse, s = np.linalg.inv(w), h.summing
    g = np.linalg.solve(s.T @ inverse @ s, s.T @ inverse)  # the paper's form
    np.testing.assert_allclose(out, base @ (s @ g).T, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(g @ s, np.eye(len(h.bottom)), atol=1e-8)


@BOTH
def test_mint_of_equal_errors_is_ols(table: pl.DataFrame) -> None:
    h = Hierarchy.of(table)
    base = errors(h, 4, 1)
    np.testing.assert_allclose(project(base, h, 3.0 * np.eye(len(h.nodes))), project(base, h), atol=1e-12)


def test_the_shrunk_covariance_can_be_inverted_and_keeps_the_variances() -> None:
    e = np.random.default_rng(0).normal(size=(5, 40)) * np.arange(1, 41)  # fewer errors than nodes
    w = shrunk(e)
    np.testing.assert_allclose(np.diag(w), np.square(e).mean(axis=0))
    np.testing.assert_allclose(w, w.T)
    assert np.linalg.eigvalsh(w).min() > 0
    many = np.random.default_rng(1).normal(size=(50_000, 3)) @ np.array([[1, 0.9, 0], [0, 1, 0], [0, 0, 2.0]])
    np.testing.assert_allclose(shrunk(many), many.T @ many / len(many), atol=0.01)


def forecasts(names: tuple[str, ...], ends: dict[str, int] | None = None) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    day, first = np.timedelta64(1, "D"), np.datetime64("2024-01-01", "us")
    parts = []
    for name in names:
        end = first + (ends or {}).get(name, 0) * day
        parts.append(
            pl.DataFrame(
                {
                    "unique_id": [name] * 3,
                    "channel": ["y"] * 3,
                    "cutoff": np.full(3, end),
                    "ds": end + np.arange(1, 4) * day,
                    "step": np.arange(1, 4, dtype=np.int32),
                    "y_hat": rng.normal(10, 2, 3),
                    "q0.9": rng.normal(12, 2, 3),
                }
            )
        )
    return pl.concat(parts)


def history(path: Path, names: tuple[str, ...], origins: int = 8) -> Path:
    rng = np.random.default_rng(1)
    day = np.datetime64("2023-01-01", "us") + np.arange(origins) * np.timedelta64(1, "D")
    pl.concat(
        pl.DataFrame({"unique_id": [n] * origins, "channel": ["y"] * origins, "cutoff": day, "step": [1] * origins,
                      "y": rng.normal(size=origins), "y_hat": rng.normal(size=origins)})
        for n in names
    ).write_parquet(path)  # fmt: skip
    return path


@BOTH
@pytest.mark.parametrize("method", ["bottom_up", "ols", "wls", "mint"])
def test_a_table_of_forecasts_gets_every_node(table: pl.DataFrame, method: str, tmp_path: Path) -> None:
    h = Hierarchy.of(table)
    made = forecasts(h.bottom if method == "bottom_up" else tuple(reversed(h.nodes)))
    out = reconcile(made, h, method, history(tmp_path / "p.parquet", h.nodes))
    assert out.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y_hat"]
    assert out["unique_id"].unique(maintain_order=True).to_list() == list(h.nodes) and out.height == 3 * len(h.nodes)
    wide = out.pivot(on="unique_id", index="ds", values="y_hat")
    np.testing.assert_allclose(
        wide[list(h.aggregates)].to_numpy(), wide[list(h.bottom)].to_numpy() @ h.sums.T, atol=1e-9, rtol=0
    )
    if method == "bottom_up":
        got = out.filter(pl.col("unique_id").is_in(h.bottom))["y_hat"]
        assert got.equals(made["y_hat"])
        np.testing.assert_array_equal(bottom_up(np.ones((2, len(h.bottom))), h)[:, 0], len(h.bottom))


def test_histories_of_sums_begin_where_every_series_has_begun() -> None:
    h = Hierarchy.of(pl.DataFrame({"parent": ["all", "all"], "child": ["a", "b"]}))
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 4), eager=True)
    frame = pl.concat([pl.DataFrame({"id": "a", "ds": days, "y": [1, 2, 3, 4]}),
                       pl.DataFrame({"id": "b", "ds": days[2:], "y": [10, 20]})])  # fmt: skip
    whole = h.histories(frame, id="id", time="ds")
    assert whole.filter(pl.col("id") == "all")["y"].to_list() == [13, 24] and whole.height == 8
    counts = h.histories(frame, id="id", time="ds", whole=False)
    assert counts.filter(pl.col("id") == "all")["y"].to_list() == [1, 2, 13, 24]


def test_series_that_do_not_fit_each_other_are_told(tmp_path: Path) -> None:
    h = Hierarchy.of(TREE)
    with pytest.raises(DataError, match="the hierarchy does not name 'odd'"):
        reconcile(forecasts((*h.bottom, "odd")), h, "bottom_up", tmp_path)
    with pytest.raises(DataError, match=r"names 'all' and 2 more, which the input does not hold.*reconcile=bottom_up"):
        reconcile(forecasts(h.bottom), h, "ols", tmp_path)
    with pytest.raises(DataError, match="series 'a' ends at 2024-01-01 00:00:00, 'c' at 2024-01-03 00:00:00"):
        reconcile(forecasts(h.bottom, {"c": 2}), h, "bottom_up", tmp_path)


def test_errors_that_are_not_there_are_told(tmp_path: Path) -> None:
    h = Hierarchy.of(TREE)
    with pytest.raises(DataError, match=r"p\.parquet is missing; expected the errors of the run"):
        errors_of(tmp_path / "p.parquet", h, "y")
    history(tmp_path / "p.parquet", h.bottom)
    with pytest.raises(DataError, match=r"no errors of 'all' and 2 more.*train with the sums as series"):
        errors_of(tmp_path / "p.parquet", h, "y")
    history(tmp_path / "p.parquet", h.nodes, 2)
    with pytest.raises(DataError, match="2 origins at which every node has an error; expected at least 3"):
        errors_of(tmp_path / "p.parquet", h, "y")
