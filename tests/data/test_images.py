"""Images from folders, files and arrays: the pixels are those of the files, and every bad file is one sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import offnormal
from offnormal.data.images import (
    FilesToScore,
    Images,
    ImageSchema,
    as_pixels,
    is_images,
    read_images,
    read_mask,
    resized,
)
from offnormal.data.layouts import plain
from offnormal.errors import (
    DataError,
    EnvironmentFailure,
    FileUnreadable,
    InvalidParameter,
    ModelFileError,
    SchemaMismatch,
)

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (12, 10)).astype(np.uint8)
COLOR = DRAW.integers(0, 256, (12, 10, 3)).astype(np.uint8)


def smooth(height: int, width: int) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.stack([127 + 120 * np.sin(9 * x + k) * np.cos(7 * y) for k in range(3)], axis=2).astype(np.uint8)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_pixels_of_its_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    files = ["b/deep/1.png", "b/2.BMP", "a.tiff", "c.ppm", "b/3.webp", "z.jpg"]
    for number, name in enumerate(files):
        options = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(np.roll(COLOR, number, axis=0)).save(tmp_path / name, **options)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    images = read_images(tmp_path)
    assert images.names == tuple(sorted(files))
    assert images.pixels.shape == (6, 3, 12, 10)
    for name, pixels in zip(images.names[:-1], images.pixels, strict=False):  # all but the lossy one
        assert np.array_equal(pixels.transpose(1, 2, 0), np.roll(COLOR, files.index(name), axis=0)), name
    with Image.open(tmp_path / "z.jpg") as lossy:
        assert np.array_equal(images.pixels[-1].transpose(1, 2, 0), np.asarray(lossy))
    alone = read_images(tmp_path / "a.tiff")
    assert alone.names == ("a.tiff",)
    assert np.array_equal(alone.pixels[0], images.pixels[0])


def test_grey_and_color_as_asked(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "1.png")
    Image.fromarray(GREY > 127).save(tmp_path / "2.png")  # one bit a pixel
    images = read_images(tmp_path)
    assert np.array_equal(images.pixels[:, 0], [GREY, 255 * (GREY > 127)])
    assert np.array_equal(read_images(tmp_path, color="color").pixels, images.pixels.repeat(3, axis=1))
    Image.fromarray(COLOR).save(tmp_path / "3.png")
    with pytest.raises(DataError, match=r"1\.png' is grey and .*3\.png' is in color.*color='grey' or color='color'"):
        read_images(tmp_path)
    luma = COLOR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_images(tmp_path, color="grey").pixels[2, 0] - luma).max() <= 1
    np.save(tmp_path / "color.npy", COLOR[None])
    assert np.abs(read_images(tmp_path / "color.npy", color="grey").pixels[0, 0] - luma).max() <= 0.51


def test_sixteen_bits_transparency_and_an_upright_camera(tmp_path: Path) -> None:
    deep = DRAW.integers(0, 65536, (12, 10)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(read_images(tmp_path / "deep.png").pixels[0, 0], deep // 256)
    assert np.array_equal(read_images(tmp_path / "deep.png", color="color").pixels[0, 2], deep // 256)
    alpha = np.dstack([COLOR, np.full(GREY.shape, 7, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    assert np.array_equal(read_images(tmp_path / "clear.png").pixels[0], COLOR.transpose(2, 0, 1))
    palette = Image.fromarray(COLOR).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=bytes([0] * 8))
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_images(tmp_path / "palette.png").pixels[0], expected)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOR).save(tmp_path / "phone.png", exif=exif)
    turned = read_images(tmp_path / "phone.png").pixels[0]
    assert np.array_equal(turned.transpose(1, 2, 0), np.rot90(COLOR, -1))


@pytest.mark.parametrize("size", [(20, 31), (64, 48), (7, 90)])
def test_resizing_is_that_of_pillow(size: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(smooth(48, 40)).save(tmp_path / "1.png")
    expected = Image.fromarray(smooth(48, 40)).resize(size[::-1], Image.Resampling.BILINEAR)
    found = read_images(tmp_path, size=size).pixels[0].transpose(1, 2, 0)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_files_of_several_sizes_take_the_commonest(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(9, 9), (16, 12), (16, 12), (40, 40)]):
        Image.fromarray(smooth(height, width)).save(tmp_path / f"{number}.png")
    assert read_images(tmp_path).pixels.shape == (4, 3, 16, 12)
    assert np.array_equal(read_images(tmp_path).pixels[1].transpose(1, 2, 0), smooth(16, 12))
    assert read_images(tmp_path, size=8).pixels.shape == (4, 3, 8, 8)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", (8,), (8, 0), (8, 8, 3), True, 10**9])
def test_a_size_that_is_none(size: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="size must"):
        read_images(tmp_path, size=size)
    with pytest.raises(InvalidParameter, match="color must be one of"):
        read_images(tmp_path, color="sepia")


# --- bad files --------------------------------------------------------------------------------------------------------


def saved(name: str, folder: Path, **options: Any) -> bytes:
    Image.fromarray(smooth(60, 50)).save(folder / name, **options)
    return (folder / name).read_bytes()


def claims(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def several(folder: Path) -> bytes:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[::-1])
    first.save(folder / "several.tiff", save_all=True, append_images=[second])
    return (folder / "several.tiff").read_bytes()


def floats(folder: Path) -> bytes:
    Image.fromarray(GREY.astype(np.float32)).save(folder / "floats.tiff")
    return (folder / "floats.tiff").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("a.png", lambda d: saved("s.png", d)[:400], FileUnreadable, "is damaged"),
        ("a.jpg", lambda d: saved("s.jpg", d)[:700], FileUnreadable, "is damaged"),
        ("a.bmp", lambda d: saved("s.bmp", d)[:700], FileUnreadable, "is damaged"),
        ("a.png", lambda d: b"", FileUnreadable, r"is empty \(0 bytes\)"),
        ("a.png", lambda d: b"width,height\n3,4\n", FileUnreadable, "is no image that can be read"),
        (
            "a.png",
            lambda d: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            FileUnreadable,
            "is no image that can be read",
        ),
        ("a.png", lambda d: claims(60_000, 60_000), DataError, "larger than .* pixels"),
        ("a.png", lambda d: claims(6_000, 6_000), DataError, "larger than .* pixels"),
        ("a.png", lambda d: claims(40, 40), FileUnreadable, "is damaged"),
        ("a.tiff", several, DataError, "holds several images"),
        ("a.tiff", floats, DataError, "32-bit pixels"),
        ("a.npy", lambda d: b"\x93NUMPY", FileUnreadable, "no array file, or damaged"),
        ("a.npz", lambda d: b"PK\x03\x04", FileUnreadable, "no array file, or damaged"),
    ],
    ids=range(13),
)
def test_a_bad_file_is_one_sentence_that_names_it(
    name: str, content: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    folder, other = tmp_path / "images", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (folder / name).write_bytes(content(other))
    Image.fromarray(GREY).save(folder / "good.png")
    with pytest.raises(error, match=words) as caught:
        read_images(folder / name if name.endswith(("npy", "npz")) else folder, color="color")
    said = str(caught.value)
    assert str(folder / name) in said
    assert "\n" not in said
    assert len(said) < 500


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=f"'{tmp_path}' has no images in it"):
        read_images(tmp_path)
    with pytest.raises(DataError, match="There is no file or folder"):
        read_images(tmp_path / "absent")


def test_what_the_machine_refuses_is_no_mistake_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GREY).save(tmp_path / "1.png")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(EnvironmentFailure, match=r"1\.png' could not be read: Permission denied"):
            read_images(tmp_path)

    def exhaust(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", exhaust)
    with pytest.raises(EnvironmentFailure, match="not enough memory"):
        read_images(tmp_path)


def test_altered_files_give_pixels_or_one_error(tmp_path: Path) -> None:
    refused = 0
    for name in ("s.png", "s.jpg", "s.bmp", "s.tiff", "s.gif", "s.webp"):
        original = saved(name, tmp_path)
        (tmp_path / name).unlink()
        for number in range(30):
            draw = np.random.default_rng([7, number])
            altered = bytearray(original)
            for at in draw.integers(min(len(altered), [60, len(altered)][number % 2]), size=3):
                altered[at] = draw.integers(256)
            path = tmp_path / f"altered-{name}"
            path.write_bytes(altered[: len(altered) - int(draw.integers(0, 200)) * (number % 3 == 0)])
            said = ""
            try:
                assert read_images(path, color="color", size=8).pixels.shape == (1, 3, 8, 8)
            except DataError as error:
                said = str(error)
            refused += bool(said)
            assert len(said) < 500
            assert "\n" not in said
            path.unlink()
    assert refused > 30


# --- array files ------------------------------------------------------------------------------------------------------


def test_array_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COLOR[None])
    assert np.array_equal(read_images(tmp_path / "a.npy").pixels, COLOR.transpose(2, 0, 1)[None])
    np.savez_compressed(tmp_path / "b.npz", x=GREY[None] / 255, labels=np.arange(3), table=np.zeros((4, 4)))
    images = read_images(str(tmp_path / "b.npz"))
    assert np.array_equal(images.pixels, GREY[None, None])
    assert images.names == ("0",)
    assert read_images(tmp_path / "b.npz", size=(6, 5), color="color").pixels.shape == (1, 3, 6, 5)
    np.savez(tmp_path / "c.npz", x_train=GREY[None], x_test=GREY[None])
    with pytest.raises(DataError, match=r"several arrays of images \(x_train, x_test\)"):
        read_images(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", y=np.arange(3))
    with pytest.raises(DataError, match="no array of three or four axes"):
        read_images(tmp_path / "d.npz")
    np.save(tmp_path / "e.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileUnreadable, match=r"e\.npy' is no array file"):
        read_images(tmp_path / "e.npy")
    np.save(tmp_path / "f.npy", GREY[None].astype(np.int64))
    with pytest.raises(DataError, match=r"f\.npy' cannot be used\. Pixels must be uint8.*int64"):
        read_images(tmp_path / "f.npy")


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_layouts_and_types_of_arrays() -> None:
    color, grey = COLOR[None].repeat(2, axis=0), GREY[None].repeat(2, axis=0)
    first = np.ascontiguousarray(color.transpose(0, 3, 1, 2))
    for X, expected in ((color, first), (first, first), (grey, grey[:, None]), (grey[..., None], grey[:, None])):
        assert is_images(X)
        for form in (X, torch.from_numpy(X), np.asfortranarray(X)):
            assert np.array_equal(as_pixels(form), expected)
        for kind in (np.float16, np.float32, np.float64):
            found = as_pixels((X / 255).astype(kind))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected / 255, atol=1e-3)
    both = np.zeros((5, 3, 8, 3), np.uint8)
    assert as_pixels(both).shape == (5, 3, 8, 3), "channels first where both fit"
    assert as_pixels(both, (3, 3, 8)).shape == (5, 3, 3, 8), "but for what training saw"
    assert not any(map(is_images, (GREY, GREY.tolist(), [color], "path", None)))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (GREY[None].astype(np.int64), "must be uint8, or floats within.*int64.*astype"),
        (GREY[None].astype(np.uint16), "must be uint8.*65535"),
        (GREY[None] > 9, "must be uint8.*bool"),
        (np.stack([GREY / 255, GREY / 254]), r"within \[0, 1\]; image 1 \(counted from 0\) holds 1\.00394"),
        (np.full((1, 4, 4), np.nan), "image 0 .* holds nan"),
        (np.full((1, 4, 4), -0.1), "holds -0.1"),
        (np.zeros((2, 5, 6, 7), np.uint8), "is no set of images"),
        (np.zeros((0, 4, 4), np.uint8), "no pixels"),
        (np.zeros((2, 0, 4), np.uint8), "no pixels"),
        (np.ma.masked_array(GREY[None], GREY[None] > 9), "masked"),
        (np.broadcast_to(np.uint8(0), (1, 9_000, 9_000)), "at most 67,108,864 values"),
    ],
    ids=range(11),
)
def test_arrays_that_are_no_images(X: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_pixels(X)


def test_images_can_be_picked() -> None:
    images = offnormal.Images(np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2), tuple("abcde"))
    for rows, names in ((slice(1, 3), "bc"), (3, "d"), (-1, "e"), ([4, 0], "ea"), (np.arange(5) % 2 == 1, "bd")):
        picked = images[rows]
        assert picked.names == tuple(names)
        assert picked.pixels[:, 0, 0, 0].tolist() == [4 * "abcde".index(name) for name in names]
    assert len(images) == 5
    for pixels, names in ((images.pixels[0], ()), (images.pixels / 255, ()), (images.pixels, ("a",))):
        with pytest.raises(DataError):
            Images(pixels, names)


# --- what training saw ------------------------------------------------------------------------------------------------


def test_the_schema_takes_what_fits_and_says_what_does_not() -> None:
    pixels = np.stack([COLOR, COLOR[::-1]]).transpose(0, 3, 1, 2)
    schema = ImageSchema.of(pixels)
    assert (schema.shape, schema.n_features) == ((3, 12, 10), 360)
    larger = Images(np.ascontiguousarray(pixels).repeat(2, axis=2))
    assert np.array_equal(schema.encode(larger), resized(larger.pixels, (12, 10)))
    for X, words in (
        (larger.pixels, r"fitted to images of 3 channels, 12×10 \(height × width\); got an array of .* 24×10"),
        (Images(pixels[:, :1]), "got images of 1 channel, 12×10.*color='color'"),
        (GREY, "got a table"),
    ):  # fmt: skip
        with pytest.raises(SchemaMismatch, match=words):
            schema.encode(X)
    values = DRAW.random((2, 3, 12, 10)).astype(np.float32)
    assert schema.like(pixels, values).shape == (2, 3, 12, 10)
    assert np.array_equal(schema.like(np.zeros((2, 12, 10, 3)), values), values.transpose(0, 2, 3, 1))
    assert ImageSchema((1, 12, 10)).like(np.zeros((2, 12, 10)), values[:, :1]).shape == (2, 12, 10)


def test_the_schema_in_a_model_file() -> None:
    schema = ImageSchema((3, 12, 10))
    assert ImageSchema.from_json(schema.to_json()) == schema
    for shape in (None, [], [3, 12], [3, 12, 10, 1], [2, 9, 9], [3, 0, 9], [3, -1, 9], [3, 9.0, 9], [1, True, 9],
                  [3, 10**9, 10**9], ["3", 9, 9], {"c": 3}):  # fmt: skip
        with pytest.raises(ModelFileError, match="image shape is not one"):
            ImageSchema.from_json({"image_shape": shape})
    for document in (None, [], {"image_shape": [3, 12, 10], "columns": []}):
        with pytest.raises(ModelFileError):
            ImageSchema.from_json(document)


# --- files left out, and files read when asked for --------------------------------------------------------------------


def test_bad_files_are_left_out_when_asked(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(np.roll(GREY, number, axis=0)).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "03.png").write_bytes(b"")
    (tmp_path / "05.png").write_bytes((tmp_path / "05.png").read_bytes()[:70])
    Image.fromarray(COLOR).save(tmp_path / "07.png")
    with pytest.warns(
        UserWarning, match=r"3 of 12 images .* are left out.*03\.png' is empty.*05\.png.*07\.png' is in color"
    ):
        images = read_images(tmp_path, on_error="skip")
    kept = [number for number in range(12) if number not in (3, 5, 7)]
    assert images.names == tuple(f"{number:02d}.png" for number in kept)
    assert np.array_equal(images.pixels[:, 0], [np.roll(GREY, number, axis=0) for number in kept])
    Image.fromarray(COLOR).save(tmp_path / "08.png")
    with pytest.raises(DataError, match="is in color"):  # two of ten are no oversight
        read_images(tmp_path, on_error="skip")
    with pytest.raises(InvalidParameter, match="on_error must be"):
        read_images(tmp_path, on_error="ignore")
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(FileUnreadable, match=r"None of the 12 images can be used\. The first: .*00\.png' is empty"):
        read_images(tmp_path, on_error="skip")


def test_files_to_score_give_what_reading_them_all_gives(tmp_path: Path) -> None:
    Image.fromarray(smooth(16, 12)).save(tmp_path / "0.png")
    Image.fromarray(smooth(40, 30)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("no image")
    Image.fromarray(GREY).save(tmp_path / "3.png")
    with pytest.warns(UserWarning, match="left out"):
        expected = read_images(tmp_path, size=(16, 12), color="color", on_error="skip")
    files = FilesToScore(plain(tmp_path).every, (3, 16, 12))
    places, images = files.usable(slice(None))
    assert images is not None
    assert places.tolist() == [0, 1, 3]
    assert np.array_equal(images.pixels, expected.pixels)
    assert images.names == expected.names
    assert np.array_equal(files[[3, 1]].pixels, expected.pixels[[2, 1]])
    assert (files.resized, files.recolored, files.sizes) == ({1, 3}, {3}, {0: (16, 12), 1: (40, 30), 3: (12, 10)})
    assert files.unusable[2].name == "2.png"
    with pytest.raises(FileUnreadable, match=r"2\.png"):
        files[2]
    assert files.usable([2])[1] is None
    with pytest.raises(FileUnreadable, match=r"2\.png"):
        FilesToScore(plain(tmp_path).every, (3, 16, 12), "raise").usable(slice(None))


def test_masks_mark_what_is_not_black(tmp_path: Path) -> None:
    marked = GREY > 200
    for name, image in {
        "bits.png": Image.fromarray(marked),
        "ones.png": Image.fromarray(marked.astype(np.uint8)),
        "deep.png": Image.fromarray(marked.astype(np.uint16)),
        "red.png": Image.fromarray(np.dstack([marked * np.uint8(255), 0 * GREY, 0 * GREY])),
        "clear.png": Image.fromarray(np.dstack([marked * np.uint8(9)] * 3 + [np.full_like(GREY, 255)])),
    }.items():
        image.save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), marked), name
    block = np.kron(marked[:6, :5], np.ones((16, 16), bool))
    Image.fromarray(block * np.uint8(255)).save(tmp_path / "lossy.jpg", quality=60)
    assert np.array_equal(read_mask(tmp_path / "lossy.jpg"), block)
