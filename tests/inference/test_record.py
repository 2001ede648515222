"""predictions.parquet: all forecasts with all intervals the run can give, in an order that finds a window quickly."""

from itertools import pairwise

import polars as pl
import pyarrow.parquet as pq
import pytest

from forecast.heads import Chain, Direct
from forecast.heads.output import Quantiles
from forecast.inference import record
from forecast.inference.predictor import Predictor
from forecast.inference.record import QUANTILES, Recorder
from forecast.inference.scoring import score
from tests.streaming.made import CONTEXT, HORIZON, made

LEVELS = sorted(QUANTILES, key=lambda name: QUANTILES[name])


def written(path, data, predictor):
    with Recorder(path, data, predictor) as recorder:
        score(data, predictor.forecast, predictor.name, watch=recorder.watch, batch_size=16)
    return pl.read_parquet(path)


@pytest.mark.parametrize("gaps", ["error", "mask"])
def test_every_window_with_its_intervals_in_row_groups(tmp_path, monkeypatch, gaps):
    data, predictor = made(tmp_path, gaps=gaps)
    monkeypatch.setattr(record, "GROUP", 100)
    frame = written(tmp_path / "p.parquet", data, predictor)
    assert frame.columns[:8] == ["unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat", "naive"]
    assert frame.height == len(data.windows("test")) * HORIZON
    assert frame.equals(frame.sort("unique_id", "cutoff", "step", "channel"))
    for below, above in pairwise(LEVELS):
        assert (frame[below] <= frame[above]).all()
    file = pq.ParquetFile(tmp_path / "p.parquet").metadata
    sizes = [file.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert len(sizes) > 1 and all(100 <= size < 164 for size in sizes[:-1])
    assert (frame["y"].null_count() > 0) is (gaps == "mask")
    monkeypatch.setattr(record, "GROUP", 1 << 17)
    assert written(tmp_path / "one.parquet", data, predictor).equals(frame)


def test_the_ends_of_90_percent_are_those_that_predict_gives(tmp_path):
    data, predictor = made(tmp_path)
    frame = written(tmp_path / "p.parquet", data, predictor)
    cutoff = frame.filter(pl.col("unique_id") == "a")["cutoff"].max()
    table = pl.read_parquet(tmp_path / "f.parquet").filter(pl.col("ds") <= cutoff, pl.col("unique_id") == "a")
    asked = predictor.predict(table, levels=[0.05, 0.25, 0.5, 0.975])
    own = frame.filter(pl.col("cutoff") == cutoff, pl.col("unique_id") == "a")
    for name, column in {"lo": "q05", "lo50": "q25", "median": "q50", "hi95": "q97.5"}.items():
        assert own[name].to_list() == pytest.approx(asked[column].to_list(), rel=1e-5)


def test_without_calibration_the_output_speaks_for_itself_or_there_is_nothing(tmp_path):
    data, predictor = made(tmp_path)
    bare = Predictor(predictor.chain, predictor.recipe, "x")
    assert not set(QUANTILES) & set(written(tmp_path / "p.parquet", data, bare).columns)
    head = Direct(spec=data.spec, d_memory=8, length=CONTEXT, tokens=3, width=5)
    old = predictor.chain
    chain = Chain(norm=old.norm, embed=old.embed, encoder=old.encoder, head=head, masked=False, output=Quantiles())
    frame = written(tmp_path / "p.parquet", data, Predictor(chain, predictor.recipe, "x"))
    assert frame["median"].to_list() == pytest.approx(frame["y_hat"].to_list(), rel=1e-5)
    for below, above in pairwise(LEVELS):
        assert (frame[below] < frame[above]).all()


def test_a_fault_while_it_is_written_leaves_nothing(tmp_path):
    data, predictor = made(tmp_path)
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "p.parquet", data, predictor) as recorder:
        score(data, predictor.forecast, predictor.name, watch=recorder.watch)
        raise ZeroDivisionError
    assert not list(tmp_path.glob("*p.parquet*"))
