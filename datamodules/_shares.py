"""Shares of data that go to its splits."""

from __future__ import annotations


def check_shares(**shares: float) -> None:
    """Raises ValueError, with the argument's name, for a share that is not between 0 and 1."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {share}")
