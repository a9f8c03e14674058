"""Files of video, folders of frames and arrays as recordings, and the clips cut from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from offnormal.data.pixel_arrays import resized
from offnormal.data.video import Recording, clips_of, find_recordings, read_recordings
from offnormal.errors import DataError, EnvironmentFailure, FileUnreadable, InvalidParameter

FRAMES, HEIGHT, WIDTH = 12, 16, 24


def moving_bar(frames: int = FRAMES, channels: int = 1) -> np.ndarray[Any, Any]:
    """Return (t, c, h, w): an upright bar of three pixels that moves right by one pixel a frame."""
    behind = (np.arange(frames)[:, None] - np.arange(WIDTH)) % WIDTH
    lines = np.where(behind < 3, 220, 40).astype(np.uint8)
    return np.broadcast_to(lines[:, None, None, :], (frames, channels, HEIGHT, WIDTH)).copy()


def keep(frames: np.ndarray[Any, Any], folder: Path) -> None:
    """Write frames as images whose names sort as words in another order than as numbers."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame[0] if len(frame) == 1 else np.moveaxis(frame, 0, 2)).save(folder / f"frame{number}.png")


def film(frames: np.ndarray[Any, Any], file: Path, rate: int = 10) -> None:
    """Write a grey file of video without loss."""
    av = pytest.importorskip("av", reason="PyAV is not installed: no file of video can be written or read")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[3], frames.shape[2], "gray"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[0]), format="gray")))
        container.mux(stream.encode())


def test_a_film_comes_back_bit_for_bit_and_a_bad_one_is_listed(tmp_path):
    film(moving_bar(), tmp_path / "cam10.mkv")
    film(moving_bar()[::-1], tmp_path / "cam2.mkv", rate=25)
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\ncam2.mkv\n#EXT-X-ENDLIST\n")  # would open another file
    with pytest.warns(UserWarning, match=r"3 of 5 recordings cannot be read.*broken\.mp4, empty\.avi, list\.mp4"):
        found = read_recordings(tmp_path)
    assert [recording.name for recording in found] == ["cam2.mkv", "cam10.mkv"]
    assert [recording.fps for recording in found] == [25.0, 10.0]
    assert np.array_equal(found[1].frames, moving_bar())
    assert np.array_equal(found[0].frames, moving_bar()[::-1])
    assert set(found.unreadable) == {"broken.mp4", "empty.avi", "list.mp4"}
    assert "0 bytes" in found.unreadable["empty.avi"]
    assert "is damaged" in found.unreadable["list.mp4"]
    (few,) = read_recordings(tmp_path / "cam10.mkv", size=8, color="color", every=5)
    assert few.fps == 2.0
    assert np.array_equal(few.frames, resized(moving_bar(channels=3)[::5], (8, 8)))
    with pytest.raises(FileUnreadable, match=r"broken\.mp4' is damaged"):
        read_recordings(tmp_path / "broken.mp4")


def test_damage_anywhere_in_a_film_is_told_in_words_and_foreign_titles_do_not_matter(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    whole, file, draw = tmp_path / "whole.mkv", tmp_path / "odd.mkv", np.random.default_rng(0)
    with av.open(str(whole), "w") as container:
        container.metadata["title"] = "TITLE-IN-CP949"
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_bar()[0, 0], format="gray")))
        container.mux(stream.encode())
    content = whole.read_bytes()
    file.write_bytes(content.replace(b"TITLE-IN", "제목제목".encode("cp949")))
    assert np.array_equal(read_recordings(file)[0].frames, moving_bar()[:1])
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in draw.integers(0, len(content), 8):
            damaged[place] = draw.integers(0, 256)
        file.write_bytes(damaged[: draw.integers(len(content) // 2, len(content))])
        try:
            read_recordings(file)
        except DataError as error:
            refused += str(file) in str(error)
    assert refused > 10


def test_a_film_is_turned_as_the_camera_was_held(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(tmp_path / "phone.mov"), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
        stream.set_display_rotation(90)
        picture = np.zeros((16, 32, 3), np.uint8)
        picture[:, 24:] = 255  # bright at the right, so at the top once turned a quarter to the left
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (recording,) = read_recordings(tmp_path / "phone.mov", color="grey")
    assert recording.frames.shape == (1, 1, 32, 16)
    assert recording.frames[0, 0, :6].min() > 200 > 60 > recording.frames[0, 0, 10:].max()


def test_without_pyav_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").write_bytes(b"0")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'offnormal\[video\]'"):
        read_recordings(tmp_path)


def test_folders_of_frames_are_sorted_as_numbers_and_one_bad_frame_spoils_its_recording(tmp_path):
    keep(moving_bar(), tmp_path / "b10")
    keep(moving_bar(), tmp_path / "b9")
    keep(moving_bar(5), tmp_path / "b9" / "later")
    keep(moving_bar(), tmp_path / "bad")
    (tmp_path / "bad" / "frame7.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.warns(UserWarning, match="1 of 4 recordings cannot be read and is passed over: bad"):
        found = read_recordings(tmp_path)
    assert [(r.name, len(r), r.fps) for r in found] == [("b9", 12, None), ("b9/later", 5, None), ("b10", 12, None)]
    assert np.array_equal(found[2].frames, moving_bar())
    (alone,) = read_recordings(tmp_path / "b10", size=(8, 12), every=3)
    assert alone.name == "b10"
    assert np.array_equal(alone.frames, resized(moving_bar()[::3], (8, 12)))
    keep(moving_bar(3, channels=3), tmp_path / "colored")
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(DataError, match="not of the same colors"):
        read_recordings(tmp_path)


def test_arrays_are_recordings(tmp_path):
    bar = moving_bar()
    for form in (bar[:, 0], bar, np.moveaxis(bar, 1, -1), (bar / 255).astype(np.float32)):
        (recording,) = read_recordings(form)
        assert np.array_equal(recording.frames, bar)
    several = read_recordings(np.stack([bar, bar[::-1]])[:, :, 0, ..., None])
    assert [recording.name for recording in several] == ["0", "1"]
    assert np.array_equal(several[1].frames, bar[::-1])
    np.savez(tmp_path / "day.npz", morning=bar, evening=bar[:7], rate=np.float64(25))
    found = read_recordings(tmp_path / "day.npz", color="color", size=(4, 6))
    assert [(r.name, r.frames.shape) for r in found] == [
        ("day.npz/morning", (12, 3, 4, 6)),
        ("day.npz/evening", (7, 3, 4, 6)),
    ]
    mixed = [np.zeros((3, 1, *size), np.uint8) for size in ((4, 4), (4, 6), (4, 6))]
    np.savez(tmp_path / "mixed.npz", *mixed)
    assert {r.frames.shape for r in read_recordings(tmp_path / "mixed.npz")} == {(3, 1, 4, 6)}


def test_clips_are_views_and_begin_every_stride_frames():
    bar = moving_bar(11)
    clips = clips_of(Recording("bar", bar), length=4, stride=3)
    assert clips.shape == (3, 1, 4, HEIGHT, WIDTH)
    for clip, start in zip(clips, (0, 3, 6), strict=True):
        assert np.array_equal(np.moveaxis(clip, 1, 0), bar[start : start + 4])
    assert np.shares_memory(clips, bar)
    assert not clips.flags.writeable
    assert clips_of(bar, length=12).shape == (0, 1, 12, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda place: read_recordings(place / "nowhere"), DataError, "no file or folder"),
        (read_recordings, DataError, "no recordings in it"),
        (lambda place: find_recordings(place / "notes.txt"), DataError, "no recording: expected a file of video"),
        (lambda place: read_recordings(np.zeros((3, 4))), DataError, "three or four axes"),
        (lambda place: read_recordings(moving_bar(), size=(0, 3)), InvalidParameter, "size must be"),
        (lambda place: read_recordings(moving_bar(), every=0), InvalidParameter, "every must be"),
        (lambda place: read_recordings(moving_bar(), color="rgb"), InvalidParameter, "color must be"),
        (lambda place: clips_of(moving_bar(), length=0), InvalidParameter, "length must be"),
        (lambda place: Recording("x", moving_bar()[0]), DataError, "uint8 frames of shape"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(call, error, said, tmp_path):
    (tmp_path / "notes.txt").write_text("no recording")
    with pytest.raises(error, match=said):
        call(tmp_path)
