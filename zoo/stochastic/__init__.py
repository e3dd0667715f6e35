"""Neural stochastic differential equations: driven by irregular series, or generating paths."""

from zoo._registry import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__)
