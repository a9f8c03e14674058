"""How an estimator takes rows: arrays by position through scikit-learn's checks, frames by name through the schema.

Arrays of three or four axes and `Images` are images, arrays of five are clips: they keep their pixels as they are.
"""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from offnormal.batches import Prepare
from offnormal.data.columns import Schema
from offnormal.data.images import ARRAY_SUFFIXES, SUFFIXES
from offnormal.data.pixel_arrays import ImageSchema, as_pixels, is_images, noun_of
from offnormal.data.pixels import ImagePreprocessor
from offnormal.data.preprocess import Scaling, TablePreprocessor
from offnormal.data.tables import from_frame, is_frame
from offnormal.errors import DataError, NotSupported, SchemaMismatch
from offnormal.method import Reconstructs
from offnormal.score_maps import CUT_ON_PIXELS, beyond, map_of
from offnormal.scorer import Scorer
from offnormal.thresholds import Cut

Floats = NDArray[np.float64]
Encoded = NDArray[Any]
"""A matrix (rows, columns) of float64, or pixels (rows, c, h, w) or (rows, c, t, h, w) of uint8 or float32."""


class TableFace:
    """The part of a detector that turns user tables into encoded matrices and columns back into words.

    The estimator provides `id_columns`, `ignored_columns`, `categorical_columns` and `max_categories`.
    """

    id_columns: tuple[str, ...]
    ignored_columns: tuple[str, ...]
    categorical_columns: tuple[str, ...]
    max_categories: int
    schema_: Any  # a Schema; of images an ImageSchema
    scorer_: Scorer
    reference_: Floats
    threshold_: Cut
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def _learn_table(self, X: Any) -> Floats:
        """Learn the columns of the training rows and encode them, (rows, columns)."""
        if is_frame(X):
            table = from_frame(X)
            self.schema_ = Schema.learn(
                table,
                ids=self.id_columns,
                ignored=self.ignored_columns,
                categorical=self.categorical_columns,
                max_categories=self.max_categories,
            )
            self.n_features_in_ = len(self.schema_.columns)
            self.feature_names_in_ = np.asarray(self.schema_.names, dtype=object)
            encoded: Floats = self.schema_.encode(table)
            return encoded
        self._refuse_names("an array has no names. Pass a data frame.")
        matrix = self._checked(X, reset=True)
        self.schema_ = Schema.of_array(matrix.shape[1])
        vars(self).pop("feature_names_in_", None)
        return matrix

    def _encode_table(self, X: Any) -> Floats:
        """Encode rows to score, (rows, columns)."""
        if is_images(X):
            raise SchemaMismatch(
                f"The model was fitted to a table of {len(self.schema_.columns)} columns; got {noun_of(X)}s. "
                f"Pass a table, or train again on {noun_of(X)}s."
            )
        if is_frame(X):
            encoded: Floats = self.schema_.encode(from_frame(X))
        else:
            encoded = self._checked(X, reset=False)
            if self.schema_.named:
                encoded = self.schema_.encode_array(encoded)
        self._warn_of_gaps(encoded)
        return encoded

    def _refuse_names(self, why: str) -> None:
        for name in ("id_columns", "ignored_columns", "categorical_columns"):
            if getattr(self, name):
                raise DataError(f"{name} names columns, and {why}")

    def _warn_of_gaps(self, encoded: Floats) -> None:
        """Warn where numbers are missing in a column that was complete in training: a dead sensor looks normal."""
        if not np.isnan(encoded.min(initial=0.0)):  # one fast pass; most tables end here
            return
        empty = np.isnan(encoded).sum(axis=0)
        known_gaps = set(self.scorer_.preprocess.plan["missing"])
        for j in np.flatnonzero(empty):
            column = self.schema_.columns[j]
            if int(j) not in known_gaps and column.kind in ("numeric", "boolean"):
                warnings.warn(
                    f"Column {column.name!r} is missing in {empty[j]} of {len(encoded)} rows and was never missing in "
                    "training. The training median stands in, so these rows look more normal than they may be.",
                    UserWarning,
                    stacklevel=4,
                )

    def _encode_with_texts(self, X: Any) -> tuple[Floats, list[list[str]]]:
        """Encode rows and write every cell as text."""
        _refuse_paths(X)
        encoded = self._encode_table(X)
        columns = self.schema_.columns
        texts = [[column.text(value) for column, value in zip(columns, row, strict=True)] for row in encoded]
        if is_frame(X) and any(column.kind == "category" for column in columns):
            table = from_frame(X)
            for j, column in enumerate(columns):
                if column.kind == "category":
                    for i in np.flatnonzero(encoded[:, j] == len(column.categories)):
                        texts[i][j] = f"{self.schema_.display(table, int(i), column.name)} (never seen)"
        return encoded, texts

    def _checked(self, X: Any, *, reset: bool) -> Floats:
        matrix: Floats = validate_data(
            self,
            np.ma.filled(X.astype(np.float64), np.nan) if isinstance(X, np.ma.MaskedArray) else X,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
        )
        return matrix

    def _table_reference(self, encoded: Floats) -> Floats:
        """Return what is usual in each column, (columns, 2).

        Numbers: the 5 % and 95 % quantiles. Categories and booleans: the commonest code and its share. Times: NaN.
        """
        reference = np.full((encoded.shape[1], 2), np.nan)
        for j, column in enumerate(self.schema_.columns):
            known = encoded[~np.isnan(encoded[:, j]), j]
            if not len(known) or column.kind == "datetime":
                continue
            if column.kind == "numeric":
                reference[j] = np.quantile(known, [0.05, 0.95])
            else:
                counts = np.bincount(known.astype(np.int64))
                reference[j] = counts.argmax(), counts.max() / len(encoded)
        return reference

    def _usual(self) -> tuple[str, ...]:
        """Say what is usual in each column."""
        words = []
        for column, (first, second) in zip(self.schema_.columns, self.reference_, strict=True):
            if np.isnan(first):
                words.append("any time" if column.kind == "datetime" else "missing")
            elif column.kind != "numeric":
                words.append(f"{column.text(first)}, {second:.0%}")
            elif first == second:
                words.append(column.text(first))
            else:
                words.append(f"{column.text(first)} to {column.text(second)}")
        return tuple(words)


class RowFace(TableFace):
    """The same for rows of any kind: a table, images or clips.

    The estimator also provides `scaling`, `pixel_scaling`, `map_smoothing` and `sees_images`.
    """

    scaling: str
    pixel_scaling: str
    map_smoothing: float
    sees_images: ClassVar[bool]

    @property
    def _of_images(self) -> bool:
        return isinstance(getattr(self, "schema_", None), ImageSchema)

    def _learn(self, X: Any) -> Encoded:
        """Learn the schema of the training rows and encode them."""
        _refuse_paths(X)
        if not is_images(X):
            return self._learn_table(X)
        self._refuse_names(f"{noun_of(X)}s have no columns. Leave it empty.")
        pixels = as_pixels(X)
        if len(pixels) < 2:
            raise DataError(
                f"At least 2 {noun_of(X)}s are needed to learn what is normal; got n_samples={len(pixels)}."
            )
        self.schema_ = ImageSchema.of(pixels)
        self.n_features_in_ = self.schema_.n_features
        vars(self).pop("feature_names_in_", None)
        return pixels

    def _encode(self, X: Any) -> Encoded:
        """Encode rows to score."""
        _refuse_paths(X)
        pixels: Encoded = self.schema_.encode(X) if self._of_images else self._encode_table(X)
        return pixels

    def _reference(self, encoded: Encoded) -> Floats:
        """Return what is usual in each column, (columns, 2); images have none."""
        return np.empty((0, 2)) if self._of_images else self._table_reference(encoded)

    def _preprocessor(self, encoded: Encoded) -> TablePreprocessor | ImagePreprocessor:
        """Return the way from encoded rows to model input, learned from these."""
        if self._of_images:
            return ImagePreprocessor.fit(encoded, self.schema_, self.pixel_scaling, flat=not self.sees_images)
        return TablePreprocessor.fit(encoded, self.schema_, cast(Scaling, self.scaling))

    def _unlearned_preprocessor(self, plan: object) -> TablePreprocessor | ImagePreprocessor:
        """Return it with the right shapes, to be filled from a model file."""
        if not self._of_images:
            return TablePreprocessor.from_plan(self.schema_, self.scaling, plan)
        if plan != {}:
            raise ValueError("its preprocessing plan is not one of images")
        return ImagePreprocessor(self.schema_, self.pixel_scaling, flat=not self.sees_images)

    # --- images given back ----------------------------------------------------------------------------------------

    def residual_maps(self, X: Any) -> NDArray[np.float32]:
        """Return how unusual each pixel is, (rows, h, w), of clips (rows, t, h, w), at least 0 if a squared residual.

        The method's own map if it has one; otherwise the squared difference between the image and its reconstruction,
        summed over the channels, in squared units of the scaled pixels. With `map_smoothing` a Gaussian goes over it.
        """
        preprocess, method = self._image_model("residual_maps"), self.scorer_.method
        mapped = map_of(
            method, preprocess.image_shape, sees_images=self.sees_images, smoothing=float(self.map_smoothing)
        )
        if mapped is None:
            raise NotSupported(f"{type(self).__name__} rebuilds no image and does not say which pixels made its score.")
        return self.scorer_.in_blocks(lambda block: mapped(preprocess(block)), self._encode(X), torch.float32)

    def defect_masks(self, X: Any) -> NDArray[np.bool_]:
        """Return which pixels are beyond `threshold_`, (rows, h, w), of clips (rows, t, h, w).

        An image has such a pixel exactly when `predict` calls it abnormal: at most the promised share of good images
        has any. With map_score="area" pixels in smaller regions are left out.

        Raises
        ------
        NotSupported
            If the cut is on another score than that of pixels.
        """
        self._image_model("defect_masks")
        score = None if self.scorer_.of_map is None else self.scorer_.of_map[1]
        if score is None or score.kind not in CUT_ON_PIXELS:
            raise NotSupported(
                f"The cut of this {type(self).__name__} is on whole images, so it says nothing of pixels. Train again "
                "with map_score='max' or 'area'."
            )
        return beyond(self.residual_maps(X), self.threshold_.value, score)

    def reconstruct(self, X: Any) -> NDArray[np.float32]:
        """Return the images as the method rebuilds them, within [0, 1], in the layout of `X`."""
        preprocess, method = self._image_model("reconstruct"), self.scorer_.method
        if not isinstance(method, Reconstructs):
            raise NotSupported(f"{type(self).__name__} rebuilds no image.")
        encoded = self._encode(X)
        images = self.scorer_.in_blocks(
            lambda block: preprocess.restore(method.reconstruct(preprocess(block))), encoded, torch.float32
        )
        rebuilt: NDArray[np.float32] = self.schema_.like(X, images)
        return rebuilt

    def _image_model(self, name: str) -> ImagePreprocessor:
        check_is_fitted(self)
        preprocess = self.scorer_.preprocess
        if not isinstance(preprocess, ImagePreprocessor):
            raise NotSupported(f"`{name}` is for images, and this {type(self).__name__} was fitted to a table.")
        return preprocess


def stored_rows(
    preprocess: TablePreprocessor | ImagePreprocessor, encoded: Encoded
) -> tuple[torch.Tensor, Prepare | None]:
    """Return encoded rows as training keeps them, and what makes model input of a batch: for tables it is made now."""
    if isinstance(preprocess, ImagePreprocessor):
        return torch.from_numpy(np.require(encoded, requirements=["C", "W"])), preprocess
    return preprocess.transform(encoded), None


def _refuse_paths(X: Any) -> None:
    if isinstance(X, (str, PathLike)):
        place = Path(X)
        images = place.is_dir() or place.suffix.lower() in (*SUFFIXES, *ARRAY_SUFFIXES)
        reader, result = ("read_images", "its images") if images else ("read_table", "a table")
        raise DataError(
            f"Expected rows, got the path {str(X)!r}. Read it first: offnormal.{reader}({str(X)!r}) returns {result}."
        )
