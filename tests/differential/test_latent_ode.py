"""Latent differential equations: bounds that are known in closed form, invariances, and measures of forecasts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torchdiffeq import odeint

from benchmarks.observables.differential.forecasts import Forecasts, errors, refined
from datamodules import Digits, SpiralArcs
from zoo.differential import LatentODE, LinearFlow
from zoo.differential.latent_ode import GatedUnit

N, T, C = 5, 9, 2
Batch = tuple[Tensor, ...]


def made(dynamics: str = "ode", **hyperparameters: Any) -> LatentODE:
    torch.manual_seed(0)
    return LatentODE(
        C, 0.3, dynamics=dynamics, **{"latent_features": 3, "hidden_features": 8} | hyperparameters
    ).double()


def batch(latent: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(1)
    times = (torch.rand(N, T, generator=draw, dtype=torch.float64) + 0.1).cumsum(1)
    values = torch.randn(N, T, C, generator=draw, dtype=torch.float64)
    mask = torch.rand(N, T, C, generator=draw) >= 0.4
    mask[:, 0] = True
    return torch.where(mask, values, 0.0), mask, times, torch.randn(N, latent, generator=draw, dtype=torch.float64)


class Posterior(nn.Module):
    """An encoder that says the same of every batch."""

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.said = mean, variance.log()

    def forward(self, *_: Tensor) -> tuple[Tensor, Tensor]:
        return self.said


def linear() -> tuple[LatentODE, Batch, Tensor, Tensor, Tensor]:
    """z' = -z / 2 and x = (2 z, -z) + noise; its batch, log p(x), and mean and variance of p(z_0 | x), (N, 1)."""
    model, (values, mask, times, _) = made(latent_features=1, substeps=8), batch()
    model.dynamics.field = nn.Linear(1, 1, bias=False).double()
    model.decoder = nn.Linear(1, C, bias=False).double()
    with torch.no_grad():
        model.dynamics.field.weight.fill_(-0.5)
        model.decoder.weight.copy_(torch.tensor([[2.0], [-1.0]]))
    factors = (-(times - times[:, :1]) / 2).exp()[..., None] * torch.tensor([2.0, -1.0])
    evidence = []
    for x, m, a in zip(values, mask, factors, strict=True):
        covariance = torch.outer(a[m], a[m]) + 0.09 * torch.eye(int(m.sum()))
        evidence.append(MultivariateNormal(torch.zeros(int(m.sum())).double(), covariance).log_prob(x[m]))
    variance = 1 / (1 + torch.where(mask, factors, 0.0).square().sum((1, 2)) / 0.09)
    mean = variance * torch.where(mask, factors * values, 0.0).sum((1, 2)) / 0.09
    return model, (values, mask, times), torch.stack(evidence), mean[:, None], variance[:, None]


def expected_elbo(model: LatentODE, series: Batch) -> Tensor:
    """E_q of the drawn bound, (N,): log p(x | z) is quadratic in z here, and three nodes are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    total = torch.zeros(N).double()
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        log_likelihood, kl = model.bound((*series, torch.full((N, 1), float(node)).double()))
        total = total + float(weight) * (log_likelihood - kl)
    return total.detach()


def test_the_bound_is_the_evidence_for_the_true_posterior_and_below_it_for_others() -> None:
    model, series, evidence, mean, variance = linear()
    model.encoder = Posterior(mean, variance)
    torch.testing.assert_close(expected_elbo(model, series), evidence, rtol=0, atol=1e-5)  # rk4 in eighths of a gap
    for shift, factor in ((0.3, 1.0), (0.0, 3.0), (0.0, 0.2), (-1.0, 0.5)):
        model.encoder = other = Posterior(mean + shift, variance * factor)
        q, p = (Normal(m, v.sqrt()) for m, v in ((other.said[0], other.said[1].exp()), (mean, variance)))
        missing = kl_divergence(q, p)[:, 0]  # log p(x) - ELBO = KL(q || p(z | x))
        assert (missing > 0).all()
        torch.testing.assert_close(evidence - expected_elbo(model, series), missing, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dynamics", ["ode", "recurrent"])
def test_likelihood_and_divergence_are_those_of_torch(dynamics: str) -> None:
    model, (values, mask, times, normals) = made(dynamics), batch()
    mean, log_variance = model.encoder(values, mask, times)
    q = Normal(mean, (log_variance / 2).exp())
    log_likelihood, kl = model.bound((values, mask, times, normals))
    torch.testing.assert_close(kl, kl_divergence(q, Normal(0.0, 1.0)).sum(-1))
    x = Normal(model.decode(q.mean + q.stddev * normals, times), 0.3)
    expected = torch.stack([x.log_prob(values)[n][mask[n]].sum() for n in range(N)])
    torch.testing.assert_close(log_likelihood, expected)
    scalars = model.step((values, mask, times, normals))
    torch.testing.assert_close(-scalars["loss"], (log_likelihood - kl).mean())


@pytest.mark.parametrize("dynamics", ["ode", "recurrent"])
def test_what_the_mask_leaves_out_changes_nothing(dynamics: str) -> None:
    model, (values, mask, times, normals) = made(dynamics), batch()
    nonsense = torch.where(mask, values, torch.tensor([math.nan, 1e9]).double())
    for found, expected in zip(model.bound((nonsense, mask, times, normals)), model.bound(batch()), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(model(nonsense, mask, times), model(values, mask, times))


@pytest.mark.parametrize("dynamics", ["ode", "recurrent"])
def test_times_at_which_nothing_is_observed_do_not_change_the_posterior(dynamics: str) -> None:
    """More of them afterwards change nothing of what is there; between two others they only shorten the steps."""
    model, (values, mask, times, _) = made(dynamics, substeps=8), batch()
    later = torch.cat([times, times[:, -1:] + torch.tensor([0.1, 7.0])], 1)
    more = [torch.cat([a, a[:, :2]], 1) for a in (values, torch.zeros_like(mask))]
    unseen = torch.cat([mask, more[1][:, :2]], 1)
    torch.testing.assert_close(model(more[0], unseen, later)[:, :T], model(values, mask, times))

    def inserted(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a[:, :4], b[:, None], a[:, 4:]], 1)

    between = inserted(times, (times[:, 3] + times[:, 4]) / 2)
    args = inserted(values, values[:, 0]), inserted(mask, torch.zeros_like(mask[:, 0])), between
    for found, expected in zip(model.encoder(*args), model.encoder(values, mask, times), strict=True):
        torch.testing.assert_close(found, expected)
    if dynamics == "ode":  # of a GRU it is no property
        found = torch.cat([model(*args)[:, :4], model(*args)[:, 5:]], 1)
        torch.testing.assert_close(found, model(values, mask, times), rtol=0, atol=1e-6)  # rk4 in eighths of a gap


@pytest.mark.parametrize("dynamics", ["ode", "recurrent"])
def test_a_shift_in_time_and_the_order_of_series_change_nothing(dynamics: str) -> None:
    model, (values, mask, times, normals) = made(dynamics), batch()
    turned = torch.arange(N).flip(0)
    whole = model.bound((values, mask, times, normals))
    moved = model.bound((values[turned], mask[turned], times[turned] + 100, normals[turned]))
    for one, other in zip(whole, moved, strict=True):
        torch.testing.assert_close(other, one[turned], rtol=1e-9, atol=1e-9)


def test_what_was_observed_when_does_matter() -> None:
    model, (values, mask, times, _) = made(), batch()
    mean, _ = model.encoder(values, mask, times)
    assert not torch.isclose(model.encoder(values, mask, 2 * times)[0], mean, rtol=1e-3).any()
    early = values.clone()
    early[:, 0] += 1
    assert not torch.isclose(model.encoder(early, mask, times)[0], mean, rtol=1e-3).any()


def test_a_series_that_was_observed_nowhere_has_the_prior() -> None:
    model, (values, mask, times, normals) = made(), batch()
    unseen = mask.clone()
    unseen[2] = False
    mean, log_variance = model.encoder(values, unseen, times)
    assert not mean[2].any()
    assert not log_variance[2].any()
    log_likelihood, kl = model.bound((values, unseen, times, normals))
    assert not log_likelihood[2].any()
    assert not kl[2].any()


def test_all_series_are_solved_at_once_as_each_alone_by_an_adaptive_solver() -> None:
    model, (_, _, times, z) = made(substeps=8), batch()
    states = model.dynamics(z, times.diff(dim=1))
    for n in range(N):
        expected = odeint(lambda _, y: model.dynamics.field(y), z[n], times[n], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(states[n], expected, rtol=0, atol=1e-7)  # rk4 in eighths of a gap


def test_the_error_of_the_steps_is_of_order_four() -> None:
    (_, _, times, z), found = batch(), []
    for substeps in (1, 2, 64):
        model = made(substeps=substeps)
        with torch.no_grad():
            model.dynamics.field[0].weight *= 4  # fast enough for errors above rounding
        found.append(model.dynamics(z, times.diff(dim=1))[:, -1].detach())
    errors_ = [float((state - found[2]).norm()) for state in found[:2]]
    assert math.log2(errors_[0] / errors_[1]) == pytest.approx(4, abs=0.7)  # gaps are no small steps


def test_the_unit_is_torchs() -> None:
    torch.manual_seed(0)
    own, theirs = GatedUnit(4, 6), nn.GRUCell(4, 6)
    theirs.load_state_dict(
        {
            f"{kind}_{part}": getattr(layer, kind)
            for part, layer in (("ih", own.input), ("hh", own.past))
            for kind in ("weight", "bias")
        }
    )
    x, h = torch.randn(3, 4), torch.randn(3, 6)
    torch.testing.assert_close(own(x, h), theirs(x, h))


def test_errors_are_told_apart_by_what_was_seen_when() -> None:
    mask = torch.tensor([[[True, True], [False, False], [True, False], [False, False]]])
    differences = torch.tensor([[[1.0, 1.0], [2.0, 2.0], [1.0, 2.0], [3.0, 4.0]]])
    found = {name: float(value) for name, value in errors(differences, mask).items()}
    expected = {"reconstruction": 1.0, "interpolation": 2.0, "extrapolation": math.sqrt(12.5)}
    assert found == pytest.approx(expected)


def test_what_is_asked_for_in_between_is_refined_and_of_an_equation_changes_little() -> None:
    model, (values, mask, times, _) = made(substeps=8), batch()
    more = refined(values, mask, times)
    for own, wide in zip((values, mask, times), more, strict=True):
        assert torch.equal(wide[:, ::4], own)
    steps = more[2].diff(dim=1).unflatten(1, (T - 1, 4))
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps))
    assert int(more[1].sum()) == int(mask.sum())
    change = model(*more)[:, ::4] - model(values, mask, times)
    assert float(change.detach().abs().max()) < 1e-6  # rk4 in eighths of a gap


def test_only_makers_of_series_with_a_known_truth_are_compared() -> None:
    assert Forecasts().refusal(made(), SpiralArcs()) == ""
    assert Forecasts().refusal(LinearFlow(2), SpiralArcs()) == "LinearFlow makes no series"
    assert Forecasts().refusal(made(), Digits()) == "Digits does not know its truth"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made("linear"), "dynamics must be one of 'ode', 'recurrent', got 'linear'"),
        (lambda: made(latent_features=0), "latent_features must be at least 1, got 0"),
        (lambda: made(substeps=0), "substeps must be at least 1, got 0"),
        (lambda: made(lr=0.0), "lr must be positive, got 0.0"),
        (lambda: LatentODE(2, 0.0), "noise must be positive, got 0.0"),
        (lambda: LatentODE(0, 0.1), "in_channels must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
