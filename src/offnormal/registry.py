"""One literal table of methods, and the way from a name to an estimator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from offnormal.errors import UnknownName

if TYPE_CHECKING:
    from offnormal.detector import Detector

METHODS = {
    "aae": "offnormal.methods.aae:AAE",
    "alad": "offnormal.methods.alad:ALAD",
    "anogan": "offnormal.methods.anogan:AnoGAN",
    "auto": "offnormal.methods.auto:AutoDetector",
    "autoencoder": "offnormal.methods.autoencoder:Autoencoder",
    "brain_autoencoder": "offnormal.methods.brain_autoencoder:BrainAutoencoder",
    "composed_dagmm": "offnormal.methods.composed_dagmm:ComposedDAGMM",
    "dagmm": "offnormal.methods.dagmm:DAGMM",
    "dcn": "offnormal.methods.dcn:DCN",
    "deep_svdd": "offnormal.methods.deep_svdd:DeepSVDD",
    "dsebm": "offnormal.methods.dsebm:DSEBM",
    "egbad": "offnormal.methods.egbad:EGBAD",
    "f_anogan": "offnormal.methods.f_anogan:FAnoGAN",
    "ganomaly": "offnormal.methods.ganomaly:GANomaly",
    "gpnd": "offnormal.methods.gpnd:GPND",
    "kernel_pca": "offnormal.methods.kernel_pca:KernelPCAReconstruction",
    "memae": "offnormal.methods.memae:MemAE",
    "mo_gaal": "offnormal.methods.mo_gaal:MOGAAL",
    "pca": "offnormal.methods.pca:PCAReconstruction",
    "rapp": "offnormal.methods.rapp:RaPP",
    "robust_autoencoder": "offnormal.methods.robust_autoencoder:RobustAutoencoder",
    "robust_pca": "offnormal.methods.robust_pca:RobustPCA",
    "skip_ganomaly": "offnormal.methods.skip_ganomaly:SkipGANomaly",
    "so_gaal": "offnormal.methods.so_gaal:SOGAAL",
    "ssim_autoencoder": "offnormal.methods.ssim_autoencoder:SSIMAutoencoder",
    "two_step": "offnormal.methods.two_step:TwoStep",
    "vae": "offnormal.methods.vae:VAE",
}


def method_class(key: str) -> type[Detector]:
    """Return the estimator class registered under `key`.

    Raises
    ------
    UnknownName
        With the nearest keys that exist.
    """
    if key not in METHODS:
        raise UnknownName.among("method", key, METHODS)
    module, _, name = METHODS[key].partition(":")
    cls: type[Detector] = getattr(import_module(module), name)
    return cls


def make_detector(key: str, **parameters: Any) -> Detector:
    """Return an estimator by its key, e.g. `make_detector("dagmm", latent_dim=2)`."""
    from offnormal.parameters import check_names

    cls = method_class(key)
    check_names(cls, parameters)
    return cls(**parameters)
