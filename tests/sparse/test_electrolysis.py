"""The simulated aluminium electrolysis cell: its equations, its integration, its operation and its data."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from datamodules import Electrolysis, _operation, electrolysis
from datamodules._hall_heroult import (
    CRYOLITE_PER_ALUMINA,
    DT,
    METAL_PER_CURRENT,
    NOMINAL,
    conductivity,
    coverage,
    derivative,
    liquidus,
    rk4,
    thickness,
    voltage,
)
from datamodules._kept import kept

# of an independent implementation in double precision, with all the digits that it gave
START = torch.tensor([3260, 450, 1500, 13000, 9850, 975, 820, 580], dtype=torch.float64)
INPUTS = torch.tensor(NOMINAL, dtype=torch.float64)
#: The inputs of each rate: states 1 … 8, then inputs 1 … 5 as 9 … 13.
DEPENDENCIES = {
    1: (1, 2, 3, 4, 6, 7),
    2: (9, 10),
    3: (9, 11),
    4: (1, 2, 3, 4, 6, 7, 9),
    5: (10, 12),
    6: (1, 2, 3, 4, 6, 7, 10, 13),
    7: (1, 2, 3, 4, 6, 7, 8),
    8: (1, 7, 8),
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of the test's own, and no trajectories in memory."""
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(electrolysis, "_CELLS", {})
    return tmp_path


def small(**settings: Any) -> Electrolysis:
    sizes = {"simulations": 3, "test_simulations": 2, "val_simulations": 1, "steps": 30, "batch_size": 16}
    return Electrolysis(**(sizes | settings))


def nominal(count: int, steps: int) -> tuple[Tensor, Tensor]:
    """Cells that start alike and are not excited."""
    return _operation.simulated(START.expand(count, 8), torch.zeros(count, steps, 5, dtype=torch.float64))


def driven(count: int, steps: int) -> tuple[Tensor, Tensor]:
    states, inputs, _ = _operation.trajectories([("test", number) for number in range(count)], steps, 0)
    return states, inputs


def close(found: Tensor, expected: list[float], relative: float) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=relative, atol=1e-12)


def test_material_laws_have_the_reference_values() -> None:
    mass = START[1:4].sum()
    c2, c3 = START[1] / mass, START[2] / mass
    laws = [liquidus(c2, c3), conductivity(START[5], c2), coverage(INPUTS[1], c2), thickness(INPUTS[1])]
    laws.append(voltage(START[5], c2, INPUTS[1], INPUTS[4]))
    close(torch.stack(laws), [969.567538654, 2.173460315, 0.632838379, 0.503281834, 1.442530069], 1e-9)


def test_rates_have_the_reference_values() -> None:
    freezing = 0.7424663613  # k1 (g1 - x7) / (k0 x1) - k2 (x6 - g1), by hand
    expected = [freezing, -0.0238, 0, -freezing, 0.006202, 3.53215630e-4, 0.0336405107, 0.00159899440]
    close(derivative(START, INPUTS), expected, 1e-8)


def test_a_step_has_the_reference_values() -> None:
    after = [3267.3697847, 449.762, 1500, 12992.6302153, 9850.06202, 975.0036774, 820.3320499, 580.0159084]
    close(rk4(START, INPUTS), after, 1e-10)


def test_a_hundred_steps_have_the_reference_values() -> None:
    x = START
    for _ in range(100):
        x = rk4(x, INPUTS)
    after = [3650.98646, 426.2, 1500, 12609.01354, 9856.202, 976.089882, 831.036802, 579.916081]
    close(x, after, 2e-9)  # the digits that are given


def test_feeds_have_the_reference_values() -> None:
    """A feed that switches a step earlier moves what follows: the later state is given with less certainty."""
    states, _ = nominal(1, 1000)
    after = [3526.50474, 426.2, 1580, 12733.49526, 9856.202, 975.790018, 827.245889, 580.230684]
    close(states[0, 100], after, 1e-6)
    after = [3443.54275, 354.58347, 1599.04267, 12820.73475, 9912.02, 979.130186, 819.253286, 576.160068]
    close(states[0, 1000], after, 1e-4)


def test_feeds_follow_deviations_between_their_least_and_their_most() -> None:
    """At shares of 2.3 % and 10.5 % nothing is fed; u1 = 3e4 * 0.0005 = 15, and 0.0004 would be less than 14."""
    mass = 10_000.0
    x = START.repeat(4, 1)
    x[:, 1] = torch.tensor([0.0230, 0.0225, 0.0226, 0.0100], dtype=torch.float64) * mass
    x[:, 2] = 0.105 * mass
    x[:, 3] = mass - x[:, 1] - x[:, 2]
    fed = _operation.feeds(x)
    close(fed[:, 0], [0, 15, 0, 22], 1e-9)
    assert torch.count_nonzero(fed[:, 1:]) == 0
    x[:, 4] = torch.tensor([10_000.0, 10_000.02, 9990, 10_100], dtype=torch.float64)
    close(_operation.feeds(x)[:, 3], [0, 6, 0, 9], 1e-9)


def test_what_is_fed_is_conserved() -> None:
    """Freezing moves cryolite between bath and ledge; Runge-Kutta methods keep linear invariants up to rounding."""
    states, inputs = driven(4, 600)
    fed = torch.cat([inputs.new_zeros(4, 1, 5), inputs.cumsum(1) * DT], dim=1)
    gained = states - states[:, :1]
    tolerance: Any = {"rtol": 0, "atol": 1e-8}  # 600 roundings of masses around 1e4, whose last place is 2e-12
    torch.testing.assert_close(gained[..., 0] + gained[..., 3], CRYOLITE_PER_ALUMINA * fed[..., 0], **tolerance)
    torch.testing.assert_close(gained[..., 1], fed[..., 0] - 1.7e-7 * fed[..., 1], **tolerance)
    torch.testing.assert_close(gained[..., 4], METAL_PER_CURRENT * fed[..., 1] - fed[..., 3], **tolerance)


def test_the_integrator_is_of_fourth_order() -> None:
    """Halving the step divides the change of the temperatures after an hour by 2^4, up to the next order's term."""

    def after(steps: int) -> Tensor:
        x = START
        for _ in range(steps):
            x = rk4(x, INPUTS, 3600 / steps)
        return x[5:]

    found = [after(steps) for steps in (30, 60, 120, 240)]
    changes = [(fine - coarse).norm() for coarse, fine in pairwise(found)]
    for coarse, fine in pairwise(changes):
        assert 3.7 < torch.log2(coarse / fine) < 4.3


def test_scipy_finds_the_same_course() -> None:
    def rates(_time: float, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = derivative(torch.from_numpy(x), INPUTS).numpy()
        return found

    truth = solve_ivp(rates, (0, 1000), START.numpy(), rtol=1e-11, atol=1e-10, method="DOP853").y[:, -1]
    x = START
    for _ in range(100):
        x = rk4(x, INPUTS)
    np.testing.assert_allclose(x.numpy(), truth, rtol=1e-7)  # of RK4 at 10 s: its error by Richardson is 1e-8


def test_each_rate_depends_on_what_it_depends_on() -> None:
    """37 of 104 derivatives differ from zero, and none is by the mass of metal."""
    x = torch.stack([_operation.drawn_start(torch.Generator().manual_seed(n)) for n in range(5)])
    u = INPUTS + torch.rand(5, 5, dtype=torch.float64)
    jacobians = torch.vmap(torch.func.jacrev(derivative, argnums=(0, 1)))(x, u)
    found = (torch.cat(jacobians, dim=-1) != 0).any(0)
    expected = torch.zeros(8, 13, dtype=torch.bool)
    for rate, columns in DEPENDENCIES.items():
        expected[rate - 1, [column - 1 for column in columns]] = True
    assert int(expected.sum()) == 37
    assert torch.equal(found, expected)
    assert not found[:, 4].any()


def test_initial_states_are_whole_numbers_in_their_ranges() -> None:
    starts = torch.stack([_operation.drawn_start(torch.Generator().manual_seed(n)) for n in range(300)])
    shares = 100 * starts[:, 1:3] / starts[:, 1:4].sum(1, keepdim=True)
    values = torch.cat([starts[:, [0, 3, 4, 5, 6, 7]], shares], dim=1)
    torch.testing.assert_close(values, values.round(), rtol=0, atol=1e-9)
    low = torch.tensor([2060, 11_500, 9750, 960, 790, 555, 2, 9]).double()
    high = torch.tensor([4460, 16_000, 10_000, 990, 850, 610, 5, 13]).double()
    assert ((values > low - 0.5) & (values < high + 0.5)).all()
    assert set(values[:, 6].round().tolist()) == {2, 3, 4, 5}  # one of four is missed with probability 4 (3/4)^300
    assert set(values[:, 7].round().tolist()) == {9, 10, 11, 12, 13}


def test_excitation_switches_and_pulses_as_it_should() -> None:
    for number in range(20):
        added = _operation.drawn_excitation(torch.Generator().manual_seed(number), 5000)
        assert not added[:100].any(), "nothing is added before the first switch"
        assert not added[:, 3].any()
        for column, low, high in ((1, -22_000, 15_000), (4, -0.007, 0.007)):
            assert low <= added[:, column].min() <= added[:, column].max() <= high
            switches = added[:, column].diff().nonzero().flatten() + 1
            assert (switches.diff() >= 100).all()
        for column, gap, most in ((0, 500, 20.0), (2, 1000, 10.0)):
            at = added[:, column].nonzero().flatten()
            assert 100 <= at[0] <= 1100
            assert (at.diff() >= gap).all()
            assert ((added[at, column] >= 1) & (added[at, column] <= most)).all()


def test_few_trajectories_are_the_first_of_many_and_belong_to_their_set() -> None:
    many, few, other = small(), small(simulations=1), small(trajectories=1)
    torch.testing.assert_close(few.trajectories("train")[0], many.trajectories("train")[0][:1], rtol=1e-12, atol=0)
    assert torch.equal(small(seed=5).trajectories("test")[0], many.trajectories("test")[0])
    assert not torch.equal(other.trajectories("train")[0], many.trajectories("train")[0])
    assert not torch.equal(many.trajectories("val")[0][0], many.trajectories("test")[0][0])


def test_a_trajectory_that_becomes_infinite_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = iter([True])
    drawn = _operation.drawn_start

    def start(rng: torch.Generator) -> Tensor:
        return drawn(rng) * (float("nan") if next(first, False) else 1.0)

    monkeypatch.setattr(_operation, "drawn_start", start)
    data = small()
    assert data.redrawn == 1
    assert all(data.trajectories(split)[0].isfinite().all() for split in ("train", "val", "test"))
    monkeypatch.setattr(_operation, "drawn_start", lambda rng: drawn(rng) * float("nan"))
    with pytest.raises(RuntimeError, match="6 of 6 cells became infinite in each of 10 attempts"):
        _ = small(trajectories=1).redrawn


def test_batches_are_standardised_steps() -> None:
    """Means and deviations of the training split; and a batch leads from a state to the next."""
    data = small(steps=200, simulations=4)
    z, y = data.load("train")
    assert z.dtype == y.dtype == torch.float32
    torch.testing.assert_close(z.mean(0), torch.zeros(13), rtol=0, atol=1e-5)  # of 800 numbers in single precision
    varied = z.std(0, correction=0)
    torch.testing.assert_close(varied[varied > 0], torch.ones(int((varied > 0).sum())), rtol=1e-5, atol=0)
    about, (states, inputs) = data.statistics, data.trajectories("test")
    z, y = data.load("test")
    x = z.double() * about.input_std + about.input_mean
    rate = y.double() * about.rate_std + about.rate_mean
    # single precision of standardised numbers: up to ten deviations, each rounded by 6e-8
    scale = about.input_std[:8]
    torch.testing.assert_close(((x[:, :8] + DT * rate).view(2, 200, 8) - states[:, 1:]) / scale, 0 * states[:, 1:],
                               rtol=0, atol=1e-5)  # fmt: skip
    torch.testing.assert_close(x[:, 8:].view(2, 200, 5), inputs, rtol=1e-5, atol=1e-6)


def test_the_spec_needs_no_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_operation, "trajectories", None)
    spec = Electrolysis(simulations=40, test_simulations=100, val_simulations=5).spec
    assert dict(spec.sizes) == {"train": 200_000, "val": 25_000, "test": 500_000}
    assert spec.arguments == {"in_features": 13, "out_features": 8}


def test_trajectories_are_kept_and_a_damaged_file_is_replaced(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small().trajectories("test")
    (file,) = own_cache.rglob("*.safetensors")
    assert [path.name for path in file.parent.iterdir()] == [file.name], "no temporary file is left"
    whole = file.read_bytes()
    simulate = _operation.trajectories
    monkeypatch.setattr(_operation, "trajectories", None)  # whoever simulates now fails
    monkeypatch.setattr(electrolysis, "_CELLS", {})
    again = small().trajectories("test")
    assert all(map(torch.equal, first, again))
    monkeypatch.setattr(_operation, "trajectories", simulate)
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for damaged in (bytes(flipped), whole[:-64], b"", b"no safetensors"):
        file.write_bytes(damaged)
        monkeypatch.setattr(electrolysis, "_CELLS", {})
        assert all(map(torch.equal, first, small().trajectories("test")))
        assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = kept(tmp_path / "file" / "below", lambda: {"a": torch.ones(2)})
    assert torch.equal(found["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"simulations": 0}, "simulations must be at least 1, got 0"),
        ({"test_simulations": 0}, "test_simulations must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"val_simulations": -1}, "val_simulations must not be negative, got -1"),
        ({"trajectories": -1}, "trajectories must not be negative, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)
