"""How far apart the laws of two sets of paths are, from the paths alone."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor


def transport(x: Tensor, y: Tensor) -> Tensor:
    """The Wasserstein-1 distance of two samples of one size along the first axis, for each entry of the others."""
    return (x.sort(0).values - y.sort(0).values).abs().mean(0)


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> Tensor:
    """The largest difference of the distribution functions of two samples, (N, …) and (M, …), for each entry."""
    both, order = torch.cat([x, y]).sort(0)
    steps = torch.where(order < len(x), 1 / len(x), -1 / len(y))
    last = torch.cat([both[1:] > both[:-1], torch.ones_like(both[:1], dtype=torch.bool)])  # of values that are equal
    return torch.where(last, steps.cumsum(0), 0.0).abs().amax(0)


def autocorrelation(x: Tensor, lags: tuple[int, ...]) -> Tensor:
    """The correlation of the values of paths (N, T) with those `lag` later, over all paths and times: one a lag.

    r(l) = sum_t E u_t u_{t+l} / sum_t (E u_t^2 E u_{t+l}^2)^(1/2),   u_t = x_t - E x_t
    """
    u = x - x.mean(0)
    power = u.square().mean(0)
    found = [(u[:, :-lag] * u[:, lag:]).mean(0).sum() / (power[:-lag] * power[lag:]).sqrt().sum() for lag in lags]
    return torch.stack(found)


def quadratic(x: Tensor, centre: Tensor, unit: Tensor) -> Tensor:
    """Values (N, P), centred and divided, with all their products of two: what tells Gaussian laws apart, (N, F)."""
    x = (x - centre) / unit
    i, j = torch.triu_indices(x.shape[1], x.shape[1])
    return torch.cat([x, x[:, i] * x[:, j]], 1)


def classified(real: Tensor, made: Tensor) -> tuple[float, float]:
    """Accuracy and area under the ROC curve of a logistic regression that tells two samples (N, F) apart.

    It is fitted to the first half of both and tried on the second: 0.5 each where the laws are equal, with a deviation
    of (4 n)^(-1/2) and (6 n)^(-1/2) for n that are tried of each. Nothing in it is drawn.
    """
    x, y = (np.array_split(sample.double().cpu().numpy(), 2) for sample in (real, made))
    (fit, labels), (tried, truth) = (
        (np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])) for a, b in zip(x, y, strict=True)
    )
    centre, unit = fit.mean(0), fit.std(0)
    unit[unit == 0] = 1.0
    judge = LogisticRegression(max_iter=1000).fit((fit - centre) / unit, labels)
    odds = judge.predict_proba((tried - centre) / unit)[:, 1]
    return float(((odds > 0.5) == truth).mean()), float(roc_auc_score(truth, odds))
