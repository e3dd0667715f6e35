"""Callbacks for a stack of replicas: each watches its own replica, as if that were a model trained alone."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Sequence
from functools import partial
from itertools import chain, count
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger
from torch import Tensor

from zoo._replicas import Replicas

#: What a callback may do in a stack: look at its replica between the batches, epochs and validations.
HOOKS = tuple(
    f"on_{moment}"
    for moment in (
        *("fit_start", "fit_end", "train_start", "train_end", "train_epoch_start", "train_epoch_end"),
        *("train_batch_start", "train_batch_end", "validation_start", "validation_end"),
        *("validation_epoch_start", "validation_epoch_end"),
    )
)
FINAL = ("on_train_end", "on_fit_end")  # what is called of a replica that ended before the others
ELSEWHERE = ("on_test", "on_predict", "on_sanity")  # called by the trainer that has one replica alone, or never


def watches(callback: type) -> bool:
    """Whether a callback says that it only looks at one model (`per_replica = True`), and needs no other hook."""
    needed = [
        name
        for name in dir(pl.Callback)
        if name.startswith(("on_", "setup", "teardown"))
        and not name.startswith(ELSEWHERE)
        and getattr(callback, name) is not getattr(pl.Callback, name)
    ]
    return getattr(callback, "per_replica", False) and set(needed) <= set(HOOKS)


class Prefixed:
    """A loop's averages, as those of one replica: what it logs as NAME is logged as `k/NAME`, weighted by its batch."""

    def __init__(self, results: Any, prefix: str) -> None:
        self.results, self.prefix = results, prefix

    def log(self, fx: str, name: str, value: Any, *args: Any, batch_size: int | None = None, **how: Any) -> None:
        if batch_size is None and isinstance(batch := self.results.batch, tuple | list):
            batch_size = batch[0].shape[1]
        self.results.log(fx, self.prefix + name, value, *args, batch_size=batch_size, **how)

    def get(self, key: str) -> None:
        """None has begun that could be added to without `log`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.results, name)


class OneOf:
    """The trainer as one replica's model and callbacks see it: with its data, its metrics and its loggers.

    Setting `should_stop` at the end of an epoch ends the training of this replica alone.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        number: int,
        model: pl.LightningModule,
        data: pl.LightningDataModule,
        stack: Replicas,
    ) -> None:
        vars(self).update(_trainer=trainer, _number=number, lightning_module=model, datamodule=data, _stack=stack)

    @property
    def should_stop(self) -> bool:
        return self._ended is not None

    @property
    def global_step(self) -> int:
        return vars(self)["_trainer"].global_step if self._ended is None else self._ended[0]

    @property
    def current_epoch(self) -> int:
        return vars(self)["_trainer"].current_epoch if self._ended is None else self._ended[1]

    @property
    def _ended(self) -> tuple[int, int] | None:
        """After how many steps and epochs its replica's training ended; nothing while that goes on."""
        ended: tuple[int, int] | None = vars(self)["_stack"].ended.get(vars(self)["_number"])
        return ended

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        metrics, prefix = vars(self)["_trainer"].callback_metrics, f"{vars(self)['_number']}/"
        return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}

    @property
    def loggers(self) -> list[Logger]:
        splits = [logger for logger in vars(self)["_trainer"].loggers if isinstance(logger, Split)]
        return [logger for split in splits for logger in split.each[vars(self)["_number"]]]

    @property
    def logger(self) -> Logger | None:
        return next(iter(self.loggers), None)

    @property
    def _results(self) -> Prefixed | None:
        results = vars(self)["_trainer"]._results
        return None if results is None else Prefixed(results, f"{vars(self)['_number']}/")

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_trainer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        at_the_end = vars(self)["lightning_module"]._current_fx_name == "on_train_epoch_end"
        if name == "should_stop" and value and at_the_end:
            vars(self)["_stack"].end(vars(self)["_number"])
            return
        raise AttributeError(f"trainer.{name} is shared with other seeds: a callback that is per_replica only looks")


class PerReplica(pl.Callback):
    """Calls each replica's callbacks with that replica, its data, its batch and its loss.

    A replica whose loss is not finite, or one of whose callbacks raises, is halted with the reason, and a callback may
    end its replica's training with an epoch (`trainer.should_stop = True`); that of all ends early when each has.
    Losses are looked at every `every` steps: only then the host waits for the device.

    What a callback logs goes to its replica's metrics and loggers. From the process's random numbers it draws none: all
    replicas share these.
    """

    def __init__(
        self, watching: Sequence[Sequence[pl.Callback]], data: Sequence[pl.LightningDataModule], every: int = 50
    ) -> None:
        self.watching, self.data, self.every = watching, data, every
        self.views: list[OneOf] = []
        self.calls = {hook: [[c for c in own if _overrides(c, hook)] for own in watching] for hook in HOOKS}
        for hook in HOOKS:
            if any(self.calls[hook]) and hook not in vars(PerReplica):
                setattr(self, hook, partial(self._each, hook))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.tie()  # before the callbacks: Lightning calls the module after them
        self._each("on_fit_start", trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if any(self.calls["on_train_batch_end"]):
            self._each("on_train_batch_end", trainer, pl_module, *args)
        if trainer.global_step % self.every == 0:
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.log_epoch("train")  # before the callbacks: Lightning calls the module after them
        self._each("on_train_epoch_end", trainer, pl_module)
        if pl_module.ended:
            self._finish(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.log_epoch("val")  # before the callbacks, as above
        self._each("on_validation_epoch_end", trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._look(trainer, pl_module)
        pl_module.restore()
        self._each("on_train_end", trainer, pl_module)

    def _each(self, hook: str, trainer: pl.Trainer, stack: Replicas, *args: Any) -> None:
        self.views = self.views or self._attached(trainer, stack)
        training = stack.stack.training
        for number, own in enumerate(self.calls[hook]):
            if own and number not in stack.halted and (number not in stack.ended or hook in FINAL):
                model, parts = stack.models[number], _part(args, number, stack)
                if model.training != training:
                    stack.follow(number)
                model._current_fx_name = hook  # `log` asks for it
                try:
                    for callback in own:
                        call: Any = getattr(callback, hook)
                        call(self.views[number], model, *parts)
                except Exception as error:  # it may raise anything: that ends its replica, and not the others
                    traceback.print_exc()
                    stack.halt(number, in_a_line(error))

    def _attached(self, trainer: pl.Trainer, stack: Replicas) -> list[OneOf]:
        """The trainer as each replica's callbacks see it, which their models see too."""
        views = [OneOf(trainer, *one, stack) for one in zip(count(), stack.models, self.data, strict=False)]
        for view, model in zip(views, stack.models, strict=True):
            model.trainer = view  # type: ignore[assignment]
        return views

    def _look(self, trainer: pl.Trainer, stack: Replicas) -> None:
        for number, loss in enumerate(stack.losses.tolist() if stack.losses is not None else ()):
            if not math.isfinite(loss) and number not in stack.ended:
                stack.halt(number, f"FloatingPointError: the loss is {loss} at step {trainer.global_step}")
        self._finish(trainer, stack)

    def _finish(self, trainer: pl.Trainer, stack: Replicas) -> None:
        done = {*stack.halted, *stack.ended}
        trainer.should_stop = trainer.should_stop or done >= set(range(len(self.watching)))

    def state_dict(self) -> dict[str, Any]:
        return {"own": [[callback.state_dict() for callback in own] for own in self.watching]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for own, saved in zip(self.watching, state_dict["own"], strict=True):
            for callback, state in zip(own, saved, strict=True):
                callback.load_state_dict(state)


class Split(Logger):
    """Sends what is logged as `k/NAME` to the loggers of the k-th replica as NAME."""

    COST = 20  # saving takes at most one part in COST of the time

    def __init__(self, loggers: Sequence[Sequence[Logger]]) -> None:
        super().__init__()
        self.each = loggers
        self.due = 0.0

    @property
    def name(self) -> str:
        return "replicas"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Each Run's configuration is logged where its loggers are made."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for number, loggers in enumerate(self.each):
            own = {name.removeprefix(f"{number}/"): v for name, v in metrics.items() if name.startswith(f"{number}/")}
            for logger in loggers if own else ():
                logger.log_metrics({**own, "epoch": metrics["epoch"]}, step)

    def save(self) -> None:
        if (began := time.monotonic()) >= self.due:
            for logger in chain.from_iterable(self.each):
                logger.save()
            self.due = time.monotonic() + self.COST * (time.monotonic() - began)


def in_a_line(error: BaseException) -> str:
    """An error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _overrides(callback: pl.Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(pl.Callback, hook)


def _part(args: Sequence[Any], number: int, stack: Replicas) -> list[Any]:
    """What a hook is given, for one replica: of the outputs its loss, of the batch its rows."""
    parts: list[Any] = []
    for value in args:
        if isinstance(value, dict):
            parts.append({"loss": stack.losses[number]} if stack.losses is not None else value)
        else:
            parts.append(tuple(tensor[number] for tensor in value) if isinstance(value, tuple | list) else value)
    return parts
