"""What the neural stochastic differential equations that are driven by a series share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo._checks import at_least, one_of, positive
from zoo._interpolation import INTERPOLATIONS, Path, interpolate
from zoo._irregular import completed
from zoo._module import ZooModule
from zoo._scores import scores
from zoo._solvers import SDE, integrate_sde

VARIANTS = ("theory", "benchmark")


class Perceptron(nn.Sequential):
    """A fully connected network with ReLU between its layers, of the sizes given."""

    def __init__(self, *sizes: int) -> None:
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        super().__init__(*layers[:-1])

    def after_first(self, hidden: Tensor) -> Tensor:
        """The network's output, from what its first layer gives."""
        for layer in list(self)[1:]:
            hidden = layer(hidden)
        return hidden


class ControlledSDE(ZooModule):
    """A state that a series X drives through its drift, under noise: dz = f(t, z, X) dt + g(t, z) dW, in Ito's sense.

        z(0) = A X(0) + a,   output = B z + b

    X is the path of (t, x_1, …, x_C) by an interpolation, and t the time in units of `horizon`. The equation is solved
    by Euler's method over the index s of the knots, `substeps` steps between any two: dt = (dt/ds) ds, so that series
    with times of their own are solved together. What f and g are, a subclass says, in two variants:

        theory      as the paper's theorems have them
        benchmark   as the authors' code has them: t is read as (sin t, cos t), sigma is made >= 0 by ReLU, f is tanh of
                    what it is in theory, and g is tanh(sigmoid(theta) g). These bounds keep large steps stable, and
                    they are outside the theorems.

    With `num_classes` the output is that at the end, logits (N, num_classes) of a label, trained by the cross-entropy;
    without, it is that at all knots, the series itself (N, T, C), trained by the mean squared error of what was
    observed. `forward` takes values (N, T, C), mask (N, T, C) and times (N, T); a batch may have labels after them.
    Times are read as they are, hours since admission for instance: they may be of any sign, and a shift of them changes
    the output. A series in which nothing was observed is judged by its times alone.

    In training the noise is drawn anew for each series by torch's generator. In evaluation all series have one and the
    same noise, that of a fixed seed, so that a prediction depends on its series alone and can be repeated. The output
    is one linear layer in both variants; the authors' classifiers end in two, with batch normalisation and dropout.
    With one substep all is read where a step begins, so that what was observed at the last time has no influence on a
    classification; with two it has.

    Trained by Adam.

    Raises ValueError for a size below 1, a horizon or lr that is not positive, another variant or interpolation.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_channels": 4, "width": 4}
    exceptions: ClassVar[dict[str, str]] = {"export": "noise is drawn inside"}
    reads_time: ClassVar[bool] = True
    reads_series: ClassVar[bool] = True
    noise_reads_state: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        num_classes: int | None = None,
        hidden_channels: int = 32,
        width: int = 32,
        layers: int = 1,
        variant: str = "theory",
        interpolation: str = "hermite",
        substeps: int = 1,
        horizon: float = 1.0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, hidden_channels=hidden_channels, width=width, layers=layers)
        at_least(1, substeps=substeps)
        if num_classes is not None:
            at_least(2, num_classes=num_classes)
        positive(horizon=horizon, lr=lr)
        one_of(VARIANTS, variant=variant)
        one_of(INTERPOLATIONS, interpolation=interpolation)
        self.save_hyperparameters()
        self.clips, self.interpolation, self.substeps = variant == "benchmark", interpolation, substeps
        self.horizon, self.lr, self.labels = horizon, lr, num_classes is not None
        channels, times = in_channels + 1, 2 if self.clips else 1
        self.start = nn.Linear(channels, hidden_channels)
        self.state = nn.Linear(hidden_channels + times * self.reads_time, hidden_channels)
        if self.reads_series:
            self.series = nn.Linear(channels, hidden_channels)
            self.joined = nn.Linear(2 * hidden_channels, hidden_channels)
        self.rate = Perceptron(hidden_channels, *[width] * layers, hidden_channels)
        self.noise = Perceptron(times + hidden_channels * self.noise_reads_state, hidden_channels, hidden_channels)
        self.readout = nn.Linear(hidden_channels, num_classes or in_channels)
        if self.clips:
            self.theta = nn.Parameter(torch.ones(()))

    def drift(self, gamma: Tensor, z: Tensor) -> Tensor:
        """f of the network's gamma, (N, hidden_channels) as z is, before it is clipped."""
        return gamma

    def diffusion(self, sigma: Tensor, z: Tensor) -> Tensor:
        """g of the network's sigma, (N, hidden_channels) as z is, before it is clipped."""
        return sigma

    def z0(self, x: Tensor) -> Tensor:
        """z(0) of X(0)."""
        out: Tensor = self.start(x)
        return out

    def clock(self, t: Tensor) -> Tensor:
        """How the networks are told the time, (…, 1)."""
        return torch.cat([t.sin(), t.cos()], -1) if self.clips else t

    def gamma_hidden(self, clock: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """What the first layer of gamma gives: an affine function of the time, the state, and what X is then."""
        state = self.state(torch.cat([clock, z], -1) if self.reads_time else z)
        out: Tensor = self.rate[0](self.joined(torch.cat([state, self.series(x)], -1)) if self.reads_series else state)
        return out

    def sigma_hidden(self, clock: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """What the first layer of sigma gives, of the time and as much of the state as it reads."""
        out: Tensor = self.noise[0](torch.cat([clock, z], -1) if self.noise_reads_state else clock)
        return out

    def sigma(self, hidden: Tensor) -> Tensor:
        out = self.noise.after_first(hidden)
        return out.relu() if self.clips else out

    def states(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """z at every knot of the path, (K + 1, N, hidden_channels): at every time, but for `rectilinear`."""
        path = interpolate(values, mask, times / self.horizon, self.interpolation)
        z, steps = self.z0(path.value(0)), path.pieces * self.substeps
        noise = None if self.training else self._same_noise(steps, z)
        knots = range(path.pieces + 1)
        return integrate_sde(_Driven(self, path), z, knots, "euler", 1 / self.substeps, noise).states

    def _same_noise(self, steps: int, z: Tensor) -> Tensor:
        """The increments of one path of noise, the same for all series, at each call, and on every device.

        They are drawn step by step: how many come after one has no influence on it.
        """
        draw = torch.Generator().manual_seed(0)
        unit = torch.stack([torch.randn(1, z.shape[1], generator=draw) for _ in range(steps)])
        return (unit.to(z) * self.substeps**-0.5).expand(-1, len(z), -1)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        states = self.states(values, mask, times)
        if self.interpolation == "rectilinear":  # which has a knot more between any two times
            states = states[::2]
        out: Tensor = self.readout(states[-1] if self.labels else states.transpose(0, 1))
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, self.start.weight.dtype, self.hparams["in_channels"])

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        values, mask, _ = self.inputs(batch)
        out = self(*self.inputs(batch))
        if self.labels:
            return scores(out, batch[3])
        squared = torch.where(mask, out - values, 0.0).square().sum()
        return {"loss": squared / mask.sum().clamp(min=1)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class _Driven(SDE):
    """The equation of a model along one path, over the index s of its knots: f dt/ds and g (dt/ds)^(1/2).

    Up to their first ReLU the networks are affine in the state, u + z M. All that does not depend on the state, u at
    every step and the whole of a sigma that reads time alone, is found at once before the equation is solved.
    """

    def __init__(self, model: ControlledSDE, path: Path) -> None:
        super().__init__(self._drift, self._diffusion)
        self.read = (model,)  # not a part of this module
        parts = [j / model.substeps for j in range(model.substeps)]
        x = torch.stack([path.values(u) for u in parts], 1).flatten(0, 1)  # (steps, N, channels)
        pace = torch.stack([path.derivatives(u)[..., :1] for u in parts], 1).flatten(0, 1)
        self.pace, self.root = pace.unbind(), pace.sqrt().unbind()
        clock = model.clock(x[..., :1])
        self.gamma = _separated(model.gamma_hidden, clock, x, model.readout.in_features)
        if model.noise_reads_state:
            self.sigma = _separated(model.sigma_hidden, clock, x, model.readout.in_features)
        else:
            self.sigmas = model.sigma(model.noise[0](clock)).unbind()

    def _drift(self, s: Any, z: Tensor) -> Tensor:
        return self.both(s, z)[0]

    def _diffusion(self, s: Any, z: Tensor) -> Tensor:
        return self.both(s, z)[1]

    def both(self, s: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        (model,) = self.read
        step = round(float(s) * model.substeps)
        f = model.drift(model.rate.after_first(self.gamma(step, z)), z)
        g = model.diffusion(model.sigma(self.sigma(step, z)) if model.noise_reads_state else self.sigmas[step], z)
        if model.clips:
            f, g = f.tanh(), (model.theta.sigmoid() * g).tanh()
        return f * self.pace[step], g * self.root[step]


Hidden = Callable[[Tensor, Tensor, Tensor], Tensor]


def _separated(hidden: Hidden, clock: Tensor, x: Tensor, size: int) -> Callable[[int, Tensor], Tensor]:
    """(step, z) -> hidden(clock, z, x) of that step, where hidden is affine in the state, of `size` components."""
    us = hidden(clock, clock.new_zeros(*clock.shape[:2], size), x).unbind()
    rows, nothing = torch.eye(size, dtype=x.dtype, device=x.device), x.new_zeros(size, x.shape[-1])
    still = nothing[:, : clock.shape[-1]]
    matrix = hidden(still, rows, nothing) - hidden(still, torch.zeros_like(rows), nothing)
    return lambda step, z: torch.addmm(us[step], z, matrix)
