"""The convolutional network that becomes a neural ODE: its start, its scale, and plain blocks to compare with."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.observables.residual.layers import increments, map_sizes
from zoo.residual import DeepLimitConvNet

PLAIN: dict[str, nn.Module] = {"gelu": nn.GELU(), "relu": nn.ReLU(), "identity": nn.Identity()}


def made(**options: Any) -> DeepLimitConvNet:
    torch.manual_seed(0)
    return DeepLimitConvNet(**{"in_channels": 3, "num_classes": 10, "depth": 4, "channels": 4} | options).double()


def images(n: int = 5, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def disturbed(model: DeepLimitConvNet) -> DeepLimitConvNet:
    """The model with all parameters moved, so that no block is the identity."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("batch_norm", "parameters"), [(True, 1_197_914), (False, 1_189_722)])
def test_the_network_has_as_many_parameters_as_counted_by_hand(batch_norm: bool, parameters: int) -> None:
    """1,232 in the stem and its norm, 650 in the head; a block has two kernels of 2,304 and two norms or biases."""
    model = DeepLimitConvNet(3, 10, batch_norm=batch_norm)
    assert parameters == 1_232 + 650 + 256 * 2 * (2_304 + (32 if batch_norm else 16))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_maps_of_ten_by_ten_run_through_all_blocks() -> None:
    sizes = map_sizes(made(), [images()])
    assert sorted(sizes.values()) == [(10, 10)] * 8 + [(32, 32)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("init", ["tied", "iid"])
def test_it_starts_as_stem_and_head_alone(init: str, batch_norm: bool, training: bool) -> None:
    model, x = made(init=init, batch_norm=batch_norm).train(training), images()
    stem = model.norm(F.conv2d(x, model.stem.weight, stride=3, padding=1)).relu()
    windows = torch.stack([stem[..., i : i + 4, j : j + 4].mean((2, 3)) for i in (0, 4) for j in (0, 4)], -1)
    torch.testing.assert_close(model(x), F.linear(windows.flatten(1), model.head.weight, model.head.bias))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_blocks_start_alike_or_each_as_drawn(batch_norm: bool) -> None:
    tied, free = (made(init=init, batch_norm=batch_norm) for init in ("tied", "iid"))
    for other in list(tied.blocks)[1:]:
        for (name, one), two in zip(tied.blocks[0].state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(one, two), name
            assert one.data_ptr() != two.data_ptr(), "tied at the start only"
    assert all(not increments(weights).any() for weights in tied.along_depth().values())
    assert increments(free.along_depth()["inner"]).all()
    assert bool(increments(free.along_depth()["outer"]).any()) == batch_norm  # without norms all of them are zero
    assert torch.equal(tied.blocks[0].inner.weight, free.blocks[0].inner.weight)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_first_gradients_are_alike_and_fall_as_one_over_the_depth(batch_norm: bool) -> None:
    found = {}
    for depth in (2, 4):
        model, labels = made(depth=depth, batch_norm=batch_norm), torch.arange(5)
        model.step((images(), labels))["loss"].backward()
        blocks: list[Any] = list(model.blocks)
        gradients = [(b.outer_norm if batch_norm else b.outer).weight.grad for b in blocks]
        for gradient in gradients[1:]:
            torch.testing.assert_close(gradient, gradients[0], rtol=1e-10, atol=1e-15)
        found[depth] = gradients[0]
        assert not any(b.inner.weight.grad.any() for b in blocks), "nothing passes what is zero"
    torch.testing.assert_close(found[4], found[2] / 2, rtol=1e-10, atol=1e-15)


def test_one_step_leaves_tied_layers_alike() -> None:
    tied, free = made(init="tied"), made(init="iid")
    for model in (tied, free):
        optimizer: Any = model.configure_optimizers()
        model.step((images(), torch.arange(5)))["loss"].backward()
        optimizer.step()
    # the layers see the same numbers, in products that may be rounded differently
    assert all(float(increments(weights).max()) < 1e-14 for weights in tied.along_depth().values())
    assert all(float(increments(weights).min()) > 0.1 for weights in free.along_depth().values())


class Block(nn.Module):
    """A residual block of torch's own layers."""

    def __init__(self, channels: int, scale: float, activation: nn.Module, batch_norm: bool) -> None:
        super().__init__()
        norms = [nn.BatchNorm2d(channels) if batch_norm else nn.Identity() for _ in range(2)]
        convs = [nn.Conv2d(channels, channels, 3, 1, 1, bias=not batch_norm) for _ in range(2)]
        self.layers, self.scale = nn.Sequential(convs[0], norms[0], activation, convs[1], norms[1]), scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.layers(x)


def plain(model: DeepLimitConvNet, activation: str, batch_norm: bool) -> nn.Sequential:
    """The same network as torch's layers in a row, with copies of the parameters."""
    blocks = [Block(4, 1 / 4, PLAIN[activation], batch_norm) for _ in range(4)]
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 3, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), *blocks, nn.AvgPool2d(4), nn.Flatten()
    ).append(nn.Linear(16, 10))
    network = network.double()
    with torch.no_grad():
        for theirs, ours in zip(network.parameters(), along(model), strict=True):
            theirs.copy_(ours)
    return network


def along(model: DeepLimitConvNet) -> list[nn.Parameter]:
    """The parameters in the order in which the layers act."""
    layers: list[Any] = [model.stem, model.norm]
    for block in model.blocks:
        layers += [block.inner, block.inner_norm, block.outer, block.outer_norm]
    return [parameter for layer in (*layers, model.head) for parameter in layer.parameters()]


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", list(PLAIN))
def test_logits_and_gradients_are_those_of_plain_blocks_in_a_row(activation: str, batch_norm: bool) -> None:
    model = disturbed(made(activation=activation, batch_norm=batch_norm))
    network, x, labels = plain(model, activation, batch_norm), images(), torch.arange(5)
    torch.testing.assert_close(model(x), network(x), rtol=1e-12, atol=1e-12)
    model.step((x, labels))["loss"].backward()
    F.cross_entropy(network(x), labels).backward()
    for theirs, ours in zip(network.parameters(), along(model), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_deep_linear_blocks_of_one_kernel_solve_a_differential_equation() -> None:
    """(I + V W / L)^L tends to exp(V W), with an error of 1 / L; of kernels that have a centre only."""
    errors, generator = [], torch.Generator().manual_seed(2)
    w, v = torch.randn(2, 4, 4, generator=generator, dtype=torch.double) / 2
    h = torch.randn(3, 4, 10, 10, generator=generator, dtype=torch.double)
    expected = torch.einsum("oc,bchw->bohw", torch.linalg.matrix_exp(v @ w), h)
    for depth in (128, 256):
        model = made(depth=depth, activation="identity", batch_norm=False)
        with torch.no_grad():
            for name, matrix in (("inner", w), ("outer", v)):
                for block in model.blocks:
                    conv: Any = getattr(block, name)
                    conv.weight.zero_()
                    conv.bias.zero_()
                    conv.weight[..., 1, 1] = matrix
            errors.append(float((model.blocks(h) - expected).norm()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.03)  # the next order is 1 / L of it, times ||V W||^2


def test_a_small_inner_start_without_norms() -> None:
    """Glorot's uniform bound sqrt(6 / (9 c + 9 c)), times 1e-4."""
    kernel = made(channels=16, batch_norm=False).blocks[0].inner.weight.detach()
    bound = 1e-4 * (6 / (2 * 9 * 16)) ** 0.5
    assert 0.99 * bound < float(kernel.abs().max()) <= bound


def test_a_copy_of_the_state_predicts_alike() -> None:
    """Running means and variances of every block are part of it."""
    model, x = disturbed(made()), images()
    model(x)
    other = made(init="iid")
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(other.eval()(x), model.eval()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"activation": "tanh"}, "activation must be one of 'gelu', 'relu', 'identity', got 'tanh'"),
        ({"init": "smooth"}, "init must be one of 'tied', 'iid', got 'smooth'"),
        ({"lr": -1.0}, "lr must be positive, got -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


@pytest.mark.parametrize("size", [8, 23, 36])
def test_images_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"images must be 24 to 35 pixels high and wide, got {size}×{size}"):
        made()(images(size=size))


@pytest.mark.parametrize("size", [24, 28, 35])
def test_images_of_like_size_have_four_windows(size: int) -> None:
    assert made()(images(size=size)).shape == (5, 10)
