"""What a Result says of where it was made: device, memory, commit and versions."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch

PACKAGES = ("torch", "lightning", "numpy", "wandb", "aeon", "torchvision")


def device_name(accelerator: str, index: int) -> str:
    """The device as the row names it."""
    return torch.cuda.get_device_name(index) if accelerator == "gpu" else f"cpu ({platform.machine()})"


def has_bf16(accelerator: str) -> bool:
    """Whether a device computes in bfloat16 faster than in float32; no processor is taken for one."""
    return accelerator == "gpu" and torch.cuda.is_bf16_supported(including_emulation=False)


def peak_memory(accelerator: str) -> int:
    """Bytes: of the device's allocator on a GPU, of the process on a CPU."""
    if accelerator == "gpu":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def commit() -> str:
    """The commit of the checkout that the package runs from; empty when installed."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    ask = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results lean on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
