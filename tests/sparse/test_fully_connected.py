"""LeNet-300-100 and its like."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zoo.sparse import FullyConnected


def test_lenet_300_100_has_266_610_parameters() -> None:
    model = FullyConnected(784, 10)
    assert sum(p.numel() for p in model.parameters()) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10 == 266_610


def test_a_multiplier_widens_all_hidden_layers() -> None:
    model = FullyConnected(5, 3, (4, 6), width_multiplier=3)
    assert [layer.weight.shape for layer in model.layers] == [(12, 5), (18, 12), (3, 18)]


def test_without_biases_it_is_positively_homogeneous() -> None:
    """Biases start at zero, and relu(c h) = c relu(h) for c > 0."""
    model, x = FullyConnected(6, 3, (5, 4)).double(), torch.randn(7, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(model(3 * x), 3 * model(x), rtol=1e-12, atol=1e-12)


def test_the_signal_keeps_its_size_at_the_start() -> None:
    """q_l = E |h_l|^2 / n_l = 2 E |relu(h_{l-1})|^2 / n_{l-1} = q_{l-1} for Kaiming's weights, past the first layer."""
    torch.manual_seed(0)
    model = FullyConnected(400, 400, (400,) * 3).double()
    x = torch.randn(200, 400, dtype=torch.float64)
    # the first layer sees signs of both kinds, and doubles; fluctuations are of order L / sqrt(width) = 0.2
    assert float(model(x).square().mean().detach()) == pytest.approx(2.0, rel=0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": ()}, r"widths must be at least 1, got \(\)"),
        ({"widths": (3, 0)}, r"widths must be at least 1, got \(3, 0\)"),
        ({"width_multiplier": 0}, "width_multiplier must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
    ],
)
def test_bad_hyperparameters_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FullyConnected(4, 2, **arguments)
