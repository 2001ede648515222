"""The choice between a reference and its twin."""

import logging

import pytest
import torch

from forecast.errors import UsageError
from forecast.ops import dispatch
from forecast.ops.selection import measure, sample_keys


@pytest.fixture(autouse=True)
def forgotten() -> None:
    dispatch._say.cache_clear()


def test_on_a_cpu_the_reference_runs_and_says_so_once(caplog, monkeypatch):
    monkeypatch.delenv("FORECAST_KERNELS", raising=False)
    with caplog.at_level(logging.INFO, "forecast"):
        for _ in range(3):
            assert dispatch.pick(measure, torch.zeros(1)) is measure
    assert caplog.messages == ["selection.measure: torch (FORECAST_KERNELS=auto, tensors on cpu)"]


def test_torch_forces_the_reference(monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "torch")
    assert dispatch.pick(measure, torch.zeros(1)) is measure


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "cuda")
    with pytest.raises(UsageError, match="FORECAST_KERNELS is cuda; expected one of auto, torch, triton"):
        dispatch.pick(measure, torch.zeros(1))


def test_triton_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(UsageError, match="tensors are on cpu; Triton needs a GPU; set FORECAST_KERNELS=auto"):
        dispatch.pick(measure, torch.zeros(1))


def test_triton_without_a_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("FORECAST_KERNELS", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(UsageError, match="no kernel selection.sample_keys"):
        dispatch.pick(sample_keys, torch.zeros(1))
