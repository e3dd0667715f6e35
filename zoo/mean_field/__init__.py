"""Two-layer ReLU networks in the mean-field scaling."""

from zoo._registry import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
