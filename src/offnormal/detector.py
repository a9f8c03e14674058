"""The scikit-learn face of a method: `fit` on unlabeled rows, then scores, p-values, decisions and reasons.

Sign rule: scikit-learn's names keep scikit-learn's meaning (`score_samples`, `decision_function`: low = abnormal;
`predict`: −1 = abnormal). Our own word `anomaly_score` = −`score_samples` is the papers' direction.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from offnormal import calibration as calibrating
from offnormal import thresholds
from offnormal.calibration import Calibration
from offnormal.data.pixels import ImagePreprocessor
from offnormal.data.preprocess import TablePreprocessor
from offnormal.errors import CollapseWarning, DataError, InvalidParameter, NotSupported, UnknownName
from offnormal.explanation import Explanation
from offnormal.method import Encodes, ExplainsFeatures, Method
from offnormal.networks.diversity import last_diversity
from offnormal.parameters import check_names, param, validate
from offnormal.random import entropy_seed, scoped
from offnormal.rows import Encoded, RowFace, stored_rows
from offnormal.score_maps import MAP_SCORES, MapScore, map_of
from offnormal.scorer import Scorer
from offnormal.trainer import FitOptions, OnProgress, Settings, Training, train, usable_device

Floats = NDArray[np.float64]

STEP_BUDGET = 2_000
"""Optimizer steps of a default training; over eight public tables 4,000 did no better. Presets take 20,000 and more."""
EARLY_STOPPING_FROM = 200
"""Fewest rows from which some are held out for early stopping."""
EARLY_STOPPING_SHARE = 0.1
"""How many of them."""
STEPS_OF_PATIENCE = 100
"""Fewest steps without a better loss before training ends: running means of batch norm lag by some tens of steps."""
IMAGES_HELD_OUT_FROM = 1_000
"""Fewest images from which a tenth is held out for calibration, not folds: 100 support the usual level of 1 %."""
BATCH_OF_IMAGES = 128
BATCH_VALUES = 2**22
"""Pixel values of a batch where nobody says how many images: 64 of 256×256, for 2 GB in the usual convolutions."""
DEFAULT_SHARE = 0.01
"""Share of the training rows above the cut where nothing was asked for and no calibration rows were kept."""

_COLLAPSED = (
    "The generator collapsed, or has hardly begun: two rows that it makes differ by {:.2g} of what two training rows "
    "do, so the scores may be poor; look at the loss terms of training, then try another random_state or learning_rate."
)


class FittedState:
    """What `fit` leaves on a detector; no dataclass, so none of it is a hyper-parameter."""

    calibration_: Calibration
    offset_: float
    planned_batch_size_: int
    planned_epochs_: int
    scorer_: Scorer
    seed_: int
    threshold_: thresholds.Cut
    training_: dict[str, Any]
    training_scores_: Floats


@dataclass(kw_only=True, eq=False, repr=False)
class Detector(FittedState, RowFace, OutlierMixin, TransformerMixin, BaseEstimator, ABC):
    """What every method offers.

    Attributes (after `fit`)
    ------------------------
    threshold_ : Cut
        The cut on `anomaly_score`, its rule, and what it promises in words.
    offset_ : float
        −threshold_.value; `decision_function = score_samples − offset_`.
    calibration_ : Calibration
        Scores of rows the model was not fitted to.
    training_ : dict
        rows, features, epochs, steps, seconds, stopped, history.
    schema_, scorer_, seed_, n_features_in_, feature_names_in_
        The columns, the torch module, the seed used, and scikit-learn's two.
    """

    key: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    has_code: ClassVar[bool] = True
    sees_images: ClassVar[bool] = False
    """Whether `build` takes the shape of an image or clip, or these are flattened before it."""
    pooling: ClassVar[str] = "own"
    """What map_score='auto' is for images."""

    epochs: int | None = param(
        None, "Passes over the training rows; 0: the network as initialized. None: a budget of steps.",
        kind="int", ge=0,
        source="None: 2,000 steps; over eight public tables 4,000 did no better",
    )  # fmt: skip
    random_state: int | None = param(
        0, "Seed of everything random; None draws one.", kind="int", ge=0, optional=True,
        source="repeatable unless asked otherwise",
    )  # fmt: skip
    device: str = param("auto", "'auto', 'cpu', 'cuda' or 'cuda:1'.", source="the fastest device there is")
    contamination: float | None = param(
        None, "Share of the training rows beyond the cut. None: the label-free threshold.",
        kind="float", gt=0, le=0.5, source="scikit-learn's meaning",
    )  # fmt: skip
    threshold: str | None = param(
        None, "Rule for the cut, e.g. 'conformal:0.01', 'mad:3.5', 'pot:0.001'. None: conformal at 1 %.",
        kind="str", source="Bates et al. 2023",
    )  # fmt: skip
    calibration: str = param(
        "auto", "Rows for thresholds and p-values: a tenth held out, five folds (below 5,000 rows or 1,000 images), "
        "or none.",
        choices=("auto", "holdout", "folds", "none"), source="split or cross-conformal",
    )  # fmt: skip
    scaling: str = param(
        "standard", "Scaling of numeric columns.", choices=("standard", "minmax", "none"),
        source="standard; the papers' presets take min-max",
    )  # fmt: skip
    pixel_scaling: str = param(
        "unit", "Scaling of the pixels of images: 'unit' [0, 1], 'symmetric' [−1, 1], 'standard' by channel.",
        choices=("unit", "symmetric", "standard"), source="[0, 1]: nothing to learn; the papers vary",
    )  # fmt: skip
    map_score: str = param(
        "auto", "Score of an image: the method's own; or of its map of pixels the greatest, the mean of the map_area "
        "greatest, or the greatest cut beyond which a connected region of map_area pixels lies. 'auto': as the method "
        "has it.",
        choices=MAP_SCORES, source="area: MVTec AD, CVPR 2019, §4.2, turned round",
    )  # fmt: skip
    map_area: int = param(
        16, "Pixels of 'top' and 'area', of the size the model sees.", ge=1,
        source="4×4; the paper's areas are unknown to us",
    )  # fmt: skip
    map_smoothing: float = param(
        0.0, "Standard deviation, in pixels, of a Gaussian over the map of an image; 0: none.", ge=0,
        source="0: the papers'; 1.5, the window of 'ssim', finds defects better by squares",
    )  # fmt: skip
    max_categories: int = param(
        100, "Most values of a text column given one feature each; beyond, the value's rarity is the feature.",
        ge=2, source="keeps KDDCUP99's 66 services",
    )  # fmt: skip
    id_columns: tuple[str, ...] = param((), "Columns carried to the output and never used.", kind="strs", source="-")
    ignored_columns: tuple[str, ...] = param((), "Columns never used, such as labels.", kind="strs", source="-")
    categorical_columns: tuple[str, ...] = param(
        (), "Columns of numbers that are names (ports, codes).", kind="strs", source="-"
    )

    @abstractmethod
    def build(self, shape: tuple[int, ...]) -> Method:
        """Return the method's module for rows of `shape`; called by `fit` under the seed."""

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Return the estimator with a paper's configuration, e.g. `DAGMM.from_preset("kddcup")`."""
        if name not in cls.presets:
            raise UnknownName.among(f"preset of {cls.__name__}", name, cls.presets)
        check_names(cls, overrides)
        return cls(**{**cls.presets[name], **overrides})

    # --- fitting --------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """Learn what is normal from `X`.

        Parameters
        ----------
        X : array, frame or pyarrow.Table, shape (rows, columns); or images, or clips
            NaN is missing data; infinity is an error. Images: `Images`, or an array (rows, h, w), (rows, h, w, c) or
            (rows, c, h, w) of uint8, or of floats within [0, 1]. Clips: an array (rows, t, h, w, c) or
            (rows, c, t, h, w) of the same.
        y : ignored
            Labels stop here.
        groups : array of labels, shape (rows,), or None
            What each row belongs to, where rows are not independent: the recording of a clip, the machine, the batch,
            the day. Rows of one group are kept out together, for calibration and for early stopping; nothing else sees
            them.
        checkpoint : path or None
            A folder that keeps the state of the run. It stays after a success, so that nothing is lost before the
            model is saved; delete it then.
        resume : bool
            Continue what is in `checkpoint`; the result equals an uninterrupted run bit for bit (same machine and
            thread count, eager, float32).
        on_progress : callable or None
            Receives `Progress` a few times a second.
        time_limit : float or None
            Seconds for all training together; the model is then what it is.

        Raises
        ------
        InvalidParameter, DataError, TrainingDiverged
        """
        validate(self)
        rule = self._rule()
        options = FitOptions.checked(checkpoint, resume, on_progress, time_limit)
        usable_device(self.device)
        encoded = self._learn(X)
        options = dataclasses.replace(options, groups=calibrating.codes_of(groups, len(encoded)))
        self.seed_ = entropy_seed() if self.random_state is None else int(self.random_state)
        self._fit_encoded(encoded, options, rule)
        self._cut(rule)
        self.training_scores_ = calibrating.thinned(self.training_scores_)
        return self

    def _fit_encoded(self, encoded: Encoded, options: FitOptions, rule: thresholds.Rule | None) -> None:
        """Train the final model, then obtain the calibration scores."""
        kind = calibrating.resolve(self.calibration, len(encoded))
        if self.calibration == "auto" and self._of_images and len(encoded) >= IMAGES_HELD_OUT_FROM:
            kind = "holdout"  # folds would train a network of convolutions six times
        kept, held = np.arange(len(encoded)), np.arange(0)
        if kind == "holdout":
            kept, held = calibrating.hold_out(
                len(encoded), calibrating.HOLD_OUT_SHARE, self.seed_, "calibration", options.groups
            )
        of_groups = calibrating.count_groups(options.groups, kind, held)
        if rule is not None:  # a level too fine for the calibration rows is refused now, on ranks, not after training
            outside_rows = {"holdout": len(held), "folds": len(encoded), "none": 0}[kind]
            rule.cut(np.arange(float(outside_rows)), np.arange(float(len(encoded))))
        parts = calibrating.folds(len(encoded), self.seed_, options.groups) if kind == "folds" else []
        share = 1 + len(parts)
        self.planned_epochs_, self.planned_batch_size_ = self._plan(len(kept))
        self.scorer_, training = self._train(encoded[kept], "final", options.at(kept), share, following=share - 1)
        self.reference_ = self._reference(encoded[kept])
        after_final = time.perf_counter()
        if training.stopped == "time limit":
            warnings.warn(
                f"The time limit ended training in epoch {len(training.history)} of {self.planned_epochs_}; "
                "the scores may be poor. Give more time, or fewer epochs.",
                UserWarning,
                stacklevel=3,
            )
        if training.collapsed:
            warnings.warn(_COLLAPSED.format(last_diversity(training.history)), CollapseWarning, stacklevel=3)
        scores = self.scorer_.score_rows(encoded)
        if not np.isfinite(scores).all():
            raise DataError(
                f"{type(self).__name__} gave scores that are not finite on its own training rows. "
                "Look for extreme values in the columns, or use scaling='standard'."
            )
        outside = np.empty(0)
        if kind == "holdout":
            outside = scores[held]
        elif kind == "folds":
            outside = self._fold_scores(encoded, parts, scores, training, options)
        self.calibration_ = Calibration(np.sort(outside), kind, of_groups)
        self.training_scores_ = np.sort(scores)
        self.training_ = {
            "rows": len(kept),
            "features": int(self.scorer_.preprocess.n_features),
            "epochs": sum(training.best_epoch.values()),
            **dataclasses.asdict(training),
            "seconds": training.seconds + time.perf_counter() - after_final,  # the folds' trainings included
        }

    def _train(
        self,
        encoded: Encoded,
        stage: str,
        options: FitOptions,
        share: int,
        *,
        following: int,
        early_stopping: bool = True,
    ) -> tuple[Scorer, Training]:
        """Fit preprocessing and method to `encoded`: the final model or a fold, so many trainings `following`."""
        seed = self.seed_
        held: Encoded | None = None
        if early_stopping and self._stops_early() and len(encoded) >= EARLY_STOPPING_FROM:
            kept, out = calibrating.hold_out(len(encoded), EARLY_STOPPING_SHARE, seed, "early stopping", options.groups)
            encoded, held = encoded[kept], encoded[out]
        preprocess = self._preprocessor(encoded)
        with scoped(seed, "build"):
            method = self.build(preprocess.shape)
        settings = self._settings(
            seed, stage, encoded, options, share, following=following, early_stopping=held is not None
        )
        rows, prepare = stored_rows(preprocess, encoded)
        held_out = None if held is None else stored_rows(preprocess, held)[0]
        if prepare is not None:  # batches are made where they are used
            preprocess.to(settings.device)
        training = train(
            method,
            rows,
            settings,
            held_out=held_out,
            prepare=prepare,
            stage=stage,
            on_progress=options.on_progress,
        )
        return self._scorer(preprocess, method).to(settings.device).eval(), training

    def _scorer(self, preprocess: TablePreprocessor | ImagePreprocessor, method: Method) -> Scorer:
        """Return preprocessing, method and what makes the score of an image, as one module."""
        self._expect_map_to_smooth(preprocess, method)
        kind = self.pooling if self.map_score == "auto" else self.map_score
        if kind == "own" or (self.map_score == "auto" and not self._of_images):
            return Scorer(preprocess, method)
        if not isinstance(preprocess, ImagePreprocessor):
            raise InvalidParameter(f"map_score={kind!r} is for images, and this is a table; take 'own'.")
        smoothing = float(self.map_smoothing)
        to_maps = map_of(method, preprocess.image_shape, sees_images=self.sees_images, smoothing=smoothing)
        if to_maps is None:
            raise InvalidParameter(
                f"{type(self).__name__} has no map of pixels to score images by; take map_score='own'."
            )
        height, width = preprocess.image_shape[-2:]
        if self.map_area > height * width and kind != "max":
            raise InvalidParameter(f"map_area={self.map_area} is more than the {height}×{width} pixels of an image.")
        return Scorer(preprocess, method, (to_maps, MapScore(kind, self.map_area)))

    def _expect_map_to_smooth(self, preprocess: TablePreprocessor | ImagePreprocessor, method: Method) -> None:
        """Raise `InvalidParameter` if a map is to be smoothed and there is none."""
        if self.map_smoothing == 0:
            return
        if not isinstance(preprocess, ImagePreprocessor):
            raise InvalidParameter("map_smoothing is for images, and this is a table; leave it at 0.")
        if map_of(method, preprocess.image_shape, sees_images=self.sees_images) is None:
            raise InvalidParameter(f"{type(self).__name__} has no map of pixels to smooth; leave map_smoothing at 0.")

    def _fold_scores(
        self,
        encoded: Encoded,
        parts: list[NDArray[np.int64]],
        final_scores: Floats,
        training: Training,
        options: FitOptions,
    ) -> Floats:
        """Score each fold by a model of the others, carried to the final model's scale."""
        planned = self.planned_epochs_
        # The last phase is the method's own; those before it may be pre-training, with a length of their own.
        self.planned_epochs_ = next(reversed(training.best_epoch.values()), planned)
        outside = np.empty(len(encoded))
        for number, part in enumerate(parts):
            others = np.setdiff1d(np.arange(len(encoded)), part)
            stage = f"fold {number + 1} of {len(parts)}"
            following = len(parts) - number - 1
            scorer, _ = self._train(
                encoded[others], stage, options.at(others), 1 + len(parts), following=following, early_stopping=False
            )
            own = scorer.score_rows(encoded)
            outside[part] = calibrating.carry(own[part], own[others], final_scores)
        self.planned_epochs_ = planned
        return outside

    def _plan(self, rows: int) -> tuple[int, int]:
        """Return (epochs, batch size) for this many rows."""
        return 1 if self.epochs is None else self.epochs, 1024

    def _stops_early(self) -> bool:
        return False

    def _settings(
        self,
        seed: int,
        stage: str,
        encoded: Encoded,
        options: FitOptions,
        share: int,
        *,
        following: int,
        early_stopping: bool,
    ) -> Settings:
        checkpoint = None
        fingerprint = ""
        if options.checkpoint is not None:
            checkpoint = options.checkpoint / f"{stage.replace(' ', '-')}.checkpoint"
            content = hashlib.sha256(np.ascontiguousarray(encoded).data)
            parameters = sorted(self.get_params().items(), key=str)
            content.update(repr((parameters, self.planned_epochs_, stage, encoded.shape)).encode())
            content.update(b"" if options.groups is None else options.groups.tobytes())
            fingerprint = content.hexdigest()
        return Settings(
            batch_size=self.planned_batch_size_,
            seed=seed,
            device=usable_device(self.device),
            patience=self._patience(len(encoded)) if early_stopping else None,
            time_limit=None if options.time_limit is None else options.time_limit / share,
            following=following,
            checkpoint=checkpoint,
            resume=options.resume,
            fingerprint=fingerprint,
        )

    def _patience(self, rows: int) -> int:
        """Return the epochs without a better loss after which training ends."""
        batches = max(rows // self.planned_batch_size_, 1)
        return max(5, math.ceil(self.planned_epochs_ / 5), math.ceil(STEPS_OF_PATIENCE / batches))

    # --- scores ---------------------------------------------------------------------------------------------------

    def anomaly_score(self, X: Any) -> Floats:
        """Return the method's score of each row, float64, shape (rows,), finite; greater = more anomalous."""
        check_is_fitted(self)
        scores = self.scorer_.score_rows(self._encode(X))
        if not np.isfinite(scores).all():  # NaN would pass for normal in every comparison
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise DataError(f"The score of row {row} (counted from 0) is not finite. Look for extreme values in it.")
        return scores

    def score_samples(self, X: Any) -> Floats:
        """Return −`anomaly_score`; lower = more abnormal."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> Floats:
        """Return `score_samples − offset_`; negative = abnormal."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return +1 for normal rows and −1 for rows beyond the one cut `threshold_`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_value(self, X: Any) -> Floats:
        """Return conformal p-values in (0, 1]: (1 + #{calibration scores >= score}) / (n + 1).

        For a new normal row P(p ≤ α) ≤ α. For rows used in training p is too large on average: the model has seen them.
        """
        scores = self.anomaly_score(X)
        return thresholds.p_values(self._calibration_scores(), scores)

    def flag(self, X: Any, fdr: float = 0.05) -> NDArray[np.bool_]:
        """Return which rows of this batch to call anomalies, so that the expected false share is at most `fdr`.

        Benjamini-Hochberg on the p-values: the decision on a row depends on the whole batch, unlike `predict`.
        """
        return thresholds.benjamini_hochberg(self.p_value(X), fdr)

    def _calibration_scores(self) -> Floats:
        if self.calibration_.n == 0:
            raise NotSupported(
                "p-values need calibration rows, and this model was fitted with calibration='none'. "
                "Fit again with calibration='auto'."
            )
        return self.calibration_.scores

    # --- code and reasons -----------------------------------------------------------------------------------------

    @available_if(lambda self: self.has_code)  # type: ignore[untyped-decorator]
    def transform(self, X: Any) -> Floats:
        """Return the method's code of each row, shape (rows, d), as `get_feature_names_out` names it."""
        check_is_fitted(self)
        method = self.scorer_.method
        if not isinstance(method, Encodes):
            raise NotSupported(f"{type(self).__name__} has no code to transform to.")
        return self.scorer_.in_blocks(lambda block: method.encode(self.scorer_.preprocess(block)), self._encode(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of `transform`'s columns."""
        check_is_fitted(self)
        method = self.scorer_.method
        if not isinstance(method, Encodes):
            raise NotSupported(f"{type(self).__name__} has no code to transform to.")
        return np.asarray(method.code_names(), dtype=np.object_)

    def explain(self, X: Any) -> Explanation:
        """Return how much of each row's score each original column made.

        The definition is the method's: see `contributions` in its file and docs/reasons.md.
        """
        check_is_fitted(self)
        method, preprocess = self.scorer_.method, self.scorer_.preprocess
        if isinstance(preprocess, ImagePreprocessor):
            raise NotSupported(
                f"This {type(self).__name__} was fitted to {self.schema_.noun}s, which have no columns to name. "
                "`residual_maps` says which pixels made the score."
            )
        if not isinstance(method, ExplainsFeatures):
            raise NotSupported(f"{type(self).__name__} cannot attribute its score to columns.")
        encoded, texts = self._encode_with_texts(X)
        groups, n_groups = preprocess.source_column, len(self.schema_.columns)
        names: list[str] = []

        def stacked(block: torch.Tensor) -> torch.Tensor:
            parts = method.contributions(preprocess(block), groups, n_groups)
            names[:] = list(parts)
            return torch.stack(list(parts.values()), dim=1)

        values = self.scorer_.in_blocks(stacked, encoded)
        return Explanation(
            columns=tuple(column.name for column in self.schema_.columns),
            parts={name: values[:, i] for i, name in enumerate(names)},
            values=texts,
            usual=self._usual(),
        )

    # --- threshold ------------------------------------------------------------------------------------------------

    def set_threshold(self, rule: str | float) -> Self:
        """Change the cut without training again, e.g. `set_threshold("pot:0.001")`; a number is a contamination."""
        check_is_fitted(self)
        self._cut(thresholds.parse_rule(rule))
        return self

    def _rule(self) -> thresholds.Rule | None:
        if self.contamination is not None and self.threshold is not None:
            raise InvalidParameter("Give contamination or threshold, not both: each says where the cut is.")
        asked = self.contamination if self.contamination is not None else self.threshold
        return None if asked is None else thresholds.parse_rule(asked)

    def _cut(self, rule: thresholds.Rule | None) -> None:
        scores, training = self.calibration_.scores, self.training_scores_
        if rule is not None:
            self.threshold_ = rule.cut(scores, training)
        elif len(scores):
            self.threshold_ = thresholds.default_cut(scores)
        else:
            share = max(DEFAULT_SHARE, 1 / len(training))
            cut = thresholds.Contamination(share).cut(scores, training)
            self.threshold_ = dataclasses.replace(cut, details={**cut.details, "asked": "no"})
        words = self.calibration_.promise(self.threshold_, whole=False)
        self.threshold_ = dataclasses.replace(self.threshold_, promise=words)
        self.offset_ = -float(self.threshold_.value)

    def __sklearn_tags__(self) -> Any:
        """Say that NaN is data."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedDetector(Detector):
    """A detector whose method has training phases."""

    step_budgets: ClassVar[int] = 1
    """Multiples of the usual budget of steps that a default training takes."""

    batch_size: int | None = param(
        None,
        "Rows per step. None: 1,024, fewer for small tables; 128 images, fewer of large ones.",
        kind="int",
        ge=2,
        source="1,024: DAGMM §4.3; fewer images, for memory",
    )
    learning_rate: float = param(
        1e-3, "Adam's step size.", gt=0, source="ten times the papers' 1e-4, for a tenth of the steps"
    )
    early_stopping: bool = param(
        True, "Watch a tenth of the rows (from 200 on) and keep the best weights; off in the presets.",
        source="no label needed",
    )  # fmt: skip
    precision: str = param(
        "float32", "Arithmetic of the networks in training.", choices=("float32", "bfloat16"), source="the papers'"
    )
    compile: bool = param(
        False, "Compile the losses with torch.compile: 15 to 40 s once, for long trainings.", source="an option"
    )

    def _stops_early(self) -> bool:
        return self.early_stopping

    def _usual_batch_size(self, rows: int) -> int:
        if self._of_images:
            return min(BATCH_OF_IMAGES, 1 << int(math.log2(max(BATCH_VALUES / self.n_features_in_, 2))))
        return 1024 if rows >= 8192 else max(128, 1 << int(math.log2(max(rows / 8, 1))))

    def _plan(self, rows: int) -> tuple[int, int]:
        batch = self.batch_size or self._usual_batch_size(rows)
        batches = max(round(rows / batch), 1)
        steps = self.step_budgets * STEP_BUDGET
        return max(math.ceil(steps / batches), 1) if self.epochs is None else self.epochs, batch

    def _settings(self, *args: Any, **kwargs: Any) -> Settings:
        plain = super()._settings(*args, **kwargs)
        return dataclasses.replace(plain, precision=self.precision, compile=self.compile)
