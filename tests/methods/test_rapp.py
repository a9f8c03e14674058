"""SAP and NAP against closed forms, on every base, and that training and the statistics matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from offnormal.errors import InvalidParameter, NotSupported
from offnormal.method import Encodes, ExplainsFeatures, Reconstructs
from offnormal.methods.aae import AAENetwork
from offnormal.methods.autoencoder import AutoencoderNetwork
from offnormal.methods.rapp import RaPP, RaPPNetwork
from offnormal.random import generator, scoped
from offnormal.trainer import Settings, train

BASES = ("autoencoder", "vae", "aae")


def sine(rows: int, name: str, beside: float = 0.0) -> Tensor:
    """Return a tight curve x₂ = 2 sin(1.5 x₁) and four columns of wide noise; `beside` moves x₂ up or down."""
    stream = generator(0, "sine", name)
    place = 6 * torch.rand(rows, generator=stream) - 3
    side = 2.0 * torch.randint(2, (rows,), generator=stream) - 1
    noise = torch.randn(rows, 5, generator=stream)
    curve = 2 * torch.sin(1.5 * place) + 0.05 * noise[:, 4] + beside * side
    return torch.cat([place[:, None], curve[:, None], 0.7 * noise[:, :4]], dim=1)


ROWS = sine(1000, "training")


def network(shape: tuple[int, ...] = (6,), epochs: int = 1, **changes: Any) -> RaPPNetwork:
    detector = RaPP(**{"hidden_sizes": (32, 16), "latent_dim": 1, "learning_rate": 1e-2, **changes})
    detector.planned_epochs_ = epochs
    with scoped(0, "build"):
        built = detector.build(shape)
    assert isinstance(built, RaPPNetwork)
    return built


def trained(epochs: int, rows: Tensor = ROWS, **changes: Any) -> RaPPNetwork:
    net = network(tuple(rows.shape[1:]), epochs, **changes)
    train(net, rows, Settings(batch_size=100, seed=0))
    return net


def test_sap_of_a_linear_autoencoder_in_closed_form() -> None:
    """Without hidden layers: ‖x − x′‖² + ‖W(x − x′)‖², W the encoder's weights; its bias goes away."""
    net = trained(3, hidden_sizes=(), latent_dim=2, score_by="sap", first_layer=0)
    base = net.base
    assert isinstance(base, AutoencoderNetwork)
    (encode,), (decode,) = base.encoder, base.decoder
    assert isinstance(encode, nn.Linear)
    with torch.no_grad():
        encode.bias += 0.5
        x = ROWS.double()
        inner = (x @ encode.weight.double().T + encode.bias.double()) @ decode.weight.double().T + decode.bias.double()
        residual = x - inner
        code = residual @ encode.weight.double().T
        torch.testing.assert_close(
            net.score(ROWS), residual.square().sum(1) + code.square().sum(1), rtol=1e-4, atol=1e-5
        )
        plain = RaPPNetwork(base, shape=(6,), score_by="reconstruction", first_layer=0, spread_floor=0.01)
        torch.testing.assert_close(plain.score(ROWS), residual.square().sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{"first_layer": 0}, {"first_layer": 1, "batch_norm": True}], ids=str)
@pytest.mark.parametrize("base", BASES)
def test_nap_is_the_mahalanobis_distance_of_the_differences(base: str, changes: dict[str, Any]) -> None:
    """Scipy's, with the pseudo-inverse; batch norm as it is in scoring, or the training rows' mean were not the rank.

    The code is a linear map of the last hidden layer, so its two directions never move by themselves.
    """
    net = trained(5, base=base, hidden_sizes=(5,), latent_dim=2, spread_floor=1e-5, learning_rate=1e-3, **changes)
    assert not net.training
    query = sine(40, "query", 1.0)
    with torch.no_grad():
        own, d, got = net.difference(ROWS).numpy(), net.difference(query).numpy(), net.score(query)
        ours = net.score(ROWS)
    covariance = np.cov(own.T, bias=True)
    inverse = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    rank = np.linalg.matrix_rank(covariance, tol=1e-10 * np.linalg.norm(covariance, 2), hermitian=True)
    expected = [mahalanobis(row, own.mean(0), inverse) ** 2 for row in d]
    np.testing.assert_allclose(got.numpy(), expected, rtol=0.01, atol=0.02)
    assert got.dtype == torch.float64
    assert float(ours.mean()) == pytest.approx(rank, abs=0.05)
    assert rank == (11 if "batch_norm" not in changes else 5)


def auroc(net: RaPPNetwork) -> float:
    with torch.no_grad():
        scores = net.score(torch.cat([sine(500, "normal"), sine(500, "odd", 0.7)]))
    return float(roc_auc_score([0] * 500 + [1] * 500, scores))


@pytest.mark.parametrize("first_layer", [0, 1])
def test_nap_sees_a_break_that_the_residual_drowns(first_layer: int) -> None:
    """A relation is broken by less than the noise of other columns; neither plain, summed nor untrained scores see it.

    No more do trained weights with the statistics of untrained ones, or untrained weights with their own: the relation
    is a curve, so no covariance of the rows themselves holds it.
    """
    net, untrained = trained(40, first_layer=first_layer), trained(0, first_layer=first_layer)
    assert auroc(net) > 0.85
    assert auroc(untrained) < 0.65
    for score_by in ("sap", "reconstruction"):
        other = RaPPNetwork(net.base, shape=(6,), score_by=score_by, first_layer=first_layer, spread_floor=0.01).eval()
        assert auroc(other) < 0.7
    assert net.spread is not None
    assert untrained.spread is not None
    net.spread.load_state_dict(untrained.spread.state_dict())
    assert auroc(net) < 0.72


@pytest.mark.parametrize("base", BASES)
def test_training_is_the_base_s_own(base: str) -> None:
    """Its phases, its settings, and a module whose shapes are known before anything is learned."""
    net = network(base=base, epochs=7, latent_dim=3)
    assert [phase.epochs for phase in net.phases()] == [7]
    assert [phase.name for phase in net.phases()] == [phase.name for phase in net.base.phases()]
    parameters = {id(p) for phase in net.phases() for update in phase.updates for p in update.params}
    assert parameters == {id(p) for p in net.parameters()}
    assert net.training
    assert net.base.training
    with torch.device("meta"):
        planned = {name: value.shape for name, value in network(base=base, latent_dim=3).state_dict().items()}
    assert planned == {name: value.shape for name, value in net.state_dict().items()}
    assert net.code_names() == ("code_1", "code_2", "code_3")
    assert isinstance(net, Reconstructs)
    assert isinstance(net, Encodes)
    assert isinstance(net, ExplainsFeatures)


def test_images_have_a_map_and_no_reasons_by_column() -> None:
    images = torch.rand(60, 1, 8, 8, generator=generator(0, "images"))
    convolutional: dict[str, Any] = {"network": "convolutional", "hidden_sizes": (2, 3)}
    for changes, width in (({}, 32 + 16 + 1), (convolutional, 2 * 16 + 3 * 4 + 1)):
        net = trained(1, images, **changes)
        with torch.no_grad():
            assert net.difference(images).shape == (60, width), "without the pixels"
            assert bool(net.score(images).isfinite().all())
            residual = (images - net.reconstruct(images)).square()[:, 0]
            torch.testing.assert_close(net.score_map(images), residual, rtol=1e-4, atol=1e-6)
            with pytest.raises(NotSupported, match="map"):
                net.contributions(images, torch.arange(64), 64)


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(InvalidParameter, match=r"first_layer is 4, and the encoder has 3 layers"):
        network(first_layer=4)
    assert network(first_layer=3).spread is not None
    wide: dict[str, Any] = {"network": "convolutional", "hidden_sizes": None}
    with pytest.raises(InvalidParameter, match=r"10,561 numbers.*784, 6,272, 3,136, 1,152, 1\. .*score_by='sap'"):
        network((1, 28, 28), **wide)
    assert network((1, 28, 28), score_by="sap", **wide).spread is None
    assert network((1, 28, 28), first_layer=2, **wide).spread is not None


def test_the_preset_is_the_co_author_s_ten_layers() -> None:
    detector = RaPP.from_preset("mnist")
    detector.planned_epochs_ = 1
    with torch.device("meta"):
        net = detector.build((1, 28, 28))
    assert isinstance(net, RaPPNetwork)
    assert isinstance(net.base, AutoencoderNetwork)
    widths = np.linspace(784, 20, 11).astype(int).tolist()
    for chain, sizes in ((net.base.encoder, widths), (net.base.decoder, widths[::-1])):
        assert [m.in_features for m in chain if isinstance(m, nn.Linear)] == sizes[:-1]
        assert [m.num_features for m in chain if isinstance(m, nn.BatchNorm1d)] == sizes[1:-1]
        assert sum(isinstance(m, nn.LeakyReLU) for m in chain) == 9
    assert net.spread is not None
    assert len(net.spread.mean) == sum(widths[1:]), "without the pixels"
    assert (detector.epochs, detector.batch_size, detector.learning_rate) == (200, 256, 1e-3)
    assert not detector.early_stopping


def test_contributions_are_falls_of_the_configured_score() -> None:
    odd = sine(200, "odd", 1.5)[:40]
    for score_by in ("nap", "sap"):
        net = trained(40, score_by=score_by)
        with torch.no_grad():
            (falls,) = net.contributions(odd, torch.arange(6), 6).values()
            score = net.score(odd)
        assert bool((falls >= 0).all())
        assert bool((falls <= score[:, None] + 1e-9).all())
        if score_by == "nap":
            first = np.bincount(falls.argmax(1), minlength=6)
            assert first[:2].sum() >= 36, "one of the two columns of the broken relation"


def test_the_game_of_an_aae_has_the_papers_step() -> None:
    base = network(base="aae").base
    assert isinstance(base, AAENetwork)
    assert base.adversarial_weight == 1


def test_fit_on_every_base_gives_scores_and_a_code() -> None:
    rows = np.random.default_rng(0).normal(size=(80, 4))
    for base in BASES:
        detector = RaPP(base=base, epochs=2, early_stopping=False, calibration="none").fit(rows)
        assert detector.transform(rows).shape == (80, 8)
        assert np.isfinite(detector.anomaly_score(rows)).all()
