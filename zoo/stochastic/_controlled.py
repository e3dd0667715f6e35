"""What the neural stochastic differential equations that are driven by a series share."""

from __future__ import annotations

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


class ControlledSDE(ZooModule):
    """A state that a series X drives through its drift, under noise: dz = f(t, z, X) dt + g(t, z) dW, in Ito's sense.

        z(0) = A X(0) + a,   output = B z + b

    X is the path of (t, x_1, …, x_C) by an interpolation, and t the time in units of `horizon`. The equation is solved
    by Euler's method over the index s of the knots, `substeps` steps between any two: dt = (dt/ds) ds, so that series
    with times of their own are solved together. What f and g are, a subclass says, in two variants:

        theory      as the paper's theorems have them
        benchmark   as the authors' code has them: t is read as (sin t, cos t), f is tanh of what it is in theory, and g
                    is tanh(sigmoid(theta) g) with g >= 0 before it is multiplied by z. These bounds keep large steps
                    stable, and they are outside the theorems.

    With `num_classes` the output is that at the end, logits (N, num_classes) of a label, trained by the cross-entropy;
    without, it is that at all knots, the series itself (N, T, C), trained by the mean squared error of what was
    observed. `forward` takes values (N, T, C), mask (N, T, C) and times (N, T); a batch may have labels after them. The
    noise is drawn anew in each call by torch's generator. Trained by Adam.

    Raises ValueError for a size below 1, a horizon or lr that is not positive, another variant or interpolation.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_channels": 4, "width": 4}
    exceptions: ClassVar[dict[str, str]] = {"export": "noise is drawn inside"}
    reads_time: ClassVar[bool] = True
    reads_series: ClassVar[bool] = True

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
        self.noise = Perceptron(times + self.noise_reads(hidden_channels), hidden_channels, hidden_channels)
        self.readout = nn.Linear(hidden_channels, num_classes or in_channels)
        if self.clips:
            self.theta = nn.Parameter(torch.ones(()))

    def noise_reads(self, hidden_channels: int) -> int:
        """How many components of the state the network of the noise reads beside the time."""
        return 0

    def drift(self, t: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """f(t, z, X(t)), (N, hidden_channels), before it is clipped."""
        return self.gamma(t, z, x)

    def diffusion(self, t: Tensor, z: Tensor) -> Tensor:
        """g(t, z), (N, hidden_channels), before it is clipped."""
        raise NotImplementedError(f"{type(self).__name__} says nothing of its diffusion")

    def z0(self, x: Tensor) -> Tensor:
        """z(0) of X(0)."""
        out: Tensor = self.start(x)
        return out

    def gamma(self, t: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """A network of the state, the time and what X is then: gamma(t, C [z, X])."""
        state = self.state(torch.cat([self.clock(t), z], -1) if self.reads_time else z)
        out: Tensor = self.rate(self.joined(torch.cat([state, self.series(x)], -1)) if self.reads_series else state)
        return out

    def sigma(self, t: Tensor, *z: Tensor) -> Tensor:
        """A network of the time, and of the state where it is given."""
        out: Tensor = self.noise(torch.cat([self.clock(t), *z], -1))
        return out.relu() if self.clips else out

    def clock(self, t: Tensor) -> Tensor:
        return torch.cat([t.sin(), t.cos()], -1) if self.clips else t

    def states(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """z at every knot, (T, N, hidden_channels)."""
        path = interpolate(values, mask, times / self.horizon, self.interpolation)
        knots = range(path.pieces + 1)
        return integrate_sde(_Driven(self, path), self.z0(path.value(0)), knots, "euler", 1 / self.substeps).states

    def forward(self, values: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        states = self.states(values, mask, times)
        out: Tensor = self.readout(states[-1] if self.labels else states.transpose(0, 1))
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[:3]

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return completed(given, self.start.weight.dtype)

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        values, mask, _ = self.inputs(batch)
        out = self(*self.inputs(batch))
        if self.labels:
            return scores(out, batch[3])
        return {"loss": ((out - values).square() * mask).sum() / mask.sum()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class _Driven(SDE):
    """The equation of a model along one path, over the index of its knots: f dt/ds and g (dt/ds)^(1/2)."""

    def __init__(self, model: ControlledSDE, path: Path) -> None:
        super().__init__(self._drift, self._diffusion)
        self.read = (model, path)  # not a part of this module

    def _drift(self, s: Any, z: Tensor) -> Tensor:
        return self.both(s, z)[0]

    def _diffusion(self, s: Any, z: Tensor) -> Tensor:
        return self.both(s, z)[1]

    def both(self, s: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        model, path = self.read
        x, pace = path.value(s), path.derivative(s)[:, :1]
        f, g = model.drift(x[:, :1], z, x), model.diffusion(x[:, :1], z)
        if model.clips:
            f, g = f.tanh(), (model.theta.sigmoid() * g).tanh()
        return f * pace, g * pace.sqrt()
