"""Checkpoints that a kill or a full disk cannot destroy: written beside their target, fsynced, renamed.

torch writes a zip file and, reading it, checks no sum of it: a flipped bit would become a weight. So the comment at
the end of the zip, which readers skip, holds the sha256 of all before it.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO

from forecast.artifacts import atomic
from forecast.errors import ArtifactError, RunError

DIGEST = 64  # hexadecimal digits
END = 22  # bytes of a zip's last record without a comment; the length of the comment is its last two
PIECE = 1 << 20


class AtomicCheckpoints(CheckpointIO):
    """Lightning's own writer stages in $TMPDIR and truncates the old file; this one never touches it before the end."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Raises RunError where the file cannot be written; the one before it is then still there."""
        try:
            with atomic(Path(path)) as temporary:
                torch.save(checkpoint, temporary)
                seal(temporary)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise RunError(
                f"{path} cannot be written: {reason(error, Path(path).parent)}",
                f"the checkpoint before it {'was kept' if Path(path).is_file() else 'is none'}",
                "make room and go on with: forecast train resume=latest",
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Tensors and plain data only, whatever the caller or the environment asks for."""
        check(Path(path))
        try:
            loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # torch names a dozen kinds for a damaged file
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ArtifactError(f"{path} is no readable checkpoint: {first}", do="resume from another run") from error
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def reason(error: Exception, folder: Path) -> str:
    """What the system says; torch hides it in its own words, so a full disk is looked for."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    found = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if found is not None and found.f_bavail * found.f_frsize < PIECE:
        return "No space left on device"
    return str(error).splitlines()[0]


def check(path: Path) -> None:
    """Raise ArtifactError unless the file is what was written, to the last bit."""
    if not sealed(path):
        raise ArtifactError(
            f"{path} is no checkpoint, or a damaged one", "its sha256 is not its own", "resume from another run"
        )


def seal(path: Path) -> None:
    """Put the sha256 of a zip file without a comment into its comment."""
    with open(path, "r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", DIGEST) + digest.encode())


def sealed(path: Path) -> bool:
    """Whether a file is what `seal` made of it, to the last bit."""
    try:
        size = path.stat().st_size - DIGEST
        if size < END:
            return False
        with open(path, "rb") as file:
            found, left = hashlib.sha256(), size - 2
            while left and (piece := file.read(min(PIECE, left))):
                found.update(piece)
                left -= len(piece)
            length, digest = file.read(2), file.read()
    except OSError:
        return False
    found.update(b"\0\0")  # the length of the comment before there was one
    return length == struct.pack("<H", DIGEST) and digest == found.hexdigest().encode()
