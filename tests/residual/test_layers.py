"""The protocol of networks that can be followed through their depth, and the norms of their weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from benchmarks.observables.residual.deep_limit import LayerIncrements
from benchmarks.observables.residual.depth_scaling import DepthScaling
from benchmarks.observables.residual.layers import increments, largest_singular_value, map_sizes, refusal, spectral
from datamodules import CIFAR10

LAYERED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "ScaledResNet": ({"in_features": 4, "depth": 5}, {"weight", "delta", "product"}),
    "DeepLimitResNet": ({"in_features": 4, "depth": 5}, {"inner", "outer"}),
    "UnnormalisedResNet": ({"in_channels": 3, "num_classes": 2, "depth": 11, "width": 2}, {"weight", "delta"}),
    "DeepLimitConvNet": ({"in_channels": 3, "num_classes": 2, "depth": 5, "channels": 2}, {"inner", "outer"}),
}


@pytest.mark.parametrize("name", LAYERED)
def test_every_layered_network_tells_its_layers_in_one_way(name: str) -> None:
    given, names = LAYERED[name]
    model: Any = zoo.create(name, **given)
    found = model.along_depth()
    assert refusal(model) == ""
    assert found.keys() == names
    assert {len(weights) for weights in found.values()} == {given["depth"]}
    assert all(isinstance(weight, Tensor) for weights in found.values() for weight in weights)
    assert LayerIncrements().refusal(model, CIFAR10()) == DepthScaling().refusal(model, CIFAR10()) == ""


def test_what_has_no_layers_in_order_is_refused() -> None:
    assert refusal(zoo.create("ResNet2d", in_channels=1, num_classes=2)) == "ResNet2d has no sequences along_depth"


def periodic(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """The matrix of the convolution with a kernel on periodic maps: its images of all unit maps."""
    pixels = kernel.shape[1] * size[0] * size[1]
    units = torch.eye(pixels, dtype=kernel.dtype).unflatten(1, (kernel.shape[1], *size))
    reach = [n // 2 for n in kernel.shape[2:]]
    padded = F.pad(units, (reach[1], reach[1], reach[0], reach[0]), mode="circular")
    return F.conv2d(padded, kernel).flatten(1)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (3, 6)])
@pytest.mark.parametrize("channels", [(2, 2), (3, 1), (1, 3)])
def test_the_norm_of_a_kernel_is_that_of_its_matrix(channels: tuple[int, int], size: tuple[int, int]) -> None:
    kernel = torch.randn(*channels, 3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    expected = torch.linalg.matrix_norm(periodic(kernel, size), 2)
    torch.testing.assert_close(largest_singular_value(kernel, size), expected, rtol=1e-12, atol=0)


def test_a_constant_kernel_adds_up_and_one_tap_scales() -> None:
    """Nine ones give a constant map nine times its value; a single tap w leaves a map's length but for |w|."""
    assert float(largest_singular_value(torch.ones(1, 1, 3, 3), (8, 8))) == pytest.approx(9, rel=1e-6)
    tap = torch.zeros(1, 1, 3, 3)
    tap[..., 2, 0] = -0.3
    assert float(largest_singular_value(tap, (4, 7))) == pytest.approx(0.3, rel=1e-6)


def test_the_norm_of_a_matrix_and_of_a_number() -> None:
    assert float(largest_singular_value(torch.diag(torch.tensor([1.0, -3.0])))) == pytest.approx(3)
    assert float(largest_singular_value(torch.tensor(-2.0))) == 2


def test_increments_are_those_of_neighbours_of_one_shape() -> None:
    weights = [torch.zeros(2, 2), torch.diag(torch.tensor([3.0, 4.0])), torch.ones(3, 2), torch.ones(3, 2)]
    assert increments(weights).tolist() == [5, 0]
    assert increments(weights, spectral(weights, {})).tolist() == pytest.approx([4, 0])
    assert len(increments(weights[:1])) == 0


def test_maps_are_those_that_the_convolutions_read() -> None:
    first, second = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(first, nn.ReLU(), second)
    assert map_sizes(model, [torch.zeros(2, 3, 9, 6)]) == {first.weight: (9, 6), second.weight: (5, 3)}
    assert not any(module._forward_pre_hooks for module in model)


def test_maps_that_a_kernel_does_not_fit_are_refused() -> None:
    for size in ((2, 8), None):
        with pytest.raises(ValueError, match=r"a kernel of \(3, 3\) needs maps of at least its size, got"):
            largest_singular_value(torch.ones(1, 1, 3, 3), size)


class Kernels(nn.Module):
    """Two layers of which the second reads smaller maps."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, 4, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.logged: dict[str, float] = {}
        self.recorded: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def inputs(self, batch: Any) -> tuple[Tensor, ...]:
        return (batch[0],)

    def along_depth(self) -> dict[str, list[Tensor]]:
        return {"kernel": [self.first.weight, self.second.weight]}

    def log(self, name: str, value: Tensor) -> None:
        self.logged[name] = float(value)

    def record(self, name: str, value: Tensor) -> None:
        self.recorded[name] = value


@torch.no_grad()
def test_the_observable_measures_kernels_on_their_own_maps() -> None:
    model: Any = Kernels()
    trainer: Any = SimpleNamespace(datamodule=CIFAR10())
    DepthScaling("spectral").on_test_epoch_end(trainer, model)
    first, second = model.along_depth()["kernel"]
    norms = [float(largest_singular_value(first, (32, 32))), float(largest_singular_value(second, (8, 8)))]
    step = float(largest_singular_value(second - first, (32, 32)))
    assert model.recorded["kernel_norms"].tolist() == pytest.approx(norms, rel=1e-6)
    assert model.logged["test/kernel_max"] == pytest.approx(max(norms), rel=1e-6)
    assert model.logged["test/kernel_increment"] == pytest.approx(step, rel=1e-6)
    assert model.logged["test/kernel_root_sum"] == pytest.approx((norms[0] ** 2 + norms[1] ** 2) ** 0.5, rel=1e-6)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be one of 'frobenius', 'spectral', got 'nuclear'"):
        DepthScaling("nuclear")
