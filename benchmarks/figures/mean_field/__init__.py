"""Figures of the mean-field family: a file a benchmark."""
