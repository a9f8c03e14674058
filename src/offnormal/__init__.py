"""offnormal learns what is normal from unlabeled data and says what is not.

    import offnormal
    detector = offnormal.DAGMM().fit(table)
    detector.anomaly_score(table), detector.p_value(table), detector.predict(table)
    offnormal.save(detector, "model.offnormal")

Names are loaded on first use; `import offnormal` itself imports neither torch nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offnormal import errors as errors
    from offnormal.data.images import Images as Images
    from offnormal.data.images import read_images as read_images
    from offnormal.data.tables import read_table as read_table
    from offnormal.io import load as load
    from offnormal.io import save as save
    from offnormal.methods.aae import AAE as AAE
    from offnormal.methods.alad import ALAD as ALAD
    from offnormal.methods.anogan import AnoGAN as AnoGAN
    from offnormal.methods.auto import AutoDetector as AutoDetector
    from offnormal.methods.autoencoder import Autoencoder as Autoencoder
    from offnormal.methods.composed_dagmm import ComposedDAGMM as ComposedDAGMM
    from offnormal.methods.dagmm import DAGMM as DAGMM
    from offnormal.methods.dcn import DCN as DCN
    from offnormal.methods.deep_svdd import DeepSVDD as DeepSVDD
    from offnormal.methods.dsebm import DSEBM as DSEBM
    from offnormal.methods.egbad import EGBAD as EGBAD
    from offnormal.methods.f_anogan import FAnoGAN as FAnoGAN
    from offnormal.methods.ganomaly import GANomaly as GANomaly
    from offnormal.methods.gpnd import GPND as GPND
    from offnormal.methods.kernel_pca import KernelPCAReconstruction as KernelPCAReconstruction
    from offnormal.methods.memae import MemAE as MemAE
    from offnormal.methods.mo_gaal import MOGAAL as MOGAAL
    from offnormal.methods.pca import PCAReconstruction as PCAReconstruction
    from offnormal.methods.rapp import RaPP as RaPP
    from offnormal.methods.robust_autoencoder import RobustAutoencoder as RobustAutoencoder
    from offnormal.methods.robust_pca import RobustPCA as RobustPCA
    from offnormal.methods.skip_ganomaly import SkipGANomaly as SkipGANomaly
    from offnormal.methods.so_gaal import SOGAAL as SOGAAL
    from offnormal.methods.ssim_autoencoder import SSIMAutoencoder as SSIMAutoencoder
    from offnormal.methods.two_step import TwoStep as TwoStep
    from offnormal.methods.vae import VAE as VAE
    from offnormal.registry import make_detector as make_detector
    from offnormal.residual_places import places as places

__version__ = "0.1.0"

_HOMES = {
    "AutoDetector": "offnormal.methods.auto",
    "Autoencoder": "offnormal.methods.autoencoder",
    "DAGMM": "offnormal.methods.dagmm",
    "DCN": "offnormal.methods.dcn",
    "DSEBM": "offnormal.methods.dsebm",
    "DeepSVDD": "offnormal.methods.deep_svdd",
    "Images": "offnormal.data.images",
    "KernelPCAReconstruction": "offnormal.methods.kernel_pca",
    "PCAReconstruction": "offnormal.methods.pca",
    "RobustAutoencoder": "offnormal.methods.robust_autoencoder",
    "RobustPCA": "offnormal.methods.robust_pca",
    "TwoStep": "offnormal.methods.two_step",
    "MemAE": "offnormal.methods.memae",
    "VAE": "offnormal.methods.vae",
    "RaPP": "offnormal.methods.rapp",
    "ALAD": "offnormal.methods.alad",
    "AnoGAN": "offnormal.methods.anogan",
    "EGBAD": "offnormal.methods.egbad",
    "FAnoGAN": "offnormal.methods.f_anogan",
    "GANomaly": "offnormal.methods.ganomaly",
    "MOGAAL": "offnormal.methods.mo_gaal",
    "SkipGANomaly": "offnormal.methods.skip_ganomaly",
    "SSIMAutoencoder": "offnormal.methods.ssim_autoencoder",
    "SOGAAL": "offnormal.methods.so_gaal",
    "AAE": "offnormal.methods.aae",
    "GPND": "offnormal.methods.gpnd",
    "ComposedDAGMM": "offnormal.methods.composed_dagmm",
    "errors": "offnormal.errors",
    "load": "offnormal.io",
    "make_detector": "offnormal.registry",
    "places": "offnormal.residual_places",
    "read_images": "offnormal.data.images",
    "read_table": "offnormal.data.tables",
    "save": "offnormal.io",
}

__all__ = [
    "AAE",
    "DAGMM",
    "DCN",
    "DSEBM",
    "GPND",
    "VAE",
    "AutoDetector",
    "Autoencoder",
    "ComposedDAGMM",
    "DeepSVDD",
    "Images",
    "KernelPCAReconstruction",
    "MemAE",
    "PCAReconstruction",
    "RaPP",
    "RobustAutoencoder",
    "RobustPCA",
    "TwoStep",
    "__version__",
    "errors",
    "load",
    "make_detector",
    "places",
    "read_images",
    "read_table",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offnormal' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "errors" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
