"""insight.json and insight.parquet of real, untrained encoders, beside a made-up run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forecast.artifacts import Run
from forecast.heads import Chain, Direct
from forecast.inference.insight.write import of_chain, put
from forecast.models import (
    LSTM,
    TCNCA,
    Aaren,
    ChannelEmbedding,
    Encoder,
    Informer,
    NoNorm,
    PatchEmbedding,
    Transformer,
    ValueEmbedding,
)
from tests.problems import batch, spec

D = 8
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "informer": lambda: Informer(d_model=D, heads=2, d_ff=16, layers=[3, 2], factor=2),
    "aaren": lambda: Aaren(d_model=D, heads=2, d_ff=16, layers=2),
    "transformer": lambda: Transformer(d_model=D, heads=2, d_ff=16),
    "tcnca": lambda: TCNCA(d_model=D, d_key=4, d_ff=8, chunk=6, kernel=3, factor=2, depth=2, layers=1),
    "lstm": lambda: LSTM(d_model=D),
}
EMBEDS = {
    "steps": lambda s: ValueEmbedding(spec=s, d_model=D),
    "patches": lambda s: PatchEmbedding(spec=s, d_model=D, patch=6, stride=3),
    "channels": lambda s: ChannelEmbedding(spec=s, d_model=D),
}
WORTH = [
    ("own past", "own past", 0.8, 0.02, 0.03), ("price", "known", 0.5, 0.01, 0.02),
    ("<b>lead</b>", "past", 0.02, 0.004, 0.003), ("noise", "past", -0.001, 0.001, 0.002),
    ("calendar", "calendar", 0.0, 0.0, 0.0),
]  # fmt: skip


def write_insight(path: Path, encoder: str, layout: str = "steps", worth: Any = WORTH) -> None:
    """What a run would have written in `path`."""
    torch.manual_seed(0)
    s = spec(3, targets=2)
    embed, body = EMBEDS[layout](s), ENCODERS[encoder]()
    length = body.out_len(embed.length(s.context))
    head: torch.nn.Module = Direct(spec=s, d_memory=D, length=length)
    if layout == "patches":
        from forecast.heads import Flat

        head = Flat(spec=s, d_memory=D, length=length, layout=embed.layout)
    chain = Chain(norm=NoNorm(), embed=embed, encoder=body, head=head, masked=False).eval()
    facts, frames = of_chain(chain, batch(s, 3, dtype=torch.float32))
    keys = ("column", "role", "mean", "sd", "se")
    facts |= {
        "part": "test", "context": s.context, "horizon": s.horizon, "channels": list(s.channels), "targets": 2,
        "windows": [
            {"pick": pick, "series": "load", "cutoff": f"2014-11-0{k + 1} 10:00", "mse": 0.1 * (k + 1)}
            for k, pick in enumerate(("best", "median", "worst"))
        ],
        "importance": {
            "windows": 64, "repeats": 5, "mse": 0.4, "rows": [dict(zip(keys, row, strict=True)) for row in worth],
        },
        "seconds": {"looked": 0.5, "importance": 1.0},
    }  # fmt: skip
    put(Run(path), facts, frames)
