"""The labelled series of a run for Lightning: read, cut, scaled, and served as whole batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as lightning


class LabelModule(lightning.LightningDataModule):
    """Labelled series from a card or a file. `prepare` makes all but the loaders."""

    def __init__(
        self, *, card: str | None = None, path: str | None = None, test: str | None = None, id: str | None = None,
        time: str | None = None, label: str | None = None, channels: str | Sequence[str] | None = None,
        missing: Any = None, splits: Mapping[str, Any] | None = None, val: float = 0.2, scale: str = "standard",
        batch_size: int = 64, places: int = 1 << 16, seed: int = 1,
    ) -> None:  # fmt: skip
        """`card` names a known data set, `path` a file (with both, the file is read as the card says); `test` a second
        file, which holds the test part where `path` holds the rest. `val`: share of the training series that validate,
        where the splits name no validation of their own. `scale`: standard or none. `places`: steps and padding in a
        batch."""
        super().__init__()
