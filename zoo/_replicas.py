"""Many seeds of one model trained as one: stacked parameters, one optimiser, each replica on batches of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo._module import ZooModule
from zoo._recipes import optimizer_of, unserved


class Replicas(ZooModule):
    """K models of one shape as one module, whose parameters have a leading axis of replicas.

        loss(theta_1 … theta_K) = sum_k loss_k(theta_k, batch_k)

    so that the gradient for theta_k is that of replica k alone, and one element-wise optimiser steps all of them.
    A batch holds the batches of the replicas along the first axis: its tensors are (K, B, …).

    The K models stay what they are, at all times: their parameters are views of the stacked ones, so that a callback
    may watch, and a Trainer test and save, each of them alone. Averages over an epoch are logged as `k/train/NAME`
    and `k/val/NAME`. Gradients are clipped for each replica by its own norm. A halted replica keeps its weights; one
    that ended early gets those of that moment back when all have ended.

    Which models can be stacked is for `zoo._stackable.refusal` to say.
    """

    def __init__(self, models: Sequence[ZooModule]) -> None:
        super().__init__()
        self.models = tuple(models)
        self.inference_mode = models[0].inference_mode  # type: ignore[misc]  # a class's, and this one stands for any
        self.stack = copy.deepcopy(models[0])
        each = [_tensors(model) for model in models]
        for name, tensor in _tensors(self.stack).items():
            tensor.data = torch.stack([own[name].detach() for own in each])
        self.halted: dict[int, str] = {}  # why, by replica
        self.ended: dict[int, tuple[int, int]] = {}  # after how many steps and epochs, by replica
        self._kept: dict[int, dict[str, Tensor]] = {}  # the tensors of replicas that ended
        self.losses: Tensor | None = None  # of the last training batch, (K,)
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, int] = {}
        parts: list[dict[str, Any]] = [p for m in self.stack.modules() for p in (m._parameters, m._buffers)]
        self._sites = [(part, leaf) for part in parts for leaf, tensor in part.items() if tensor is not None]
        self._mapped = torch.vmap(self._one)
        self._bind()

    def __len__(self) -> int:
        return len(self.models)

    def tie(self) -> None:
        """Makes the models' tensors views of the stacked ones again, after these were moved or converted."""
        for model in self.models:
            model.to(device=self.device, dtype=self.dtype)
        self._bind()

    def follow(self, number: int) -> None:
        """Has a model's parts in training mode where those of the stack are."""
        for own, common in zip(self.models[number].modules(), self.stack.modules(), strict=True):
            own.training = common.training

    def release(self, number: int) -> ZooModule:
        """A model with tensors of its own again: a saved view would take the whole stack along."""
        for tensor in _tensors(self.models[number]).values():
            tensor.data = tensor.data.clone()
        self.follow(number)
        return self.models[number]

    def _bind(self) -> None:
        for number, model in enumerate(self.models):
            own = _tensors(model)
            for name, stacked in _tensors(self.stack).items():
                own[name].data = stacked.data[number]

    def scalars(self, batch: Any) -> dict[str, Tensor]:
        """What each replica's `step` returns on its batch: (K,) each."""
        found: dict[str, Tensor] = self._mapped([part[leaf] for part, leaf in self._sites], batch)
        return found

    def _one(self, own: Sequence[Tensor], batch: Any) -> dict[str, Tensor]:
        """The scalars of one replica, with its own tensors in place of the stacked ones.

        This is `torch.func.functional_call` of a method, in a fifth of the time.
        """
        stacked = [part[leaf] for part, leaf in self._sites]
        try:
            for (part, leaf), tensor in zip(self._sites, own, strict=True):
                part[leaf] = tensor
            return self.stack.step(batch)
        finally:
            for (part, leaf), tensor in zip(self._sites, stacked, strict=True):
                part[leaf] = tensor

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        scalars = self.scalars(batch)
        self._add("train", scalars, batch)
        self.losses = scalars["loss"].detach()
        return scalars["loss"].sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._add("val", self.scalars(batch), batch)

    def _add(self, split: str, scalars: Mapping[str, Tensor], batch: Any) -> None:
        """Sums for the epoch's averages, with the batch sizes as weights; nothing is copied to the host here."""
        size = self.models[0].inputs(batch)[0].shape[1]
        self._weights[split] = self._weights.get(split, 0) + size
        for name, values in scalars.items():
            exact = torch.promote_types(values.dtype, torch.float32)  # of short numbers, sums lose the small ones
            key, part = f"{split}/{name}", values.detach().to(exact) * size
            self._sums[key] = self._sums[key] + part if key in self._sums else part

    def on_train_epoch_end(self) -> None:
        self.log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        self.log_epoch("val")

    def log_epoch(self, split: str) -> None:
        """Logs the epoch's averages, once, at the step at which Lightning would log those of a single model.

        All together and not by `log`, which takes as long for each number as a training step of a small model.
        """
        step = self.trainer.fit_loop.epoch_loop._batches_that_stepped - (split == "train")
        weight = self._weights.pop(split, 0)
        sums = {key: self._sums.pop(key) for key in list(self._sums) if key.startswith(f"{split}/")}
        if sums:
            rows = (torch.stack(list(sums.values())) / weight).cpu()
            going = [n for n in range(len(self)) if n not in self.ended]
            named = {f"{n}/{key}": row[n] for key, row in zip(sums, rows, strict=True) for n in going}
            self.trainer.callback_metrics.update(named)
            for logger in self.trainer.loggers:
                logger.log_metrics({k: float(v) for k, v in named.items()} | {"epoch": self.current_epoch}, step)
                logger.save()

    def on_fit_start(self) -> None:
        self.tie()

    def configure_optimizers(self) -> Any:
        """The first model's, which are those of every model, on the stacked parameters."""
        self.tie()
        first = self.models[0]
        first.trainer = self.trainer
        made = first.configure_optimizers()
        first.trainer = None
        if reason := unserved(made):  # what takes a trainer to make is seen here first
            raise ValueError(f"{type(first).__name__} cannot train in a stack: {reason}")
        _move(optimizer_of(made), dict(zip(first.parameters(), self.stack.parameters(), strict=True)))
        return made

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if not gradient_clip_val or gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients]).norm(dim=0)
        scale = (gradient_clip_val / (norms + 1e-6)).clamp(max=1)  # as torch.nn.utils.clip_grad_norm_
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))

    def halt(self, replica: int, reason: str) -> None:
        """Keeps a replica's weights as they are from now on, while the others go on."""
        self.halted.setdefault(replica, reason)

    def end(self, replica: int) -> None:
        """Lets a replica's training end here, while the others go on: what it is now is put back by `restore`."""
        self.ended[replica] = self.global_step, self.current_epoch + 1
        self._kept[replica] = {name: tensor.detach()[replica].clone() for name, tensor in _tensors(self.stack).items()}

    def restore(self) -> None:
        """Gives the replicas that ended early what they were then."""
        stacked = _tensors(self.stack)
        for replica, kept in self._kept.items():
            for name, tensor in kept.items():
                stacked[name].data[replica].copy_(tensor)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        rows = sorted(self.halted)
        kept = [p.detach()[rows].clone() for p in self.parameters()] if rows else []
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        with torch.no_grad():
            for parameter, before in zip(self.parameters(), kept, strict=False):
                parameter[rows] = before

    @property
    def recorded(self) -> dict[str, Tensor]:
        return {f"{n}/{name}": array for n, model in enumerate(self.models) for name, array in model.recorded.items()}

    def load_records(self, recorded: dict[str, Tensor]) -> None:
        for number, model in enumerate(self.models):
            own = {key.partition("/")[2]: a for key, a in recorded.items() if key.startswith(f"{number}/")}
            model._records = {name: list(stacked.to(self.device).unbind()) for name, stacked in own.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The running epoch's sums, and the replicas that were halted or ended, which no parameter holds."""
        running = {"sums": self._sums, "weights": self._weights}
        checkpoint["replicas"] = {**running, "halted": self.halted, "ended": self.ended, "kept": self._kept}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["replicas"]
        self._sums = {key: total.to(self.device) for key, total in saved["sums"].items()}
        self._weights, self.halted = dict(saved["weights"]), dict(saved["halted"])
        self.ended, self._kept = dict(saved["ended"]), dict(saved["kept"])


def _move(optimizer: torch.optim.Optimizer, to: Mapping[Tensor, Tensor]) -> None:
    """Puts an optimiser, which has not stepped yet, on other parameters with an axis more."""
    for group in optimizer.param_groups:
        group["params"] = [to[parameter] for parameter in group["params"]]
    for parameter, state in list(optimizer.state.items()):
        stacked = to[parameter]
        del optimizer.state[parameter]
        alike = {key for key, value in state.items() if key != "step" and value.shape == parameter.shape}
        optimizer.state[stacked] = {
            key: value.expand_as(stacked).clone() if key in alike else value for key, value in state.items()
        }


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have."""
    return dict((*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)))
