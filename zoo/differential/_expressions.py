"""Expressions in postfix order, and a regularised evolution of them."""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

OPERATORS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("+", operator.add),
    ("-", operator.sub),
    ("*", operator.mul),
    ("/", operator.truediv),
)
#: Codes: an operator is its negative place, -1 … -4; a constant is 0; the k-th variable is k, from 1.
CONSTANT = 0


@dataclass(frozen=True)
class Expression:
    """scale * f(x; constants): a program in postfix order, and a value beside each of its constants, else 0.

    x y * is x y. `size` counts operators, variables and constants.
    """

    program: tuple[int, ...]
    constants: tuple[float, ...]
    scale: float = 1.0

    @property
    def size(self) -> int:
        return len(self.program)

    def value(self, x: Any) -> Any:
        """At the columns of x, (…, d), an array or a tensor: (…,)."""
        return self.scale * self._unscaled(x)

    def _unscaled(self, x: Any) -> Any:
        def leaf(code: int, constant: float) -> Any:
            return x[..., code - 1] if code else constant + 0 * x[..., 0]

        return self._folded(leaf, lambda place, left, right: OPERATORS[place][1](left, right))

    def __str__(self) -> str:
        def leaf(code: int, constant: float) -> str:
            return f"x{code}" if code else f"{constant:.4g}"

        whole = self._folded(leaf, lambda place, left, right: f"({left} {OPERATORS[place][0]} {right})")
        return f"{self.scale:.4g} {whole}"

    def _folded(self, leaf: Callable[[int, float], Any], join: Callable[[int, Any, Any], Any]) -> Any:
        """What the program makes of its leaves, by joining the last two at each operator."""
        stack: list[Any] = []
        for code, constant in zip(self.program, self.constants, strict=True):
            if code < 0:
                right, left = stack.pop(), stack.pop()
                stack.append(join(-code - 1, left, right))
            else:
                stack.append(leaf(code, constant))
        return stack[0]


@dataclass(frozen=True)
class Search:
    """Regularised evolution of expressions for y as a function of x, in several populations one after the other.

    The best of a tournament of random members has a child, by one change of its program or its constants; the child
    joins the population, and the oldest member leaves it. The error of an expression is the share of y's square that
    its best multiple does not explain. Of the least errors by size, that one is taken at which the logarithm of the
    error falls most for each unit of size; its constants and its scale are then fitted together.

    Source: E. Real, A. Aggarwal, Y. Huang and Q. V. Le, "Regularized evolution for image classifier architecture
    search", AAAI 2019, arXiv:1802.01548; the choice by size: M. Cranmer, "Interpretable machine learning for science
    with PySR and SymbolicRegression.jl", 2023, arXiv:2305.01582.
    """

    max_size: int = 9
    population: int = 100
    tournament: int = 10
    generations: int = 4_000
    populations: int = 4

    def run(self, x: np.ndarray, y: np.ndarray, seed: int) -> Expression:
        """The law of y, (N,), in x, (N, d); raises ValueError for values that are not finite."""
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("x and y must be finite to have a law: train what they come from to a finite loss first")
        if not y.any():
            return Expression((CONSTANT,), (0.0,), 0.0)
        random = np.random.default_rng(seed)
        best: dict[int, tuple[float, Expression]] = {}
        for _ in range(self.populations):
            self._evolve(x, y, random, best)
        return tuned(steepest(best), x, y)

    def _evolve(
        self, x: np.ndarray, y: np.ndarray, random: np.random.Generator, best: dict[int, tuple[float, Expression]]
    ) -> None:
        members = deque(scored(grown(3, x.shape[1], random), x, y) for _ in range(self.population))
        for member in members:
            _keep(best, *member)
        for _ in range(self.generations):
            chosen = random.choice(self.population, self.tournament, replace=False)
            parent = min((members[k] for k in chosen), key=operator.itemgetter(0))[1]
            child = mutated(parent, x.shape[1], random)
            if child.size <= self.max_size:
                members.append(scored(child, x, y))
                members.popleft()
                _keep(best, *members[-1])


def _keep(best: dict[int, tuple[float, Expression]], error: float, expression: Expression) -> None:
    if error < best.get(expression.size, (math.inf,))[0]:
        best[expression.size] = error, expression


def scored(expression: Expression, x: np.ndarray, y: np.ndarray) -> tuple[float, Expression]:
    """The unexplained share of y's square, infinite where a value is, and the expression with its best scale."""
    with np.errstate(all="ignore"):
        found = expression._unscaled(x)
        square = float(found @ found)
        if not (math.isfinite(square) and square > 0):
            return math.inf, expression
        scale = float(found @ y) / square
        rest = y - scale * found
        return float(rest @ rest) / float(y @ y), Expression(expression.program, expression.constants, scale)


def steepest(best: dict[int, tuple[float, Expression]]) -> Expression:
    """Of the least errors by size, where the logarithm of the error falls most for each unit of size."""
    front: list[tuple[float, Expression]] = []
    for size in sorted(best):
        if not front or best[size][0] < front[-1][0]:
            front.append(best[size])
    tiny = float(np.finfo(np.float64).tiny)

    def fall(k: int) -> float:
        (before, smaller), (after, larger) = front[k - 1], front[k]
        return math.log(max(before, tiny) / max(after, tiny)) / (larger.size - smaller.size)

    return front[max(range(1, len(front)), key=fall)][1] if len(front) > 1 else front[0][1]


def tuned(expression: Expression, x: np.ndarray, y: np.ndarray) -> Expression:
    """The expression with the scale and the constants of least squares, found from those that it has."""
    places = [k for k, code in enumerate(expression.program) if code == CONSTANT]

    def made(values: np.ndarray) -> Expression:
        constants = np.array(expression.constants)
        constants[places] = values[1:]
        return Expression(expression.program, tuple(constants.tolist()), float(values[0]))

    start = np.array([expression.scale, *(expression.constants[k] for k in places)])
    return made(least_squares(lambda values: made(values).value(x) - y, start).x)


def grown(size: int, variables: int, random: np.random.Generator) -> Expression:
    """A random expression of `size`, an odd number."""
    if size == 1:
        code = int(random.integers(variables + 1))
        return Expression((code,), (float(random.normal()) if code == CONSTANT else 0.0,))
    left = 1 + 2 * int(random.integers((size - 1) // 2))
    return _joined(grown(left, variables, random), grown(size - 1 - left, variables, random), random)


def _joined(left: Expression, right: Expression, random: np.random.Generator) -> Expression:
    code = -1 - int(random.integers(len(OPERATORS)))
    return Expression((*left.program, *right.program, code), (*left.constants, *right.constants, 0.0))


def mutated(parent: Expression, variables: int, random: np.random.Generator) -> Expression:
    """The parent with another operator, leaf or constant, with one more operator, or with a part grown anew."""
    at = int(random.integers(parent.size))
    start = beginning(parent.program, at)
    part = Expression(parent.program[start : at + 1], parent.constants[start : at + 1])
    kind = random.random()
    if kind < 0.3:
        leaf = grown(1, variables, random)
        new = _joined(part, leaf, random) if random.random() < 0.5 else _joined(leaf, part, random)
    elif kind < 0.5:
        new = grown(1 + 2 * int(random.integers(2)), variables, random)
    elif part.program[-1] < 0:
        new = Expression((*part.program[:-1], -1 - int(random.integers(len(OPERATORS)))), part.constants)
    elif part.program[-1] == CONSTANT:
        new = Expression(part.program, (part.constants[0] * float(np.exp(0.3 * random.normal())),))
    else:
        new = grown(1, variables, random)
    return Expression(
        (*parent.program[:start], *new.program, *parent.program[at + 1 :]),
        (*parent.constants[:start], *new.constants, *parent.constants[at + 1 :]),
    )


def beginning(program: Sequence[int], at: int) -> int:
    """Where the part of a program starts whose last code is at a place."""
    wanted = 1
    while True:
        wanted += 1 if program[at] < 0 else -1
        if not wanted:
            return at
        at -= 1
