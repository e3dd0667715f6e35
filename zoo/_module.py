"""ZooModule: the one LightningModule that every architecture of the zoo derives from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from zoo._averages import add_to_averages
from zoo._preprocessing import predict
from zoo._stages import Stage


class ZooModule(pl.LightningModule):
    """A model with its training step, its paper's optimiser and the names under which it is logged.

    A subclass writes `__init__` (primitive arguments, `self.save_hyperparameters()`), `forward`, `step` and
    `configure_optimizers` (the paper's recipe; a benchmark may replace it). Each scalar that `step` returns is
    logged as `train/NAME`, `val/NAME`, `test/NAME`, averaged over an epoch with the batch sizes as weights.

    A model with another loop sets `self.automatic_optimization = False` and overrides `training_step`, logging
    with `log_scalars`. A model of several stages returns them from `stages`. Whatever prediction needs is a
    parameter or a buffer.
    """

    #: All seeds may train as one stacked module: `step` is pure (no logging, recording or random numbers in it).
    vectorizes: ClassVar[bool] = False
    #: Hyper-parameters that choose initial values of parameters and buffers, and nothing else: Runs that differ in them
    #: train in one stack, also where a buffer stays what it was and is read in `step`.
    initial: ClassVar[tuple[str, ...]] = ()
    #: Training reads the whole training split as one batch.
    one_batch: ClassVar[bool] = False
    #: False where `forward` needs gradients at test time.
    inference_mode: ClassVar[bool] = True
    #: `forward` gives the log-density of its first input: `predict` then gives that of the raw input, in the raw units.
    is_density: ClassVar[bool] = False
    #: Hyper-parameters of a small instance for the contract tests, merged over a benchmark's.
    tiny: ClassVar[dict[str, Any]] = {}
    #: Contracts that do not apply ("gradients", "export", "pickle", "meta", "masks", "second derivatives"), each with a
    #: reason.
    exceptions: ClassVar[dict[str, str]] = {}
    #: What `zoo.load` read beside the weights: data, metrics, input, classes, …
    card: dict[str, Any] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, list[Tensor]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what Lightning sets forty times a step directly: by way of nn.Module that takes a tenth of the step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Scalars of a batch; `loss` is what training minimises."""
        raise NotImplementedError(f"{type(self).__name__} defines neither step nor a loop of its own")

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """The arguments of `forward` that a batch holds: its first tensor, unless overridden."""
        return (batch[0],)

    def predict(self, *raw: Any, **named: Any) -> Any:
        """`forward` of a raw batch (tensors or arrays), in eval mode and, unless it needs them, without gradients.

        The inputs are the arguments of `forward`, in their order or by their names. The card's preprocessing comes
        first; a model without a card takes what `forward` takes. Raises ValueError for another number of inputs, and
        for input of another shape or kind.
        """
        return predict(self, *raw, **named)

    def complete(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs by their names, before preprocessing, with those that `predict` may be called without."""
        return given

    def stages(self) -> Sequence[Stage]:
        """The stages to fit in order; none means that the module itself is fitted."""
        return ()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        return self._logged_step("train", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._logged_step("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._logged_step("test", batch)

    def _logged_step(self, split: str, batch: Any) -> Tensor:
        scalars = self.step(batch)
        self.log_scalars(split, scalars, len(self.inputs(batch)[0]))
        return scalars["loss"]

    def log_scalars(self, split: str, scalars: dict[str, Tensor], batch_size: int) -> None:
        """Logs scalars as `split/NAME`, averaged over the epoch; nothing is copied to the host here."""
        values = {f"{split}/{name}": value.detach() for name, value in scalars.items()}
        ranks = self.trainer.world_size
        # Lightning takes the mean of the ranks' counts, rounded to a whole number: of such multiples it is exact
        weight = batch_size * ranks
        if not add_to_averages(self, values, weight):
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=weight, sync_dist=ranks > 1)

    def record(self, name: str, array: Tensor) -> None:
        """Appends an array to the record of that name: the Result keeps it, stacked over the calls.

        Arrays of one name have one shape; the saved array is (calls, *shape).
        """
        self._records.setdefault(name, []).append(array.detach().clone())

    @property
    def recorded(self) -> dict[str, Tensor]:
        """What was recorded, stacked and on the host."""
        return {name: torch.stack(arrays).cpu() for name, arrays in self._records.items()}

    def load_records(self, recorded: dict[str, Tensor]) -> None:
        """Puts what was recorded earlier in place of what is recorded now."""
        self._records = {name: list(stacked.to(self.device).unbind()) for name, stacked in recorded.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A nested model's weights are in the state_dict: the path that they once came from is not kept."""
        if saved := checkpoint.get("hyper_parameters"):
            checkpoint["hyper_parameters"] = {
                name: {k: v for k, v in value.items() if k != "checkpoint"}
                if isinstance(value, dict) and "class_path" in value
                else value
                for name, value in saved.items()
            }
