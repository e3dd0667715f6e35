"""Stage: one part of a training that runs in several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl


def whole(data: pl.LightningDataModule) -> pl.LightningDataModule:
    """The view of the data that changes nothing."""
    return data


@dataclass(frozen=True)
class Stage:
    """A module to fit, its view of the data and its trainer settings.

    The outer model lists its stages in the order of their fitting; `data` is called when its stage starts, with
    the finished earlier stages in place. `trainer` is laid over the benchmark's trainer settings. Metrics are
    logged as `NAME/train/…`; steps count on from stage to stage.
    """

    name: str
    module: pl.LightningModule
    data: Callable[[pl.LightningDataModule], pl.LightningDataModule] = whole
    trainer: Mapping[str, Any] = field(default_factory=dict)
