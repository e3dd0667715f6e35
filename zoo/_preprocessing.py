"""From raw input to what a model takes: the steps that a card lists, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo._module import ZooModule


def standardise(x: Tensor, ddof: int) -> Tensor:
    """Each series along the last axis with mean 0 and standard deviation 1; a constant series becomes 0, NaN stays.

    ddof is what the deviation's divisor lacks to the length. Computed in float64, the result is float32.
    """
    x = x.double()
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(x.shape[-1] - ddof, 1)
    varies = x.amax(-1, keepdim=True) != x.amin(-1, keepdim=True)  # rounding gives a constant some variance
    return torch.where(varies, centred / torch.where(varies, variance, 1).sqrt(), 0).float()


STEPS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "divide": lambda x, by: x.float() / by,
    "subtract": lambda x, what: x.float() - what,
    "standardise": standardise,
}


def check(card: Mapping[str, Any]) -> None:
    """Raises ValueError where a card's `input` has an unknown step or dtype, or a shape that is none."""
    for key in ("raw_dtype", "dtype"):
        if not isinstance(getattr(torch, card[key], None), torch.dtype):
            raise ValueError(f"{key} must be a dtype of torch, got {card[key]!r}")
    if not all(_is_number(size) and isinstance(size, int) for size in card["raw_shape"]):
        raise ValueError(f"raw_shape must be a list of whole numbers, got {card['raw_shape']}")
    for step in card["preprocessing"]:
        if not isinstance(step, list) or len(step) != 2 or step[0] not in STEPS or not _is_number(step[1]):
            raise ValueError(f"a step of preprocessing is [{' | '.join(STEPS)}, number], got {step!r}")
        if step == ["divide", 0] or (step[0] == "standardise" and step[1] not in (0, 1)):
            raise ValueError(f"a step of preprocessing that makes no sense: {step!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def preprocess(raw: Tensor, steps: Sequence[Sequence[Any]]) -> Tensor:
    """The steps in their order: `["divide", a]`, `["subtract", a]` in float32, `["standardise", ddof]`."""
    for name, value in steps:
        raw = STEPS[name](raw, value)
    return raw


def predict(model: ZooModule, raw: Any) -> Any:
    """`forward` of preprocessed raw input, in eval mode; the model's mode is afterwards what it was.

    Raises ValueError for input of another kind or shape than the card describes and the model can take.
    """
    card = model.card["input"] if model.card else None
    given = _tensor(raw)
    x = (given if card is None else _prepared(given, card)).to(model.device)
    if x.is_floating_point() and model.dtype != torch.get_default_dtype():  # after model.to(dtype)
        x = x.to(model.dtype)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.set_grad_enabled(not model.inference_mode):
            return model(x)
    except (RuntimeError, IndexError, ValueError) as error:
        if card is None or given.shape[1:] == tuple(card["raw_shape"]):
            raise
        raise ValueError(_wrong_shape(card, given, f"give samples of that shape ({error})")) from error
    finally:
        for module in training:
            module.training = True


def _tensor(raw: Any) -> Tensor:
    try:
        given = raw if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))  # a copy: arrays may be read-only
    except (TypeError, ValueError) as error:
        kind = type(raw).__name__
        raise ValueError(f"expected raw input as one tensor or array of numbers, got {kind} ({error})") from error
    if given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"expected raw input of real numbers, got {given.dtype}")
    return given


def _prepared(raw: Tensor, card: Mapping[str, Any]) -> Tensor:
    """What the model takes, on the device of the raw input: there the numbers are the data module's own."""
    if raw.ndim != len(card["raw_shape"]) + 1:
        raise ValueError(_wrong_shape(card, raw, "N samples lie along the first axis, raw[None] is a batch of one"))
    if raw.is_floating_point() and not getattr(torch, card["raw_dtype"]).is_floating_point:
        raise ValueError(
            f"expected raw input of {card['raw_dtype']}, got {raw.dtype}: give the values as they are in the data's "
            "files, neither scaled nor standardised"
        )
    if raw.is_floating_point() and not raw.isfinite().all():
        count = int((~raw.isfinite()).sum())
        raise ValueError(f"expected finite raw input, got {count} values that are NaN or infinite: fill or drop them")
    return preprocess(raw, card["preprocessing"]).to(getattr(torch, card["dtype"]))


def _wrong_shape(card: Mapping[str, Any], got: Tensor, remedy: str) -> str:
    expected = ", ".join(map(str, ("N", *card["raw_shape"])))
    return f"expected raw input of shape ({expected}), got {tuple(got.shape)}: {remedy}"
