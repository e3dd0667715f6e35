"""Neural differential equations, densities that flow, and models defined by a fixed point."""

from zoo._registry import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
