"""Predators and prey: trajectories of the Lotka-Volterra equations, in short windows to train on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from datamodules._arrays import ArrayDataModule, generator
from datamodules._spec import Field, Spec

SUBSTEPS = 32  # of rk4 between two observations: an error of about 1e-9


class LotkaVolterra(ArrayDataModule):
    """Prey u and predators v, observed at equal intervals, with noise.

        du/dt = 1.3 u - 0.9 u v,   dv/dt = 0.8 u v - 1.8 v

    Initial states are uniform on [1, 3]^2, by the seed. Training and validation trajectories last `horizon`, are
    observed with Gaussian noise of deviation `noise`, and are cut into all windows of `window` + 1 successive
    observations; those of the test last `test_horizon`, and are whole and without noise.

    A batch is (states,) of shape (B, window + 1, 2), for the test (B, test_horizon / interval + 1, 2). Raises
    ValueError for a size below 1, an interval that is not positive, noise below zero, and a horizon shorter than a
    window.

    Source: C. Rackauckas et al., "Universal differential equations for scientific machine learning", 2020,
    arXiv:2001.04385; many trajectories in place of one, so that seeds differ.
    """

    citation: ClassVar[str] = """\
@misc{rackauckas2020universal,
  author = {Christopher Rackauckas and Yingbo Ma and Julius Martensen and Collin Warner and Kirill Zubov and
            Rohit Supekar and Dominic Skinner and Ali Ramadhan and Alan Edelman},
  title = {{Universal Differential Equations for Scientific Machine Learning}},
  year = {2020},
  eprint = {2001.04385},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2001.04385}
}"""
    alpha, beta, gamma, delta = 1.3, 0.9, 0.8, 1.8

    def __init__(
        self,
        trajectories: int = 8,
        horizon: float = 6.0,
        interval: float = 0.1,
        window: int = 5,
        noise: float = 0.01,
        test_horizon: float = 12.0,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"trajectories": trajectories, "window": window}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not interval > 0:
            raise ValueError(f"interval must be positive, got {interval}")
        if not noise >= 0:
            raise ValueError(f"noise must not be negative, got {noise}")
        for name, length in {"horizon": horizon, "test_horizon": test_horizon}.items():
            if round(length / interval) < window:
                raise ValueError(f"{name} must be at least a window, {interval * window:g}, got {length}")
        self.save_hyperparameters()
        self.trajectories, self.interval, self.window, self.noise = trajectories, interval, window, noise
        self.counts = {"train": round(horizon / interval), "val": round(horizon / interval)}
        self.counts["test"] = round(test_horizon / interval)

    @property
    def spec(self) -> Spec:
        windows = self.trajectories * (self.counts["train"] + 1 - self.window)
        sizes = {"train": windows, "val": windows, "test": self.trajectories}
        return Spec((Field((self.window + 1, 2)),), {"interval": self.interval, "in_features": 2}, sizes, "1")

    def load(self, split: str) -> tuple[Tensor, ...]:
        draw = generator(self.seed, split, 0, 2**31)
        start = 1 + 2 * torch.rand(self.trajectories, 2, generator=draw, dtype=torch.float64)
        states = self.solved(start, self.counts[split])
        if split == "test":
            return (states.float(),)
        states = states + self.noise * torch.randn(states.shape, generator=draw, dtype=torch.float64)
        windows = states.unfold(1, self.window + 1, 1).permute(0, 1, 3, 2)
        return (windows.flatten(0, 1).float(),)

    def raw(self, split: str) -> tuple[Tensor, ...]:
        """The first states, from which models predict."""
        return (self.load(split)[0][:, 0],)

    def velocity(self, state: Tensor) -> Tensor:
        """d(u, v)/dt of states (…, 2)."""
        u, v = state.unbind(-1)
        return torch.stack([self.alpha * u - self.beta * u * v, self.gamma * u * v - self.delta * v], -1)

    def solved(self, state: Tensor, count: int) -> Tensor:
        """States at `count` intervals from given ones (N, 2) on: (N, count + 1, 2)."""
        states, h = [state], self.interval / SUBSTEPS
        for _ in range(count):
            for _ in range(SUBSTEPS):
                k1 = self.velocity(state)
                k2 = self.velocity(state + h / 2 * k1)
                k3 = self.velocity(state + h / 2 * k2)
                state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + self.velocity(state + h * k3))
            states.append(state)
        return torch.stack(states, 1)
