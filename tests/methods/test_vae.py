"""The VAE against torch.distributions, probabilistic principal components, and its own draws by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter, NotSupported
from offnormal.methods.vae import SCORES, VAE, VAENetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

FLOOR = 0.03


def plane(rows: int = 500) -> Tensor:
    """Return centered rows with variances 9, 4, 0.25, … along mixed axes: two directions hold nearly all."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator(0, "axes"))).Q
    spread = torch.tensor([3.0, 2.0, 0.5, 0.45, 0.4, 0.35])
    table = (torch.randn(rows, 6, generator=generator(0, "rows")) * spread) @ axes.T
    return table - table.mean(0)


ROWS = plane()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))


def network(epochs: int = 1, shape: tuple[int, ...] = (6,), **changes: Any) -> VAENetwork:
    detector = VAE(**{"hidden_sizes": (12, 4), "latent_dim": 2, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, VAENetwork)
    return built


def trained(epochs: int, rows: Tensor = ROWS, *, batch_size: int = 100, **changes: Any) -> VAENetwork:
    net = network(epochs, tuple(rows.shape[1:]), **changes)
    train(net, rows, Settings(batch_size=batch_size, seed=0))
    return net


def stirred(net: VAENetwork) -> VAENetwork:
    """Give every weight a value of its own, so that no term is zero or one by the initialization."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator(1, "stir")), alpha=0.3)
    return net


def in_cubature(net: VAENetwork) -> VAENetwork:
    """Draw the codes at ±√d along each axis: means of quadratic functions of a normal code are then exact."""
    axes = math.sqrt(net.code_dim) * torch.eye(net.code_dim)
    net.noise = torch.cat([axes, -axes])
    return net


# --- the two terms --------------------------------------------------------------------------------------------------


def test_the_kl_term_is_the_divergence_of_two_normals() -> None:
    net = stirred(network(kl_weight=2.5))
    mean, log_variance = net.posterior(ROWS)
    divergence = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(net.losses(BATCH)["kl"], 2.5 * divergence.mean(), rtol=1e-5, atol=1e-6)
    net.score_by = "kl"
    torch.testing.assert_close(net.score(ROWS), divergence.double(), rtol=1e-5, atol=1e-6)


def independent_likelihood(net: VAENetwork, z: Tensor) -> Distribution:
    """Return p(x|z) as torch writes it."""
    decoded = net.decoder(z)
    if net.likelihood == "bernoulli":
        return Independent(Bernoulli(logits=decoded), 1)
    if net.likelihood == "gaussian_per_feature":
        mean, raw = decoded[:, :6], decoded[:, 6:]
        return Independent(Normal(mean, (FLOOR**2 + raw.exp()).sqrt()), 1)
    deviation = net.noise_sd if net.noise_sd is not None else (FLOOR**2 + net.noise_log_variance.exp()).sqrt()
    return Independent(Normal(decoded, deviation), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"likelihood": "gaussian"},
        {"likelihood": "gaussian", "noise_sd": 0.4},
        {"likelihood": "gaussian_per_feature"},
        {"likelihood": "bernoulli", "scaling": "minmax"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_reconstruction_term_is_the_likelihood(changes: dict[str, Any]) -> None:
    """In the loss at one draw, in the reconstruction probability as the mean over L draws of the logarithm."""
    net = stirred(network(score_by="reconstruction_probability", n_samples=7, **changes))
    rows = (ROWS > 0).float() if net.likelihood == "bernoulli" else ROWS
    mean, log_variance = net.posterior(rows)
    deviation = (0.5 * log_variance).exp()
    by_hand = torch.stack([independent_likelihood(net, mean + deviation * draw).log_prob(rows) for draw in net.noise])
    assert len(by_hand) == 7
    assert float(by_hand.detach().std(0).max()) > 0.01, "the draws differ"
    torch.testing.assert_close(net.score(rows), -by_hand.mean(0).double(), rtol=1e-4, atol=1e-4)
    with scoped(5, "loss"):
        loss = net.losses(Batch(rows, BATCH.indices))["reconstruction"]
    with scoped(5, "loss"):
        draw = torch.randn_like(mean)
    expected = -independent_likelihood(net, mean + deviation * draw).log_prob(rows).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    own = {id(p) for p in net.parameters()}
    moved = {id(p) for p in net.parameters() if torch.autograd.grad(loss, p, retain_graph=True)[0].abs().sum() > 0}
    assert moved == own


def test_bernoulli_on_grey_values_is_a_divergence_and_beyond_the_range_it_grows() -> None:
    net = stirred(network(likelihood="bernoulli", scaling="minmax"))
    grey = torch.rand(50, 6, generator=generator(0, "grey"))
    z = torch.randn(50, 2, generator=generator(0, "z"))
    divergence = kl_divergence(Bernoulli(probs=grey), Bernoulli(logits=net.decoder(z))).sum(1)
    torch.testing.assert_close(net.misfit(grey, z), divergence, rtol=1e-4, atol=1e-5)
    far = grey.clone()
    far[:, 2] = 1.6
    at_the_end = grey.clone()
    at_the_end[:, 2] = 1.0
    beyond = net.misfit(far, z) - net.misfit(at_the_end, z)
    torch.testing.assert_close(beyond, torch.full((50,), 0.5 * (0.6 / FLOOR) ** 2), rtol=1e-3, atol=0)


# --- the bound ------------------------------------------------------------------------------------------------------

LINEAR: dict[str, Any] = {"hidden_sizes": (), "learning_rate": 2e-2, "n_samples": 4}


def model_nll(net: VAENetwork, rows: Tensor) -> Tensor:
    """Return −log p(x) of a linear decoder: x ~ N(b, W Wᵀ + σ² I)."""
    decoder, variance = net.decoder[-1], net.noise_floor**2 + net.noise_log_variance.double().exp()
    covariance = decoder.weight.double() @ decoder.weight.double().T + variance * torch.eye(6).double()
    return -MultivariateNormal(decoder.bias.double(), covariance).log_prob(rows.double())


def least_nll(rows: Tensor, d: int) -> tuple[float, float]:
    """Return the mean −log p at the optimum of probabilistic principal components, and its σ² (Tipping, Bishop)."""
    values = torch.linalg.eigvalsh(rows.double().T @ rows.double() / len(rows)).flip(0)
    n, variance = rows.shape[1], float(values[d:].mean())
    log_determinant = float(values[:d].log().sum()) + (n - d) * math.log(variance)
    return 0.5 * (n * math.log(2 * math.pi) + log_determinant + n), variance


@pytest.fixture(scope="module")
def linear() -> VAENetwork:
    return in_cubature(trained(600, batch_size=len(ROWS), **LINEAR))


def test_a_linear_network_learns_probabilistic_principal_components(linear: VAENetwork) -> None:
    """There the bound is tight at the optimum: −ELBO, −log p of the model and the closed form meet."""
    best, variance = least_nll(ROWS, 2)
    with torch.no_grad():
        elbo, exact = linear.score(ROWS), model_nll(linear, ROWS)
        assert bool((elbo >= exact - 1e-4).all()), "a bound for every row"
        assert best - 1e-4 <= float(exact.mean()) <= float(elbo.mean()) <= best + 0.05
        learned = float(linear.noise_floor**2 + linear.noise_log_variance.exp())
    assert learned == pytest.approx(variance, rel=0.1)
    leading = torch.linalg.svd(ROWS).Vh[:2]
    spanned = torch.linalg.qr(linear.decoder[-1].weight.detach()).Q
    assert float(torch.linalg.svdvals(leading @ spanned).min()) > 0.995


def test_neither_an_untrained_network_nor_one_without_a_term_reaches_that() -> None:
    """No training, no KL in the loss, noise that stays at 1."""
    best, _ = least_nll(ROWS, 2)
    nets = [network(**LINEAR)]
    nets += [
        trained(600, batch_size=len(ROWS), **LINEAR, **without) for without in ({"kl_weight": 0.0}, {"noise_sd": 1.0})
    ]
    with torch.no_grad():
        assert all(float(in_cubature(net).score(ROWS).mean()) > best + 1 for net in nets)


def test_importance_weighting_is_exact_where_the_posterior_is() -> None:
    """With q(z|x) the true posterior of a linear decoder, every weight is p(x), whatever the draws."""
    net = network(**{**LINEAR, "score_by": "importance_weighted", "n_samples": 5})
    basis = torch.linalg.qr(torch.randn(6, 2, generator=generator(0, "basis"))).Q
    gains, offset, variance = torch.tensor([2.0, 0.7]), torch.arange(6.0), 0.25 + net.noise_floor**2
    encoder, decoder = net.encoder[-1], net.decoder[-1]
    with torch.no_grad():  # columns of W are orthogonal, so the posterior is a diagonal normal
        decoder.weight.copy_(basis * gains)
        decoder.bias.copy_(offset)
        net.noise_log_variance.fill_(math.log(0.25))
        precision = gains.square() + variance
        encoder.weight.copy_(torch.cat([(basis * gains / precision).T, torch.zeros(2, 6)]))
        encoder.bias.copy_(torch.cat([-(basis * gains / precision).T @ offset, (variance / precision).log()]))
        torch.testing.assert_close(net.score(ROWS), model_nll(net, ROWS), rtol=1e-5, atol=1e-4)
        encoder.bias[0] += 1.0  # a wrong posterior: the estimate is another, and the bound is loose
        in_cubature(net).score_by = "elbo"
        assert bool((net.score(ROWS) > model_nll(net, ROWS) + 0.1).all())


def test_the_weight_of_the_kl_term_decides_how_much_the_code_says() -> None:
    """At a large weight the posterior is the prior for every row, at 1 it is on average, at 0 it is nearly a point."""
    means, widths, noises = [], [], []
    for weight in (0.0, 1.0, 300.0):
        net = trained(60, kl_weight=weight, learning_rate=1e-2)
        assert set(net.losses(BATCH)) == ({"reconstruction", "kl"} if weight else {"reconstruction"})
        with torch.no_grad():
            mean, log_variance = net.posterior(ROWS)
            means.append(float(mean.var(0).mean()))
            widths.append(float(log_variance.exp().mean()))
            noises.append(float(net.noise_floor**2 + net.noise_log_variance.exp()))
    assert (means[2], widths[2]) == pytest.approx((0, 1), abs=0.01)
    assert noises[2] == pytest.approx(float(ROWS.square().mean()), rel=0.05), "all that varies is noise then"
    assert means[1] > 0.5
    assert means[1] + widths[1] == pytest.approx(1, abs=0.2)
    assert widths[0] < 0.1 * widths[1] < 0.01
    assert noises[0] < noises[1] < noises[2]


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score_by", SCORES)
def test_a_score_repeats_and_belongs_to_its_row(score_by: str) -> None:
    net = trained(2, score_by=score_by)
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        whole = net.score(ROWS)
        assert torch.equal(whole, net.score(ROWS))
        torch.testing.assert_close(net.score(ROWS[40:50]), whole[40:50], rtol=1e-5, atol=1e-6)
        wild = net.score(1e6 * torch.ones(3, 6))
    assert torch.equal(state, torch.random.get_rng_state())
    assert (whole.dtype, whole.shape) == (torch.float64, (500,))
    assert bool(wild.isfinite().all())


def test_the_elbo_is_the_sum_of_its_parts_and_other_scores_are_what_they_say() -> None:
    net = trained(5)
    found = {}
    with torch.no_grad():
        for net.score_by in SCORES:
            found[net.score_by] = net.score(ROWS)
        rebuilt = net.decoder(net.encoder(ROWS)[:, :2])
    torch.testing.assert_close(found["elbo"], found["reconstruction_probability"] + found["kl"])
    torch.testing.assert_close(found["reconstruction"], (ROWS - rebuilt).square().sum(1).double(), rtol=1e-5, atol=1e-5)
    assert torch.equal(net.noise[:5], -net.noise[5:]), "draws come in pairs"


def test_columns_that_never_vary_leave_everything_finite() -> None:
    rows = torch.cat([ROWS[:, :3], torch.zeros(len(ROWS), 3)], dim=1)
    odd = rows.clone()
    odd[:, 4] = 1
    for likelihood in ("gaussian", "gaussian_per_feature"):
        net = trained(100, rows, likelihood=likelihood, learning_rate=1e-2)
        with torch.no_grad():
            deviation = net._variance(net.decoder(net.encode(rows))).sqrt()
            assert float(deviation.min()) >= 0.999 * FLOOR
            assert bool(net.score(rows).isfinite().all())
            assert bool((net.score(odd) > net.score(rows)).all())
        if likelihood == "gaussian_per_feature":
            assert float(deviation[:, 3:].max()) < 0.1, "their own variance falls to the floor"


def test_contributions_are_falls_of_the_terms_of_the_bound() -> None:
    net = trained(40, learning_rate=1e-2)
    assert net.residuals is not None
    with torch.no_grad():
        net.residuals.learn(Batches(ROWS, 77), net.reconstruct)
        odd = ROWS[:20].clone()
        odd[:, 3] += 6
        parts = net.contributions(odd, torch.arange(6), 6)
        assert list(parts) == ["reconstruction", "kl"]
        falls = sum(parts.values(), start=torch.zeros(20, 6).double())
        median = odd.clone()
        median[:, 3] = ROWS[:, 3].sort().values[250]
        assert bool((falls >= 0).all())
        assert bool((falls[:, 3] >= net.score(odd) - net.score(median) - 1e-3).all()), "the best of the candidates"
    assert np.bincount(falls.argmax(1), minlength=6)[3] >= 18


# --- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_per_feature", "bernoulli"])
def test_images_train_and_score(likelihood: str) -> None:
    """Bright bars at any height are normal; a bar on its side is not."""
    draw = np.random.default_rng(0)
    images = 0.1 * draw.random((160, 12, 12), dtype=np.float32)
    for image, row in zip(images, draw.integers(1, 10, 160), strict=True):
        image[row : row + 2] += 0.8
    detector = VAE(epochs=30, likelihood=likelihood, latent_dim=4, calibration="none", learning_rate=5e-3)
    detector.fit(images[:120])
    method = detector.scorer_.method
    assert isinstance(method, VAENetwork)
    usual, sideways = detector.anomaly_score(images[120:]), detector.anomaly_score(images[120:].transpose(0, 2, 1))
    assert np.isfinite(usual).all()
    assert sideways.min() > np.quantile(usual, 0.9)
    x = torch.from_numpy(images[120:, None])
    assert detector.transform(images[120:]).shape == (40, 4)
    with torch.inference_mode():
        assert method.reconstruct(x).shape == x.shape
        layers = method.encoder_layers(x)
        torch.testing.assert_close(layers[-1], method.encode(x))
        method.score_by = "reconstruction"
        torch.testing.assert_close(method.score_map(x).sum((1, 2)).double(), method.score(x), rtol=1e-4, atol=1e-4)
    assert [layer.shape for layer in layers] == [(40, 32, 6, 6), (40, 64 * 3 * 3), (40, 4)]
    with pytest.raises(NotSupported, match="tables"):
        method.contributions(x, torch.arange(144), 144)


def test_layers_of_the_encoder_end_in_the_mean_of_the_code() -> None:
    net = network()
    first, second, code = net.encoder_layers(ROWS)
    torch.testing.assert_close(first, torch.tanh(net.encoder[0](ROWS)))
    torch.testing.assert_close(second, torch.tanh(net.encoder[2](first)))
    assert torch.equal(code, net.encode(ROWS))
    assert code.shape == (500, 2)


def test_a_network_is_built_on_no_memory_with_the_same_names() -> None:
    real = network()
    with torch.device("meta"):
        empty = network()
    assert {k: v.shape for k, v in empty.state_dict().items()} == {k: v.shape for k, v in real.state_dict().items()}
    assert empty.noise.is_meta


def test_bernoulli_asks_for_values_between_0_and_1() -> None:
    for shape, scaled in [((6,), {"scaling": "standard"}), ((1, 12, 12), {"pixel_scaling": "symmetric"})]:
        with pytest.raises(InvalidParameter, match=r"\[0, 1\]"):
            network(shape=shape, likelihood="bernoulli", hidden_sizes=(4,), **scaled)


def test_presets_are_the_papers_networks() -> None:
    expected = {
        "an_cho_mnist": ([784, 400, 400], [200, 400, 1568], {nn.Tanh}),
        "rapp_mnist": (
            [784, 707, 631, 554, 478, 402, 325, 249, 172, 96, 40],
            [20, 96, 172, 249, 325, 402, 478, 554, 631, 707, 784],
            {nn.LeakyReLU, nn.BatchNorm1d},
        ),
    }
    for preset, (encoder, decoder, between) in expected.items():
        detector = VAE.from_preset(preset)
        detector.planned_epochs_ = 1
        net = detector.build((1, 28, 28))
        assert isinstance(net, VAENetwork)
        for chain, sizes in ((net.encoder, encoder), (net.decoder, decoder)):
            linear = [m for m in chain if isinstance(m, nn.Linear)]
            assert [linear[0].in_features, *(m.out_features for m in linear)] == sizes
            assert {type(m) for m in chain} - {nn.Linear, nn.Flatten, nn.Unflatten} == between
            assert len([m for m in chain if type(m) in between]) == len(between) * (len(sizes) - 2)
