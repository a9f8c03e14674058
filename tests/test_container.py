"""The container gives back what was written, survives failed writes, and answers hostile files with one clear error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import struct
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fuzzing import Content, mutations, pack
from offnormal import container
from offnormal.errors import EnvironmentFailure, ModelFileError

MANIFEST_VALUES = {
    "kind": "offnormal model",
    "threshold": {"value": 1.5, "rule": "mad:3", "details": {"k": 3.0, "rows": 100}},
    "schema": {"columns": [{"name": name, "kind": "numeric"} for name in "abc"]},
    "words": ["한글", "naïve", "", 'quote "', None, True, 1e-300, -(2**53)],
}
ARRAYS = {
    "weight": np.random.default_rng(0).normal(size=(20, 30)),
    "bias": np.zeros(30, np.float32),
    "index": np.arange(5),
    "small": np.arange(4, dtype=np.int32),
    "code": np.arange(3, dtype=np.uint8),
    "mask": np.array([True, False]),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 4)),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.offnormal"
    container.write(path, MANIFEST_VALUES, ARRAYS)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        container.read(path)
    return str(caught.value)


def rewrite(path: Path, manifest: Any = None, tensors: bytes | None = None, **entries: Any) -> Path:
    """Pack the file again with right checksums: with another manifest, other tensors, or some entries replaced."""
    content = Content.of(path.read_bytes())
    content.manifest = content.manifest | entries if manifest is None else manifest
    path.write_bytes(content.packed(tensors=tensors))
    return path


# --- what is written comes back ---------------------------------------------------------------------------------------


def test_what_was_written_comes_back_with_types_shapes_and_order(model: Path) -> None:
    manifest, tensors = container.read(model)
    assert list(manifest) == [*MANIFEST_VALUES, "format_version", "tensors_sha256"]
    assert {key: manifest[key] for key in MANIFEST_VALUES} == MANIFEST_VALUES
    assert set(tensors) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        assert tensors[name].flags.writeable
        np.testing.assert_array_equal(tensors[name], array)
    assert container.read_manifest(model) == manifest


@settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8),
        st.sampled_from(["float64", "float32", "int64", "int32", "uint8", "bool"]).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=5,
    ),
    manifest=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
                st.characters(codec="utf-8")
            ),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
            max_leaves=8,
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_any_content_makes_the_round_trip_to_the_bit(
    tmp_path: Path, manifest: dict[str, Any], tensors: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "any"
    tensors.pop("__metadata__", None)
    container.write(path, manifest, tensors)
    read_manifest, read_tensors = container.read(path)
    added = {"format_version", "tensors_sha256"}
    assert {k: v for k, v in read_manifest.items() if k not in added} == {
        k: v for k, v in manifest.items() if k not in added
    }
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read_tensors.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in tensors.items()
    }


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    container.write(tmp_path / "again", MANIFEST_VALUES, dict(reversed(ARRAYS.items())))
    assert (tmp_path / "again").read_bytes() == model.read_bytes()


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[::2, ::-1], lambda a: a.astype(">f8"), np.asfortranarray])
def test_arrays_of_any_memory_layout_are_written_by_value(tmp_path: Path, view: Any) -> None:
    array = view(np.arange(24.0).reshape(4, 6))
    container.write(tmp_path / "file", {}, {"x": array})
    np.testing.assert_array_equal(container.read(tmp_path / "file")[1]["x"], array)


def test_any_zip_and_safetensors_reader_can_open_the_file(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        assert archive.namelist() == ["manifest.json", "tensors.safetensors"]
        assert archive.testzip() is None
        packed = archive.read("tensors.safetensors")
        assert json.loads(archive.read("manifest.json"))["tensors_sha256"] == hashlib.sha256(packed).hexdigest()
    np.testing.assert_array_equal(safetensors.numpy.load(packed)["weight"], ARRAYS["weight"])


# --- what cannot be written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}, b"x", np.arange(3), "\ud800", {"a": [np.nan]}])
def test_a_manifest_that_is_not_finite_json_is_refused_before_anything_is_written(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(ModelFileError, match="finite JSON"):
        container.write(tmp_path / "file", {"value": bad}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ModelFileError):
        container.write(tmp_path / "file", {"value": deep}, {})
    with pytest.raises(ModelFileError, match="larger than"):
        container.write(tmp_path / "file", {"value": "x" * (64 * 2**20)}, {})


@pytest.mark.parametrize("dtype", ["float16", "complex128", "int16", "U3", "O"])
def test_a_tensor_of_another_type_is_refused_by_name(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ModelFileError, match="'odd' is"):
        container.write(tmp_path / "file", {}, {"odd": np.zeros(2, dtype)})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_behind(
    model: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    before = model.read_bytes()
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(EnvironmentFailure, match=os.strerror(code)[1:]) as caught:
        container.write(model, {}, {})
    assert "The older file is unchanged" in str(caught.value)
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_a_write_the_system_cuts_short_is_said_in_words(model: Path) -> None:
    before = model.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(EnvironmentFailure, match="file too large"):
            container.write(model, {}, {"x": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = model.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        container.write(model, {}, {})
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]


def test_places_that_cannot_be_a_file_are_the_users_mistake(tmp_path: Path, model: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "folder", model / "below", tmp_path / ("n" * 300), "a\0b", "/dev/null"):
        with pytest.raises(ModelFileError):
            container.write(path, {}, {})
        with pytest.raises(ModelFileError):
            container.read(path)
    assert not Path("/dev/null").is_file()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((ModelFileError, EnvironmentFailure)):
        container.write(tmp_path / "loop", {}, {})


def test_a_link_stays_a_link_and_rights_follow_the_umask(tmp_path: Path, model: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)
    container.write(link, {"new": 1}, {})
    assert link.is_symlink()
    assert container.read_manifest(model)["new"] == 1
    old = os.umask(0o027)
    try:
        container.write(tmp_path / "mine", {}, {})
    finally:
        os.umask(old)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o640


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_missing_file_a_pipe_and_a_foreign_file_are_told_apart(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refusal(tmp_path / "pipe")
    for content in (b"", b"PK", b"a,b\n1,2\n", b"\x80\x04K\x01.", bytes(1_000)):
        (tmp_path / "foreign").write_bytes(content)
        assert "is not a model file or checkpoint of offnormal" in refusal(tmp_path / "foreign")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_file_the_system_will_not_give_is_the_environments_failure(
    model: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(EnvironmentFailure, match=os.strerror(code)[1:]):
        container.read(model)


def test_every_truncation_is_refused(model: Path) -> None:
    data = model.read_bytes()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        model.write_bytes(data[:length])
        assert refusal(model)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (2, "newer offnormal (format 2; this one reads 1). Upgrade"),
        (10**30, "newer offnormal"),
        (0, "version 0 never existed. Get the file again, or train again"),
        ("1", "names no format version"),
        (True, "names no format version"),
        (1.0, "names no format version"),
        (None, "names no format version"),
    ],
)
def test_an_unknown_version_says_what_to_do(model: Path, version: Any, words: str) -> None:
    assert words in refusal(rewrite(model, format_version=version))
    with pytest.raises(ModelFileError):
        container.read_manifest(model)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": [-Infinity]}', "-Infinity is not a finite number"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "stands twice"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply"),
        (b'{"a": ' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "cannot be read"),
        (b'{"a": "\\ud800"}', "not UTF-8"),
        (b"[" + b"0," * 4_000_001 + b"0]", "more than 4,000,000 values"),
    ],
    ids=range(14),
)
def test_a_manifest_that_is_not_strict_json_is_refused(model: Path, text: bytes, words: str) -> None:
    model.write_bytes(Content.of(model.read_bytes()).packed(text=text))
    assert words in refusal(model)


def test_a_manifest_over_its_limit_is_refused_by_its_size_alone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.write_bytes(Content.of(model.read_bytes()).packed(text=b" " * (64 * 2**20 + 1)))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("was read"))
    assert "larger than 67,108,864 bytes" in refusal(model)


def test_a_wrong_checksum_of_the_tensors_is_refused_although_the_zip_is_sound(model: Path) -> None:
    members = Content.of(model.read_bytes()).members()
    model.write_bytes(pack([members[0], (members[1][0], members[1][1][:-1] + b"\x01")]))
    assert "checksum" in refusal(model)
    assert container.read_manifest(model)["kind"] == "offnormal model"


def header_of(entries: dict[str, Any], body: bytes, length: int | None = None) -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def entry(dtype: Any, shape: Any, start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "tensors",
    [
        b"",
        b"\x01",
        header_of({}, b"x"),
        header_of({"a": entry("F64", [1], 0, 8)}, bytes(8), length=2**63),
        header_of({"a": entry("F64", [1], 0, 8)}, bytes(8), length=10**9),
        header_of({"a": entry("F64", [10**9], 0, 8)}, bytes(8)),
        header_of({"a": entry("F64", [10**9], 0, 8 * 10**9)}, bytes(8)),
        header_of({"a": entry("F64", [2**61, 8], 0, 0)}, b""),  # the product wraps to 0 in 64 bits
        header_of({"a": entry("F64", [-1], 0, -8)}, bytes(8)),
        header_of({"a": entry("F64", [1], -8, 0)}, bytes(8)),
        header_of({"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 0, 8)}, bytes(8)),
        header_of({"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 4, 12)}, bytes(12)),
        header_of({"a": entry("F64", [1], 0, 8), "b": entry("F64", [1], 16, 24)}, bytes(24)),
        header_of({"a": entry("F16", [4], 0, 8)}, bytes(8)),
        header_of({"a": entry("BF16", [4], 0, 8)}, bytes(8)),
        header_of({"a": entry(["F64"], [1], 0, 8)}, bytes(8)),
        header_of({"a": entry("F64", "1", 0, 8)}, bytes(8)),
        header_of({"a": entry("F64", [True], 0, 8)}, bytes(8)),
        header_of({"a": entry("F64", [1] * 40, 0, 8)}, bytes(8)),
        header_of({"a": {"dtype": "F64"}}, bytes(8)),
        header_of({"a": 1}, bytes(8)),
        header_of({"__metadata__": {"a": "b"}}, b""),
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 40) + b'{"a": {"dtype": "F64"}, "a": {"b": 1}}  ',
    ],
    ids=range(25),
)
def test_tensors_whose_header_does_not_fit_their_bytes_are_refused_without_taking_memory(
    model: Path, tensors: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "tensor" in refusal(rewrite(model, tensors=tensors))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB; one header asks for 8 GB


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(model: Path, method: int) -> None:
    model.write_bytes(pack(Content.of(model.read_bytes()).members(), method))
    assert "compressed" in refusal(model)


@pytest.mark.parametrize(
    "names",
    [
        ["manifest.json"],
        ["manifest.json", "manifest.json"],
        ["tensors.safetensors", "manifest.json"],
        ["manifest.json", "tensors.safetensors", "extra"],
        ["manifest.json", "../../tensors.safetensors"],
        ["/manifest.json", "tensors.safetensors"],
        ["manifest.json", "..\\tensors.safetensors"],
    ],
    ids=str,
)
def test_members_other_than_the_two_are_refused_and_nothing_is_unpacked(model: Path, names: list[str]) -> None:
    content = dict(Content.of(model.read_bytes()).members())
    model.write_bytes(pack([(name, content.get(name.strip("./\\"), b"")) for name in names]))
    assert "and nothing else" in refusal(model)
    assert list(model.parent.iterdir()) == [model]


def test_encryption_and_a_second_directory_are_refused(model: Path) -> None:
    data = bytearray(model.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    model.write_bytes(bytes(data))
    assert "encrypted" in refusal(model)
    end = bytes(data[-22:])
    model.write_bytes(bytes(data[:-22]) + b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1) + end)
    assert "damaged or altered" in refusal(model)


def test_six_hundred_mutations_give_the_content_or_one_error_in_no_time_and_little_memory(
    model: Path, tmp_path: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = tmp_path / "mutated"
    folder.mkdir()
    outcome: Counter[str] = Counter()
    for path in mutations(model, folder, 600, seed=0):
        kind, start = path.stem[5:], time.perf_counter()
        try:
            manifest, tensors = container.read(path)
        except ModelFileError as error:
            outcome["refused" if str(path) in str(error) and len(str(error)) < 600 else "unclear"] += 1
        else:
            outcome["read"] += 1
            json.dumps(manifest, allow_nan=False, ensure_ascii=False).encode()
            # What passes is unchanged, or altered with valid hashes, which only the model's own reader can judge.
            if kind != "tensor_content":
                assert {name: a.tobytes() for name, a in tensors.items()} == {n: a.tobytes() for n, a in ARRAYS.items()}
            if not kind.startswith(("manifest", "threshold", "tensor_content")):
                assert {key: manifest[key] for key in MANIFEST_VALUES} == MANIFEST_VALUES
        assert time.perf_counter() - start < 5
    assert outcome["unclear"] == 0
    assert outcome["refused"] > 400
    assert outcome["read"] > 50
    assert list(folder.iterdir()) == []
    assert set(tmp_path.iterdir()) == {model, folder}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; the bombs hold 256 MiB
