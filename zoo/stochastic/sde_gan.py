"""SDEGAN: a stochastic differential equation that learns to generate paths from another equation that judges them."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo._checks import at_least, not_negative, one_of, positive
from zoo._interpolation import Path, interpolate
from zoo._module import ZooModule
from zoo._solvers import SDE, integrate, integrate_sde, with_time
from zoo.stochastic._optimistic import OptimisticAdam


class LipSwish(nn.Module):
    """0.909 x sigmoid(x), whose slope is at most 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.909 * F.silu(x)


def network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """A fully connected network with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, width), LipSwish(), nn.Linear(width, outputs))


class Generator(SDE):
    """dX = f(t, X) dt + g(t, X) dW in Stratonovich's sense, X(0) = a network of normal numbers, Y = A X + a.

    f and g are networks that end in tanh: no component of X is faster than 1, nor noisier than its Brownian motions.
    They read the time in units of the whole interval, (0, 1).
    """

    def __init__(self, start: int, noise: int, hidden: int, width: int, channels: int, length: int) -> None:
        super().__init__(self._drift, self._diffusion, "stratonovich", "general", noise)
        self.times, self.shape, self.steps = range(length), (hidden, noise), (length - 1, noise)
        self.start = network(start, width, hidden)
        self.fields = nn.ModuleList(network(hidden + 1, width, out) for out in (hidden, hidden * noise))
        self.readout = nn.Linear(hidden, channels)

    def _drift(self, t: Any, x: Tensor) -> Tensor:
        return self.both(t, x)[0]

    def _diffusion(self, t: Any, x: Tensor) -> Tensor:
        return self.both(t, x)[1]

    def both(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        x = with_time(t / self.times[-1], x)
        f, g = (field(x).tanh() for field in self.fields)
        return f, g.unflatten(-1, self.shape)

    def forward(self, start: Tensor, normals: Tensor) -> Tensor:
        """Y (N, T, channels) by Heun steps of 1, of start (N, .) and of the increments of W, (N, T - 1, noise)."""
        x = integrate_sde(self, self.start(start), self.times, "heun", noise=normals.movedim(1, 0).contiguous())
        out: Tensor = self.readout(x.states).movedim(0, 1)
        return out


class Critic(nn.Module):
    """D(Y) = b . H(T): dH = F(t, H) d(t, gain Y) along the lines between the points of Y, H(0) from gain Y(0).

    H(0) comes from a network; F is one that ends in tanh, and reads the time in units of the whole interval.
    """

    def __init__(self, hidden: int, width: int, channels: int, gain: float) -> None:
        super().__init__()
        self.shape, self.gain = (hidden, channels + 1), gain
        self.start = network(channels, width, hidden)
        self.field = network(hidden + 1, width, hidden * (channels + 1))
        self.readout = nn.Linear(hidden, 1, bias=False)  # of a constant, no difference of scores depends

    def forward(self, y: Tensor) -> Tensor:
        """D (N,) of paths (N, T, channels) at t = 0, 1, …, T - 1."""
        times = torch.arange(y.shape[1], device=y.device, dtype=y.dtype).expand(len(y), -1)
        path = interpolate(self.gain * y, torch.ones_like(y, dtype=torch.bool), times)
        out: Tensor = self.readout(self.along(path))[:, 0]
        return out

    def along(self, path: Path) -> Tensor:
        """H at the end of a path of (t, gain Y), (N, hidden)."""

        def rate(s: float, h: Tensor) -> Tensor:
            field = self.field(with_time(s / path.pieces, h)).tanh().unflatten(-1, self.shape)
            return (field * path.derivative(s)[..., None, :]).sum(-1)

        h, knots = self.start(path.value(0)[:, 1:]), (0, path.pieces)
        return integrate(rate, h, knots, "midpoint", 1.0, jumps=range(path.pieces)).states[-1]

    @property
    def weights(self) -> list[Tensor]:
        """Those of the linear maps, without what is added."""
        return [part.weight for part in self.modules() if isinstance(part, nn.Linear)]

    @torch.no_grad()
    def clip(self) -> None:
        """Puts every weight w of a linear map to n numbers back to -1/n <= w <= 1/n."""
        for weight in self.weights:
            weight.clamp_(-1 / len(weight), 1 / len(weight))

    def steepness(self) -> Tensor:
        """The largest weight in units of its bound."""
        return torch.stack([weight.detach().abs().amax() * len(weight) for weight in self.weights]).amax()


OPTIMIZERS = {"optimistic": OptimisticAdam, "adadelta": torch.optim.Adadelta}


class SDEGAN(ZooModule):
    """A generative model of paths: the law of a neural SDE, fitted to that of the data by a neural CDE that judges it.

        Y:  dX = f(t, X) dt + g(t, X) dW (Stratonovich),   X(0) = xi(V),   Y = A X + a
        D:  dH = F(t, H) d(t, gain Y),   H(0) = zeta(gain Y(0)),   D(Y) = b . H(T)

        min over Y, max over D of   E D(Y_data) - E D(Y)

    If D ranged over all functions of a bounded slope, this would be a Wasserstein distance between laws of paths. What
    bounds the slope is the activation (LipSwish, of slope at most 1), tanh on F, and `clip`: after each step every
    weight of a linear map to n numbers is put back between -1/n and 1/n. Without it nothing does: a control.

    Both step at once, by one loss whose gradient is turned around for the generator; with `falling` the learning rates
    fall linearly to 0. `optimizer` is `optimistic` (see OptimisticAdam) or `adadelta`. The generator of `forward` is
    the mean of its weights after each of the last `averaged` of all steps, a share; until then, the last weights.

    `forward` maps normal numbers start (N, start_features) and normals (N, length - 1, noise_channels), the increments
    of W, to paths (N, length, channels) at t = 0, 1, …, length - 1 in the units of the data, which are divided by
    `scale` for both networks. A batch is (paths, start, normals). Logged are the `loss` of the critic, E D(Y) -
    E D(Y_data), and in training the `steepness`, its largest weight in units of the bound: at most 1 where clipped.

    Raises ValueError for a size below 1, a length below 2, a scale, gain or rate that is not positive, a share outside
    [0, 1], a negative weight decay, and for another optimizer.

    Source: P. Kidger, J. Foster, X. Li, H. Oberhauser and T. Lyons, "Neural SDEs as infinite-dimensional GANs", ICML
    2021, arXiv:2102.03657; clip, LipSwish and reversible Heun: P. Kidger, J. Foster, X. Li and T. Lyons, "Efficient and
    accurate gradients for neural SDEs", NeurIPS 2021, arXiv:2105.13493. Deliberate differences: Heun's method in steps
    of 1, differentiated step by step, in place of reversible Heun and its adjoint; the midpoint rule for the critic;
    networks that read time in units of the interval; learning rates that fall; optimistic steps; and the `gain`, which
    is 1 there. D sees the points of Y and the lines between them, also where Y is generated, as in torchsde's example.
    """

    tiny: ClassVar[dict[str, Any]] = {"hidden_features": 4, "width": 4}
    exceptions: ClassVar[dict[str, str]] = {
        "meta": "hundreds of small operations take longer there than with data",
        "masks": "it generates with averaged weights, which are less sparse than any of them",
    }

    def __init__(
        self,
        channels: int,
        length: int,
        start_features: int = 5,
        noise_channels: int = 3,
        hidden_features: int = 16,
        width: int = 16,
        scale: float = 1.0,
        gain: float = 2.0,
        clip: bool = True,
        optimizer: str = "optimistic",
        lr: float = 2e-3,
        critic_lr: float = 1e-2,
        weight_decay: float = 0.0,
        falling: bool = True,
        averaged: float = 0.25,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, start_features=start_features, noise_channels=noise_channels)
        at_least(1, hidden_features=hidden_features, width=width)
        at_least(2, length=length)
        positive(scale=scale, gain=gain, lr=lr, critic_lr=critic_lr)
        not_negative(weight_decay=weight_decay, averaged=averaged)
        if averaged > 1:
            raise ValueError(f"averaged must be a share of the steps, at most 1, got {averaged}")
        one_of(OPTIMIZERS, optimizer=optimizer)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.scale, self.clips = scale, clip
        self.falling, self.averaged = falling, averaged
        self.recipe = (optimizer, lr, critic_lr, weight_decay)
        self.generator = Generator(start_features, noise_channels, hidden_features, width, channels, length)
        self.critic = Critic(hidden_features, width, channels, gain)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.spread()

    @torch.no_grad()
    def spread(self) -> None:
        """Widens the law of X(0) and calms f and g, by the factors of torchsde's example: a start nearer to data."""
        for part, factor in ((self.generator.start, 3.0), (self.generator.fields, 0.5)):
            for parameter in part.parameters():
                parameter.mul_(factor)
        self.average.load_state_dict(self.generator.state_dict())

    def forward(self, start: Tensor, normals: Tensor) -> Tensor:
        features, (length, noise) = self.hparams["start_features"], self.average.steps
        if start.shape[1:] != (features,) or normals.shape[1:] != (length, noise):
            expected = f"start of shape (N, {features}) and normals of shape (N, {length}, {noise})"
            raise ValueError(f"expected {expected}, got {tuple(start.shape)} and {tuple(normals.shape)}")
        out: Tensor = self.scale * self.average(start, normals)
        return out

    def inputs(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return batch[1:]

    def gap(self, paths: Tensor, made: Tensor) -> Tensor:
        """E D(Y) - E D(Y_data), of paths and made ones of one number, both divided by the scale."""
        scores: Tensor = self.critic(torch.cat([made, paths]))
        return scores[: len(made)].mean() - scores[len(made) :].mean()

    def step(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        paths, *noise = batch
        return {"loss": self.gap(paths / self.scale, self.average(*noise))}

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        total = self.trainer.estimated_stepping_batches
        paths, *noise = batch
        made = self.generator(*noise)
        # of this the value is `made`, and the gradient that of -made: what the critic descends, the generator climbs
        loss = self.gap(paths / self.scale, 2 * made.detach() - made)
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.falling:
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * (1 - self.global_step / total)
        optimizer.step()
        if self.clips:
            self.critic.clip()
        self.accumulate(self.global_step - math.floor((1 - self.averaged) * total))
        self.log_scalars("train", {"loss": loss, "steepness": self.critic.steepness()}, len(paths))
        return loss.detach()

    @torch.no_grad()
    def accumulate(self, count: int) -> None:
        """Makes the average that of `count` generators, with the present one as the last of them; below 1, the last."""
        for mean, own in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(own, 1 / max(1, count))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        name, lr, critic_lr, weight_decay = self.recipe
        rates = ((self.generator, lr), (self.critic, critic_lr))
        groups = [{"params": list(part.parameters()), "lr": rate, "highest": rate} for part, rate in rates]
        return OPTIMIZERS[name](groups, weight_decay=weight_decay)
