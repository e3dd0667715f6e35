"""From raw input to what a model takes: the steps that a card lists, as plain data."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo._weights import inputs_of

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


def _along(x: Tensor, value: float | list[float]) -> Any:
    return torch.tensor(value, device=x.device) if isinstance(value, list) else value


STEPS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "at_least": lambda x, least: x.float().clamp(min=_along(x, least)),
    "at_most": lambda x, most: x.float().clamp(max=_along(x, most)),
    "divide": lambda x, by: x.float() / _along(x, by),
    "subtract": lambda x, what: x.float() - _along(x, what),
    "standardise": standardise,
}


def check(described: Mapping[str, Any]) -> None:
    """Raises ValueError where a card's input has an unknown step or dtype, or a shape that is none."""
    for key in ("raw_dtype", "dtype"):
        if not isinstance(getattr(torch, described[key], None), torch.dtype):
            raise ValueError(f"{key} must be a dtype of torch, got {described[key]!r}")
    if not all(_is_number(size) and isinstance(size, int) for size in described["raw_shape"]):
        raise ValueError(f"raw_shape must be a list of whole numbers, got {described['raw_shape']}")
    for step in described["preprocessing"]:
        known = isinstance(step, list) and len(step) == 2 and step[0] in STEPS
        if not known or not all(map(_is_number, numbers := _numbers(step))):
            raise ValueError(f"a step of preprocessing is [{' | '.join(STEPS)}, number], got {step!r}")
        fits = len(numbers) in (1, *described["raw_shape"][-1:])
        if not fits or (step[0] == "divide" and 0 in numbers) or (step[0] == "standardise" and step[1] not in (0, 1)):
            raise ValueError(f"a step of preprocessing that makes no sense: {step!r}")


def check_names(model: ZooModule, card: Mapping[str, Any]) -> None:
    """Raises ValueError where a card does not describe the arguments of a model's `forward`, of several by name."""
    own = arguments(model)
    told = [described["name"] for described in card["input"]] if isinstance(card["input"], list) else ["one input"]
    if told != own and not len(told) == len(own) == 1:
        raise ValueError(f"forward takes {_listed(own)}, and the card describes {_listed(told)}")


def arguments(model: ZooModule) -> list[str]:
    """The names of the inputs: what `forward` calls its arguments."""
    return list(inspect.signature(model.forward).parameters)


def _numbers(step: Sequence[Any]) -> list[Any]:
    return step[1] if isinstance(step[1], list) else [step[1]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def preprocess(raw: Tensor, steps: Sequence[Sequence[Any]]) -> Tensor:
    """The steps in their order: `["divide", a]`, `["subtract", a]`, `["at_least", a]`, `["at_most", a]` in float32, and
    `["standardise", ddof]`. The third moves what is below a to a, and the fourth what is above it.

    A list in place of the number a has one for each entry of the last axis.
    """
    for name, value in steps:
        raw = STEPS[name](raw, value)
    return raw


def log_volume(described: Mapping[str, Any]) -> float:
    """log |dx / draw| of an input's preprocessing: what the log-density of raw input has more than that of x.

    Raises ValueError for a step that is no change of variables.
    """
    for name, _ in described["preprocessing"]:
        if name in ("standardise", "at_least", "at_most"):
            raise ValueError(f"{name} maps several inputs to one: there is no density of raw input after it")
    divisors = [_numbers(step) for step in described["preprocessing"] if step[0] == "divide"]
    return -math.prod(described["raw_shape"]) * sum(fmean(math.log(abs(by)) for by in each) for each in divisors)


def predict(model: ZooModule, *raw: Any, **named: Any) -> Any:
    """`forward` of preprocessed raw input, in eval mode; the model's mode is afterwards what it was.

    Of a density it is the log-density of the raw input. Raises ValueError for more or fewer inputs than the model
    takes, and for input of another kind or shape than the card describes and the model can take.
    """
    given = model.complete(_given(model, raw, named))
    if missing := [name for name in arguments(model) if name not in given]:
        raise ValueError(f"{_takes(model)}: {missing[0]} is missing")
    given = {name: given[name] for name in arguments(model)}
    _refuse_counts(given)
    told = dict(zip(given, inputs_of(model.card), strict=True)) if model.card else {}
    ready = [_placed(_prepared(_label(model, name), x, told.get(name)), model) for name, x in given.items()]
    found = _evaluated(model, ready, given, told)
    return found + log_volume(next(iter(told.values()))) if model.is_density and told else found


def _evaluated(
    model: ZooModule, ready: Sequence[Tensor], given: Mapping[str, Tensor], told: Mapping[str, Mapping[str, Any]]
) -> Any:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.set_grad_enabled(not model.inference_mode):
            return model(*ready)
    except (RuntimeError, IndexError, ValueError) as error:
        for name, described in told.items():
            if given[name].shape[1:] != tuple(described["raw_shape"]):
                remedy = f"give samples of that shape ({error})"
                raise ValueError(_wrong_shape(_label(model, name), described, given[name], remedy)) from error
        raise
    finally:
        for module in training:
            module.training = True


def _given(model: ZooModule, raw: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Tensor]:
    """Inputs by their names, as tensors."""
    names = arguments(model)
    if len(raw) > len(names):
        raise ValueError(f"{_takes(model)}, got {len(raw)} inputs")
    given = dict(zip(names, raw, strict=False))
    for name in named:
        if name not in names or name in given:
            raise ValueError(f"{_takes(model)}, got {name}{' twice' if name in given else ''}")
    return {name: _tensor(_label(model, name), x) for name, x in (given | dict(named)).items()}


def _refuse_counts(given: Mapping[str, Tensor]) -> None:
    first, *others = given
    for name in others:
        if given[name].ndim and given[first].ndim and len(given[name]) != (count := len(given[first])):
            raise ValueError(f"expected as many {name} as {first}, N = {count}, got {len(given[name])}")


def _takes(model: ZooModule) -> str:
    return f"{type(model).__name__} takes {_listed(arguments(model))}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _label(model: ZooModule, name: str) -> str:
    """What messages call an input."""
    return name if len(arguments(model)) > 1 else "raw input"


def _tensor(label: str, raw: Any) -> Tensor:
    try:
        given = raw if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))  # a copy: arrays may be read-only
    except (TypeError, ValueError) as error:
        kind = type(raw).__name__
        raise ValueError(f"expected {label} as one tensor or array of numbers, got {kind} ({error})") from error
    if given.is_complex():
        raise ValueError(f"expected {label} of real numbers, got {given.dtype}")
    return given


def _placed(x: Tensor, model: ZooModule) -> Tensor:
    x = x.to(model.device)
    changed = x.is_floating_point() and model.dtype != torch.get_default_dtype()  # after model.to(dtype)
    return x.to(model.dtype) if changed else x


def _prepared(label: str, raw: Tensor, described: Mapping[str, Any] | None) -> Tensor:
    """What the model takes, on the device of the raw input: there the numbers are the data module's own."""
    if described is None:
        return raw
    if raw.ndim != len(described["raw_shape"]) + 1:
        remedy = "N samples lie along the first axis, raw[None] is a batch of one"
        raise ValueError(_wrong_shape(label, described, raw, remedy))
    if (raw.dtype == torch.bool) != (described["raw_dtype"] == "bool"):
        kind = "booleans" if described["raw_dtype"] == "bool" else "real numbers"
        raise ValueError(f"expected {label} of {kind}, got {raw.dtype}")
    if raw.is_floating_point() and not getattr(torch, described["raw_dtype"]).is_floating_point:
        raise ValueError(
            f"expected {label} of {described['raw_dtype']}, got {raw.dtype}: give the values as they are in the data's "
            "files, neither scaled nor standardised"
        )
    if raw.is_floating_point() and not raw.isfinite().all():
        count = int((~raw.isfinite()).sum())
        raise ValueError(f"expected finite {label}, got {count} values that are NaN or infinite: fill or drop them")
    try:
        return preprocess(raw, described["preprocessing"]).to(getattr(torch, described["dtype"]))
    except RuntimeError as error:  # numbers for more or fewer channels
        raise ValueError(_wrong_shape(label, described, raw, f"give samples of that shape ({error})")) from error


def _wrong_shape(label: str, described: Mapping[str, Any], got: Tensor, remedy: str) -> str:
    expected = ", ".join(map(str, ("N", *described["raw_shape"])))
    return f"expected {label} of shape ({expected}), got {tuple(got.shape)}: {remedy}"
