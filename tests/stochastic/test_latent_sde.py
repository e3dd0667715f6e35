"""Latent stochastic differential equations: divergences, evidence and posteriors in closed form, and invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.distributions import Laplace, Normal, kl_divergence

from benchmarks import train
from benchmarks.observables.stochastic.posterior_paths import chain, conditioned, floor
from zoo.stochastic import LatentSDE, PosteriorSDE
from zoo.stochastic._variational import Annealing, normal_divergence, paths

N, T, C, D = 5, 9, 2, 3
Batch = tuple[Tensor, ...]


def latent(**hyperparameters: Any) -> LatentSDE:
    torch.manual_seed(0)
    small = {"latent_features": D, "context_features": 4, "hidden_features": 8}
    return LatentSDE(C, 0.3, **small | hyperparameters).double()


def batch(features: int = D) -> Batch:
    draw = torch.Generator().manual_seed(1)
    times = (torch.rand(N, T, generator=draw, dtype=torch.float64) + 0.1).cumsum(1) / 5
    values = torch.randn(N, T, C, generator=draw, dtype=torch.float64)
    mask = torch.rand(N, T, C, generator=draw) >= 0.4
    return torch.where(mask, values, 0.0), mask, times, torch.randn(N, T, features, generator=draw, dtype=torch.float64)


class Rate(nn.Module):
    """A posterior drift in place of the network, of the time and the state."""

    def __init__(self, rate: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return self.rate(torch.atan2(x[:, :1], x[:, 1:2]), x[:, 2:])


def one_series(steps: int) -> tuple[PosteriorSDE, Tensor, Tensor, Tensor]:
    """A prior, times (T,) of equal steps on [0, 2], what of it is seen, a mask (T,), and what was, a few values."""
    model = PosteriorSDE(1, 0.2, "normal", theta=1.0, mu=0.3, sigma=0.5).double()
    times = torch.linspace(0, 2, steps + 1, dtype=torch.float64)
    seen = torch.zeros(steps + 1, dtype=torch.bool)
    seen[steps // 4 :: steps // 4] = True
    return model, times, seen, torch.tensor([0.5, -0.4, 0.9, 0.1]).double()


def posterior(steps: int) -> tuple[PosteriorSDE, Tensor, Tensor, Tensor, Tensor, float]:
    """The model whose steps have the means of the posterior's, with the exact q(y_0); log p(x) - ELBO is returned last.

    A step of the posterior is normal, with mean linear in y_k and less variance than the model's: what is missing of
    the evidence is the divergence of these.
    """
    model, times, seen, x = one_series(steps)
    prior = chain(model.theta, model.sigma, times)
    _, mean, covariance = conditioned(prior, seen, x - model.mu, model.scale)
    mean, dt = mean + model.mu, float(times[1])
    gain = covariance.diagonal(1) / covariance.diagonal()[:-1]

    def rate(t: Tensor, y: Tensor) -> Tensor:
        k = (t / dt).round().long()
        return (mean[k + 1] + gain[k] * (y - mean[k]) - y) / dt

    model.field = Rate(rate)
    model.mean.data, model.log_variance.data = mean[:1], covariance[0, 0].log()[None]
    return model, times, seen, x, mean, float(floor(covariance, model.sigma, times))


def expected(f: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """E f(xi) of f (2 T + 1,) that is quadratic in standard normal numbers xi (., T, 1): exact by differences."""
    eye = torch.eye(count, dtype=torch.float64)
    found = f(torch.cat([torch.zeros(1, count).double(), eye, -eye])[..., None])
    return found[0] + (found[1:] - found[0]).sum() / 2


def rows(normals: Tensor, times: Tensor, seen: Tensor, x: Tensor) -> Batch:
    values = torch.zeros_like(times)
    values[seen] = x
    return (*(a.expand(len(normals), -1)[..., None] for a in (values, seen)), times.expand(len(normals), -1), normals)


@pytest.mark.parametrize("horizon", [1.0, 2.0])
def test_the_divergence_of_two_ornstein_uhlenbeck_processes_is_exact(horizon: float) -> None:
    """|theta (mu' - mu) / sigma|^2 T / 2 in each of two channels, along every path: 6.25 and 12.5."""
    model = PosteriorSDE(2, 0.1, theta=1.0, mu=0.5, sigma=0.4).double()
    model.field = Rate(lambda _, y: 1.5 - y)
    times = torch.tensor([[0.0, 0.1, 0.15, 0.7, 1.0], [0.0, 0.3, 0.4, 0.9, 1.0]]).double() * horizon
    _, kl = model.drawn(times, torch.randn(2, 5, 2).double())
    torch.testing.assert_close(kl, torch.full((2,), 6.25 * horizon).double())


def test_the_bound_is_below_the_evidence_by_what_the_posterior_has_less_noise() -> None:
    missing = []
    for steps in (32, 64, 128):
        model, times, seen, x, _, gap = posterior(steps)

        def elbo(normals: Tensor, model: PosteriorSDE = model, given: Any = (times, seen, x)) -> Tensor:
            log_likelihood, kl = model.bound(rows(normals, *given))
            return log_likelihood - kl

        evidence, *_ = conditioned(chain(model.theta, model.sigma, times), seen, x - model.mu, model.scale)
        torch.testing.assert_close(evidence - expected(elbo, steps + 1), torch.tensor(gap).double())
        missing.append(gap)
        model.mean.data += 0.1  # another posterior misses more: here by KL(q(y_0) || p(y_0 | x)) and what it does later
        assert float((evidence - expected(elbo, steps + 1)).detach()) > gap + 0.1**2 / 2 / float(
            model.log_variance.detach().exp()
        )
    assert missing[0] / missing[1] == pytest.approx(2, rel=0.1)  # of first order in the step
    assert missing[1] / missing[2] == pytest.approx(2, rel=0.05)


def test_without_noise_a_linear_posterior_has_its_mean() -> None:
    model, times, _, _, mean, _ = posterior(64)
    torch.testing.assert_close(model(times[None])[0, :, 0], mean)


def test_the_closed_form_is_that_of_the_steps() -> None:
    """y = B (y_0, xi): the covariance is B B^T, and log p(x) by adding observations one by one (Kalman)."""
    model, times, seen, x = one_series(16)
    dt = times.diff()
    factor = torch.zeros(17, 17).double()
    factor[0, 0] = model.sigma / math.sqrt(2 * model.theta)
    for k in range(16):
        factor[k + 1] = (1 - model.theta * dt[k]) * factor[k]
        factor[k + 1, k + 1] = model.sigma * dt[k].sqrt()
    covariance = factor @ factor.T
    torch.testing.assert_close(chain(model.theta, model.sigma, times), covariance)
    evidence, mean, posterior = conditioned(covariance, seen, x, model.scale)
    m, p, total = torch.zeros(17).double(), covariance.clone(), 0.0
    for k, value in zip(seen.nonzero()[:, 0].tolist(), x, strict=True):
        s = p[k, k] + model.scale**2
        total += float(Normal(m[k], s.sqrt()).log_prob(value))
        m, p = m + p[:, k] * (value - m[k]) / s, p - torch.outer(p[:, k], p[:, k]) / s
    assert float(evidence) == pytest.approx(total)
    torch.testing.assert_close(mean, m)
    torch.testing.assert_close(posterior, p)


@pytest.mark.parametrize("likelihood", ["laplace", "normal"])
def test_likelihood_and_divergence_of_one_series_are_those_of_a_plain_loop(likelihood: str) -> None:
    torch.manual_seed(0)
    model = PosteriorSDE(C, 0.3, likelihood, theta=0.7, mu=0.2, sigma=0.6).double()
    nn.init.normal_(model.field[-1].weight)
    model.mean.data, model.log_variance.data = torch.tensor([0.4, -1.0]).double(), torch.tensor([-1.0, 0.5]).double()
    values, mask, times, normals = batch(C)
    q = Normal(model.mean, (model.log_variance / 2).exp())
    y, states = q.mean + q.stddev * normals[:, 0], []
    kl = kl_divergence(q, Normal(0.2, 0.6 / math.sqrt(1.4))).sum()
    for k in range(T):
        states.append(y)
        if k + 1 < T:
            dt = (times[:, k + 1] - times[:, k])[:, None]
            f = model.field(torch.cat([times[:, k : k + 1].sin(), times[:, k : k + 1].cos(), y], 1))
            kl = kl + (((f - 0.7 * (0.2 - y)) / 0.6) ** 2 * dt / 2).sum(1)
            y = y + f * dt + 0.6 * dt.sqrt() * normals[:, k + 1]
    x = (Laplace if likelihood == "laplace" else Normal)(torch.stack(states, 1), 0.3)
    found = model.bound((values, mask, times, normals))
    torch.testing.assert_close(found[0], (x.log_prob(values) * mask).sum((1, 2)))
    torch.testing.assert_close(found[1], kl)


def test_no_path_passes_the_ceiling_of_the_laplace_likelihood() -> None:
    torch.manual_seed(0)
    model, (_, _, times, normals) = PosteriorSDE(1, 0.05).double(), batch(1)
    path, _ = model.drawn(times, normals)
    mask = torch.ones_like(path, dtype=torch.bool)
    found, _ = model.bound((path.detach(), mask, times, normals))
    torch.testing.assert_close(found, torch.full((N,), T * math.log(10.0)).double())  # a path through all it was to see
    assert bool((model.bound((path.detach() + 0.01, mask, times, normals))[0] < found).all())


def test_likelihood_and_divergence_of_latent_paths_are_those_of_a_plain_loop() -> None:
    model, (values, mask, times, normals) = latent(), batch()
    context = model.encoder(values, mask, times)
    mean, log_variance = model.start(context[:, 0]).chunk(2, -1)
    q = Normal(mean, (log_variance / 2).exp())
    z, states = q.mean + q.stddev * normals[:, 0], []
    kl = kl_divergence(q, Normal(model.prior_mean, (model.prior_log_variance / 2).exp())).sum(-1)
    for k in range(T):
        states.append(z)
        if k + 1 < T:
            dt = (times[:, k + 1] - times[:, k])[:, None]
            f, g = model.posterior(torch.cat([z, context[:, k + 1]], 1)), model.diffusion(z)
            kl = kl + (((f - model.prior(z)) / g) ** 2 * dt / 2).sum(1)
            z = z + f * dt + g * dt.sqrt() * normals[:, k + 1]
    x = Normal(model.decoder(torch.stack(states, 1)), 0.3)
    found = model.bound((values, mask, times, normals))
    torch.testing.assert_close(found[0], (x.log_prob(values) * mask).sum((1, 2)))
    torch.testing.assert_close(found[1], kl)


def test_a_posterior_that_is_the_prior_costs_nothing_and_generates_the_same() -> None:
    model, (values, mask, times, normals) = latent(), batch()
    with torch.no_grad():
        model.start.weight.zero_()
        model.start.bias.copy_(torch.cat([model.prior_mean, model.prior_log_variance]))
        model.posterior[0].weight.zero_()
        model.posterior[0].weight[:, :D] = model.prior[0].weight
        for own, other in zip(model.posterior.parameters(), model.prior.parameters(), strict=True):
            own.copy_(other) if own.shape == other.shape else None
    series, kl = model.drawn(values, mask, times, normals)
    torch.testing.assert_close(kl, torch.zeros_like(kl))
    torch.testing.assert_close(series, model.generate(times, normals))


def test_generated_paths_have_the_moments_of_their_steps() -> None:
    """dz = -z dt + dW / 2 from N(1, 1): mean (1 - dt)^k, variance a^k + (1 - a^k) dt / 4 (1 - a), a = (1 - dt)^2."""
    size, steps = 20_000, 10
    model = latent(latent_features=1)
    model.prior = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.prior.weight.fill_(-1.0)
        model.prior.bias.zero_()
        model.diffusion.readout.zero_()  # sigmoid(0) = 1/2
        model.prior_mean.fill_(1.0)
        model.decoder.weight.fill_(1.0)
        model.decoder.bias.zero_()
    draw = torch.Generator().manual_seed(0)
    times = torch.linspace(0, 1, steps + 1).double().repeat(size, 1)
    z = model.generate(times, torch.randn(size, steps + 1, 1, generator=draw).double())[..., 0].detach()
    k, a = torch.arange(steps + 1), 0.81
    variance = a**k + (1 - a**k) / (1 - a) * 0.1 / 4
    assert bool(((z.mean(0) - 0.9**k).abs() <= 5 * (variance / size).sqrt()).all())
    assert bool(((z.var(0) - variance).abs() <= 5 * variance * math.sqrt(2 / size)).all())


def test_what_the_mask_leaves_out_and_a_shift_in_time_change_nothing() -> None:
    model, (values, mask, times, normals) = latent(), batch()
    nonsense = torch.where(mask, values, torch.tensor([math.nan, 1e9]).double())
    turned = torch.arange(N).flip(0)
    whole = model.bound((values, mask, times, normals))
    for found, one in zip(model.bound((nonsense, mask, times, normals)), whole, strict=True):
        assert torch.equal(found, one)
    moved = model.bound((values[turned], mask[turned], times[turned] + 100, normals[turned]))
    for found, one in zip(moved, whole, strict=True):
        torch.testing.assert_close(found, one[turned], rtol=1e-9, atol=1e-9)


def test_the_posterior_knows_of_a_series_what_comes_later() -> None:
    model, (values, mask, times, normals) = latent(), batch()
    changed = values.clone()
    changed[:, 4] += 1
    mask[:, 4] = True
    whole, other = (model.encoder(v, mask, times) for v in (values, changed))
    assert torch.equal(whole[:, 5:], other[:, 5:])
    assert bool((whole[:, :5] != other[:, :5]).any(-1).all())
    # given z, a step depends on what is seen from its end on: with the same start, the paths part at the fourth step
    model.start.weight.data.zero_()
    one, two = (model.drawn(v, mask, times, normals)[0] for v in (values, changed))
    later = values.clone()
    later[:, 0] += 1
    assert torch.equal(model.drawn(later, mask, times, normals)[0], one)
    assert bool((one[:, 1:] != two[:, 1:]).any(-1).all())


def test_each_entry_of_the_diffusion_reads_its_own_component() -> None:
    model, z = latent(), 5 * torch.randn(D).double()
    jacobian = torch.autograd.functional.jacobian(model.diffusion, z)
    assert torch.equal(jacobian, jacobian.diagonal().diag())
    assert bool(jacobian.diagonal().all())
    assert bool(((model.diffusion(z) > 0) & (model.diffusion(z) < 1)).all())


def test_paths_do_not_change_where_a_time_is_added_at_which_nothing_happens() -> None:
    """Constant coefficients: a step is the sum of its parts, for the state and for the divergence."""
    times, normals = torch.tensor([[0.0, 0.3, 1.0]]).double(), torch.randn(1, 2, 1).double()
    more = torch.tensor([[0.0, 0.1, 0.3, 1.0]]).double()
    parts = torch.randn(1, 1, 1).double()
    rest = (math.sqrt(0.3) * normals[:, :1] - math.sqrt(0.1) * parts) / math.sqrt(0.2)

    def solved(times: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        return paths(
            torch.ones(1, 1).double(), times, normals, lambda _, z: 0 * z + 2, lambda z: 0 * z + 0.5, lambda _, z: 0 * z
        )

    (few, one), (many, two) = solved(times, normals), solved(more, torch.cat([parts, rest, normals[:, 1:]], 1))
    torch.testing.assert_close(many[:, [0, 2, 3]], few)
    torch.testing.assert_close(one, torch.tensor([8.0]).double())  # (2 / 0.5)^2 / 2
    torch.testing.assert_close(two, one)


def test_the_divergence_of_normals_is_torchs() -> None:
    torch.manual_seed(0)
    mean, log_variance, prior_mean, prior = torch.randn(4, 3).double()
    found = normal_divergence((mean[None], log_variance[None]), (prior_mean, prior))
    q, p = (Normal(m, (v / 2).exp()) for m, v in ((mean, log_variance), (prior_mean, prior)))
    torch.testing.assert_close(found, kl_divergence(q, p).sum()[None])


def test_the_divergence_gains_weight_in_training_alone() -> None:
    annealing = Annealing(4)
    assert [float(annealing()) for _ in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert float(annealing.eval()()) == 1
    assert float(annealing.taken) == 6  # it is part of a checkpoint
    annealing.load_state_dict(Annealing(4).state_dict() | {"taken": torch.tensor(2.0)})
    assert float(annealing.train()()) == 0.75
    assert float(Annealing(0)()) == 1
    model, given = latent(warm_up=4), batch()
    log_likelihood, kl = (part.mean() for part in model.bound(given))
    torch.testing.assert_close(model.step(given)["loss"], kl / 4 - log_likelihood)
    torch.testing.assert_close(model.eval().step(given)["loss"], kl - log_likelihood)


@pytest.mark.parametrize("name", ["segmented_cosine", "posterior_evidence"])
def test_the_rate_decays_by_a_thousandth_in_each_step(name: str) -> None:
    """As in the loops that the claims come from: a decay once an epoch would be none in 15 epochs."""
    given = yaml.safe_load((Path(__file__).parents[2] / "configs/stochastic" / f"{name}.yaml").read_text())
    config = {key: given[key] for key in ("trainer", "lr_scheduler")}
    config["data"] = {"init_args": {}} | given["data"]
    config["model"] = given["models"]["posterior"] | {"init_args": {"in_channels": 1, "scale": 0.1}}
    model, data = train.assemble(config, 0)
    found: Any = model.configure_optimizers()
    assert found["lr_scheduler"]["interval"] == "step"
    found["optimizer"].step()
    found["lr_scheduler"]["scheduler"].step()
    assert found["optimizer"].param_groups[0]["lr"] == pytest.approx(0.01 * 0.999)
    assert config["trainer"]["max_epochs"] * data.hparams["steps_per_epoch"] == 1500


def test_the_weight_of_the_divergence_reaches_one_in_half_precision() -> None:
    """bfloat16 has 8 significant bits: 256 + 1 = 256."""
    model = latent(warm_up=260).bfloat16()
    weights = [float(model.annealing()) for _ in range(260)]
    assert weights == pytest.approx([n / 260 for n in range(1, 261)])
    assert int(model.state_dict()["annealing.taken"]) == 260
    assert (
        model.step(tuple(x.bfloat16() if x.is_floating_point() else x for x in batch()))["loss"].dtype == torch.bfloat16
    )


def test_prediction_takes_gaps_for_what_was_not_observed() -> None:
    model, (values, mask, times, _) = latent().eval(), batch()
    gaps = torch.where(mask, values, math.nan)
    assert torch.equal(model.predict(gaps, times=times), model(values, mask, times))
    assert PosteriorSDE(2, 0.1).predict(torch.linspace(0, 1, 7)).shape == (1, 7, 2)
    with pytest.raises(ValueError, match="times that increase strictly"):
        PosteriorSDE(2, 0.1).predict(torch.tensor([0.0, 1.0, 0.5]))
    with pytest.raises(ValueError, match=r"start at 0.*in series 1, times\[0\] is 0.25; put a 0 before it"):
        PosteriorSDE(2, 0.1).predict(torch.tensor([[0.0, 1.0], [0.25, 0.5]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: latent(latent_features=0), "latent_features must be at least 1, got 0"),
        (lambda: latent(warm_up=-1), "warm_up must be at least 0, got -1"),
        (lambda: latent(lr=0.0), "lr must be positive, got 0.0"),
        (lambda: LatentSDE(2, 0.0), "noise must be positive, got 0.0"),
        (lambda: PosteriorSDE(1, -0.1), "scale must be positive, got -0.1"),
        (lambda: PosteriorSDE(1, 0.1, "cauchy"), "likelihood must be one of 'laplace', 'normal', got 'cauchy'"),
        (lambda: PosteriorSDE(1, 0.1, theta=0.0), "theta must be positive, got 0.0"),
        (lambda: PosteriorSDE(1, 0.1, sigma=0.0), "sigma must be positive, got 0.0"),
        (lambda: PosteriorSDE(1, 0.1, theta=math.inf), "theta must be finite, got inf"),
        (lambda: latent(latent_features=2.5), "latent_features must be a whole number, got 2.5"),
        (lambda: latent().generate(torch.arange(5.0), torch.zeros(5, 3)), r"times of shape \(N, T\).*got \(5,\)"),
        (lambda: latent().generate(torch.zeros(1, 5), torch.zeros(1, 5, 9)), r"normals of shape \(N, T, 3\).*5, 9\)"),
        (lambda: latent().generate(-torch.arange(5.0)[None], torch.zeros(1, 5, 3)), "times that increase strictly"),
        (
            lambda: PosteriorSDE(1, 0.1).generate(torch.zeros(1, 2), torch.zeros(1, 2, 1)),
            "times that increase strictly",
        ),
        (lambda: PosteriorSDE(1, 0.1).drawn(torch.zeros(1, 2), torch.zeros(1, 1, 1)), r"\(N, T, 1\).*\(1, 1, 1\)"),
    ],
)
def test_bad_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
