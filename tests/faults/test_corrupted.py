"""Damaged run folders are refused in one line, and nothing of them is used. A thousand more: tests/soak."""

import json
import pickle
import resource
import struct
from pathlib import Path

import pytest

from forecast.artifacts import Run
from forecast.errors import ArtifactError
from forecast.inference.predictor import Predictor

from . import conftest, corrupt
from .make import csv


@pytest.mark.parametrize("seed", range(52))
def test_a_damaged_run_is_refused(copied: Path, seed: int) -> None:
    assert corrupt.refusal(copied) == ""
    done = corrupt.harm(copied, seed)
    line = corrupt.refusal(copied)
    assert line, done[:2]
    assert "\n" not in line


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_every_verb_refuses_a_damaged_run(
    run_program: conftest.Program, copied: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    folder = copied.parent
    csv()(folder)
    monkeypatch.chdir(folder)
    done = corrupt.harm(copied, seed)
    before = sorted(folder.rglob("*"))
    for words in corrupt.commands(done):
        said = run_program(words)
        assert (said.code, said.out, said.err.count("\n")) == (4, "", 1), (words, done[:2], said)
        assert said.err.startswith("forecast: ")
        assert sorted(folder.rglob("*")) == before


def test_no_byte_of_the_manifest_can_change(copied: Path) -> None:
    path = copied / "MANIFEST.json"
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        harmed = bytearray(raw)
        harmed[at] ^= 1 << at % 8
        path.write_bytes(harmed)
        with pytest.raises(ArtifactError, match="^[^\n]+$"):
            Run(copied).manifest()
    for other in (raw + b" ", raw.replace(b"\n", b"\r\n"), b" " + raw, b"{}", b"[]", b'{"files": []}'):
        path.write_bytes(other)
        with pytest.raises(ArtifactError, match="^[^\n]+$"):
            Run(copied).manifest()


class Payload:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_a_lying_header_allocates_nothing(copied: Path, tmp_path: Path) -> None:
    """Weights of ill will, vouched for by a new manifest: refused before memory is taken or code is run."""
    path = copied / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    giant = {**header, name: {"dtype": "F32", "shape": [1 << 20, 1 << 16], "data_offsets": [0, 1 << 38]}}
    liar = json.dumps(giant).encode()
    lies = [
        struct.pack("<Q", 1 << 62) + raw[8:],
        struct.pack("<Q", len(raw) * 2) + raw[8:],
        struct.pack("<Q", len(liar)) + liar + raw[8 + length :],
        raw[: len(raw) // 2],
        pickle.dumps(Payload(tmp_path / "run-by-pickle")),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for lie in lies:
        path.write_bytes(lie)
        Run(copied).seal()
        with pytest.raises(ArtifactError, match=r"^[^\n]*model\.safetensors cannot be read: [^\n]+$"):
            Predictor.load(copied)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    assert not (tmp_path / "run-by-pickle").exists()
