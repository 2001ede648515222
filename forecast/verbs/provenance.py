"""What a reader needs to repeat a run of the command line."""

import shlex
from typing import Any

from forecast import provenance
from forecast.provenance import git, peak_memory
from forecast.verbs.sweep import job


def environment(overrides: list[str]) -> dict[str, Any]:
    """Facts of this process, before it trains."""
    sweep = job()
    return {
        **provenance.environment(shlex.join(["forecast", "train", *overrides])),
        **({"sweep": sweep} if sweep else {}),
    }


__all__ = ["environment", "git", "peak_memory"]
