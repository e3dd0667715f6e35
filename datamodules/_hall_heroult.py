"""The Hall-Héroult cell: mass and energy balance of aluminium electrolysis as an ordinary differential equation."""

from __future__ import annotations

import torch
from torch import Tensor

STATES = ("x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8")
INPUTS = ("u1", "u2", "u3", "u4", "u5")
DT = 10.0  # seconds of a step, over which the inputs are held
NOMINAL = (0.0, 140_000.0, 0.0, 0.0, 0.05)  # the inputs without feeds and excitation

LEDGE_CONDUCTIVITY, WALL_CONDUCTIVITY = 2.5, 6.5  # W/(m K)
WALL_THICKNESS = 0.1  # m
TO_LEDGE, TO_AIR = 1200.0, 25.0  # heat transfer coefficients, W/(m^2 K)
AREA = 17.92  # of the side ledge, m^2
FUSION = 119_495.0  # heat of fusion of cryolite, J/kg
AMBIENT = 35.0  # °C
LEDGE_PER_MASS = 2e-5  # m/kg
ALUMINA_PER_CURRENT, METAL_PER_CURRENT = 1.7e-7, 4.43e-8  # kg/(s A)
FLUORIDE_PER_ALUMINA, CRYOLITE_PER_ALUMINA = 0.02, 0.03
BATH_HEAT, LEDGE_HEAT, WALL_HEAT = 5.66e-4, 7.58e-4, 6e-7  # inverse heat capacities
MELT_CONDUCTION = 2 * LEDGE_CONDUCTIVITY * AREA / FUSION
MELT_CONVECTION = TO_LEDGE * AREA / FUSION
BATH_ENTHALPY, LEDGE_ENTHALPY = 1881.0, 1320.0  # J/(kg K)


def liquidus(c2: Tensor, c3: Tensor) -> Tensor:
    """The temperature at which cryolite freezes (°C) for the bath's shares of alumina and aluminium fluoride."""
    p2, p3 = 100 * c2, 100 * c3
    dilution = 1 + 0.0936 * p3 - 0.0017 * p3.square() - 0.0023 * p3 * p2
    return 991.2 + 1.12 * p3 - 0.13 * p3**2.2 + 0.061 * p3**1.5 - 7.93 * p2 / dilution


def conductivity(bath: Tensor, c2: Tensor) -> Tensor:
    """The bath's electrical conductivity at its temperature (°C)."""
    return torch.exp(2.496 - 2068.4 / (273 + bath) - 2.07 * c2)


def coverage(current: Tensor, c2: Tensor) -> Tensor:
    """The share of the anode that bubbles cover."""
    p2 = 100 * c2 - 2.2
    own = 0.531 + current * (6.958e-7 + current * (-2.51e-12 + 3.06e-18 * current))
    return own + (0.431 - 0.1437 * p2) / (1 + 7.353 * p2)


def thickness(current: Tensor) -> Tensor:
    """The thickness of the bubbles below the anode (cm)."""
    return (0.5517 + 3.8168e-6 * current) / (1 + 8.271e-6 * current)


def voltage(bath: Tensor, c2: Tensor, current: Tensor, distance: Tensor) -> Tensor:
    """The cell's voltage across bubbles and bath (V)."""
    conducts, covered = conductivity(bath, c2), coverage(current, c2)
    bubbles = 3.8168e-6 * covered * thickness(current) / (1 - covered)
    return current * (bubbles + distance / 2620) / conducts


def derivative(x: Tensor, u: Tensor) -> Tensor:
    """dx/dt of the cell, (…, 8), for states x (…, 8) and inputs u (…, 5).

    x: masses of side ledge, alumina, aluminium fluoride, cryolite and metal (kg); temperatures of bath, side ledge and
    wall (°C). u: alumina feed (kg/s), line current (A), aluminium fluoride feed, metal tapping (kg/s), distance between
    anode and metal (m). Nothing depends on the mass of metal.
    """
    ledge, alumina, fluoride, cryolite, _, bath, inner, wall = x.unbind(-1)
    feed, current, fluoride_feed, tapping, distance = u.unbind(-1)
    mass = alumina + fluoride + cryolite
    c2 = alumina / mass
    melts = liquidus(c2, fluoride / mass)
    above, below, length = bath - melts, melts - inner, LEDGE_PER_MASS * ledge
    half = length / (2 * LEDGE_CONDUCTIVITY)  # the thermal resistance of half the ledge
    into, away = below / length, above  # heat flows, per conductivity
    freezing = MELT_CONDUCTION * into - MELT_CONVECTION * away
    to_wall = AREA * (inner - wall) / (WALL_THICKNESS / (2 * WALL_CONDUCTIVITY) + half)
    to_air = AREA * (wall - AMBIENT) / (WALL_THICKNESS / (2 * WALL_CONDUCTIVITY) + 1 / TO_AIR)
    through = AREA * (bath - inner) / (1 / TO_LEDGE + half)
    heating = current * voltage(bath, c2, current, distance)
    bath_gain = heating - through + BATH_ENTHALPY * above * freezing
    inner_gain = AREA * below / half - to_wall + LEDGE_ENTHALPY * below * freezing
    return torch.stack(
        [
            freezing,
            feed - ALUMINA_PER_CURRENT * current,
            fluoride_feed - FLUORIDE_PER_ALUMINA * feed,
            CRYOLITE_PER_ALUMINA * feed - freezing,
            METAL_PER_CURRENT * current - tapping,
            BATH_HEAT / mass * bath_gain,
            LEDGE_HEAT / ledge * inner_gain,
            WALL_HEAT * (to_wall - to_air),
        ],
        dim=-1,
    )


def rk4(x: Tensor, u: Tensor, dt: float = DT) -> Tensor:
    """The state after dt seconds of held inputs, by one step of the classical Runge-Kutta method."""
    a = derivative(x, u)
    b = derivative(x + dt / 2 * a, u)
    c = derivative(x + dt / 2 * b, u)
    d = derivative(x + dt * c, u)
    return x + dt / 6 * (a + 2 * (b + c) + d)
