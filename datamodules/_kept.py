"""Tensors that take long to make, kept as files with their checksum."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]


def kept(path: Path, make: Callable[[], Tensors]) -> Tensors:
    """The tensors of a file, or else those that `make` gives, which are then written to it.

    The file is written whole or not at all, and read only if its tensors have the SHA-256 sum that it names: a
    damaged one is replaced. A folder that cannot be written to costs the file and nothing else.
    """
    if (found := _read(path)) is not None:
        return found
    made = {name: tensor.contiguous() for name, tensor in make().items()}
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, made)
    return made


def _read(path: Path) -> Tensors | None:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            whole = (file.metadata() or {}).get("sha256") == _digest(tensors)
    except (OSError, SafetensorError):
        return None
    return tensors if whole else None


def _write(path: Path, tensors: Tensors) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata={"sha256": _digest(tensors)})
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 sum of the tensors with their names, shapes and types."""
    sum_ = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sum_.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sum_.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return sum_.hexdigest()
