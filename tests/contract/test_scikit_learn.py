"""scikit-learn's own suite on every registered method, and the compositions users write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from registered import KEYS, quick
from sklearn.base import clone
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks


# A share, because the checks want at least one flagged row of 300, and the default cut at 1 % may leave none.
@parametrize_with_checks([quick(key, contamination=0.1) for key in KEYS])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(60, 4))


@pytest.mark.parametrize("key", KEYS)
def test_pipeline_clone_and_cross_validation(key: str, rows: np.ndarray[Any, Any]) -> None:
    pipeline = make_pipeline(StandardScaler(), quick(key))
    assert pipeline.fit(rows).score_samples(rows).shape == (60,)
    y = np.r_[np.ones(50), -np.ones(10)]
    far = rows.copy()
    far[50:] += 100
    scorer = make_scorer(roc_auc_score, response_method="decision_function")
    values = cross_val_score(clone(quick(key)), far, y, scoring=scorer, cv=[(np.arange(40), np.arange(40, 60))])
    assert values == [1.0], "scikit-learn's +1 = normal meets decision_function's sign"


@pytest.mark.parametrize("key", KEYS)
def test_set_output_and_feature_names(key: str, rows: np.ndarray[Any, Any]) -> None:
    frame = pd.DataFrame(rows, columns=list("abcd"))
    detector = quick(key).set_output(transform="pandas").fit(frame)
    code = detector.transform(frame)
    assert list(code.columns) == list(detector.get_feature_names_out())
    assert list(detector.feature_names_in_) == list("abcd")
    assert detector.n_features_in_ == 4
