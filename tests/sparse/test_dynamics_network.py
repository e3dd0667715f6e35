"""Networks of rates with an l1 penalty, dense and with skips."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zoo._replicas import Replicas
from zoo.sparse import DynamicsNetwork


def made(seed: int = 0, **hyperparameters: Any) -> DynamicsNetwork:
    torch.manual_seed(seed)
    model: DynamicsNetwork = DynamicsNetwork(**({"in_features": 5, "out_features": 3, "widths": (7, 6)}
                                                | hyperparameters)).double()  # fmt: skip
    return model


def batch(size: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(3)
    return torch.randn(size, 5, generator=drawn).double(), torch.randn(size, 3, generator=drawn).double()


def test_the_network_of_the_study_has_1620_weights_and_88_biases() -> None:
    weights = 13 * 20 + 3 * 20 * 20 + 20 * 8
    assert sum(weight.numel() for weight in DynamicsNetwork().weights) == weights == 1620
    assert sum(p.numel() for p in DynamicsNetwork().parameters()) == weights + 4 * 20 + 8
    skips = sum(weight.numel() for weight in DynamicsNetwork(skip=True).weights)
    assert skips == weights + 13 * (3 * 20 + 8)


def test_the_penalty_is_the_sum_of_all_magnitudes_without_biases() -> None:
    model = made(l1=0.25)
    for layer in model.layers:
        torch.nn.init.normal_(layer.bias)
    scalars = model.step(batch())
    total = sum(weight.abs().sum() for weight in model.weights)
    torch.testing.assert_close(scalars["loss"] - scalars["mse"], 0.25 * total, rtol=1e-12, atol=0)
    without = made(l1=0.0)
    without.load_state_dict(model.state_dict() | {"l1": torch.zeros(())})
    torch.testing.assert_close(without.step(batch())["loss"], scalars["mse"], rtol=1e-12, atol=0)


def test_its_gradient_is_the_sign_of_the_weights() -> None:
    model, plain = made(l1=0.5), made()
    for each in (model, plain):
        each.step(batch())["loss"].backward()
    for ours, theirs in zip(model.layers, plain.layers, strict=True):
        weight: Any = ours.weight
        torch.testing.assert_close(weight.grad, theirs.weight.grad + 0.5 * weight.sign(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-12, atol=1e-14)


def test_a_skip_whose_weights_are_zero_is_none() -> None:
    plain, skipping = made(), made(skip=True)
    for ours, theirs in zip(skipping.layers, plain.layers, strict=True):
        torch.nn.init.zeros_(ours.weight)
        with torch.no_grad():
            ours.weight[:, : theirs.weight.shape[1]] = theirs.weight
    z, _ = batch()
    torch.testing.assert_close(skipping(z), plain(z), rtol=1e-12, atol=1e-12)


def test_a_skip_carries_the_input_past_dead_layers() -> None:
    model, (z, _) = made(skip=True), batch()
    for layer in model.layers[:-1]:
        torch.nn.init.zeros_(layer.weight)
    last: Any = model.layers[-1].weight
    torch.testing.assert_close(model(z), z @ last[:, 6:].T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("skip", [False, True])
def test_networks_of_different_penalties_train_in_one_stack(skip: bool) -> None:
    """Each with the gradients that it would have alone, up to rounding."""
    penalties = (0.0, 0.1, 0.3)
    models = [made(seed, l1=l1, skip=skip) for seed, l1 in enumerate(penalties)]
    alone = [made(seed, l1=l1, skip=skip) for seed, l1 in enumerate(penalties)]
    together = Replicas(models)
    drawn = [batch() for _ in penalties]
    scalars = together.scalars(tuple(torch.stack(part) for part in zip(*drawn, strict=True)))
    scalars["loss"].sum().backward()
    for number, single in enumerate(alone):
        loss = single.step(drawn[number])["loss"]
        loss.backward()
        torch.testing.assert_close(scalars["loss"][number], loss, rtol=1e-12, atol=0)
        for stacked, own in zip(together.stack.parameters(), single.parameters(), strict=True):
            assert stacked.grad is not None
            torch.testing.assert_close(stacked.grad[number], own.grad, rtol=1e-10, atol=1e-13)


def test_a_penalty_leaves_unused_inputs_fewest_weights() -> None:
    """Of five inputs the target sees two: their columns of the first layer stay, those of the others shrink."""
    model = made(l1=1e-2, widths=(16,), lr=1e-2)
    z = torch.randn(512, 5, generator=torch.Generator().manual_seed(0)).double()
    y = torch.stack([z[:, 0], z[:, 1], z[:, 0] - z[:, 1]], dim=1)
    optimizer = model.configure_optimizers()
    for _ in range(800):
        optimizer.zero_grad()
        model.step((z, y))["loss"].backward()
        optimizer.step()
    columns = model.weights[0].detach().abs().amax(0)
    assert columns[:2].min() > 0.5  # a slope of one is cheapest as a product of two weights near one
    assert columns[2:].max() < 2e-2  # Adam wavers around zero by about its step, 1e-2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 0}, "in_features must be at least 1, got 0"),
        ({"out_features": 0}, "out_features must be at least 1, got 0"),
        ({"widths": ()}, r"widths must be at least 1, got \(\)"),
        ({"l1": -1e-4}, "l1 must not be negative, got -0.0001"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**arguments)
