"""Checkpoints that a kill or a full disk cannot destroy: written beside their target, fsynced, renamed."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO

from forecast.artifacts import atomic
from forecast.errors import ArtifactError


class AtomicCheckpoints(CheckpointIO):
    """Lightning's own writer stages in $TMPDIR and truncates the old file; this one never touches it before the end."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Tensors and plain data only, whatever the caller or the environment asks for."""
        try:
            loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # torch names a dozen kinds for a damaged file
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ArtifactError(f"{path} is no readable checkpoint: {first}", do="resume from another run") from error
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
