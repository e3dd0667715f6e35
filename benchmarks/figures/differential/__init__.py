"""Figures of the family of neural differential equations: a file a benchmark."""
