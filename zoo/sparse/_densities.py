"""How a density of the whole network is shared among its layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from zoo._checks import fraction, one_of

Shapes = Mapping[str, Sequence[int]]

#: A layer's share before it is scaled: Erdős–Rényi, without and with the kernel's axes.
RAW: dict[str, Callable[[Sequence[int]], float]] = {
    "uniform": lambda shape: 1.0,
    "er": lambda shape: (shape[0] + shape[1]) / (shape[0] * shape[1]),
    "erk": lambda shape: sum(shape) / math.prod(shape),
}
DISTRIBUTIONS = (*RAW, "uniform+", "erk+")
LAST = 0.2  # of uniform+: the least density of the last layer


def layer_densities(shapes: Shapes, density: float, distribution: str = "erk") -> dict[str, float]:
    """The density of each layer, such that all together have the given one.

        sum_l N_l d_l = D N,   d_l = min(1, eps * raw_l)

    raw_l is 1 (uniform), (n_in + n_out) / (n_in n_out) (er), or that with the axes of kernels,
    sum(shape_l) / prod(shape_l) (erk). A layer that eps would take beyond 1 is dense, and eps is solved anew.
    "uniform+" keeps a first layer that convolves dense, and the last one at a density of 0.2 at least; "erk+" keeps the
    last layer dense. Shapes are (n_out, n_in, …), from input to output.

    Raises ValueError for a density outside (0, 1], an unknown distribution, and a density that cannot be reached: less
    than what is kept by "uniform+" and "erk+", or so low that a layer has no weight left.
    """
    fraction(density=density)
    one_of(DISTRIBUTIONS, distribution=distribution)
    names = list(shapes)
    fixed: dict[str, float] = {}
    if distribution == "erk+" and density < 1:
        fixed = {names[-1]: 1.0}
    elif distribution == "uniform+":
        first = {names[0]: 1.0} if len(shapes[names[0]]) > 2 else {}
        fixed = {**first, names[-1]: max(LAST, density)}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    found = _solved(shapes, sizes, density, RAW[distribution.rstrip("+")], fixed)
    if not found:
        least = sum(sizes[name] * d for name, d in fixed.items()) / sum(sizes.values())
        kept = ", ".join(f"{name} at {d:g}" for name, d in fixed.items())
        raise ValueError(
            f"density {density:g} cannot be reached: {distribution} keeps {kept}, {least:.3g} of all weights"
        )
    if empty := [name for name, d in found.items() if round(d * sizes[name]) == 0]:
        raise ValueError(
            f"density {density:g} cannot be reached by {distribution}: it leaves no weight of the {sizes[empty[0]]:,} "
            f"in {empty[0]}; take a higher one"
        )
    return {name: found[name] for name in names}


def _solved(
    shapes: Shapes,
    sizes: Mapping[str, int],
    density: float,
    raw: Callable[[Sequence[int]], float],
    fixed: Mapping[str, float],
) -> dict[str, float]:
    """Densities with those of some layers given; empty where these alone are too many weights."""
    found = dict(fixed)
    while rest := [name for name in shapes if name not in found]:
        left = density * sum(sizes.values()) - sum(sizes[name] * d for name, d in found.items())
        if left <= 0:
            return {}
        eps = left / sum(raw(shapes[name]) * sizes[name] for name in rest)
        if not (beyond := [name for name in rest if eps * raw(shapes[name]) > 1]):
            return found | {name: eps * raw(shapes[name]) for name in rest}
        found |= dict.fromkeys(beyond, 1.0)
    reached = sum(sizes[name] * d for name, d in found.items())
    return found if math.isclose(reached, density * sum(sizes.values()), rel_tol=1e-9) else {}
