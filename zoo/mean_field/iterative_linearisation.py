"""Training by iterative linearisation, for any model without batch statistics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import zoo
from zoo._module import ZooModule
from zoo._stackable import keeps_statistics

with warnings.catch_warnings():  # at its first use torch scripts the rules for it, and warns of its own deprecation
    warnings.simplefilter("ignore", FutureWarning)
    torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))


class IterativeLinearisation(ZooModule):
    """A model that is linear in its parameters between every K-th optimiser step, where it is linearised anew.

        f_lin(x; theta) = f(x; theta_b) + J(x; theta_b) (theta - theta_b),    theta_b <- theta every K steps

    K = 1 is ordinary training: at theta = theta_b value and gradient are those of f. Without K (`every` is None) the
    first linearisation stays, which is training with the frozen tangent kernel; features are learned by the changes
    of theta_b alone.

    model describes the network as {class_path, init_args}; its `step` and its optimiser are used as they are, with
    f_lin in place of its `forward`. Shapes are those of that model. The losses are f_lin's; the test also measures
    the network itself at theta, as `network_NAME`. Derivatives are products with J, which is never formed: a step
    costs some three times the network's.

    Raises ValueError for every < 1, and for a model with batch statistics, stages, a loop of its own, or a step that
    does not use its `forward`.

    Source: A. Goldwaser and H. Ge, "Understanding Sparse Feature Updates in Deep Networks using Iterative
    Linearisation", 2022, arXiv:2211.12345.
    """

    exceptions = {
        "export": "the exporter knows no forward-mode derivatives",
        "masks": "its linearisation keeps them as they were before",
    }
    tiny = {"every": 2}

    def __init__(self, model: dict[str, Any], every: int | None = None) -> None:
        super().__init__()
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1 step, or None for a single linearisation, got {every}")
        if not isinstance(model, Mapping):
            raise TypeError(f"model is a description {{class_path: …, init_args: …}}, got {type(model).__name__}")
        self.save_hyperparameters()
        self.every = every
        self.network = zoo.restore(model).train()
        if reason := _refusal(self.network):
            raise ValueError(f"model {type(self.network).__name__} cannot be linearised: {reason}")
        self.base = nn.Module()  # holds theta_b: buffers, since no optimiser is to move them
        for name, parameter in self.network.named_parameters():
            self.base.register_buffer(_key(name), parameter.detach().clone())

    def relinearise(self) -> None:
        """theta_b <- theta."""
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                self.base.get_buffer(_key(name)).copy_(parameter)

    def forward(self, *inputs: Tensor) -> Any:
        network = _Own(self.network)
        base = {f"network.{name}": self.base.get_buffer(_key(name)) for name, _ in self.network.named_parameters()}
        change = {f"network.{name}": p - base[f"network.{name}"] for name, p in self.network.named_parameters()}

        def output(theta: dict[str, Tensor]) -> Any:
            return torch.func.functional_call(network, theta, inputs)

        found = torch.func.jvp(output, (base,), (change,))  # f at theta_b, and J times the change
        return tree_map(torch.add, found[0], found[1])

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        return self.network.inputs(batch)

    def step(self, batch: Any) -> dict[str, Tensor]:
        with self._in_place_of_forward():
            return self.network.step(batch)

    @contextmanager
    def _in_place_of_forward(self) -> Iterator[None]:
        calls = []

        def forward(*inputs: Tensor) -> Any:
            calls.append(len(inputs))
            return self(*inputs)

        vars(self.network)["forward"] = forward
        try:
            yield
        finally:
            del vars(self.network)["forward"]
        if not calls:
            raise ValueError(
                f"model {type(self.network).__name__} cannot be linearised: its step does not use its forward"
            )

    def test_step(self, batch: Any, batch_idx: int) -> None:
        own = {f"network_{name}": value for name, value in self.network.step(batch).items()}
        self.log_scalars("test", self.step(batch) | own, len(self.inputs(batch)[0]))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then linearises where it is due: within the step, so that a snapshot after it has both."""
        super().optimizer_step(*args, **kwargs)
        if self.every and (self.trainer.global_step + 1) % self.every == 0:
            self.relinearise()

    def configure_optimizers(self) -> Any:
        return self.network.configure_optimizers()


class _Own(nn.Module):
    """A model's own forward, also while something else stands in its place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Any:
        return type(self.network).forward(self.network, *inputs)


def _key(name: str) -> str:
    """A parameter's name as that of a buffer, which has no dots."""
    return name.replace(".", "/")


def _refusal(network: ZooModule) -> str:
    if kept := next((part for part in network.modules() if keeps_statistics(part)), None):
        return f"{type(kept).__name__} keeps batch statistics, which are no function of the parameters"
    if network.stages() or not network.automatic_optimization:
        return "it has stages or a loop of its own"
    return ""
