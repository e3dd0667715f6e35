"""Trajectories of a simulated aluminium electrolysis cell, to learn its dynamics from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from datamodules import _operation
from datamodules._arrays import SPLITS, ArrayDataModule
from datamodules._files import cache_dir
from datamodules._hall_heroult import DT, INPUTS, STATES
from datamodules._kept import kept
from datamodules._spec import Field, Spec


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations over a training split: of (x, u), and of the rates (x_{i+1} - x_i) / DT."""

    input_mean: Tensor
    input_std: Tensor
    rate_mean: Tensor
    rate_std: Tensor


class _Cells:
    """The trajectories of all splits, of which data modules of the same settings share one copy."""

    def __init__(self, settings: dict[str, int], counts: dict[str, int]) -> None:
        self.settings, self.counts = settings, counts
        key = json.dumps([_operation.VERSION, settings, counts], sort_keys=True)
        path = cache_dir() / "electrolysis" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
        found = kept(path, self._simulated)
        parts = [list(found[name].split(list(counts.values()))) for name in ("states", "inputs")]
        self.splits = {split: (x, u) for split, x, u in zip(counts, *parts, strict=True)}
        self.redrawn = int(found["redrawn"])
        self.statistics = _statistics(*self.splits["train"])
        self._pairs: dict[str, tuple[Tensor, Tensor]] = {}

    def _simulated(self) -> dict[str, Tensor]:
        keys = [(split, number) for split, count in self.counts.items() for number in range(count)]
        states, inputs, redrawn = _operation.trajectories(keys, self.settings["steps"], self.settings["trajectories"])
        return {"states": states, "inputs": inputs, "redrawn": torch.tensor(redrawn)}

    def pairs(self, split: str) -> tuple[Tensor, Tensor]:
        """Standardised inputs and rates of a split, in single precision."""
        if split not in self._pairs:
            about, (z, rate) = self.statistics, _pairs(*self.splits[split])
            inputs = ((z - about.input_mean) / about.input_std).float()
            self._pairs[split] = inputs, ((rate - about.rate_mean) / about.rate_std).float()
        return self._pairs[split]


_CELLS: WeakValueDictionary[str, _Cells] = WeakValueDictionary()


class Electrolysis(ArrayDataModule):
    """Steps of a simulated Hall-Héroult cell: from state and inputs to the rate at which the state changes.

        z_i = (x_i, u_i),   y_i = (x_{i+1} - x_i) / DT,   DT = 10 s

    A trajectory starts from a random state and is driven by feeds in proportion to its deviations, an
    amplitude-modulated pseudo-random line current and anode distance, and single pulses of feed. `steps` = 5000 are
    13.9 hours. A batch is (z, y) of shapes (B, 13) and (B, 8), each column less its mean over its standard deviation
    in the training split; a column that is constant there keeps its scale.

    The eight states are the masses of side ledge, alumina, aluminium fluoride, cryolite and metal (kg) and the
    temperatures of bath, side ledge and wall (°C); the five inputs are alumina feed (kg/s), line current (A), aluminium
    fluoride feed, metal tapping (kg/s) and anode-cathode distance (m).

    Trajectories do not depend on the seed, which shuffles alone: all networks of an ensemble learn from one set, as in
    the paper. `trajectories` chooses another set; fewer simulations are the first ones of more. They are simulated once
    and kept in the cache folder.

    Raises ValueError for sizes below 1, and for negative val_simulations or trajectories.

    Source: E. T. B. Lundby, A. Rasheed, I. J. Halvorsen and J. T. Gravdahl, "Sparse deep neural networks for modeling
    aluminum electrolysis dynamics", 2022, arXiv:2209.05832; the constants and the excitation are those of the simulator
    of H. Robinson, E. Lundby, A. Rasheed and J. T. Gravdahl, "A novel corrective-source term approach to modeling
    unknown physics in aluminum extraction process", 2022, arXiv:2209.10861. The random numbers are our own, and the
    validation trajectories an addition.
    """

    seeded = False
    eval_batch_size = 10_000
    citation: ClassVar[str] = """\
@misc{lundby2022sparse,
  author = {Erlend Torje Berg Lundby and Adil Rasheed and Ivar Johan Halvorsen and Jan Tommy Gravdahl},
  title = {{Sparse deep neural networks for modeling aluminum electrolysis dynamics}},
  year = {2022},
  eprint = {2209.05832},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2209.05832}
}

@misc{robinson2022novel,
  author = {Haakon Robinson and Erlend Lundby and Adil Rasheed and Jan Tommy Gravdahl},
  title = {{A novel corrective-source term approach to modeling unknown physics in aluminum extraction process}},
  year = {2022},
  eprint = {2209.10861},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2209.10861}
}"""
    #: Seconds of a step.
    interval: ClassVar[float] = DT
    #: The columns of z.
    columns: ClassVar[tuple[str, ...]] = STATES + INPUTS

    def __init__(
        self,
        simulations: int = 40,
        test_simulations: int = 100,
        val_simulations: int = 5,
        steps: int = 5000,
        batch_size: int = 128,
        trajectories: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, value in {"simulations": simulations, "test_simulations": test_simulations, "steps": steps}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, value in {"val_simulations": val_simulations, "trajectories": trajectories}.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        self.save_hyperparameters()
        self.settings = {"steps": steps, "trajectories": trajectories}
        self.counts = dict(zip(SPLITS, (simulations, val_simulations, test_simulations), strict=True))
        self._own: _Cells | None = None

    @property
    def spec(self) -> Spec:
        sizes = {split: count * self.settings["steps"] for split, count in self.counts.items()}
        batch = (Field((len(self.columns),)), Field((len(STATES),)))
        return Spec(batch, {"in_features": 13, "out_features": 8}, sizes, _operation.VERSION)

    def load(self, split: str) -> tuple[Tensor, ...]:
        return self._cells.pairs(split)

    @property
    def _cells(self) -> _Cells:
        if self._own is None:
            key = json.dumps([self.settings, self.counts])
            found = _CELLS.get(key)
            if found is None:
                found = _CELLS[key] = _Cells(self.settings, self.counts)
            self._own = found
        return self._own

    def trajectories(self, split: str) -> tuple[Tensor, Tensor]:
        """States (N, steps + 1, 8) and inputs (N, steps, 5) of a split, in double precision on the host."""
        return self._cells.splits[split]

    @property
    def statistics(self) -> Statistics:
        """What the training split's columns are standardised by, in double precision."""
        return self._cells.statistics

    @property
    def redrawn(self) -> int:
        """How many trajectories were drawn again, because they did not stay finite."""
        return self._cells.redrawn

    def __getstate__(self) -> dict[str, Any]:
        """Without the trajectories, which another process finds in the cache."""
        return self.__dict__ | {"_own": None}


def _pairs(states: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """(x, u) and (x_{i+1} - x_i) / DT of all steps, (N T, 13) and (N T, 8)."""
    z = torch.cat([states[:, :-1], inputs], dim=-1)
    return z.flatten(0, 1), (states.diff(dim=1) / DT).flatten(0, 1)


def _statistics(states: Tensor, inputs: Tensor) -> Statistics:
    z, rate = _pairs(states, inputs)
    return Statistics(z.mean(0), _scale(z), rate.mean(0), _scale(rate))


def _scale(columns: Tensor) -> Tensor:
    deviation = columns.std(0, correction=0)
    return torch.where(deviation > 1e-12 * columns.abs().amax(0), deviation, 1.0)
