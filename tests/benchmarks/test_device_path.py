"""A step waits for nothing: no number is read from the device between two looks at the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import stack, tracking, train
from tests.benchmarks.test_stack import config


class Reads(TorchDispatchMode):
    """Counts the numbers that Python reads from tensors: each would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def reads(steps: int, folder: Path, together: bool) -> int:
    data = {"class_path": "tests.benchmarks.stackable.Cloud", "init_args": {"size": 400, "seed": 0}}
    made = config(0, data=data, trainer={"max_steps": steps})
    history = tracking.History(folder / "history.csv")
    loggers = lambda stage, first: [tracking.StageLogger(history, None, stage, first)]  # noqa: E731
    with Reads() as counted:
        if together:
            stack.run([stack.Member(made, 0, folder, loggers)])
        else:
            train.run(made, 0, folder, loggers=loggers)
    assert counted.count > 0, "the losses are looked at in the end, in any case"
    return counted.count


@pytest.mark.parametrize("together", [False, True], ids=["alone", "stacked"])
def test_more_steps_read_no_more_numbers(together: bool, tmp_path: Path) -> None:
    assert reads(45, tmp_path, together) == reads(5, tmp_path, together)


def test_the_counter_sees_a_read() -> None:
    with Reads() as counted:
        bool(torch.ones(()) > 0)
        float(torch.ones(3).sum())
    assert counted.count == 2
