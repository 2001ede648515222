"""The bench of the kernels, in its smallest size: it checks before it times, and leaves a file and a plot."""

import json

import pytest
import torch

from forecast.kernels import bench
from forecast.kernels.cases import OPS


@pytest.mark.parametrize("name", OPS)
def test_it_times_what_agreed(name, tmp_path, capsys):
    bench.main([name, "--longest", "96", "--rounds", "1", "--out", str(tmp_path)])
    (found,) = tmp_path.glob("kernels-*.json")
    rows = json.loads(found.read_text())[name]["rows"]
    passes = {"forward", "forward+backward"} if OPS[name].gradient else {"forward"}
    assert {(row["dtype"], row["pass"]) for row in rows} == {(d, p) for d in ("float32", "bfloat16") for p in passes}
    for row in rows:
        assert row["ours ms"] > 0
        assert all(row[f"{rival} ÷ ours"] > 0 for rival in OPS[name].rivals)
    said = capsys.readouterr().out
    assert f"{name}, float32: agrees with its reference" in said
    assert "written:" in said
    if OPS[name].gradient:
        assert found.with_suffix(".png").stat().st_size > 10_000


def test_what_does_not_agree_is_not_timed(tmp_path, monkeypatch):
    right = OPS["scan"].ours
    wrong = OPS["scan"]._replace(ours=lambda s, v: right(s, v) + 0.01 * v)
    monkeypatch.setitem(bench.OPS, "scan", wrong)
    with pytest.raises(SystemExit, match="off by .* at length 96 in torch.float32: not timed"):
        bench.main(["scan", "--longest", "96", "--rounds", "1", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_an_unknown_op_is_told(capsys):
    with pytest.raises(SystemExit):
        bench.main(["attention"])
    assert "attention is none of probsparse" in capsys.readouterr().err


def test_memory_counts_what_tensors_hold():
    def run() -> None:
        first = torch.ones(1 << 18)
        second = first + 1
        del first
        assert (second * 2).shape == (1 << 18,)

    assert bench._peak(run, "cpu") == pytest.approx(2 * 4 * (1 << 18), rel=0.01)
