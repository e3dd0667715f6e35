"""Classifiers of series with values lost: what is lost is not read, and what a series is filled up with is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules import IrregularUCR
from zoo._interpolation import INTERPOLATIONS
from zoo.differential import GRUDeltaT, NeuralCDE
from zoo.differential.gru_delta_t import gaps

N, T, C, CLASSES = 6, 11, 3, 4
Series = tuple[Tensor, Tensor, Tensor]


def cde(interpolation: str) -> Callable[[], Any]:
    return lambda: NeuralCDE(C, CLASSES, hidden_channels=5, width=7, layers=2, interpolation=interpolation)


MODELS = {"gru": lambda: GRUDeltaT(C, CLASSES, hidden_features=5), **{kind: cde(kind) for kind in INTERPOLATIONS}}


def made(name: str) -> Any:
    torch.manual_seed(0)
    return MODELS[name]().double()


def series(missing: float = 0.6) -> Series:
    """Series of their own times, the last of which ends early."""
    draw = torch.Generator().manual_seed(2)
    times = (torch.rand(N, T, generator=draw, dtype=torch.float64) + 0.2).cumsum(1)
    values = torch.randn(N, T, C, generator=draw, dtype=torch.float64)
    mask = torch.rand(N, T, C, generator=draw) >= missing
    mask[:, 0], mask[:-1, -1, 0], mask[-1, 5, 1], mask[-1, 6:] = True, True, True, False
    return torch.where(mask, values, 0.0), mask, times


@pytest.mark.parametrize("name", MODELS)
def test_what_is_lost_carries_no_information(name: str) -> None:
    model, (values, mask, times) = made(name), series()
    for other in (1e3, torch.nan):
        assert torch.equal(model(torch.where(mask, values, other), mask, times), model(values, mask, times))


@pytest.mark.parametrize("name", MODELS)
def test_a_value_that_is_left_is_read(name: str) -> None:
    """Each of the values bears on the logits of its own series, and on those of no other."""
    model, (values, mask, times) = made(name), series()
    jacobian: Any = torch.autograd.functional.jacobian(lambda given: model(given, mask, times), values)
    influence = jacobian.abs().sum(1)  # (N, N, T, C): of a value of the second series on the first
    read = influence.diagonal().movedim(-1, 0) > 0
    assert torch.equal(read, mask)
    assert not influence[~torch.eye(N, dtype=torch.bool)].any()


@pytest.mark.parametrize("name", MODELS)
def test_a_short_series_among_longer_ones_is_what_it_is_alone(name: str) -> None:
    model, args = made(name), series()
    alone = [a[-1:, :6] for a in args]
    torch.testing.assert_close(model(*args)[-1:], model(*alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_state_stands_still_once_a_series_has_ended(interpolation: str) -> None:
    """Time stands still too: what is read out is the state at the series' own end."""
    model, args = made(interpolation), series()
    states = model.states(*args)[:, -1]
    end = 5 * (2 if interpolation == "rectilinear" else 1)  # its pieces are two a step
    assert torch.equal(states[end:], states[end].expand_as(states[end:]))
    assert (states[end] != states[end - 1]).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_channels_is_a_matter_of_weights(name: str) -> None:
    model, other, (values, mask, times) = made(name), made(name), series()
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        channels = torch.cat([torch.zeros(1, dtype=torch.long), 1 + order])  # time, or its difference, is the first
        if name == "gru":
            other.cell.weight_ih.copy_(model.cell.weight_ih[:, channels])
        else:
            other.start.weight.copy_(model.start.weight[:, channels])
            for tensor in ("weight", "bias"):
                last, moved = (getattr(m.field.network[-2], tensor) for m in (model, other))
                moved.copy_(last.unflatten(0, model.field.shape)[:, channels].flatten(0, 1))
    expected = model(values, mask, times)
    torch.testing.assert_close(other(values[..., order], mask[..., order], times), expected, rtol=1e-12, atol=1e-12)


def test_gaps_follow_their_recurrence() -> None:
    _, mask, times = series()
    seen = mask[..., 1]
    seen[0, :4] = False  # a series that starts late
    found, expected = gaps(seen, times), torch.zeros(N, dtype=torch.float64)
    for k in range(T):
        if k > 0:
            expected = times[:, k] - times[:, k - 1] + torch.where(seen[:, k - 1], 0.0, expected)
        torch.testing.assert_close(found[:, k], expected, rtol=1e-12, atol=1e-12)


def test_the_state_is_that_of_torchs_recurrent_unit_on_what_was_observed() -> None:
    model, (values, mask, times) = made("gru"), series()
    theirs = nn.GRU(1 + C, 5, batch_first=True).double()
    theirs.load_state_dict({f"{name}_l0": tensor for name, tensor in model.cell.state_dict().items()})
    mask[0, 3:6] = False  # a while without anything
    found = model(values, mask, times)
    for n in range(N):
        seen = mask[n].any(-1)
        t = times[n, seen].numpy()
        known = [(t[m], x[m]) for m, x in zip(mask[n, seen].numpy().T, values[n, seen].numpy().T, strict=True)]
        filled = np.stack([t - np.concatenate([t[:1], t[:-1]]), *(np.interp(t, *pair) for pair in known)], -1)
        _, last = theirs(torch.from_numpy(filled))
        torch.testing.assert_close(found[n], model.readout(last[0]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["BasicMotions", "JapaneseVowels"])
def test_nothing_of_a_lost_value_is_in_a_batch(name: str) -> None:
    """It is zero, and the moments that standardise a channel are those of what is left to train on."""
    data = IrregularUCR(name, missing=0.7)
    for split in ("train", "val", "test"):
        values, mask, *_ = data.load(split)
        assert not values[~mask].any()
    values, mask, *_ = data.load("train")
    flat = [values[..., c][mask[..., c]].double() for c in range(values.shape[-1])]
    moments = torch.tensor([[float(x.mean()), float(x.std(correction=0))] for x in flat])
    torch.testing.assert_close(moments, torch.tensor([0.0, 1.0]).expand_as(moments), rtol=0, atol=1e-5)  # float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRUDeltaT(0, 2), "in_channels must be at least 1, got 0"),
        (lambda: GRUDeltaT(2, 1), "num_classes must be at least 2, got 1"),
        (lambda: GRUDeltaT(2, 2, hidden_features=0), "hidden_features must be at least 1, got 0"),
        (lambda: GRUDeltaT(2, 2, lr=0.0), "lr must be positive, got 0.0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
