"""SymbolicRegression: the law in closed form behind an interaction that a network has learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo._checks import at_least
from zoo._module import ZooModule
from zoo._solvers import integrate
from zoo.differential._expressions import Expression, Search


class SymbolicRegression(ZooModule):
    """An expression of +, -, *, / and constants for each coordinate of a learned interaction n(y).

        dy_i/dt = r_i y_i + scale_i e_i(y; c_i),   scale_i e_i(y; c_i) close to n_i(y) on states of the data

    model describes a trained hybrid model as {class_path, init_args}, or names its Run by {from}: n is its
    `interaction`, and everything else of its law is kept. The expressions are found by regularised evolution on
    `samples` states of the training data, in one epoch, after which the training ends; their constants are fitted at
    last. What was found are buffers, and `laws` says it in words.

    A batch is (states,), states (N, T, d). `forward` maps (N, d) to the expressions' values (N, d); `solve` gives
    trajectories (N, count + 1, d) by them. The loss is the mean squared difference from n; validation comes before the
    search, and sees a law of 0. Raises ValueError for a size below 1, a max_size below 3 and an interaction that is not
    finite, and TypeError for a model that is no description.

    Source: for the search E. Real, A. Aggarwal, Y. Huang and Q. V. Le, "Regularized evolution for image classifier
    architecture search", AAAI 2019, arXiv:1802.01548; for the purpose C. Rackauckas et al., "Universal differential
    equations for scientific machine learning", 2020, arXiv:2001.04385, where sparse regression on a library is used.
    """

    exceptions: ClassVar[dict[str, str]] = {
        "gradients": "expressions are searched for",
        "masks": "its network is not trained any more",
        "export": "the expressions are read from buffers",
        "meta": "the expressions are read from buffers",
    }
    tiny: ClassVar[dict[str, Any]] = {"max_size": 3, "generations": 20, "samples": 8}
    program: Tensor
    constants: Tensor
    size: Tensor
    scale: Tensor
    points: Tensor
    gathered: Tensor
    seed: Tensor

    def __init__(
        self, model: dict[str, Any], in_features: int, max_size: int = 9, generations: int = 4_000, samples: int = 256
    ) -> None:
        super().__init__()
        at_least(1, in_features=in_features, generations=generations, samples=samples)
        at_least(3, max_size=max_size)
        if not isinstance(model, Mapping):
            raise TypeError(f"model is a description {{class_path: …, init_args: …}}, got {type(model).__name__}")
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.search = Search(max_size, generations=generations)
        self.network: Any = zoo.restore(model).train().requires_grad_(False)
        self.register_buffer("program", torch.ones(in_features, max_size, dtype=torch.int64))
        self.register_buffer("constants", torch.zeros(in_features, max_size, dtype=torch.float64))
        self.register_buffer("size", torch.ones(in_features, dtype=torch.int64))
        self.register_buffer("scale", torch.zeros(in_features, dtype=torch.float64))
        self.register_buffer("points", torch.zeros(samples, in_features))
        self.register_buffer("gathered", torch.tensor(0))
        self.register_buffer("seed", torch.randint(2**31, ()))

    @property
    def laws(self) -> list[Expression]:
        """The expression of each coordinate; before the search, 0."""
        found = zip(self.program.tolist(), self.constants.tolist(), self.size, self.scale, strict=True)
        return [Expression(tuple(p[: int(n)]), tuple(c[: int(n)]), float(s)) for p, c, n, s in found]

    def forward(self, states: Tensor) -> Tensor:
        return torch.stack([law.value(states) for law in self.laws], -1)

    def solve(self, start: Tensor, count: int) -> Tensor:
        """The states (N, count + 1, d) at as many intervals from the first ones (N, d) on."""
        laws, network = self.laws, self.network

        def velocity(_: Any, y: Tensor) -> Tensor:
            found = torch.stack([law.value(y) for law in laws], -1)
            return network(y) - network.interaction(y) + found

        times = [network.interval * k for k in range(count + 1)]
        return integrate(velocity, start, times, "rk4", network.interval / network.substeps).states.movedim(0, 1)

    def inputs(self, batch: tuple[Tensor]) -> tuple[Tensor]:
        return (batch[0][:, 0],)

    def step(self, batch: tuple[Tensor]) -> dict[str, Tensor]:
        states = batch[0].flatten(0, 1)
        return {"loss": F.mse_loss(self(states), self.network.interaction(states))}

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        start = int(self.gathered)
        rows = batch[0].flatten(0, 1)[: len(self.points) - start]
        self.points[start : start + len(rows)] = rows
        self.gathered += len(rows)

    def on_train_epoch_end(self) -> None:
        x = self.points[: int(self.gathered)]
        targets = self.network.eval().interaction(x).double().cpu().numpy()
        for place, y in enumerate(targets.T):
            self._take(place, self.search.run(x.double().cpu().numpy(), y, int(self.seed) + place))
        self.trainer.should_stop = True

    def _take(self, place: int, law: Expression) -> None:
        self.program[place, : law.size] = torch.tensor(law.program)
        self.constants[place, : law.size] = torch.tensor(law.constants, dtype=torch.float64)
        self.size[place], self.scale[place] = law.size, law.scale

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return []
