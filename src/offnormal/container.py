"""One file for models and checkpoints: a zip of `manifest.json` and `tensors.safetensors`. Nothing in it is run.

Both members are stored, not compressed, so that no size in the file can be larger than the file. The manifest holds the
sha256 of the tensors. Reading believes nothing: every size is held against the bytes that are there before memory is
taken for it, and whatever is wrong is one `ModelFileError` in words.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from offnormal.errors import EnvironmentFailure, ModelFileError

FORMAT_VERSION = 1
MANIFEST, TENSORS = "manifest.json", "tensors.safetensors"
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_MANIFEST_DEPTH = 64
MAX_MANIFEST_VALUES = 4_000_000
MAX_TENSOR_HEADER_BYTES = 16 * 2**20

Array = np.ndarray[Any, Any]

_DTYPES = {"F64": "float64", "F32": "float32", "I64": "int64", "I32": "int32", "U8": "uint8", "BOOL": "bool"}
_END_OF_ZIP = struct.Struct("<4s4H2LH")  # signature, disk, disk, entries here, entries, directory size, offset, comment
_USER_MISTAKES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


def write(path: str | Path, manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write one file, under a temporary name in the same folder first; an older file stays whole until it is replaced.

    The same manifest and tensors give the same bytes.

    Parameters
    ----------
    path : str or Path
    manifest : mapping
        JSON values; `format_version` and `tensors_sha256` are added.
    tensors : mapping of array
        float64, float32, int64, int32, uint8 or bool.

    Raises
    ------
    ModelFileError
        If the content is not what such a file can hold, or `path` cannot be a file.
    EnvironmentFailure
        If the disk is full or the place may not be written.
    """
    packed = _pack_tensors(tensors)
    entries = dict(manifest) | {"format_version": FORMAT_VERSION, "tensors_sha256": hashlib.sha256(packed).hexdigest()}
    try:
        text = json.dumps(entries, ensure_ascii=False, allow_nan=False).encode()
        _parse_json(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"The manifest of a model file must be finite JSON of moderate size: {error}.") from error
    with _replacing(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, content in ((MANIFEST, text), (TENSORS, packed)):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a file back.

    Returns
    -------
    manifest : dict
        With `format_version` and `tensors_sha256`.
    tensors : dict of array
        Writable, by name.

    Raises
    ------
    ModelFileError
        If there is no such file, or it is truncated, altered, foreign or of an unknown version.
    EnvironmentFailure
        If the place may not be read, or memory is short.
    """
    with _reading(path) as archive:
        manifest = _read_manifest(archive, path)
        packed = archive.read(TENSORS)
        if hashlib.sha256(packed).hexdigest() != manifest.get("tensors_sha256"):
            raise _DamageError("its tensors do not have the checksum that the manifest names")
        return manifest, _unpack_tensors(packed)


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read the manifest alone; the tensors are not looked at. Raises as `read`."""
    with _reading(path) as archive:
        return _read_manifest(archive, path)


class _DamageError(Exception):
    """What is wrong with a file, as the end of the sentence "The file … is damaged or altered: …"."""


# --- reading ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive and turn whatever goes wrong inside the block into one error in words."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would block, a device would never end
            raise ModelFileError(f"{path} is not a file. Give the file that `offnormal fit -o` wrote.")
        with Path(path).open("rb") as file:
            _check_layout(file, path)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive, file)
                yield archive
    except ModelFileError:
        raise
    except _DamageError as damage:
        _refuse(path, str(damage), damage)
    except MemoryError as error:
        raise EnvironmentFailure(f"There is not enough memory to read {path}. Close other programs.") from error
    except OSError as error:
        if error.errno in _USER_MISTAKES:
            raise ModelFileError(f"{path} cannot be read: {_reason(error)}. Check the path.") from error
        raise EnvironmentFailure(f"{path} could not be read: {_reason(error)}.") from error
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, KeyError, struct.error, OverflowError) as error:
        _refuse(path, "its parts do not fit together, or not their checksums", error)


def _refuse(path: str | Path, what: str, cause: BaseException) -> NoReturn:
    raise ModelFileError(
        f"The file {path} is damaged or altered: {what.rstrip('.')}. Get the file again, or train again."
    ) from cause


def _check_layout(file: BinaryIO, path: str | Path) -> None:
    """Look at the first and last bytes: a zip of two entries and no comment, before the library sees it."""
    size = os.fstat(file.fileno()).st_size
    if size < 4 or file.read(4) != b"PK\x03\x04":
        raise ModelFileError(f"{path} is not a model file or checkpoint of offnormal. Give one that `offnormal` wrote.")
    file.seek(max(size - 2 * _END_OF_ZIP.size, 0))
    tail = file.read()
    end = tail[-_END_OF_ZIP.size :]
    file.seek(0)
    if len(end) < _END_OF_ZIP.size or not end.startswith(b"PK\x05\x06"):
        raise _DamageError("it ends too early")
    _, disk, start_disk, here, entries, directory, offset, comment = _END_OF_ZIP.unpack(end)
    zip64 = b"PK\x06\x07" in tail  # would let the library take other counts and sizes than these
    if entries != 2 or here != 2 or disk or start_disk or comment or zip64:
        raise _DamageError(f"it should hold {MANIFEST} and {TENSORS} and nothing else")
    if offset + directory + _END_OF_ZIP.size != size or directory > 1024:
        raise _DamageError("it has bytes that belong to no part of it, or lacks some")


def _check_members(archive: zipfile.ZipFile, file: BinaryIO) -> None:
    size = os.fstat(file.fileno()).st_size
    members = archive.infolist()
    if [member.filename for member in members] != [MANIFEST, TENSORS]:
        raise _DamageError(f"it should hold {MANIFEST} and {TENSORS} and nothing else")
    for member in members:
        if member.flag_bits & 0x1:
            raise _DamageError("it is encrypted")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise _DamageError("its parts are compressed, which model files never are")
        if member.file_size > size:
            raise _DamageError(f"{member.filename} is said to be larger than the file")
    if members[0].header_offset != 0 or sum(member.file_size for member in members) > size:
        raise _DamageError("its parts overlap")
    if members[0].file_size > MAX_MANIFEST_BYTES:
        raise _DamageError(f"its manifest is larger than {MAX_MANIFEST_BYTES:,} bytes")


def _read_manifest(archive: zipfile.ZipFile, path: str | Path) -> dict[str, Any]:
    try:
        manifest = _parse_json(archive.read(MANIFEST))
    except RecursionError as error:
        raise _DamageError("its manifest is nested too deeply") from error
    except UnicodeError as error:
        raise _DamageError("its manifest is not UTF-8 text") from error
    except ValueError as error:
        raise _DamageError(f"its manifest cannot be read ({error})"[:200]) from error
    if not isinstance(manifest, dict):
        raise _DamageError("its manifest is not a JSON object")
    version = manifest.get("format_version")
    if type(version) is not int:
        raise _DamageError("its manifest names no format version")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} was written by a newer offnormal (format {str(version)[:20]}; this one reads {FORMAT_VERSION}). "
            "Upgrade offnormal, or train again with this version."
        )
    if version != FORMAT_VERSION:
        raise _DamageError(f"its format version {str(version)[:20]} never existed")
    return manifest


def _parse_json(content: bytes) -> Any:
    """Parse strict JSON: UTF-8, finite numbers, no name twice, of bounded depth and size; `ValueError` if it is not."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"larger than {MAX_MANIFEST_BYTES:,} bytes")
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_MANIFEST_VALUES:
        raise ValueError(f"more than {MAX_MANIFEST_VALUES:,} values")
    value = json.loads(
        content.decode(), object_pairs_hook=_unique, parse_constant=_not_finite, parse_float=_finite_float
    )
    level = [value]
    for _ in range(MAX_MANIFEST_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise RecursionError
    if b"\\u" in content:
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair cannot be shown or written again
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return entries


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a finite number")


def _finite_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text[:20])


# --- tensors ----------------------------------------------------------------------------------------------------------


def _pack_tensors(tensors: Mapping[str, Array]) -> bytes:
    for name, array in tensors.items():
        if array.dtype.name not in _DTYPES.values():
            raise ModelFileError(
                f"A model file holds tensors of {', '.join(_DTYPES.values())}; {name!r} is {array.dtype}. Convert it."
            )
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in tensors.items()})


def _unpack_tensors(packed: bytes) -> dict[str, Array]:
    _check_tensor_header(packed)
    try:
        arrays = safetensors.numpy.load(packed)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise _DamageError(f"its tensors cannot be read ({str(error)[:150]})") from error
    return {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}


def _check_tensor_header(packed: bytes) -> None:
    """Hold the header of the tensors against the bytes that follow it, before memory is taken for any of them."""
    length = int.from_bytes(packed[:8], "little")
    if len(packed) < 8 or length > min(len(packed) - 8, MAX_TENSOR_HEADER_BYTES):
        raise _DamageError("the header of its tensors is longer than it can be")
    try:
        header = _parse_json(packed[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _DamageError("the header of its tensors is not JSON") from error
    if not isinstance(header, dict):
        raise _DamageError("the header of its tensors is not a JSON object")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1] or ends[-1] != len(packed) - 8 - length:
        raise _DamageError("its tensors overlap, or leave bytes between them")


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where one tensor starts and ends, after its type, shape and size are found to agree."""
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        counts = [start, end, *shape]
        sound = dtype in _DTYPES and len(shape) <= 16 and all(type(n) is int and 0 <= n < 2**62 for n in counts)
        sound = sound and end - start == math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise _DamageError(f"the type, shape and size of the tensor {name[:80]!r} do not agree")
    return start, end


# --- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a new file beside `path` to write to, and put it in the place of `path` when all of it is on the disk."""
    temporary = None
    try:
        target = path.resolve()  # a link stays a link; what it points at is replaced
        if target.exists() and not target.is_file():
            raise ModelFileError(f"{path} is not a file and cannot be replaced by one. Give another path.")
        temporary = target.with_name(f".offnormal-{secrets.token_hex(8)}.tmp")
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        temporary = None
        _sync_folder(target.parent)
    except zipfile.LargeZipFile as error:
        raise ModelFileError("A model file holds up to 4 GiB, and this model is larger. Use smaller layers.") from error
    except OSError as error:
        if error.errno in _USER_MISTAKES:
            raise ModelFileError(f"{path} cannot be written: {_reason(error)}. Check the path.") from error
        kept = " The older file is unchanged." if os.path.lexists(path) else ""
        raise EnvironmentFailure(f"{path} could not be written: {_reason(error)}.{kept}") from error
    except (ValueError, RuntimeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} cannot be written: {error}. Check the path.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where the system knows how."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> str:
    """Say why the system refused: "no space left on device"."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
