"""Graph networks."""

from zoo._registry import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
