"""What the steps of classifiers measure."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Cross-entropy (`loss`) and share of correct classes (`accuracy`) of logits (N, C) and labels (N,)."""
    return {
        "loss": F.cross_entropy(logits, labels),
        "accuracy": (logits.argmax(-1) == labels).float().mean(),
    }
