"""Figures of the residual family."""
