"""Classifiers of irregular series against the papers' recursions, torch's own unit and scikit-learn's trees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from zoo.time_series import GRUD, BoostedSummary, GRUForward
from zoo.time_series._gated import GatedClassifier
from zoo.time_series.boosted_summary import SUMMARIES, summaries

N, T, C, H = 4, 8, 3, 5
every_unit = pytest.mark.parametrize("cls", [GRUForward, GRUD])


def series(size: int = N) -> tuple[Tensor, Tensor, Tensor]:
    """Series with gaps: one has a time at which nothing was observed, one a channel that never was."""
    draw = torch.Generator().manual_seed(1)
    times = (torch.rand(size, T, generator=draw, dtype=torch.float64) + 0.1).cumsum(1)
    values = torch.randn(size, T, C, generator=draw, dtype=torch.float64)
    mask = torch.rand(size, T, C, generator=draw) >= 0.4
    mask[1, 4], mask[2, :, 1] = False, False
    return torch.where(mask, values, 0.0), mask, times


def model(cls: type[GatedClassifier], **arguments: Any) -> Any:
    torch.manual_seed(0)
    return cls(C, 2, hidden_features=H, **arguments).double()


def torchs_unit(module: GatedClassifier) -> nn.GRUCell:
    """`nn.GRUCell` with the weights of the model's unit."""
    cell = nn.GRUCell(module.unit.input.in_features, H).double()
    for name, own in (("ih", module.unit.input), ("hh", module.unit.past)):
        getattr(cell, f"weight_{name}").data.copy_(own.weight)
        getattr(cell, f"bias_{name}").data.copy_(own.bias)
    return cell


def gru_d(module: Any, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
    """The logits of one series by the paper's recursions, a number at a time."""
    cell, h = torchs_unit(module), torch.zeros(H, dtype=torch.float64)
    delta, last = [0.0] * C, [0.0] * C
    for k in range(T):
        if k:
            step = float(times[k] - times[k - 1])
            delta = [step + (0.0 if mask[k - 1, c] else delta[c]) for c in range(C)]
        x = []
        for c in range(C):
            if mask[k, c]:
                last[c] = float(values[k, c])
            rate = max(0.0, float(module.rate[c]) * delta[c] / module.horizon + float(module.base[c]))
            x.append(last[c] * (1.0 if mask[k, c] else math.exp(-rate)))
        if mask[k].any():
            rates = module.decay(torch.tensor(delta, dtype=torch.float64) / module.horizon).clamp(min=0)
            u = torch.cat([torch.tensor(x, dtype=torch.float64), mask[k].double()])
            h = cell(u[None], ((-rates).exp() * h)[None])[0]
    return module.readout(h)


def test_gru_d_is_the_recursion_of_its_paper() -> None:
    module, (values, mask, times) = model(GRUD, horizon=2.0), series()
    with torch.no_grad():
        module.base.copy_(torch.tensor([0.3, -0.2, 0.0]))
        expected = torch.stack([gru_d(module, *one) for one in zip(values, mask, times, strict=True)])
        torch.testing.assert_close(module(values, mask, times), expected, rtol=1e-12, atol=1e-12)


def test_a_forward_filled_unit_is_torchs_on_filled_values() -> None:
    module, (values, mask, times) = model(GRUForward), series()
    filled = values.clone()
    for n, k, c in (~mask).nonzero().tolist():
        filled[n, k, c] = filled[n, k - 1, c] if k else 0.0
    cell = torchs_unit(module)
    for n in range(N):
        h = torch.zeros(1, H, dtype=torch.float64)
        for k in mask[n].any(-1).nonzero()[:, 0]:
            h = cell(filled[n, k][None], h)
        torch.testing.assert_close(module(values, mask, times)[n], module.readout(h)[0], rtol=1e-12, atol=1e-12)


def test_without_decay_gru_d_reads_filled_values_and_with_much_it_reads_means() -> None:
    module, (values, mask, times) = model(GRUD), series()
    with torch.no_grad():
        module.rate.zero_()
        filled, decay = module.read(values, mask, times)
        module.rate.fill_(1e9)
        forgotten, _ = module.read(values, mask, times)
    forward, _ = model(GRUForward).read(values, mask, times)
    assert torch.equal(filled[..., :C], forward)
    assert torch.equal(filled[..., C:], mask.double())
    later = times - times[:, :1] > 0  # at the first time nothing has had time to decay
    assert torch.equal(forgotten[..., :C][later], values[later])
    assert decay is not None
    assert bool((decay <= 1).all())


@every_unit
def test_neither_what_was_not_observed_nor_later_times_without_observation_matter(cls: type[GatedClassifier]) -> None:
    module, (values, mask, times) = model(cls), series()
    expected = module(values, mask, times)
    assert torch.equal(module(torch.where(mask, values, 1e3), mask, times), expected)
    longer = (torch.cat([a, torch.zeros_like(a[:, :2])], 1) for a in (values, mask))
    after = torch.cat([times, times[:, -1:] + torch.tensor([1.0, 7.0], dtype=torch.float64)], 1)
    assert torch.equal(module(*longer, after), expected)


@every_unit
def test_a_shift_in_time_changes_nothing(cls: type[GatedClassifier]) -> None:
    module, (values, mask, times) = model(cls), series()
    torch.testing.assert_close(module(values, mask, times + 3.0), module(values, mask, times), rtol=1e-12, atol=1e-12)


def test_summaries_are_numpys_of_what_was_observed() -> None:
    values, mask, _ = series()
    found = summaries(values, mask).unflatten(1, (len(SUMMARIES), C)).transpose(1, 2)
    for n in range(N):
        for c in range(C):
            x = values[n, mask[n, :, c], c].numpy()
            of_values = [x.mean(), x.std(), x.min(), x.max(), x[0], x[-1]] if len(x) else [math.nan] * 6
            np.testing.assert_allclose(found[n, c].numpy(), [len(x), *of_values], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_kept_trees_are_scikit_learns(classes: int) -> None:
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(300, len(SUMMARIES) * C, generator=draw, dtype=torch.float64)
    s[torch.rand(s.shape, generator=draw) < 0.2] = torch.nan
    labels = (s[:, 0].nan_to_num() + s[:, 1].isnan() > 0).long() + (classes - 2) * (s[:, 2] > 0.5).long()
    module = BoostedSummary(C, classes, rounds=12, depth=4, samples=5, lr=0.3)
    module.fit(s[:200], labels[:200])
    oracle = HistGradientBoostingClassifier(
        learning_rate=0.3,
        max_iter=12,
        max_depth=4,
        max_leaf_nodes=None,
        min_samples_leaf=5,
        early_stopping=False,
        random_state=0,
    ).fit(s[:200].numpy(), labels[:200].numpy())
    expected = oracle.decision_function(s.numpy()).reshape(300, -1)
    # a leaf's values are float64 in both, added up in another order
    np.testing.assert_allclose(module.grown(s).numpy(), expected, rtol=1e-12, atol=1e-12)
    held_out = module.grown(s[200:])
    predicted = held_out[:, 0] > 0 if classes == 2 else held_out.argmax(1)
    assert float((predicted == labels[200:]).float().mean()) > 0.9  # nearly a rule of single splits


def test_two_classes_have_the_difference_of_their_logits() -> None:
    module, (values, mask, times) = BoostedSummary(C, 2, rounds=2), series()
    module.base.fill_(-1.5)
    assert torch.equal(module(values, mask, times), torch.tensor([0.0, -1.5], dtype=torch.float64).expand(N, -1))


def test_a_channel_that_training_never_observed_changes_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(100, len(SUMMARIES) * C, generator=draw)
    s[:, 1] = torch.nan
    module = BoostedSummary(C, 2, rounds=5)
    module.fit(s, (s[:, 0] > 0).long())
    expected = module.grown(s.double())
    s[:, 1] = 1e3
    assert torch.equal(module.grown(s.double()), expected)


@pytest.mark.parametrize(("classes", "labels"), [(3, [0, 1]), (2, [0, 2]), (2, [0, 1, 2])])
def test_other_classes_in_training_are_refused(classes: int, labels: list[int]) -> None:
    drawn = torch.tensor(labels).repeat(4)
    with pytest.raises(ValueError, match=rf"classes 0 to {classes - 1}, got \[{', '.join(map(str, labels))}\]"):
        BoostedSummary(C, classes).fit(torch.randn(len(drawn), len(SUMMARIES) * C), drawn)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (GRUD, {"in_channels": 0}, "in_channels must be at least 1, got 0"),
        (GRUD, {"horizon": 0.0}, "horizon must be positive, got 0.0"),
        (GRUForward, {"hidden_features": 0}, "hidden_features must be at least 1, got 0"),
        (GRUForward, {"num_classes": 1}, "num_classes must be at least 2, got 1"),
        (BoostedSummary, {"rounds": 0}, "rounds must be at least 1, got 0"),
        (BoostedSummary, {"lr": -0.1}, "lr must be positive, got -0.1"),
    ],
)
def test_bad_arguments(cls: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**({"in_channels": C, "num_classes": 2} | arguments))
