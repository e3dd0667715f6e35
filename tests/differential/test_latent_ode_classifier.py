"""LatentODEClassifier: what its loss is made of, and what it does not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torchdiffeq import odeint

from zoo.differential import LatentODEClassifier

N, T, C = 5, 7, 2
Batch = tuple[Tensor, ...]


def made(**hyperparameters: Any) -> LatentODEClassifier:
    torch.manual_seed(0)
    return LatentODEClassifier(C, 3, **{"latent_features": 3, "hidden_features": 8} | hyperparameters).double()


def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    times = (torch.rand(N, T, generator=draw, dtype=torch.float64) + 0.1).cumsum(1)
    values = torch.randn(N, T, C, generator=draw, dtype=torch.float64)
    mask = torch.rand(N, T, C, generator=draw) >= 0.4
    return torch.where(mask, values, 0.0), mask, times, torch.arange(N) % 3


def test_the_loss_is_that_of_the_classes_and_the_evidence_of_each_series_by_itself() -> None:
    model, (values, mask, times, labels) = made(weight=0.7, horizon=2.0).eval(), batch()
    mean, log_variance = model.encoder(values, mask, times / 2)
    squared = 0.0
    for n in range(N):
        z = odeint(lambda _, z: model.dynamics.field(z), mean[n], times[n] / 2, method="rk4")
        squared = squared + (model.decoder(z) - values[n])[mask[n]].square().sum()
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum()
    cross = F.cross_entropy(model.classifier(mean), labels)
    found = model.step((values, mask, times, labels))
    # rk4 of the oracle takes the same 3/8 rule, a step between two times
    torch.testing.assert_close(found["error"], squared / mask.sum(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found["loss"], cross + 0.7 * (squared / 2 + kl) / mask.sum(), rtol=1e-10, atol=1e-12)
    assert torch.equal(found["cross_entropy"], cross)


def test_without_weight_the_series_is_not_explained() -> None:
    model = made(weight=0.0)
    model.step(batch())["loss"].backward()
    assert not any(parameter.grad.any() for parameter in model.decoder.parameters() if parameter.grad is not None)
    assert any(parameter.grad.any() for parameter in model.encoder.parameters() if parameter.grad is not None)


def test_training_draws_a_state_of_the_posterior_and_evaluation_has_its_mean() -> None:
    model, given = made(), batch()
    mean, log_variance = model.encoder(*given[:3])
    torch.manual_seed(5)
    z = Normal(mean, (log_variance / 2).exp()).mean + log_variance.exp().sqrt() * torch.randn_like(mean)
    torch.manual_seed(5)
    found = model.step(given)["cross_entropy"]
    torch.testing.assert_close(found, F.cross_entropy(model.classifier(z), given[3]), rtol=1e-10, atol=1e-12)
    model.eval()
    assert torch.equal(model.step(given)["loss"], model.step(given)["loss"])


def test_logits_depend_neither_on_the_unit_or_origin_of_time_nor_on_what_was_not_observed() -> None:
    model, (values, mask, times, _) = made(), batch()
    expected = model(values, mask, times)
    same = made(horizon=24.0)
    torch.testing.assert_close(same(values, mask, 24 * times + 100), expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(model(torch.where(mask, values, 1e3), mask, times), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight must not be negative, got -1.0"),
        ({"horizon": 0.0}, "horizon must be positive, got 0.0"),
        ({"latent_features": 0}, "latent_features must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)
