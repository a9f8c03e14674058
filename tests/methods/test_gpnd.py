"""GPND: volumes and densities against closed forms and integrals, Jacobians against autograd, learning, the preset."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from offnormal.batches import Batch, Batches
from offnormal.errors import InvalidParameter
from offnormal.method import Update
from offnormal.methods.gpnd import GPND, GPNDNetwork, decoder_jacobian, encoder_jacobian, log_volume
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train


def bent(rows: int = 1000) -> Tensor:
    """Return rows on a bent sheet away from 0 in four axes: two numbers say all, and neither is normal."""
    u, v = (2 * torch.rand(2, rows, generator=generator(0, "sheet")) - 1).unbind(0)
    return 1 + torch.stack([2 * u, u.square() + 0.3 * v, v, u + v], 1)


ROWS = bent()
BATCH = Batch(ROWS, torch.arange(len(ROWS)))
BATCH_OF_IMAGES = torch.rand(5, 1, 8, 8, generator=generator(1, "images"))
UPDATES = ("discriminator", "generator", "latent_discriminator", "autoencoder")


def network(epochs: int = 1, shape: tuple[int, ...] = (4,), **changes: Any) -> GPNDNetwork:
    detector = GPND(**{"hidden_sizes": (32,), "latent_dim": 2, "learning_rate": 2e-3, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, GPNDNetwork)
    return built.eval()


def summarized(net: GPNDNetwork, rows: Tensor) -> GPNDNetwork:
    with torch.no_grad():
        net.summarize(Batches(rows, 100))
    return net


def linear(n: int, d: int, **changes: Any) -> tuple[GPNDNetwork, Tensor]:
    """Return a network whose decoder is a matrix and whose encoder is its inverse from the left, and the matrix."""
    net = network(shape=(n,), hidden_sizes=(), latent_dim=d, **changes)
    weight = torch.randn(n, d, generator=generator(0, "weight"))
    with torch.no_grad():
        net.decoder[0].weight.copy_(weight)
        net.encoder[0].weight.copy_(torch.linalg.pinv(weight))
    return net, weight.double()


# --- volume -----------------------------------------------------------------------------------------------------------


def test_the_volume_of_a_linear_decoder_is_half_the_log_determinant_of_its_gram_matrix() -> None:
    """And the encoder's, its inverse on the manifold, is the same with the other sign."""
    net, weight = linear(6, 3)
    rows = torch.randn(10, 6, generator=generator(0, "rows"))
    expected = 0.5 * torch.logdet(weight.T @ weight)
    torch.testing.assert_close(net.log_volume(rows), expected.expand(10), rtol=1e-4, atol=1e-5)
    net.jacobian = "encoder"
    torch.testing.assert_close(net.log_volume(rows), -expected.expand(10), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (1, 8, 8)])
@pytest.mark.parametrize("inference", [False, True])
def test_jacobians_of_all_rows_at_once_are_those_of_autograd_row_by_row(
    shape: tuple[int, ...], inference: bool
) -> None:
    net = network(shape=shape, hidden_sizes=(8,), latent_dim=3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.01, 2.0)
    rows = torch.rand(7, *shape, generator=generator(0, "rows"))
    with torch.inference_mode(inference):
        code = net.encode(rows).detach()
        down, up = decoder_jacobian(net.decode, code), encoder_jacobian(net.encode, rows, 3)
    for i, row in enumerate(rows):
        one = torch.autograd.functional.jacobian(lambda z: net.decode(z[None]).flatten(), net.encode(row[None])[0])
        torch.testing.assert_close(down[i].clone(), one, rtol=1e-4, atol=1e-7)
        one = torch.autograd.functional.jacobian(lambda x: net.encode(x[None])[0], row)
        torch.testing.assert_close(up[i].clone(), one.reshape(3, -1).T, rtol=1e-4, atol=1e-7)


def test_the_volume_is_the_sum_of_log_singular_values_and_has_a_floor() -> None:
    matrices = torch.randn(4, 9, 3, generator=generator(0, "matrices"))
    singular = torch.linalg.svdvals(matrices.double())
    torch.testing.assert_close(log_volume(matrices), singular.log().sum(1))
    matrices[:, :, 0] = 0
    rest = torch.linalg.svdvals(matrices.double())[:, :2].log().sum(1)
    torch.testing.assert_close(log_volume(matrices), rest + math.log(1e-4))


# --- density ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jacobian", ["decoder", "encoder"])
def test_the_paper_s_sign_makes_a_density_and_the_code_s_does_not(jacobian: str) -> None:
    """A line in the plane: with the decoder's volume p integrates to 1, with the code's to its length per unit, s²."""
    net, weight = linear(2, 1, jacobian=jacobian)
    length = float(weight.norm())
    along, away = (weight / length).flatten(), torch.tensor([-weight[1, 0], weight[0, 0]]) / length
    draw = generator(0, "line")
    places = length * torch.randn(500, 1, generator=draw).double()
    rows = places * along + 0.2 * torch.randn(500, 1, generator=draw).double() * away
    summarized(net, rows.float())
    u, v = torch.linspace(-6 * length, 6 * length, 300).double(), torch.linspace(-4, 4, 800).double()
    grid = u[:, None, None] * along + v[None, :, None] * away
    with torch.inference_mode():
        density = (-net.score(grid.reshape(-1, 2).float())).exp().reshape(300, 800)
    total = torch.trapezoid(torch.trapezoid(density, v, dim=1), u, dim=0)
    assert float(total) == pytest.approx(1 if jacobian == "decoder" else length**2, rel=0.02)
    assert length**2 < 0.8 or length**2 > 1.25


def test_the_score_is_the_sum_of_its_parts_with_scipy_s_densities() -> None:
    net = summarized(network(power=0.5), ROWS)
    with torch.no_grad():
        code, rebuilt = net.encode(ROWS[:20]), net.reconstruct(ROWS[:20])
        parts = {}
        for name in ("density", "tangent", "normal"):
            net.score_by = name
            parts[name] = net.score(ROWS[:20]).numpy()
        volume = net.log_volume(ROWS[:20]).numpy()
    np.testing.assert_allclose(parts["density"], parts["tangent"] + parts["normal"], rtol=1e-9)
    fitted = (net.codes.shape.numpy(), net.codes.location.numpy(), net.codes.scale.numpy())
    np.testing.assert_allclose(parts["tangent"], volume - stats.gennorm(*fitted).logpdf(code).sum(1), rtol=1e-6)
    with torch.no_grad():
        training = (ROWS - net.reconstruct(ROWS)).double().norm(dim=1).numpy()
    r = (ROWS[:20] - rebuilt).double().norm(dim=1).numpy()
    counts, edges = np.histogram(training, 30)
    heights = (counts + 0.5) / (counts + 0.5).sum() / np.diff(edges)
    expected = -np.log(heights[np.searchsorted(edges, r, side="right").clip(1, 30) - 1])  # N = 1: no power of r
    np.testing.assert_allclose(parts["normal"] - parts["normal"][0], expected - expected[0], rtol=1e-4, atol=1e-4)


def test_far_rows_have_finite_scores_in_the_order_of_their_distance() -> None:
    net = summarized(network(), ROWS)
    rows = ROWS[:1] * torch.tensor([[1.0], [1e2], [1e4], [1e12]])
    for jacobian in ("decoder", "encoder"):
        net.jacobian = jacobian
        with torch.inference_mode():
            score = net.score(rows)
        assert bool(score.isfinite().all() and (score.diff() > 0).all())


# --- learning ---------------------------------------------------------------------------------------------------------


def without(update: Update, term: str) -> Update:
    """Return the update with one of its terms left out."""
    return replace(update, losses=lambda batch: {k: v for k, v in update.losses(batch).items() if k != term})


def trained(updates: tuple[str, ...], missing: tuple[str, str] = ("", ""), rows: Tensor = ROWS) -> GPNDNetwork:
    """Train with some of the updates; `missing` = (update, term) is left out."""
    net = network(35 if rows is ROWS else 70)
    (phase,) = net.phases()
    kept = [without(u, missing[1]) if u.name == missing[0] else u for u in phase.updates if u.name in updates]
    net.phases = lambda: (replace(phase, updates=tuple(update for update in kept if update.losses(BATCH))),)
    train(net, rows, Settings(batch_size=100, seed=0))
    return net


def test_each_update_moves_its_own_parameters_by_each_of_its_terms() -> None:
    net = network()
    (phase,) = net.phases()
    both = {*net.encoder.parameters(), *net.decoder.parameters()}
    own = (
        set(net.discriminator.parameters()),
        set(net.decoder.parameters()),
        set(net.latent_discriminator.parameters()),
        both,
    )
    assert tuple(update.name for update in phase.updates) == UPDATES
    terms = []
    for update, params in zip(phase.updates, own, strict=True):
        assert set(update.params) == params
        for name in update.losses(BATCH):
            gradients = torch.autograd.grad(update.losses(BATCH)[name], update.params, allow_unused=True)
            unmoved = {p for p, g in zip(update.params, gradients, strict=True) if g is None}
            assert unmoved == (set(net.decoder.parameters()) if name == "prior" else set())
            assert all(float(g.abs().sum()) > 0 for g in gradients if g is not None), name
            terms.append(name)
    assert terms == ["real", "fake", "generator", "real", "fake", "prior", "reconstruction"]


def codes_from_normal(net: GPNDNetwork) -> float:
    """Return the greatest Kolmogorov-Smirnov statistic of an axis of the code against N(0, 1)."""
    with torch.no_grad():
        return max(float(stats.kstest(axis, stats.norm.cdf).statistic) for axis in net.encode(ROWS).T)


def error(net: GPNDNetwork) -> float:
    """Return the mean squared error in units of the variance."""
    with torch.no_grad():
        return float((ROWS - net.reconstruct(ROWS)).square().sum(1).mean() / ROWS.var(0).sum())


def made_from(net: GPNDNetwork, rows: Tensor) -> float:
    """Return the greatest Kolmogorov-Smirnov statistic of a column of f(z), z ~ N(0, I), against the rows'."""
    with torch.no_grad():
        made = net.decode(torch.randn(2000, 2, generator=generator(2, "made")))
    return max(float(stats.ks_2samp(made[:, j], rows[:, j]).statistic) for j in range(4))


def test_all_updates_together_rebuild_the_rows_from_normal_codes() -> None:
    net = trained(UPDATES)
    assert codes_from_normal(net) < 0.2
    assert error(net) < 0.15
    off = ROWS + 0.7 * torch.tensor([-0.5, 0.0, -0.5, 0.5])  # not along the sheet: its last column is u + v
    with torch.no_grad():
        scores = net.score(torch.cat([ROWS, off]))
    assert float((scores[:1000, None] < scores[1000:]).double().mean()) > 0.9
    untrained = network()
    assert codes_from_normal(untrained) > 0.3
    assert error(untrained) > 0.5


@pytest.mark.parametrize(
    "missing",
    [
        ("", ""),
        ("latent_discriminator", "real"),
        ("latent_discriminator", "fake"),
        ("autoencoder", "prior"),
        ("autoencoder", "reconstruction"),
    ],
)
def test_the_game_of_codes_needs_every_term(missing: tuple[str, str]) -> None:
    net = trained(UPDATES[2:], missing)
    assert (codes_from_normal(net) < 0.2) == (missing[1] in ("", "reconstruction"))
    assert (error(net) < 0.15) == (missing[1] != "reconstruction")


@pytest.mark.parametrize("missing", ["", "real", "fake"])
def test_the_game_of_rows_needs_every_term(missing: str) -> None:
    centered = ROWS - 1
    assert made_from(network(), centered) > 0.5, "and without the generator's term it stays as it is"
    assert (made_from(trained(UPDATES[:2], ("discriminator", missing), centered), centered) < 0.25) == (not missing)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_the_preset_is_the_published_network_for_images_of_32_by_32() -> None:
    detector = GPND.from_preset("mnist")
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build((1, 32, 32))
    assert isinstance(net, GPNDNetwork)

    def channels(chain: nn.Sequential) -> list[int]:
        return [m.out_channels for m in chain if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]

    def norms(chain: nn.Sequential) -> list[int]:
        return [m.num_features for m in chain if isinstance(m, nn.BatchNorm2d)]

    assert (channels(net.encoder), norms(net.encoder)) == ([128, 256, 512], [256, 512])
    assert (channels(net.decoder), norms(net.decoder)) == ([256, 128, 1], [256, 256, 128])
    assert (channels(net.discriminator), norms(net.discriminator)) == ([64, 256, 512], [256, 512])
    assert [m.out_features for m in net.latent_discriminator if isinstance(m, nn.Linear)] == [128, 128, 1]
    assert net.code_dim == 16
    assert any(isinstance(m, nn.ReLU) for m in net.decoder)
    assert not any(isinstance(m, nn.ReLU) for m in net.encoder)
    assert net.distances.dimension == pytest.approx(0.2 * (1024 - 16))
    assert net.cross_entropy
    (phase,) = net.phases()
    for update in phase.updates:
        optimizer = update.optimizer([nn.Parameter(torch.zeros(1))])
        assert update.scheduler is not None
        scheduler = update.scheduler(optimizer)
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"]) == (2e-3, (0.5, 0.999))
        optimizer.step()
        for _ in range(60):
            scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(2e-3 / 16)


def test_images_are_rebuilt_within_0_and_1_and_scored() -> None:
    images = torch.rand(40, 8, 8, generator=generator(0, "images")).numpy()
    detector = GPND(epochs=2, latent_dim=3, calibration="none").fit(images)
    assert np.isfinite(detector.anomaly_score(images)).all()
    net = detector.scorer_.method
    assert isinstance(net, GPNDNetwork)
    with torch.no_grad():
        rebuilt = net.reconstruct(BATCH_OF_IMAGES)
        logits = net.decoder(net.encode(BATCH_OF_IMAGES))
        error = nn.functional.binary_cross_entropy(logits.sigmoid(), BATCH_OF_IMAGES)
        losses = net.autoencoder_losses(Batch(BATCH_OF_IMAGES, torch.arange(5)))
    assert bool(((rebuilt > 0) & (rebuilt < 1)).all())
    torch.testing.assert_close(losses["reconstruction"], 2 * error)
    encoder = network(shape=(1, 32, 32), hidden_sizes=None).encoder
    weights = torch.cat([m.weight.flatten() for m in encoder if isinstance(m, nn.Conv2d)])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_a_code_is_at_most_half_as_wide_as_its_table_and_cross_entropy_needs_values_in_0_and_1() -> None:
    assert [network(shape=(n,), latent_dim=8).code_dim for n in (1, 2, 5, 20)] == [1, 1, 2, 8]
    with pytest.raises(InvalidParameter, match="minmax"):
        network(error="cross_entropy")
    assert network(error="cross_entropy", scaling="minmax").cross_entropy
    assert not network(shape=(1, 8, 8), pixel_scaling="symmetric", hidden_sizes=(4,)).cross_entropy
