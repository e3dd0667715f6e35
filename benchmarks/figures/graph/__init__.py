"""Figures of the family of graph networks: a file a benchmark."""
