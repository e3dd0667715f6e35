"""Figures of the family of neural stochastic differential equations: a file a benchmark."""
