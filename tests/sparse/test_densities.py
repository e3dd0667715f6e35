"""How a density is shared among layers, against an independent implementation's numbers."""

from __future__ import annotations

import itertools
import math

import pytest

from zoo.sparse._densities import DISTRIBUTIONS, layer_densities

Shapes = dict[str, tuple[int, ...]]
LENET: Shapes = {"a": (300, 784), "b": (100, 300), "c": (10, 100)}
NARROW: Shapes = {"a": (20, 13), "b": (20, 20), "c": (20, 20), "d": (20, 20), "e": (8, 20)}
#: The CIFAR network of 20 layers with shortcuts that have no weights: 16, 32 and 64 channels, three blocks each.
WIDTHS = [(3, 16), *[(16, 16)] * 6, (16, 32), *[(32, 32)] * 5, (32, 64), *[(64, 64)] * 5]
RESNET20: Shapes = {f"conv{n}": (out, into, 3, 3) for n, (into, out) in enumerate(WIDTHS)} | {"fc": (10, 64)}
SHAPES = {"lenet": LENET, "narrow": NARROW, "resnet20": RESNET20}


def total(shapes: Shapes, densities: dict[str, float]) -> float:
    """The density of the whole."""
    size = sum(math.prod(shape) for shape in shapes.values())
    return sum(math.prod(shapes[name]) * density for name, density in densities.items()) / size


def test_resnet20_has_268_336_weights() -> None:
    assert sum(math.prod(shape) for shape in RESNET20.values()) == 268_336


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.1, (0.07957, 0.23019, 1.0)),
        (0.05, (0.03848, 0.11133, 0.91851)),
        (0.02, (0.01539, 0.04453, 0.3674)),
        (0.2, (0.16224, 0.46936, 1.0)),
    ],
)
def test_erk_of_lenet_300_100(density: float, expected: tuple[float, ...]) -> None:
    found = layer_densities(LENET, density, "erk")
    assert tuple(found.values()) == pytest.approx(expected, abs=5e-6)  # five decimals are given


def test_the_scale_of_lenet_300_100() -> None:
    """eps = d_l prod(shape) / sum(shape), the same for every layer that is not dense."""
    found = layer_densities(LENET, 0.1, "erk")
    for name in ("a", "b"):
        assert found[name] * math.prod(LENET[name]) / sum(LENET[name]) == pytest.approx(17.264, abs=5e-4)


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (0.1, (1.0, 0.3026, 0.215, 0.1394, 0.1015, 0.0667, 1.0)),
        (0.2, (1.0, 0.6178, 0.439, 0.2845, 0.2073, 0.1362, 1.0)),
    ],
)
def test_erk_of_resnet20(density: float, expected: tuple[float, ...]) -> None:
    """One number for each kind of layer, from the stem to the last; four decimals are given."""
    found = layer_densities(RESNET20, density, "erk")
    kinds = {RESNET20[name]: value for name, value in found.items()}
    assert tuple(kinds.values()) == pytest.approx(expected, abs=5e-5)
    assert all(found[name] == kinds[shape] for name, shape in RESNET20.items())


def test_erk_of_a_narrow_network() -> None:
    found = layer_densities(NARROW, 0.1, "erk")
    assert tuple(found.values()) == pytest.approx((0.1136, 0.0895, 0.0895, 0.0895, 0.1566), abs=5e-5)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 0.9, 1.0])
def test_layers_add_up_to_the_density_asked_for(shapes: str, distribution: str, density: float) -> None:
    given = SHAPES[shapes]
    if (shapes, distribution, density) == ("narrow", "erk+", 0.1):
        pytest.skip("its last layer alone is 0.099 of all weights: the others would have a single one")
    found = layer_densities(given, density, distribution)
    assert list(found) == list(given)
    assert total(given, found) == pytest.approx(density, abs=1e-6)
    assert all(0 < value <= 1 for value in found.values())


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_denser_network_has_no_sparser_layer(shapes: str, distribution: str) -> None:
    """Up to the rounding of double precision; from densities at which every distribution leaves weights to each."""
    steps = [layer_densities(SHAPES[shapes], 0.12 + 0.01 * n, distribution) for n in range(89)]
    for less, more in itertools.pairwise(steps):
        assert all(more[name] >= less[name] - 1e-12 for name in less)
        assert any(more[name] > less[name] + 1e-3 for name in less)


def test_er_is_erk_for_matrices_and_not_for_kernels() -> None:
    assert layer_densities(LENET, 0.1, "er") == layer_densities(LENET, 0.1, "erk")
    er, erk = (layer_densities(RESNET20, 0.1, name) for name in ("er", "erk"))
    ratio = (er["conv1"] / er["conv18"]) / (erk["conv1"] / erk["conv18"])
    # (n_in + n_out) / (n_in n_out) of 16 and 64 channels are as 4 : 1, with 3 + 3 added as (38 / 16^2) : (134 / 64^2)
    assert ratio == pytest.approx(4 / ((38 / 16**2) / (134 / 64**2)), rel=1e-9)


def test_erk_plus_keeps_the_last_layer_dense() -> None:
    found = layer_densities(LENET, 0.02, "erk+")
    assert found["c"] == 1.0
    assert layer_densities(LENET, 0.02, "erk")["c"] < 0.4
    assert found["a"] / found["b"] == pytest.approx((1084 / (300 * 784)) / (400 / (300 * 100)), rel=1e-9)


@pytest.mark.parametrize(("density", "last"), [(0.1, 0.2), (0.2, 0.2), (0.5, 0.5)])
def test_uniform_plus_keeps_a_first_convolution_dense_and_a_fifth_of_the_last_layer(
    density: float, last: float
) -> None:
    found = layer_densities(RESNET20, density, "uniform+")
    assert (found.pop("conv0"), found.pop("fc")) == (1.0, last)
    assert len({round(value, 12) for value in found.values()}) == 1
    assert layer_densities(LENET, density, "uniform+")["a"] < 1, "a first layer that does not convolve is as the others"


@pytest.mark.parametrize(
    ("shapes", "density", "distribution", "message"),
    [
        (LENET, 0.003, "erk+", r"density 0.003 cannot be reached: erk\+ keeps c at 1, 0.00376 of all weights"),
        (RESNET20, 0.002, "uniform+", r"cannot be reached: uniform\+ keeps conv0 at 1, fc at 0.2, 0.00209 of all"),
        ({"a": (4, 5)}, 0.1, "erk+", r"density 0.1 cannot be reached: erk\+ keeps a at 1, 1 of all weights"),
        (LENET, 0.0004, "uniform", "cannot be reached by uniform: it leaves no weight of the 1,000 in c"),
        (LENET, 0.0, "erk", r"density must lie in \(0, 1\], got 0.0"),
        (LENET, 0.1, "erdos", "distribution must be one of 'uniform', 'er', .*, got 'erdos'"),
    ],
)
def test_what_cannot_be_is_refused(shapes: Shapes, density: float, distribution: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_densities(shapes, density, distribution)
