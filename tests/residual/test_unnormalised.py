"""The residual network that nothing normalises: its sixteen depths, and what follows from having no biases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.observables.residual.layers import map_sizes
from zoo.residual import UnnormalisedResNet
from zoo.residual.unnormalised import BLOCKS, UnnormalisedBlock

DEPTHS = (8, 11, 12, 14, 16, 18, 20, 24, 28, 33, 42, 50, 65, 80, 100, 121)  # of the authors' code


def made(**options: Any) -> UnnormalisedResNet:
    torch.manual_seed(0)
    return UnnormalisedResNet(**{"in_channels": 3, "num_classes": 10, "width": 4} | options).double()


def images(n: int = 3, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def test_the_blocks_of_the_stages_add_up_to_the_depths() -> None:
    assert tuple(BLOCKS) == DEPTHS
    assert all(sum(blocks) == depth for depth, blocks in BLOCKS.items())
    assert [len(made(depth=depth, width=1).blocks) for depth in DEPTHS] == list(DEPTHS)


@pytest.mark.parametrize(("depth", "parameters"), [(8, 11_164_362), (121, 123_673_290)])
def test_the_networks_have_as_many_parameters_as_counted_by_hand(depth: int, parameters: int) -> None:
    """Of depth 8: 1,728 in the stem, 147,456, 524,288, 2,097,152 and 8,388,608 in the stages, 5,130 in the head."""
    with torch.device("meta"):
        model = UnnormalisedResNet(3, 10, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("depth", [8, 14, 42])
@pytest.mark.parametrize("width", [1, 3])
def test_parameters_follow_the_closed_form(depth: int, width: int) -> None:
    """A stage of n blocks and c channels after c' has 9 c' c + 9 (2 n - 1) c^2, and c' c more where c' is not c."""
    total, before = 9 * 3 * width, width
    for stage, blocks in enumerate(BLOCKS[depth]):
        c = width * 2**stage
        total += 9 * before * c + 9 * (2 * blocks - 1) * c**2 + (before * c if before != c else 0)
        before = c
    assert sum(p.numel() for p in made(depth=depth, width=width).parameters()) == total + 10 * before + 10


def test_only_the_last_layer_has_a_bias() -> None:
    assert [name for name, _ in made().named_parameters() if name.endswith("bias")] == ["head.bias"]


def test_maps_of_the_stages_halve() -> None:
    """32, 16, 8 and 4 pixels; the first block of a stage reads those of the stage before."""
    model = made(depth=11)
    sizes, found = map_sizes(model, [images()]), model.along_depth()
    assert [sizes[kernel][0] for kernel in found["delta"]] == [32] * 2 + [16] * 3 + [8] * 4 + [4] * 2
    assert [sizes[kernel][0] for kernel in found["weight"]] == [32] * 3 + [16] * 3 + [8] * 4 + [4]


def written_out(model: UnnormalisedResNet, x: Tensor) -> Tensor:
    """The network by its equation, with kernels alone: a stage begins where a kernel has more outputs than inputs."""
    shortcuts = iter([m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)])
    h = F.conv2d(x, model.stem.weight, padding=1).relu()
    for a, delta in zip(*model.along_depth().values(), strict=True):
        stride = 1 if a.shape[0] == a.shape[1] else 2
        inner = F.conv2d(h, a, stride=stride, padding=1).relu()
        h = (F.conv2d(inner, delta, padding=1) + (h if stride == 1 else F.conv2d(h, next(shortcuts), stride=2))).relu()
    return h.mean((2, 3)) @ model.head.weight.T + model.head.bias


@pytest.mark.parametrize("depth", [8, 12])
def test_logits_and_gradients_are_those_of_the_equation(depth: int) -> None:
    model, x = made(depth=depth), images()
    found, expected = model(x), written_out(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((towards * logits).sum(), list(model.parameters())) for logits in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_silent_second_convolution_leaves_what_is_not_negative() -> None:
    block, x = UnnormalisedBlock(4, 4, stride=1), torch.rand(2, 4, 7, 5)
    nn.init.zeros_(block.delta.weight)
    assert torch.equal(block(x), x)


def test_logits_are_homogeneous_but_for_the_last_bias() -> None:
    """f(c x) - b = c (f(x) - b) for c > 0, and so by Euler x · df/dx = f(x) - b."""
    model, x = made(), images().requires_grad_()
    bias = model.head.bias
    logits = model(x) - bias
    torch.testing.assert_close(model(2.5 * x) - bias, 2.5 * logits, rtol=1e-12, atol=1e-14)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), x)
    torch.testing.assert_close((gradient * x).sum((1, 2, 3)), logits[:, 3], rtol=1e-10, atol=1e-14)


def test_convolutions_start_with_a_third_of_the_inputs_inverse() -> None:
    """Uniform on ±1/sqrt(9 c): the deviation of n such numbers is off by sqrt(0.2 / n) of itself; five times that."""
    for kernel in made(width=16).along_depth()["delta"]:
        inputs = kernel[0].numel()
        expected, error = 1 / math.sqrt(3 * inputs), math.sqrt(0.2 / kernel.numel())
        assert float(kernel.detach().std()) == pytest.approx(expected, rel=5 * error)
        assert float(kernel.detach().abs().max()) <= 1 / math.sqrt(inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 10}, "depth must be one of 8, 11, 12, .*, 121, got 10"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)
