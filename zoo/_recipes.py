"""What `configure_optimizers` returns: the optimiser in it, and why it cannot step replicas in a stack."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

#: Optimisers whose step treats every number alike, whatever tensor it is in. A class derived from one may not.
ELEMENTWISE = tuple(
    getattr(torch.optim, name)
    for name in ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD"]
)


def optimizer_of(made: Any) -> torch.optim.Optimizer:
    """The optimiser in what `configure_optimizers` returns. Raises ValueError for several and for other forms."""
    found = made["optimizer"] if isinstance(made, dict) else made
    if not isinstance(found, torch.optim.Optimizer):
        raise ValueError(f"expected one optimiser or a mapping with one, got {type(found).__name__}")
    return found


def unserved(made: Any) -> str:
    """Why replicas cannot be stepped by what `configure_optimizers` returned; empty where they can."""
    try:
        optimizer = optimizer_of(made)
    except ValueError as error:
        return f"its configure_optimizers cannot be used: {error}"
    if type(optimizer) not in ELEMENTWISE:
        return f"its optimiser {type(optimizer).__name__} is not element-wise"
    return "its schedule follows a metric" if isinstance(made, dict) and _follows(made) else ""


def _follows(made: dict[str, Any]) -> bool:
    schedule = made.get("lr_scheduler")
    entry = schedule if isinstance(schedule, dict) else {"scheduler": schedule}
    return "monitor" in (made | entry) or isinstance(entry.get("scheduler"), ReduceLROnPlateau)
