"""Scores of frames: which clip belongs to which frame, live scores, and the same of the frame alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from offnormal import frame_scores
from offnormal.data.pixel_arrays import ImageSchema, resized
from offnormal.data.video import Recording, clips_of
from offnormal.errors import DataError, InvalidParameter, NotSupported, SchemaMismatch
from offnormal.frame_scores import LiveScorer, place_in_clip, score_frames
from offnormal.methods.autoencoder import Autoencoder
from offnormal.methods.pca import PCAReconstruction

LENGTH, SIDE = 5, 8


class SumOfClip:
    """Scores a clip by a sum that tells its frames apart: the l-th counts (l + 1) times; maps are the pixels."""

    def __init__(self, *shape: int) -> None:
        self.schema_ = SimpleNamespace(shape=shape)
        self.most = 0

    def anomaly_score(self, X: Any) -> Any:
        self.most = max(self.most, len(X))
        return (X.astype(np.float64).sum((1, 3, 4)) * np.arange(1, X.shape[2] + 1)).sum(1)

    def residual_maps(self, X: Any) -> Any:
        return X.astype(np.float32).sum(1)


def test_a_frame_gets_the_clip_around_it_or_the_one_that_ends_with_it():
    """By hand: frames of one pixel with value 0, 1, 3, 7, 12, 20, 33; clips of four."""
    detector, frames = SumOfClip(1, 4, 1, 1), np.array([0, 1, 3, 7, 12, 20, 33], np.uint8).reshape(7, 1, 1, 1)
    clips = [0 + 2 + 9 + 28, 1 + 6 + 21 + 48, 3 + 14 + 36 + 80, 7 + 24 + 60 + 132]
    nan = np.nan
    np.testing.assert_array_equal(score_frames(detector, frames), [nan, nan, *clips, nan])
    np.testing.assert_array_equal(score_frames(detector, frames, align="last"), [nan, nan, nan, *clips])
    alone = score_frames(detector, frames, of="frame")
    np.testing.assert_array_equal(alone, [nan, nan, 3, 7, 12, 20, nan])
    np.testing.assert_array_equal(
        score_frames(detector, frames, of="frame", align="last"), [nan, nan, nan, 7, 12, 20, 33]
    )


def test_of_sixteen_frames_the_first_eight_and_the_last_seven_have_no_score_as_in_the_published_code():
    scores = score_frames(SumOfClip(1, 16, 2, 2), np.ones((40, 2, 2), np.uint8))
    assert np.flatnonzero(np.isfinite(scores)).tolist() == list(range(40))[8:-7]
    assert (place_in_clip(16, "center"), place_in_clip(16, "last")) == (8, 15)


def test_clips_are_scored_a_few_at_a_time_with_the_same_result(monkeypatch):
    draw = np.random.default_rng(0)
    detector, frames = SumOfClip(1, 3, 4, 4), draw.integers(0, 256, (30, 1, 6, 5), dtype=np.uint8)
    whole = score_frames(detector, frames)
    assert detector.most == 28
    monkeypatch.setattr(frame_scores, "VALUES_AT_ONCE", 3 * 16 * 4)
    detector.most = 0
    np.testing.assert_array_equal(score_frames(detector, frames), whole)
    assert detector.most == 4
    by_hand = detector.anomaly_score(clips_of(resized(frames, (4, 4)), 3))
    np.testing.assert_array_equal(whole[1:-1], by_hand)


def moving_bar(frames: int, step: int = 1) -> np.ndarray[Any, Any]:
    behind = (step * np.arange(frames)[:, None] - np.arange(SIDE)) % SIDE
    lines = np.where(behind < 3, 220, 40)
    noise = np.random.default_rng(frames).normal(0, 5, (frames, 1, SIDE, SIDE))
    return (lines[:, None, None, :] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Any:
    quick = {"epochs": 15, "hidden_sizes": (8,), "batch_size": 16, "calibration": "holdout"}
    return Autoencoder(**quick).fit(clips_of(moving_bar(160), LENGTH))


def test_live_scores_are_bit_for_bit_those_of_the_whole_recording(model):
    film = Recording("bar", resized(moving_bar(25), (11, 9)), fps=10.0)  # each frame is resized alone when live
    live = LiveScorer(model)
    pushed = [live.push(frame[0] if i % 2 else np.moveaxis(frame, 0, -1)) for i, frame in enumerate(film.frames)]
    assert pushed[: LENGTH - 1] == [None] * (LENGTH - 1)
    whole = score_frames(model, film, align="last")
    assert pushed[LENGTH - 1 :] == whole[LENGTH - 1 :].tolist()
    live.reset()
    assert live.push(film.frames[0]) is None


def test_a_bar_that_turns_round_is_seen_where_it_does_and_no_later_frame_is_needed_for_it(model):
    forward = moving_bar(30)
    film = np.concatenate([forward[:20], forward[12:20][::-1]])  # from frame 20 on it goes back
    scores = score_frames(model, film, align="last")
    assert scores[20 + 1 :].min() > 2 * scores[LENGTH - 1 : 20].max()
    np.testing.assert_array_equal(scores[:20], score_frames(model, film[:20], align="last"))
    centered = score_frames(model, film)
    np.testing.assert_array_equal(centered[2:-2], scores[4:])


def test_the_residual_of_the_frame_alone_is_that_of_the_map(model):
    film = moving_bar(9)
    maps = model.residual_maps(clips_of(film, LENGTH))
    expected = maps[:, 2].astype(np.float64).sum((1, 2))
    np.testing.assert_allclose(score_frames(model, film, of="frame")[2:-2], expected, rtol=1e-12)
    clip = score_frames(model, film)[2:-2]
    np.testing.assert_allclose(clip, maps.astype(np.float64).sum((1, 2, 3)), rtol=1e-5)


def test_what_cannot_be_scored_is_refused_in_words(model):
    with pytest.warns(UserWarning, match="'short' has 3 frames, fewer than the 5 of a clip"):
        assert np.isnan(score_frames(model, Recording("short", moving_bar(3)))).all()
    with pytest.raises(SchemaMismatch, match=r"1 channel.*color='grey'"):
        score_frames(model, Recording("color", moving_bar(6).repeat(3, axis=1)))
    with pytest.raises(DataError, match="5 axes"):
        score_frames(model, moving_bar(6)[None])
    with pytest.raises(InvalidParameter, match="align must be 'center' or 'last'"):
        score_frames(model, moving_bar(6), align="first")
    with pytest.raises(InvalidParameter, match="of must be 'clip' or 'frame'"):
        score_frames(model, moving_bar(6), of="pixel")
    assert ImageSchema.of(moving_bar(6)).noun == "image"
    pictures = PCAReconstruction(n_components=2).fit(moving_bar(30))
    with pytest.raises(NotSupported, match="model of clips"):
        LiveScorer(pictures)
