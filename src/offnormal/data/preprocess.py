"""An encoded matrix becomes model input; everything learned from the training rows is a tensor.

Feature order: a number for each numeric and boolean column; the rarity of each frequency-coded column; the
missing-value indicators; the one-hot features; the times. `source_column` says which column each feature came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from offnormal.data.columns import Column, Schema
from offnormal.errors import DataError, ModelFileError

Scaling = Literal["standard", "minmax", "none"]

SCALINGS = ("standard", "minmax", "none")

_BLOCK = 8_192  # rows; a block of a usual table stays in the processor's cache
_DAY = 86_400.0  # seconds
_LARGEST = 1e15  # so that sums of squares over a row stay far within float32
_HUGE = float(np.finfo(np.float64).max)
_TINY = float(np.finfo(np.float64).tiny)
_MODERATE = 1e150  # squares of larger numbers, and of the inverse of smaller ones, leave the range of float64
_ROUNDING = 16 * float(np.finfo(np.float64).eps)
_TIME_FEATURES = ("time of day (sin)", "time of day (cos)", "day of week (sin)", "day of week (cos)")


class TablePreprocessor(nn.Module):
    """Encoded matrix (b, c) float64 -> model input (b, n) float32, each row on its own.

    - numeric: a missing value becomes the training median, then scaled; nothing is clipped, because an outlier is the
      point. Only beyond 1e15 is the scaled value held there, so that finite input gives finite scores.
    - boolean: 0 or 1, not scaled; a missing value becomes the training median.
    - numeric, boolean, datetime with a missing value in training: also an indicator, 0 or 1, not scaled. A column
      without any value in training gives 0 and its indicator, whatever it holds later.
    - category, one-hot: a feature for each known value, one for any unseen value, and one for a missing value if
      training had one (otherwise missing counts as unseen); not scaled.
    - category, frequency: -log(share of the value in training), for unseen values log(n + 1), scaled like a number.
    - datetime: sine and cosine of the time of day and of the day of the week, not scaled; a missing time is 0, the
      center of the circle. The date itself is left out: it always runs out of the range of training.

    Attributes
    ----------
    n_features : int
    shape : tuple of int
        Of a row of the model input.
    feature_names : tuple of str
    source_column : Tensor of int64, shape (n,)
        Feature -> index into `schema.columns`.
    plan : dict
        What `from_plan` needs to rebuild the same shapes; plain JSON.
    """

    source_column: Tensor
    fill: Tensor
    center: Tensor
    scale: Tensor
    rarity: Tensor
    _values: Tensor
    _frequencies: Tensor
    _offsets: Tensor
    _flags: Tensor
    _one_hot: Tensor
    _codes: Tensor
    _times: Tensor
    _missing_code: Tensor

    def __init__(self, schema: Schema, scaling: Scaling, missing: Sequence[int] = ()) -> None:
        super().__init__()
        self.columns, self.scaling, self.missing = schema.columns, scaling, tuple(missing)
        columns = self.columns
        group: dict[str, list[int]] = {"value": [], "frequency": [], "one_hot": [], "time": []}
        for j, column in enumerate(columns):
            group[_group_of(column)].append(j)
        self._groups = group
        flagged = [j for j in self.missing if columns[j].kind != "category"]
        one_hot = [(j, code) for j in group["one_hot"] for code in range(_n_codes(columns[j], j in self.missing))]
        sizes = [len(columns[j].categories) + 2 for j in group["frequency"]]  # and unseen, and missing
        times = [j for j in group["time"] for _ in _TIME_FEATURES]
        sources = [*group["value"], *group["frequency"], *flagged, *(j for j, _ in one_hot), *times]
        self.n_features = len(sources)
        self.shape: tuple[int, ...] = (self.n_features,)
        self.feature_names = _feature_names(columns, group, flagged, one_hot)

        for name, size in (("fill", len(columns)), ("center", len(columns)), ("rarity", sum(sizes))):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(columns), dtype=torch.float64))
        self.register_load_state_dict_post_hook(_check_state)  # type: ignore[no-untyped-call]

        # What follows from the schema is no state: a model file cannot alter it.
        self._fix("source_column", sources)
        self._fix("_values", group["value"])
        self._fix("_frequencies", group["frequency"])
        self._fix("_offsets", np.concatenate([[0], np.cumsum(sizes[:-1])]) if sizes else [])
        self._fix("_flags", flagged)
        self._fix("_one_hot", [j for j, _ in one_hot])
        self._fix("_codes", [code for _, code in one_hot], torch.float32)  # below 2^24, so exact
        self._fix("_times", group["time"])
        # A missing category has a code of its own if training had one, and otherwise counts as unseen.
        codes = [len(c.categories) + (j in self.missing) if c.kind == "category" else 0 for j, c in enumerate(columns)]
        self._fix("_missing_code", codes, torch.float64)

    @classmethod
    def fit(cls, encoded: np.ndarray, schema: Schema, scaling: Scaling = "standard") -> TablePreprocessor:
        """Learn medians, scales and frequencies from the training rows.

        Parameters
        ----------
        encoded : ndarray of float64, shape (rows, c)
            From `schema.encode`; at least 2 rows.
        schema : Schema
        scaling : {"standard", "minmax", "none"}
            (x - mean) / standard deviation, or (x - min) / (max - min), over the values present; a constant column is
            only centered.

        Raises
        ------
        DataError
            If there are fewer than two rows, or the columns are not those of `schema`.
        """
        if encoded.ndim != 2 or encoded.shape[1] != len(schema.columns):
            raise DataError(f"Expected a matrix of {len(schema.columns)} columns, got shape {encoded.shape}.")
        if len(encoded) < 2:
            raise DataError(f"At least 2 rows are needed to learn what is normal; got n_samples={len(encoded)}.")
        absent = np.isnan(encoded)
        module = cls(schema, scaling, tuple(np.flatnonzero(absent.any(axis=0)).tolist()))
        for j in module._groups["value"]:
            module._fit_value(j, encoded[~absent[:, j], j])
        for slot, j in enumerate(module._groups["frequency"]):
            codes = np.where(absent[:, j], module._missing_code[j].item(), encoded[:, j])
            module._fit_frequency(slot, codes.astype(np.int64))
        return module

    @classmethod
    def empty(cls, schema: Schema, scaling: Scaling, missing: Sequence[int] = ()) -> TablePreprocessor:
        """Return a module of the right shapes, to be filled by `load_state_dict`.

        Parameters
        ----------
        missing : sequence of int
            The columns with a missing value in training.
        """
        return cls(schema, scaling, missing)

    @property
    def plan(self) -> dict[str, Any]:
        """What `from_plan` needs besides the schema and the scaling; plain JSON."""
        return {"missing": list(self.missing)}

    @classmethod
    def from_plan(cls, schema: Schema, scaling: str, plan: object) -> TablePreprocessor:
        """Return an empty module of the shapes that `plan` describes.

        Raises
        ------
        ModelFileError
            If `scaling` or `plan` is not what a model file holds.
        """
        missing = plan.get("missing") if isinstance(plan, dict) else None
        if not isinstance(missing, list) or not all(type(j) is int and 0 <= j < len(schema.columns) for j in missing):
            raise ModelFileError("The model file is damaged: its preprocessing plan is not readable. Get it again.")
        if scaling not in SCALINGS or sorted(set(missing)) != missing:
            raise ModelFileError("The model file is damaged: its preprocessing plan is inconsistent. Get it again.")
        return cls(schema, cast(Scaling, scaling), missing)

    def forward(self, encoded: Tensor) -> Tensor:
        """Return the model input of some rows.

        Parameters
        ----------
        encoded : Tensor of float64, shape (b, c)

        Returns
        -------
        Tensor of float32, shape (b, n)
        """
        absent = encoded.isnan()
        filled = torch.where(absent, self.fill + self._missing_code, encoded)  # (b, c)
        scaled = ((filled - self.center) / self.scale).clamp(-_LARGEST, _LARGEST).float()  # codes come out unchanged
        parts = []
        if len(self._values):
            parts.append(scaled.index_select(1, self._values))
        if len(self._frequencies):
            parts.append(self.rarity[filled.index_select(1, self._frequencies).long() + self._offsets].float())
        if len(self._flags):
            parts.append(absent.index_select(1, self._flags).float())
        if len(self._one_hot):
            parts.append((scaled.index_select(1, self._one_hot) == self._codes).float())
        if len(self._times):
            parts.append(_circles(filled.index_select(1, self._times), absent.index_select(1, self._times)))
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def transform(self, encoded: np.ndarray) -> Tensor:
        """Return the model input of a whole matrix, computed in blocks to keep memory low."""
        device = self.center.device
        result = torch.empty((len(encoded), self.n_features), dtype=torch.float32)
        for start in range(0, len(encoded), _BLOCK):
            block = torch.from_numpy(encoded[start : start + _BLOCK]).to(device)
            result[start : start + _BLOCK] = self(block)
        return result

    def _fix(self, name: str, content: Any, dtype: torch.dtype = torch.int64) -> None:
        self.register_buffer(name, torch.as_tensor(content, dtype=dtype), persistent=False)

    def _fit_value(self, j: int, present: np.ndarray) -> None:
        if len(present) == 0:
            self.scale[j] = _HUGE  # whatever comes later divides to 0: training knows nothing to compare it with
            return
        self.fill[j] = 2 * float(np.median(present / 2))  # the two in the middle are added: they must not overflow
        if self.columns[j].kind == "numeric":
            self.center[j], self.scale[j] = _center_and_scale(present, self.scaling)

    def _fit_frequency(self, slot: int, codes: np.ndarray) -> None:
        """Fill the scaled rarity of each code of one column; `codes` are those of the training rows."""
        start = int(self._offsets[slot])
        size = len(self.columns[self._groups["frequency"][slot]].categories) + 2
        counts = np.bincount(codes, minlength=size)
        # A value without a row is taken to come once in one row more.
        rarity = np.where(counts > 0, -np.log(np.maximum(counts, 1) / len(codes)), np.log(len(codes) + 1))
        center, scale = _center_and_scale(rarity[codes], self.scaling)
        self.rarity[start : start + size] = torch.from_numpy((rarity - center) / scale)


def _group_of(column: Column) -> str:
    if column.kind == "category":
        return column.coding
    return "time" if column.kind == "datetime" else "value"


def _n_codes(column: Column, had_missing: bool) -> int:
    return len(column.categories) + 1 + had_missing


def _feature_names(
    columns: tuple[Column, ...], group: dict[str, list[int]], flagged: list[int], one_hot: list[tuple[int, int]]
) -> tuple[str, ...]:
    values = [columns[j].name for j in group["value"]]
    rare = [f"{columns[j].name} (rarity)" for j in group["frequency"]]
    flags = [f"{columns[j].name} (missing)" for j in flagged]
    known = [f"{columns[j].name}={(*columns[j].categories, '(unseen)', '(missing)')[code]}" for j, code in one_hot]
    times = [f"{columns[j].name} {part}" for j in group["time"] for part in _TIME_FEATURES]
    return (*values, *rare, *flags, *known, *times)


def _center_and_scale(present: np.ndarray, scaling: Scaling) -> tuple[float, float]:
    """Return what to subtract and what to divide by; a spread at rounding level counts as none."""
    if scaling == "none":
        return 0.0, 1.0
    low, high = float(present.min()), float(present.max())
    peak = max(abs(low), abs(high))
    unit = 1.0 if 1 / _MODERATE < peak < _MODERATE else max(peak, _TINY)
    spread = high / unit - low / unit
    if spread <= _ROUNDING * peak / unit:
        return float((present / unit).mean()) * unit if scaling == "standard" else low, 1.0
    if scaling == "minmax":
        center, scale = low, spread * unit
    else:
        scaled = present / unit
        center, scale = float(scaled.mean()) * unit, float(scaled.std()) * unit
    return center, min(max(scale, _TINY), _HUGE)


def _circles(moments: Tensor, absent: Tensor) -> Tensor:
    """Return POSIX seconds (b, t) as sine and cosine of the time of day and the day of the week, (b, 4 t)."""
    days = moments / _DAY
    turn = 2 * math.pi * torch.stack([days - days.floor(), days.floor().remainder(7) / 7], dim=2)  # (b, t, 2)
    circles = torch.stack([turn.sin(), turn.cos()], dim=3).flatten(2)  # (b, t, 4)
    return torch.where(absent.unsqueeze(2), 0.0, circles).float().flatten(1)


def _check_state(module: nn.Module, incompatible: object) -> None:
    """Refuse loaded numbers that training could not have left behind."""
    state = {name: module.get_buffer(name) for name in ("fill", "center", "scale", "rarity")}
    coded = torch.tensor(
        [column.kind in ("category", "datetime") for column in cast(TablePreprocessor, module).columns]
    )
    usable = (
        all(bool(buffer.isfinite().all()) for buffer in state.values())
        and bool((state["scale"] > 0).all())
        and not bool((state["fill"].cpu()[coded] != 0).any())
        and not bool((state["center"].cpu()[coded] != 0).any())
        and bool((state["scale"].cpu()[coded] == 1).all())
    )
    if not usable:
        raise ModelFileError("The model file is damaged: its preprocessing numbers are not usable. Get it again.")
