"""A stream that is killed a hundred times (`make soak`)."""

from tests.streaming.conftest import home  # noqa: F401
from tests.streaming.killed import killed

KILLS = 100


def test_a_hundred_kills(home, tmp_path):  # noqa: F811
    assert killed(home, tmp_path, KILLS, seed=1) >= 90
