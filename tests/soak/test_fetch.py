"""Downloads under many deaths of the client. Not part of the ordinary suite: make soak."""

import random
from pathlib import Path

import pytest

from tests.data.test_fetch import BODY, killed_and_resumed
from tests.server import Source, serving


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("how", [{}, {"chunked": True}, {"ranges": False}, {"etag": None}, {"cuts": [40_000] * 3}])
def test_a_client_that_dies_often(tmp_path: Path, seed: int, how: dict[str, object]) -> None:
    chance = random.Random(seed)
    with serving(Source(BODY, pause=0.01, piece=10_000, **how)) as source:  # type: ignore[arg-type]
        killed_and_resumed(source, tmp_path, [max(0.0, chance.uniform(-0.1, 0.35)) for _ in range(8)])
