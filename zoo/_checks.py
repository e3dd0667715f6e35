"""Checks of hyper-parameters, with one wording for all models, callbacks and data modules of the zoo."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def number(**values: float) -> None:
    """Raises ValueError naming the first value that is no finite number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")


def at_least(least: int, **values: int | Sequence[int]) -> None:
    """Raises ValueError naming the first value, or sequence of values, that is empty, not whole or below `least`."""
    for name, value in values.items():
        found = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for entry in found:
            number(**{name: entry})
            if not isinstance(entry, int):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not found or min(found) < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def positive(**values: float) -> None:
    """Raises ValueError naming the first value that is not above zero."""
    number(**values)
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def not_negative(**values: float) -> None:
    """Raises ValueError naming the first value below zero."""
    number(**values)
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def fraction(**values: float) -> None:
    """Raises ValueError naming the first value outside (0, 1]."""
    number(**values)
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must lie in (0, 1], got {value}")


def one_of(choices: Collection[str], **values: str) -> None:
    """Raises ValueError naming the first value that is none of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
