"""Callbacks of the families: what benchmarks measure along a training."""
