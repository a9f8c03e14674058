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
    from offnormal.data.video import Recording as Recording
    from offnormal.data.video import read_recordings as read_recordings
    from offnormal.frame_scores import LiveScorer as LiveScorer
    from offnormal.frame_scores import score_frames as score_frames
    from offnormal.io import load as load
    from offnormal.io import save as save
    from offnormal.methods.aae import AAE as AAE
    from offnormal.methods.alad import ALAD as ALAD
    from offnormal.methods.anogan import AnoGAN as AnoGAN
    from offnormal.methods.auto import AutoDetector as AutoDetector
    from offnormal.methods.autoencoder import Autoencoder as Autoencoder
    from offnormal.methods.brain_autoencoder import BrainAutoencoder as BrainAutoencoder
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
    "AAE": "offnormal.methods.aae",
    "ALAD": "offnormal.methods.alad",
    "AnoGAN": "offnormal.methods.anogan",
    "AutoDetector": "offnormal.methods.auto",
    "Autoencoder": "offnormal.methods.autoencoder",
    "BrainAutoencoder": "offnormal.methods.brain_autoencoder",
    "ComposedDAGMM": "offnormal.methods.composed_dagmm",
    "DAGMM": "offnormal.methods.dagmm",
    "DCN": "offnormal.methods.dcn",
    "DSEBM": "offnormal.methods.dsebm",
    "DeepSVDD": "offnormal.methods.deep_svdd",
    "EGBAD": "offnormal.methods.egbad",
    "FAnoGAN": "offnormal.methods.f_anogan",
    "GANomaly": "offnormal.methods.ganomaly",
    "GPND": "offnormal.methods.gpnd",
    "Images": "offnormal.data.images",
    "KernelPCAReconstruction": "offnormal.methods.kernel_pca",
    "LiveScorer": "offnormal.frame_scores",
    "MOGAAL": "offnormal.methods.mo_gaal",
    "MemAE": "offnormal.methods.memae",
    "PCAReconstruction": "offnormal.methods.pca",
    "RaPP": "offnormal.methods.rapp",
    "Recording": "offnormal.data.video",
    "RobustAutoencoder": "offnormal.methods.robust_autoencoder",
    "RobustPCA": "offnormal.methods.robust_pca",
    "SOGAAL": "offnormal.methods.so_gaal",
    "SSIMAutoencoder": "offnormal.methods.ssim_autoencoder",
    "SkipGANomaly": "offnormal.methods.skip_ganomaly",
    "TwoStep": "offnormal.methods.two_step",
    "VAE": "offnormal.methods.vae",
    "errors": "offnormal.errors",
    "load": "offnormal.io",
    "make_detector": "offnormal.registry",
    "places": "offnormal.residual_places",
    "read_images": "offnormal.data.images",
    "read_recordings": "offnormal.data.video",
    "read_table": "offnormal.data.tables",
    "save": "offnormal.io",
    "score_frames": "offnormal.frame_scores",
}

__all__ = [
    "AAE",
    "ALAD",
    "DAGMM",
    "DCN",
    "DSEBM",
    "EGBAD",
    "GPND",
    "MOGAAL",
    "SOGAAL",
    "VAE",
    "AnoGAN",
    "AutoDetector",
    "Autoencoder",
    "BrainAutoencoder",
    "ComposedDAGMM",
    "DeepSVDD",
    "FAnoGAN",
    "GANomaly",
    "Images",
    "KernelPCAReconstruction",
    "LiveScorer",
    "MemAE",
    "PCAReconstruction",
    "RaPP",
    "Recording",
    "RobustAutoencoder",
    "RobustPCA",
    "SSIMAutoencoder",
    "SkipGANomaly",
    "TwoStep",
    "__version__",
    "errors",
    "load",
    "make_detector",
    "places",
    "read_images",
    "read_recordings",
    "read_table",
    "save",
    "score_frames",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'offnormal' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "errors" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
