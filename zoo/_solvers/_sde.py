"""Stochastic differential equations: Euler-Maruyama and Heun of our own, other steps and adjoints by torchsde."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, one_of
from zoo._solvers._brownian import Noise, Widened, drawn, in_units
from zoo._solvers._steps import Evaluations, Field, Solution, check_times, grid

CALCULI = ("ito", "stratonovich")
NOISES = ("diagonal", "scalar", "additive", "general")

#: The methods that converge to the solution in each sense.
SOLVERS = {"ito": ("euler", "milstein", "srk"), "stratonovich": ("heun", "midpoint", "reversible_heun")}
REFUSED = {
    "dopri5": "its error estimate takes the noise for an error",
    "rk4": "its order needs a path with four derivatives",
    "log_ode": "it needs Levy areas, which are approximated only",
}
LEVY = ("milstein", "srk")  # whose steps need Levy areas under general noise


class SDE(nn.Module):
    """dy = f(t, y) dt + g(t, y) dW, in the sense of Ito or of Stratonovich.

    The state y is (..., d), f is its `drift`, and g its `diffusion` by one of four kinds of noise:

        diagonal   g (..., d): each component has a Brownian motion of its own; g_i is taken to depend on y_i alone
        scalar     g (..., d, 1): one for all of them
        additive   g (..., d, m), which does not depend on y: m = `channels` of them
        general    g (..., d, m): m = `channels` of them

    What is said of g is not checked: where it does not hold, milstein and srk are wrong or of order 1/2. A subclass
    whose f and g share work overrides `both`, and has what they are made of as submodules.

    Raises ValueError for another calculus or noise, for additive and general noise without channels and, once it is
    solved, for a g of another shape.
    """

    def __init__(
        self,
        drift: Field,
        diffusion: Field,
        calculus: str = "ito",
        noise: str = "diagonal",
        channels: int | None = None,
    ) -> None:
        super().__init__()
        one_of(CALCULI, calculus=calculus)
        one_of(NOISES, noise=noise)
        if noise in ("additive", "general"):
            if channels is None:
                raise ValueError(f"channels must be given for {noise} noise: the number of Brownian motions")
            at_least(1, channels=channels)
        self.drift, self.diffusion, self.calculus, self.noise = drift, diffusion, calculus, noise
        self.channels = 1 if noise == "scalar" else channels

    def both(self, t: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """f and g."""
        return self.drift(t, y), self.diffusion(t, y)

    def product(self, g: Tensor, dw: Tensor) -> Tensor:
        """g dW."""
        if self.noise == "diagonal":
            fits, shape = g.ndim <= dw.ndim, "(..., d)"
        else:
            fits, shape = g.ndim > 1 and g.shape[-1] == dw.shape[-1], f"(..., d, {dw.shape[-1]})"
        if not fits:
            raise ValueError(f"the diffusion must be {shape} for {self.noise} noise, got {tuple(g.shape)}")
        return g * dw if self.noise == "diagonal" else (g @ dw[..., None])[..., 0]

    def motion(self, y: Tensor) -> torch.Size:
        """The shape of dW."""
        return y.shape if self.noise == "diagonal" else torch.Size((*y.shape[:-1], self.channels or 1))

    def as_channels(self, path: Any) -> Any:
        """A path of dW with a channel for each component of the state, where noise is diagonal."""
        return path


def integrate_sde(
    sde: SDE,
    y0: Tensor,
    times: Sequence[float] | Tensor,
    method: str = "euler",
    step: float | None = None,
    noise: Noise = None,
    adjoint: bool = False,
    prior: Field | None = None,
) -> Solution:
    """Solves dy = f dt + g dW, y(times[0]) = y0: a `Solution`, whose `states` (T, *shape of y0) are y at all times.

    All methods take equal steps of at most `step` between any two times (one step where it is left out). Strong order:

        euler             1/2, additive noise 1       Ito, any noise
        milstein          1                           Ito, not for general noise
        srk               3/2                         Ito, not for general noise; y0 is (N, d)
        heun, midpoint    1, general noise 1/2        Stratonovich, any noise
        reversible_heun   1, general noise 1/2        Stratonovich, any noise; one evaluation a step

    where a diagonal g_i depends on y_i alone; noise that does not commute leaves all of them 1/2.

    `euler` and `heun` are loops of ours, which take states of any shape and work under `torch.vmap` and, with given
    increments, `torch.compile`; the others, for states (N, d), are torchsde's. All are differentiated step by step.
    With `adjoint`, for Stratonovich equations, the gradient is that of the adjoint equation, solved backward along the
    same path: what is kept for it is one state and the path, an increment a step. Of `reversible_heun` it is the
    gradient of the steps to rounding, since these can be undone exactly; of the others it has an error of their order.
    Drift, diffusion and prior have to be nn.Modules then, whose parameters are what is differentiated.

    `noise` is the Brownian motion: its increments over the steps, (S, *shape of dW), or `Increments` of them with
    areas, or a seed; without it torch's generator draws. A seed gives one path for all methods but srk at the same
    steps, and another path at other steps: errors over steps need increments, summed for the coarser (`coarsened`).

    With the drift h of a `prior` of the same diffusion, which is diagonal and vanishes nowhere, the solution's
    `divergence`, (T, N) and 0 at first, is the Kullback-Leibler divergence of the paths up to each time, as Girsanov's
    theorem gives it along each:

        1/2 int |u|^2 dt,   u = (f - h) / g            (infinite or NaN where g is 0)

    Raises ValueError for times that do not increase, a step longer than the whole interval, a method of the other
    calculus or that is known to be wrong for the noise, and increments of another number, shape or dtype than dW;
    TypeError for an adjoint of what is no nn.Module; RuntimeError for milstein, which differentiates g, and for an
    adjoint where torch's inference mode forbids it.
    """
    moments = [float(t) for t in times]
    check_sde(sde, moments, method, step, adjoint)
    if prior is not None and sde.noise != "diagonal":
        raise ValueError(f"prior needs diagonal noise, got {sde.noise!r}")
    if not y0.is_floating_point():
        raise ValueError(f"y0 must be of a floating dtype, got {y0.dtype}")
    if adjoint and prior is not None:
        _require_module(prior=prior)
    if prior is None:
        return _solved(sde, y0, moments, method, step, noise, adjoint)
    joint = _solved(_WithDivergence(sde, prior), F.pad(y0, (0, 1)), moments, method, step, noise, adjoint)
    return Solution(joint.states[..., :-1], joint.counted, joint.states[..., -1])


def check_sde(sde: SDE, times: Sequence[float], method: str, step: float | None, adjoint: bool = False) -> None:
    """Raises ValueError for what `integrate_sde` refuses, before anything is solved."""
    own, other = (SOLVERS[calculus] for calculus in sorted(CALCULI, key=lambda name: name != sde.calculus))
    if method in REFUSED:
        fit = [name for name in own if sde.noise != "general" or name not in LEVY]
        raise ValueError(f"method {method!r} is refused, {REFUSED[method]}; choose one of {', '.join(fit)}")
    one_of((*own, *other), method=method)
    if method in other:
        raise ValueError(
            f"method {method!r} does not converge to the solution in the sense of {sde.calculus.title()}; choose one "
            f"of {', '.join(own)}, or convert the drift"
        )
    if sde.noise == "general" and method in LEVY:
        raise ValueError(f"method {method!r} is refused for general noise, it needs Levy areas; choose euler")
    if adjoint and sde.calculus == "ito":
        raise ValueError("adjoint needs a Stratonovich equation, got calculus 'ito': convert the drift, f - g g' / 2")
    if adjoint and type(sde) is SDE:
        _require_module(drift=sde.drift, diffusion=sde.diffusion)
    check_times(times, step)


def _require_module(**fields: Field) -> None:
    for name, field in fields.items():
        if not isinstance(field, nn.Module):
            raise TypeError(
                f"{name} must be an nn.Module for the adjoint, got {type(field).__name__}: its parameters are sought"
            )


Advance = Callable[[SDE, tuple[float, float], Tensor, Tensor], Tensor]


def _euler(sde: SDE, ends: tuple[float, float], y: Tensor, dw: Tensor) -> Tensor:
    f, g = sde.both(ends[0], y)
    return torch.add(y, f, alpha=ends[1] - ends[0]) + sde.product(g, dw)


def _heun(sde: SDE, ends: tuple[float, float], y: Tensor, dw: Tensor) -> Tensor:
    dt = ends[1] - ends[0]
    f0, g0 = sde.both(ends[0], y)
    f1, g1 = sde.both(ends[1], y + dt * f0 + sde.product(g0, dw))
    return y + dt / 2 * (f0 + f1) + sde.product((g0 + g1) / 2, dw)


#: Step and evaluations of the drift a step.
OWN: dict[str, tuple[Advance, int]] = {"euler": (_euler, 1), "heun": (_heun, 2)}


def _solved(
    sde: SDE, y0: Tensor, times: Sequence[float], method: str, step: float | None, noise: Noise, adjoint: bool
) -> Solution:
    parts = grid(times, step)
    lengths = [b - a for ends in parts for a, b in pairwise(ends)]
    if method not in OWN or adjoint:
        path = in_units(noise, lengths, sde.motion(y0), y0, area=method == "srk")
        return _by_library(sde, y0, parts, method, sde.as_channels(path), adjoint)
    advance, stages = OWN[method]
    increments = iter(drawn(noise, lengths, sde.motion(y0), y0))
    y, states = y0, [y0]
    for ends in parts:
        for piece in pairwise(ends):
            y = advance(sde, piece, y, next(increments))
        if y.shape != y0.shape:
            raise ValueError(f"drift and diffusion must keep the state's shape {tuple(y0.shape)}, got {tuple(y.shape)}")
        states.append(y)
    return Solution(torch.stack(states), Evaluations(stages * len(lengths)))


class _WithDivergence(SDE):
    """The equation with |u|^2 / 2 as the drift of one more component, which has no noise."""

    def __init__(self, sde: SDE, prior: Field) -> None:
        super().__init__(self._drift, self._diffusion, sde.calculus)
        self.sde, self.prior = sde, prior

    def _drift(self, t: Any, y: Tensor) -> Tensor:
        return self.both(t, y)[0]

    def _diffusion(self, t: Any, y: Tensor) -> Tensor:
        return F.pad(self.sde.diffusion(t, y[..., :-1]), (0, 1))

    def both(self, t: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        state = y[..., :-1]
        f, g = self.sde.both(t, state)
        u = (f - self.prior(t, state)) / g
        return torch.cat([f, u.square().sum(-1, keepdim=True) / 2], -1), F.pad(g, (0, 1))

    def product(self, g: Tensor, dw: Tensor) -> Tensor:
        return g * F.pad(dw, (0, 1))

    def motion(self, y: Tensor) -> torch.Size:
        return y[..., :-1].shape

    def as_channels(self, path: Any) -> Any:
        return Widened(path)


class _InUnits(nn.Module):
    """The equation between two times over the index s of the step, in torchsde's form: f h and g sqrt(h).

    At s it is t = start + h (s - first). In these units every step ends at a whole number, so that the adjoint finds
    the steps of the solution again exactly, which it does not where rounding leaves a sliver of a step at an end.
    """

    def __init__(self, sde: SDE, ends: Sequence[float], first: int, counted: Evaluations) -> None:
        super().__init__()
        self.sde, self.counted = sde, counted
        self.sde_type, self.noise_type = sde.calculus, sde.noise
        self.start, self.first, self.length = ends[0], first, (ends[-1] - ends[0]) / (len(ends) - 1)

    def time(self, s: Tensor) -> Tensor:
        return self.start + self.length * (s - self.first)

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        self.counted.count += 1
        return self.length * self.sde.drift(self.time(s), y)

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        return self.length**0.5 * self.sde.diffusion(self.time(s), y)

    def f_and_g(self, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.counted.count += 1
        f, g = self.sde.both(self.time(s), y)
        return self.length * f, self.length**0.5 * g


def _by_library(
    sde: SDE, y0: Tensor, parts: Sequence[Sequence[float]], method: str, motion: Any, adjoint: bool
) -> Solution:
    from torchsde import sdeint, sdeint_adjoint

    if y0.ndim != 2:
        raise ValueError(f"y0 must be (N, d) for method {method!r}, got shape {tuple(y0.shape)}: flatten it")
    if torch.is_inference_mode_enabled() and (method == "milstein" or adjoint):
        # torchsde would go on without the derivative, as euler
        raise RuntimeError(f"{'adjoint' if adjoint else method} needs derivatives: leave torch.inference_mode")
    how: dict[str, Any] = {"bm": motion, "method": method, "dt": 1.0}
    if adjoint:
        how["adjoint_method"] = f"adjoint_{method}" if method == "reversible_heun" else method
    states, first, counted = [y0], 0, Evaluations()
    for ends in parts:
        last = first + len(ends) - 1
        unit = _InUnits(sde, ends, first, counted)
        path = (sdeint_adjoint if adjoint else sdeint)(unit, states[-1], torch.tensor([first, last]).double(), **how)
        states.append(path[-1])
        first = last
    return Solution(torch.stack(states), counted)
