"""Rolling forecasts of the electrolysis cell by a network that has learnt its rates, and that network's structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from datamodules import Electrolysis
from zoo.sparse import DynamicsNetwork

BLOWN = 3.0  # standard deviations, averaged over states, beyond which a forecast is lost
THRESHOLDS = (1e-2, 1e-3)  # below which a weight counts as zero
EVERY = 10  # steps between those of a forecast that are kept


class Forecast(pl.Callback):
    """Forecasts the test trajectories of Electrolysis with a DynamicsNetwork, from their true starts and inputs.

        x_0 = true,   x_{i+1} = x_i + DT f(x_i, u_i),   e_i = (x_i - true x_i) / std of the training states

    For every window of steps a < i <= b it logs, named by its end,

        test/an_rfmse_B   e^2, averaged over window, states and the trajectories that are not lost in the window
        test/an_rfmae_B   the same of |e|
        test/blow_ups_B   the share of lost trajectories: |e|, averaged over states, exceeds 3 or is not finite

    Where all are lost the averages are 9 and 3, the limit's. And of the network, with a weight below 1e-2 as no
    connection,

        test/zeros_0.01, test/zeros_0.001   the share of weights below 1e-2 and 1e-3
        test/connections_x5                 units of the first layer that see the mass of metal

    It records `zeros` (layers, 2), that share by layer and threshold; `connections` (13,), units of the first layer
    that see an input; `reaches` (8, 13), whether a path of connections leads from input to output; and of the first
    test trajectory every tenth step, `forecast` and `true_course` (T, 8).

    States are updated in double precision. Raises ValueError for windows that are not rising pairs, and for another
    model or other data.

    Source: E. T. B. Lundby, A. Rasheed, I. J. Halvorsen and J. T. Gravdahl, "Sparse deep neural networks for modeling
    aluminum electrolysis dynamics", 2022, arXiv:2209.05832, for the averages over what has not blown up; the windows
    and the limit are those of the code of arXiv:2209.10861, which averages |e|.
    """

    per_replica = True

    def __init__(self, windows: Sequence[Sequence[int]] = ((0, 100), (100, 2500), (2500, 5000))) -> None:
        for window in windows:
            if len(window) != 2 or not 0 <= window[0] < window[1]:
                raise ValueError(f"windows must be pairs of a step and a later one, got {list(window)}")
        self.windows = [(int(first), int(last)) for first, last in windows]

    def refusal(self, model: pl.LightningModule, data: pl.LightningDataModule) -> str:
        """Why this model and data cannot be followed; nothing where they can."""
        if not isinstance(data, Electrolysis):
            return f"forecasts are of the trajectories of Electrolysis, and {type(data).__name__} has none"
        if not isinstance(model, DynamicsNetwork):
            return f"forecasts are by a DynamicsNetwork, not by {type(model).__name__}"
        if (steps := data.settings["steps"]) < (last := max(last for _, last in self.windows)):
            return (
                f"a window ends at step {last}, and the data's trajectories have {steps}: lower windows or raise steps"
            )
        return ""

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if reason := self.refusal(pl_module, data):
            raise ValueError(reason)
        states, inputs = (tensor.to(pl_module.device) for tensor in data.trajectories("test"))
        about = data.statistics
        predicted = rolled_out(pl_module, states[:, 0], inputs, about, data.interval)
        errors = (predicted - states) / about.input_std[: states.shape[-1]].to(states)
        for first, last in self.windows:
            squared, absolute, lost = judged(errors[:, first + 1 : last + 1])
            pl_module.log(f"test/an_rfmse_{last}", squared)
            pl_module.log(f"test/an_rfmae_{last}", absolute)
            pl_module.log(f"test/blow_ups_{last}", lost)
        pl_module.record("forecast", predicted[0, ::EVERY].float())
        pl_module.record("true_course", states[0, ::EVERY].float())
        self._structure(pl_module, data)

    def _structure(self, module: Any, data: Any) -> None:
        weights = [weight.detach().abs() for weight in module.weights]
        counts = torch.tensor([[int((w < limit).sum()) for limit in THRESHOLDS] for w in weights])
        sizes = torch.tensor([w.numel() for w in weights])
        for limit, share in zip(THRESHOLDS, counts.sum(0) / sizes.sum(), strict=True):
            module.log(f"test/zeros_{limit:g}", share)
        connections = (weights[0] >= THRESHOLDS[0]).sum(0)
        module.log("test/connections_x5", connections[data.columns.index("x5")].float())
        module.record("zeros", counts / sizes[:, None])
        module.record("connections", connections)
        module.record("reaches", reaches(weights, THRESHOLDS[0], module.skip))


def rolled_out(model: Any, start: Tensor, inputs: Tensor, about: Any, interval: float) -> Tensor:
    """Forecasts from states (N, 8) under inputs (N, T, 5): (N, T + 1, 8), with all trajectories in one batch a step.

    What becomes infinite or no number at all stays so.
    """
    states = start.shape[-1]
    mean, std, rate_mean, rate_std = (
        part.to(start) for part in (about.input_mean, about.input_std, about.rate_mean, about.rate_std)
    )
    kind = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    scaled = ((inputs - mean[states:]) / std[states:]).to(kind).transpose(0, 1).contiguous()
    x = (start - mean[:states]) / std[:states]
    step, drift = interval * rate_std / std[:states], interval * rate_mean / std[:states]
    course = [x]
    for u in scaled.unbind():
        x = x + (drift + step * model(torch.cat([x.to(kind), u], dim=1)))
        course.append(x)
    return torch.stack(course, dim=1) * std[:states] + mean[:states]


def judged(errors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared and mean absolute error of the trajectories that are not lost, and the share of those that are.

    errors: (N, T, S), in standard deviations.
    """
    lost = ~(errors.abs().mean(-1) <= BLOWN).all(1)  # no number is not less than anything
    left = errors[~lost]
    if not len(left):
        return errors.new_tensor(BLOWN**2), errors.new_tensor(BLOWN), errors.new_tensor(1.0)
    return left.square().mean(), left.abs().mean(), lost.to(errors).mean()


def reaches(weights: Sequence[Tensor], threshold: float, skip: bool = False) -> Tensor:
    """Whether a path of weights of at least the threshold leads from each input to each output, (outputs, inputs).

    With `skip`, the columns of every later weight after those of the units belong to the inputs.
    """
    links = [(weight.abs() >= threshold).float() for weight in weights]
    if not skip:
        return reduce(lambda seen, link: (link @ seen).clamp(max=1), links[1:], links[0]).bool()
    inputs = torch.eye(links[0].shape[1], device=links[0].device)
    return reduce(lambda seen, link: (link @ torch.cat([seen, inputs])).clamp(max=1), links[1:], links[0]).bool()
