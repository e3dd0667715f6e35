"""SNIP, GraSP and SynFlow: their scores against closed forms, and that scoring leaves no trace."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules import ArrayDataModule, Field, Spec
from tests.sparse.methods import METHODS
from zoo._module import ZooModule
from zoo.differential import DeepEquilibrium
from zoo.residual import ResNet2d
from zoo.sparse import SNIP, FullyConnected, GraSP, RandomPruning, SynFlow
from zoo.sparse._masks import Masked, mask
from zoo.sparse._scoring import undisturbed
from zoo.sparse.grasp import flow_changes
from zoo.sparse.snip import connection_sensitivity
from zoo.sparse.synflow import SynapticFlow

EARLY = {"SNIP": SNIP, "GraSP": GraSP, "SynFlow": SynFlow, "RandomPruning": RandomPruning}


class Quadratic(ZooModule):
    """L(w) = w^T A w / 2 - b^T w for a weight of six entries: g = A w - b, H = A."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        factor = torch.randn(6, 6, generator=draw, dtype=torch.float64)
        self.a, self.b = factor + factor.T, torch.randn(6, generator=draw, dtype=torch.float64)
        self.layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        self.layer.weight.data = torch.randn(2, 3, generator=draw, dtype=torch.float64)

    def step(self, batch: Any) -> dict[str, Tensor]:
        w = self.layer.weight.flatten()
        return {"loss": w @ self.a @ w / 2 - self.b @ w}

    def gradient(self, w: Tensor) -> Tensor:
        return self.a @ w - self.b


class Restless(ZooModule):
    """A layer, batch statistics, random numbers, and a buffer that is replaced in every step."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.last = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return self.last(F.dropout(torch.tanh(self.norm(self.layer(x))), 0.5, self.training))

    def step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self(batch[0]), batch[1])}


class Words(ArrayDataModule):
    """Batches of whole numbers, as token indices are."""

    spec = Spec((Field((4,), torch.int64, classes=7), Field((), torch.int64, classes=3)), {}, {"train": 8}, "1")


def made(bias: bool = True, widths: tuple[int, ...] = (7, 6)) -> tuple[Any, Any, Masked]:
    torch.manual_seed(1)
    model = FullyConnected(5, 3, widths).double()
    if not bias:
        for layer in model.layers:
            layer.bias = None
    return model, (torch.randn(9, 5, dtype=torch.float64), torch.arange(9) % 3), mask(model)


def test_snip_is_the_derivative_of_the_loss_in_the_mask() -> None:
    """Central differences of L(c w) at c = 1: their error is of order h^2 = 1e-10, and rounding of 1e-16 / h."""
    model, batch, masked = made()
    scores, h = connection_sensitivity(masked, model, batch), 1e-5
    for name, weight in masked.weights.items():
        for entry in range(0, weight.numel(), 3):
            kept, losses = float(weight.data.view(-1)[entry]), []
            for c in (1 + h, 1 - h):
                weight.data.view(-1)[entry] = c * kept
                losses.append(float(model.step(batch)["loss"].detach()))
            weight.data.view(-1)[entry] = kept
            slope = (losses[0] - losses[1]) / (2 * h)
            assert float(scores[name].view(-1)[entry]) == pytest.approx(abs(slope), rel=1e-6, abs=1e-9)


def test_snip_keeps_the_highest_sensitivities_of_all_layers_together() -> None:
    model, batch, masked = made()
    scores = connection_sensitivity(masked, model, batch)
    SNIP(0.25).first(masked, model, batch)
    kept = torch.cat([scores[name][m] for name, m in masked.masks.items()])
    dropped = torch.cat([scores[name][~m] for name, m in masked.masks.items()])
    assert len(kept) == round(0.25 * masked.size)
    assert kept.min() >= dropped.max()


def test_grasp_scores_a_quadratic_by_its_hessian() -> None:
    model = Quadratic()
    w = model.layer.weight.detach().flatten().clone()
    (score,) = flow_changes(mask(model), model, None).values()
    torch.testing.assert_close(score.flatten(), -w * (model.a @ model.gradient(w)), rtol=1e-12, atol=1e-12)


def test_grasp_scores_are_half_the_change_of_the_gradient_flow_when_a_weight_goes() -> None:
    """|g|^2 is quadratic in the share of a weight that is taken away, so that central differences are exact."""
    model = Quadratic()
    w = model.layer.weight.detach().flatten().clone()
    (score,) = flow_changes(mask(model), model, None).values()
    for q in range(6):
        taken = torch.zeros(6, dtype=torch.float64)
        taken[q] = w[q]
        less, more = (model.gradient(w - share * taken).square().sum() for share in (0.5, -0.5))
        assert float(less - more) == pytest.approx(2 * float(score.flatten()[q]), rel=1e-10)


def test_grasp_keeps_what_the_gradient_flows_by() -> None:
    """A diagonal Hessian, where a weight's removal changes its own gradient alone, and by how much is written out.

    With a_q = 1 and b_q = -1 the flow of weight q is (w_q + 1)^2: without a w_q > 0 it falls, without one in
    (-1, 0) it grows. The former are kept, the largest first.
    """
    model = Quadratic()
    model.a, model.b = torch.eye(6, dtype=torch.float64), -torch.ones(6, dtype=torch.float64)
    model.layer.weight.data = torch.tensor([[0.9, -0.5, 0.1], [-0.2, 0.4, -0.7]], dtype=torch.float64)
    masked = mask(model)
    GraSP(0.5).first(masked, model, None)
    (kept,) = masked.masks.values()
    assert kept.tolist() == [[True, False, True], [False, True, False]]


def test_grasp_agrees_with_the_whole_hessian_of_a_network() -> None:
    model, batch, masked = made(widths=(4,))
    names = {name: f"{name.removesuffix('.weight')}.parametrizations.weight.original" for name in masked.weights}
    flat = torch.cat([weight.detach().flatten() for weight in masked.weights.values()])
    shapes = [weight.shape for weight in masked.weights.values()]

    def loss(w: Tensor) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(w.split([s.numel() for s in shapes]), shapes, strict=True)]
        logits = torch.func.functional_call(model, dict(zip(names.values(), parts, strict=True)), (batch[0],))
        return F.cross_entropy(logits, batch[1])

    hessian, gradient = torch.autograd.functional.hessian(loss, flat), torch.func.grad(loss)(flat)
    expected = -flat * (hessian @ gradient)
    found = torch.cat([score.flatten() for score in flow_changes(masked, model, batch).values()])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


def test_grasp_refuses_a_loss_without_second_derivatives() -> None:
    model = Quadratic()
    model.step = lambda batch: {"loss": model.layer.weight.sum()}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="GraSP needs second derivatives, and the loss of Quadratic has none"):
        flow_changes(mask(model), model, None)


def test_grasp_refuses_a_model_that_says_so_before_it_is_trained() -> None:
    model = DeepEquilibrium(2, 2, 3)
    message = "the loss of DeepEquilibrium has no second derivatives, which GraSP needs: the implicit gradient is found"
    assert message in GraSP(0.5).refusal(model, None)
    assert not SNIP(0.5).refusal(DeepEquilibrium(2, 2, 3), None)


def test_synflow_is_conserved_from_layer_to_layer() -> None:
    """R is linear in each layer of a network without biases: its scores sum to R, which is written out here."""
    model, batch, masked = made(bias=False)
    scores = SynapticFlow(masked, model, batch).scores(masked.masks)
    flow = torch.ones(5, dtype=torch.float64)
    for weight in masked.weights.values():
        flow = weight.detach().abs() @ flow
    for score in scores.values():
        assert float(score.sum()) == pytest.approx(float(flow.sum()), rel=1e-12)


def test_synflow_is_conserved_at_every_hidden_unit_of_a_pruned_network() -> None:
    """What comes into a unit leaves it, whichever weights are there."""
    model, batch, masked = made(bias=False)
    SynFlow(0.4, rounds=4).first(masked, model, batch)
    first, second, third = SynapticFlow(masked, model, batch).scores(masked.masks).values()
    torch.testing.assert_close(first.sum(1), second.sum(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(second.sum(1), third.sum(0), rtol=1e-12, atol=1e-12)
    assert float(first.sum()) > 0


def test_synflow_is_conserved_through_batch_norms_and_shortcuts() -> None:
    """In evaluation mode a fresh norm only scales, so every cut through a residual network has the same sum."""
    torch.manual_seed(0)
    model = ResNet2d(1, 3, (2, 3), blocks=2).eval()
    model.head.bias.data.zero_()
    masked = mask(model)
    scores = SynapticFlow(masked, model, (torch.zeros(4, 1, 6, 6),)).scores(masked.masks)
    stem, head = float(scores["stem.0.weight"].sum()), float(scores["head.weight"].sum())
    cut = float(scores["blocks.2.residual.0.weight"].sum() + scores["blocks.2.shortcut.0.weight"].sum())
    assert stem == pytest.approx(head, rel=1e-12)
    assert cut == pytest.approx(head, rel=1e-12)


def test_synflow_empties_no_layer_where_one_round_does() -> None:
    """Maximal critical compression: as many weights as layers are still one path from the input to the output."""
    model, batch, masked = made(bias=False, widths=(40, 40))
    SynFlow(0.005, rounds=100).first(masked, model, batch)
    kept = [int(m.sum()) for m in masked.masks.values()]
    assert sum(kept) == round(0.005 * masked.size) == 10
    assert min(kept) > 0
    model, batch, masked = made(bias=False, widths=(40, 40))
    SynFlow(0.005, rounds=1).first(masked, model, batch)
    assert min(int(m.sum()) for m in masked.masks.values()) == 0


def test_synflow_sees_no_sample() -> None:
    model, batch, masked = made()
    one = SynapticFlow(masked, model, batch).scores(masked.masks)
    other = SynapticFlow(masked, model, (batch[0] * -7 + 3, batch[1])).scores(masked.masks)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_synflow_refuses_scores_beyond_double_precision() -> None:
    model, batch, masked = made()
    for weight in masked.weights.values():
        weight.data *= 1e150
    with pytest.raises(ValueError, match=r"scores of layers.0.weight are not finite in double precision"):
        SynFlow(0.5).first(masked, model, batch)


def flow_of_ones(masked: Masked, model: Any, batch: Any) -> dict[str, Tensor]:
    """SynFlow's scores as it takes them: in evaluation mode."""
    with undisturbed(model):
        model.eval()
        return SynapticFlow(masked, model, batch).scores(masked.masks)


@pytest.mark.parametrize("scores", [connection_sensitivity, flow_changes, flow_of_ones])
def test_scoring_leaves_no_trace(scores: Any) -> None:
    """Twins, one of them scored first: gradients, modes and buffers are equal, and so is the next step to the bit."""
    batch, twins = (torch.randn(8, 4), torch.arange(8) % 3), []
    for scored in (True, False):
        torch.manual_seed(3)
        model = Restless()
        masked = mask(model)
        model.last.eval()
        model.norm.weight.requires_grad_(False)
        masked.weights["last.weight"].grad = torch.ones(3, 5)
        if scored:
            with torch.no_grad():  # as hooks may be called
                scores(masked, model, batch)
        parameters, buffers = list(model.parameters()), [buffer.clone() for buffer in model.buffers()]
        grads = [str(parameter.grad) for parameter in parameters]
        facts = [part.training for part in model.modules()], [p.requires_grad for p in parameters], grads
        loss = model.step(batch)["loss"]
        twins.append((facts, [*buffers, *parameters, loss, *model.buffers(), torch.rand(2)]))
    assert twins[0][0] == twins[1][0]
    assert all(torch.equal(one, other) for one, other in zip(twins[0][1], twins[1][1], strict=True))


@pytest.mark.parametrize("method", ["SNIP", "GraSP"])
def test_a_model_without_a_loss_is_refused_at_planning(method: str) -> None:
    class Silent(ZooModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    expected = "Silent has no step, by whose loss its weights could be scored"
    assert EARLY[method](**METHODS[method]).refusal(Silent(), Words(4, 0)) == expected
    assert RandomPruning(0.5, method.lower()).refusal(Silent(), Words(4, 0)) == expected
    assert RandomPruning(0.5, "uniform").refusal(Silent(), Words(4, 0)) == ""


def test_synflow_refuses_indices_at_planning() -> None:
    found = SynFlow(0.5).refusal(FullyConnected(4, 3, (5,)), Words(4, 0))
    assert found == "FullyConnected takes torch.int64, and SynFlow's ones are an input of float tensors alone"


@pytest.mark.parametrize("method", EARLY)
def test_bad_arguments_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match=re.escape("density must lie in (0, 1], got 1.5")):
        EARLY[method](1.5)
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        SynFlow(0.5, rounds=0)
    with pytest.raises(ValueError, match=r"distribution must be one of .* 'snip', 'grasp', got 'magic'"):
        RandomPruning(0.5, "magic")
    message = SNIP(0.5, layers=("nothing",)).refusal(FullyConnected(4, 3, (5,)), Words(4, 0))
    assert "nothing" in message
    assert "layers.0.weight" in message
