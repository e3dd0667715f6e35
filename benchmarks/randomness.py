"""The states of all random number generators that a module may use."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch


def random_states(trainer: pl.Trainer | None = None) -> dict[str, Any]:
    """The states of all random number generators that a module may use, as plain data and tensors.

    Without a trainer, that of its device is not among them.
    """
    kind, keys, at, has_gauss, gauss = np.random.get_state()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), np.asarray(keys).tolist(), int(at), int(has_gauss), float(gauss)],
        "python": random.getstate(),
    }
    if trainer is not None and trainer.strategy.root_device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(trainer.strategy.root_device)
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """Brings the random number generators back."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(tuple(states["numpy"]))
    random.setstate(states["python"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
