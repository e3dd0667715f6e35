"""Figures of the sparse family: a file a benchmark."""
