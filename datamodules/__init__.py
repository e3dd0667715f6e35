"""Data modules: splits as tensors on the device, streams of fresh samples, and what they know of themselves."""

import importlib
from typing import Any

_MODULES = {
    "AngularSamples": "points",
    "ArrayDataModule": "_arrays",
    "BatchDataModule": "_arrays",
    "BatchLoader": "_arrays",
    "BoundaryPoints": "boundary",
    "BrownianPaths": "brownian",
    "CIFAR10": "cifar",
    "CitationGraph": "citation_graph",
    "CitationLinks": "link_prediction",
    "DataMissing": "_files",
    "Density": "densities",
    "Digits": "images",
    "Electrolysis": "electrolysis",
    "FashionMNIST": "images",
    "Field": "_spec",
    "ForcedOrnsteinUhlenbeck": "forced_ornstein_uhlenbeck",
    "Gaussian": "densities",
    "GaussianPairs": "gaussian_pairs",
    "GeometricBrownianPaths": "geometric_brownian",
    "HyperedgeTriples": "hyperedges",
    "InitialStates": "states",
    "InterpolationPoints": "curves",
    "IrregularUCR": "irregular_series",
    "IrregularSeries": "_irregular",
    "LowDimensionalTarget": "points",
    "LorenzPaths": "lorenz",
    "LotkaVolterra": "lotka_volterra",
    "MNIST": "images",
    "MNISTParity": "images",
    "MarkovText": "text",
    "Moons": "densities",
    "MotifGraphs": "motif_graphs",
    "NetworkDynamics": "network_dynamics",
    "ObservedOrnsteinUhlenbeck": "single_series",
    "OddTarget": "points",
    "OscillatingFlow": "regression",
    "OrnsteinUhlenbeck": "ornstein_uhlenbeck",
    "Permutation": "permutations",
    "PhysioNet2012": "physionet2012",
    "PlantedHyperedges": "hyperedges",
    "Reflection": "topology",
    "Rings": "topology",
    "SegmentedCosine": "single_series",
    "SignPatternTasks": "tasks",
    "Spec": "_spec",
    "SpiralArcs": "spiral_arcs",
    "Spirals": "spirals",
    "StreamDataModule": "_arrays",
    "TUGraphs": "tu_graphs",
    "Text": "text",
    "ThreeBumps": "curves",
    "TreeLinks": "trees",
    "TreeNodes": "trees",
    "UCR": "series",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'datamodules' has no attribute {name!r}; it has {', '.join(_MODULES)}")
    return getattr(importlib.import_module(f"datamodules.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return list(_MODULES)
