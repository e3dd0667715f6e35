"""Irregular series as `predict` takes them: with gaps for what was not observed, and refused where they are none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def completed(given: Mapping[str, Tensor], dtype: torch.dtype, channels: int) -> dict[str, Tensor]:
    """Values (N, T, C) in so many channels, mask (N, T, C) of what was observed, and times (N, T), of what was given.

    Without a mask, what is NaN was not observed; what was not observed becomes 0. Times (T,) are those of all series.
    Give a series that ends early later times at which nothing was observed. All of this reads the data, on
    whatever device: it is for `predict`, not for a training step.

    Raises ValueError, naming the input and the series, for shapes that do not fit, a mask that is not boolean, times
    that are not finite or do not increase strictly in the model's precision, `dtype`, and observed values that are not
    finite.
    """
    if "values" in given:
        given = {"mask": ~given["values"].isnan(), **given}
    if not {"values", "times"} <= given.keys():
        return dict(given)
    values, times = given["values"], given["times"]
    if values.ndim != 3:
        raise ValueError(f"expected values of shape (N, T, C), got {tuple(values.shape)}: values[None] is one series")
    if values.shape[1] < 1 or values.shape[2] != channels:
        raise ValueError(f"expected values of shape (N, T, {channels}) with T >= 1, got {tuple(values.shape)}")
    mask = given["mask"]
    times = times.expand(len(values), -1) if times.ndim == 1 else times
    for name, x, shape in (("mask", mask, values.shape), ("times", times, values.shape[:2])):
        if x.shape != shape:
            fits = f"{tuple(shape)} to values of shape {tuple(values.shape)}"
            raise ValueError(f"expected {name} of shape {fits}, got {tuple(x.shape)}")
    if mask.dtype != torch.bool:
        raise ValueError(f"expected mask of booleans, true where a value was observed, got {mask.dtype}")
    refuse_order(times.to(dtype))
    _refuse_values(values, mask)
    return {"values": torch.where(mask, values, 0), "mask": mask, "times": times}


def refuse_order(times: Tensor) -> None:
    """Raises ValueError naming the first of the times (N, T) that is not finite, or not later than that before it."""
    if not bool(times.isfinite().all()):
        series, k = (~times.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"expected finite times: in series {series}, times[{k}] is {times[series, k]:g}")
    if not bool((later := times.diff(dim=1) > 0).all()):
        series, k = (~later).nonzero()[0].tolist()
        raise ValueError(
            f"expected times that increase strictly: in series {series}, times[{k + 1}] = {times[series, k + 1]:g} "
            f"follows {times[series, k]:g} in {times.dtype}"
        )


def _refuse_values(values: Tensor, mask: Tensor) -> None:
    if bool((bad := mask & ~values.isfinite()).any()):
        series, k, channel = bad.nonzero()[0].tolist()
        raise ValueError(
            f"expected finite values where they were observed: in series {series}, values[{k}, {channel}] is "
            f"{values[series, k, channel]:g}; without a mask NaN is what was not observed, with one, what it leaves out"
        )
