"""Sparse and low-rank networks, and the methods that make them: callbacks for any model of the zoo."""

from zoo._registry import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
