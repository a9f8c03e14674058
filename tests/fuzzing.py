"""Damaged and hostile model files, for tests that a reader answers each with the same scores or one clear error.

Half are raw: bytes flipped, cut off, put in, swapped. Half know the format: the content is altered and packed again
with valid checksums and hashes. None alters a value into another one that is as sound (weights, categories), which no
reader could notice. A reader may take a file whose alteration does not matter (a date, a history).
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

MANIFEST, TENSORS = "manifest.json", "tensors.safetensors"
SIZES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}


def mutations(model_path: Path, tmp_dir: Path, count: int, seed: int) -> Iterator[Path]:
    """Yield `count` altered copies of a model file, one at a time; each is removed when the next is asked for.

    The name of a copy says what was done to it, e.g. "0017-manifest_value.offnormal". The same seed gives the same
    bytes.
    """
    original = model_path.read_bytes()
    content = Content.of(original)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        if number % 2:
            change = SEMANTIC[number // 2 % len(SEMANTIC)]
            altered = change(copy.deepcopy(content), random)
        else:
            change = RAW[number // 2 % len(RAW)]
            altered = change(original, random)
        path = tmp_dir / f"{number:04d}-{change.__name__}.offnormal"
        path.write_bytes(altered)
        yield path
        path.unlink(missing_ok=True)


# --- raw bytes --------------------------------------------------------------------------------------------------------


def flip_bits(data: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(data)
    for at in random.integers(len(out), size=random.integers(1, 9)):
        out[at] ^= 1 << int(random.integers(8))
    return bytes(out)


def flip_in_structure(data: bytes, random: np.random.Generator) -> bytes:
    """Hit the headers, where a byte means most: the first and last 300 bytes, and the start of the tensors."""
    out = bytearray(data)
    start = random.choice([0, max(len(data) - 300, 0), data.index(TENSORS.encode())])
    for at in start + random.integers(300, size=random.integers(1, 5)):
        out[min(int(at), len(out) - 1)] = int(random.integers(256))
    return bytes(out)


def cut_off(data: bytes, random: np.random.Generator) -> bytes:
    return data[: int(random.integers(len(data)))]


def cut_out(data: bytes, random: np.random.Generator) -> bytes:
    start, stop = sorted(int(at) for at in random.integers(len(data) + 1, size=2))
    return data[:start] + data[stop:]


def put_in(data: bytes, random: np.random.Generator) -> bytes:
    at = int(random.choice([0, len(data), random.integers(len(data))]))
    return data[:at] + random.bytes(int(random.integers(1, 200))) + data[at:]


def swap_blocks(data: bytes, random: np.random.Generator) -> bytes:
    a, b, c = sorted(int(at) for at in random.integers(len(data) + 1, size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat(data: bytes, random: np.random.Generator) -> bytes:
    return data * int(random.integers(2, 4))


RAW: list[Callable[[bytes, np.random.Generator], bytes]] = [
    flip_bits, flip_in_structure, cut_off, cut_out, put_in, swap_blocks, flip_bits, flip_in_structure, cut_off, repeat,
]  # fmt: skip


# --- content with valid checksums -------------------------------------------------------------------------------------


@dataclass
class Content:
    """What a model file holds, and how to pack it again: every checksum and hash is right, the content need not be."""

    manifest: Any
    header: dict[str, Any]
    body: bytes

    @classmethod
    def of(cls, data: bytes) -> Content:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            tensors = archive.read(TENSORS)
            length = struct.unpack("<Q", tensors[:8])[0]
            return cls(json.loads(archive.read(MANIFEST)), json.loads(tensors[8 : 8 + length]), tensors[8 + length :])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: array.copy() for name, array in safetensors.numpy.load(self.tensors()).items()}

    def tensors(self, length: int | None = None) -> bytes:
        header = json.dumps(self.header).encode()
        return struct.pack("<Q", len(header) if length is None else length) + header + self.body

    def members(self, tensors: bytes | None = None, text: bytes | None = None) -> list[tuple[str, bytes]]:
        tensors = self.tensors() if tensors is None else tensors
        if isinstance(self.manifest, dict):
            self.manifest["tensors_sha256"] = hashlib.sha256(tensors).hexdigest()
        return [(MANIFEST, json.dumps(self.manifest).encode() if text is None else text), (TENSORS, tensors)]

    def packed(self, tensors: bytes | None = None, text: bytes | None = None) -> bytes:
        return pack(self.members(tensors, text))


def pack(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.comment = comment
        for name, data in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            # Duplicate names are wanted here; zipfile would warn.
            archive.NameToInfo.pop(name, None)
            archive.writestr(info, data)
    return buffer.getvalue()


HOSTILE: list[Any] = [
    10**9, 2**63, -1, 0, -(10**18), float("nan"), float("inf"), -float("inf"), 1e308, 0.5, "", "x" * 10_000, "nan",
    "../../../../etc/passwd", "\ud800", "__class__", None, True, [], {}, [[]], [None] * 1_000, {"a": {"b": []}},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def some_place(manifest: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Return a container inside the manifest and a key of it, shallow places as often as deep ones."""
    every = [path for path in places(manifest) if path != ("tensors_sha256",)]
    depth = random.choice(sorted({len(path) for path in every}))
    of_depth = [path for path in every if len(path) == depth]
    path = of_depth[int(random.integers(len(of_depth)))]
    return at(manifest, path[:-1]), path[-1]


def manifest_value(content: Content, random: np.random.Generator) -> bytes:
    inside, key = some_place(content.manifest, random)
    inside[key] = HOSTILE[int(random.integers(len(HOSTILE)))]
    return content.packed()


def manifest_number(content: Content, random: np.random.Generator) -> bytes:
    """Replace a number by one that no model has."""
    numbers = [p for p in places(content.manifest) if type(at(content.manifest, p)) in (int, float)]
    path = numbers[int(random.integers(len(numbers)))]
    at(content.manifest, path[:-1])[path[-1]] = [10**9, float("nan"), float("inf"), -1, 2**80, "1"][random.integers(6)]
    return content.packed()


def threshold_value(content: Content, random: np.random.Generator) -> bytes:
    threshold = content.manifest.get("threshold")
    if isinstance(threshold, dict):
        threshold["value"] = [float("nan"), float("inf"), -float("inf"), "1", None, [1.0], 10**400][random.integers(7)]
        return content.packed()
    return manifest_number(content, random)


def manifest_key_missing(content: Content, random: np.random.Generator) -> bytes:
    inside, key = some_place(content.manifest, random)
    del inside[key]
    return content.packed()


def manifest_key_added(content: Content, random: np.random.Generator) -> bytes:
    inside, _ = some_place(content.manifest, random)
    if isinstance(inside, dict):
        inside["unknown"] = HOSTILE[int(random.integers(len(HOSTILE)))]
    else:
        inside.append(copy.deepcopy(inside[0]) if inside else 0)
    return content.packed()


def manifest_key_twice(content: Content, random: np.random.Generator) -> bytes:
    text = content.members()[0][1]
    key = list(content.manifest)[int(random.integers(len(content.manifest)))]
    return content.packed(text=text[:-1] + b", " + json.dumps(key).encode() + b": 1}")


def deep_nesting(content: Content, random: np.random.Generator) -> bytes:
    depth = int(random.choice([100, 900, 100_000, 1_000_000]))
    opening, closing = (b"[", b"]") if random.integers(2) else (b'{"a":', b"}")
    inner = opening * depth + b"1" + closing * depth
    text = content.members()[0][1]
    return content.packed(text=inner if random.integers(2) else text[:-1] + b', "deep": ' + inner + b"}")


def format_version(content: Content, random: np.random.Generator) -> bytes:
    content.manifest["format_version"] = [0, 2, 999, 10**30, "1", None, 1.0, True, -1, [1]][random.integers(10)]
    return content.packed()


def manifest_text(content: Content, random: np.random.Generator) -> bytes:
    texts = [
        b"", b"null", b"[]", b"{", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"1e999", b"\x00" * 100, b"9" * 5_000,
        b'{"format_version": 1}', b'{"format_version": 1, "a": "\\ud800"}', b"[" + b"1," * 100_000 + b"1]",
    ]  # fmt: skip
    return content.packed(text=texts[int(random.integers(len(texts)))])


def some_tensor(content: Content, random: np.random.Generator) -> str:
    names = sorted(content.header)
    return names[int(random.integers(len(names)))]


def tensor_header(content: Content, random: np.random.Generator) -> bytes:
    """Let the header claim what the bytes do not hold."""
    entry = content.header[some_tensor(content, random)]
    start, stop = entry["data_offsets"]
    claims: list[dict[str, Any]] = [
        {"shape": [10**9]}, {"shape": [10**9] * 8}, {"shape": [-1]}, {"shape": "x"}, {"shape": [2.5]},
        {"shape": [10**9], "data_offsets": [start, start + 8 * 10**9]}, {"data_offsets": [stop, start]},
        {"data_offsets": [-8, stop]}, {"data_offsets": [start, 2**64]}, {"data_offsets": [0, 0]}, {"data_offsets": []},
        {"dtype": "F8_E4M3"}, {"dtype": "O"}, {"dtype": 1}, {"dtype": None}, {"dtype": ["F32"]}, {"shape": [1] * 9_999},
        {"shape": [0, 2**62], "data_offsets": [start, start]}, {"data_offsets": [max(start - 8, 0), max(stop - 8, 0)]},
    ]  # fmt: skip
    entry.update(claims[int(random.integers(len(claims)))])
    return content.packed()


def tensor_header_length(content: Content, random: np.random.Generator) -> bytes:
    lengths = [0, 1, 2**63, 2**64 - 1, 10**9, len(content.tensors()), len(content.tensors()) - 8]
    tensors = content.tensors(lengths[int(random.integers(len(lengths)))])
    return content.packed(tensors=[tensors, tensors[:7], b""][random.choice(3, p=[0.8, 0.1, 0.1])])


def tensor_content(content: Content, random: np.random.Generator) -> bytes:
    """Change the shape or type of a tensor, spoil its numbers, leave it out, add one; the header is right about it."""
    arrays, name = content.arrays, some_tensor(content, random)
    array = arrays.pop(name)
    match int(random.integers(8)):
        case 0:
            arrays[name] = array.ravel() if array.ndim != 1 else array[:, None]
        case 1:
            arrays[name] = np.zeros((*array.shape, 2), array.dtype)
        case 2:
            with np.errstate(invalid="ignore"):
                arrays[name] = array.astype(np.int32 if array.dtype != np.int32 else np.float32)
        case 3 if array.dtype.kind == "f" and array.size:
            array.flat[int(random.integers(array.size))] = np.nan
            arrays[name] = array
        case 4 if array.dtype.kind == "f" and array.size:
            arrays[name] = np.full_like(array, np.inf)
        case 5:
            arrays[name], arrays["extra"] = array, np.zeros(3)
        case 6:
            arrays[name] = array[:0]
        case _:
            arrays[f"{name}_"] = array
    if not random.integers(6):
        arrays = {}
    return content.packed(tensors=safetensors.numpy.save(arrays))


@cache
def zeros_compressed(size: int) -> tuple[bytes, int]:
    """Return `size` zero bytes, deflated, and their checksum."""
    packer, block, crc, out = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(2**20), 0, b""
    for _ in range(size // len(block)):
        out, crc = out + packer.compress(block), zlib.crc32(block, crc)
    return out + packer.flush(), crc


def zip_bomb(content: Content, random: np.random.Generator) -> bytes:
    """Give a member of 256 MiB in a few hundred KiB, or let a small one claim 4 GiB."""
    members = content.members()
    if random.integers(2):
        squeezed, crc = zeros_compressed(256 * 2**20)
        name = [MANIFEST, TENSORS][int(random.integers(2))]
        return splice([(n, d if n != name else squeezed) for n, d in members], name, 8, crc, 256 * 2**20)
    name, data = members[int(random.integers(2))]
    return splice(members, name, int(random.choice([0, 8, 12, 14])), zlib.crc32(data), 2**32 - 2)


def splice(members: list[tuple[str, bytes]], name: str, method: int, crc: int, size: int) -> bytes:
    """Pack the members as they are, then let both headers of one claim a method, a checksum and a size."""
    out = bytearray(pack(members))
    for signature, at_method, at_crc, at_size in ((b"PK\x03\x04", 8, 14, 22), (b"PK\x01\x02", 10, 16, 24)):
        start = (
            out.index(name.encode(), out.index(signature)) if signature == b"PK\x03\x04" else out.rindex(name.encode())
        )
        header = out.rindex(signature, 0, start)
        out[header + at_method : header + at_method + 2] = struct.pack("<H", method)
        out[header + at_crc : header + at_crc + 4] = struct.pack("<L", crc)
        out[header + at_size : header + at_size + 4] = struct.pack("<L", size)
    return bytes(out)


def archive_members(content: Content, random: np.random.Generator) -> bytes:
    """Names that climb out, members too many, too few, twice, compressed, encrypted, in the wrong order."""
    manifest, tensors = content.members()
    lists = [
        [("../../manifest.json", manifest[1]), tensors], [manifest, ("/etc/tensors.safetensors", tensors[1])],
        [manifest, tensors, ("../../evil.py", b"raise SystemExit")], [manifest, tensors, tensors], [manifest, manifest],
        [tensors, manifest], [manifest], [tensors], [], [manifest, ("..\\tensors.safetensors", tensors[1])],
        [manifest, ("tensors.safetensors/", b"")], [manifest, ("Tensors.safetensors", tensors[1])],
    ]  # fmt: skip
    choice = int(random.integers(len(lists) + 5))
    if choice < len(lists):
        return pack(lists[choice])
    both = [manifest, tensors]
    match choice - len(lists):
        case 0:
            return pack(both, zipfile.ZIP_DEFLATED)
        case 1:
            return pack(both, zipfile.ZIP_LZMA)
        case 2:
            return pack(both, comment=b"PK\x05\x06" + bytes(30))
        case 3:
            return pack([*both, *((f"{i}", b"") for i in range(5_000))])
        case _:
            out = bytearray(pack(both))
            out[out.rindex(b"PK\x01\x02") + 8] |= 1  # encrypted
            return bytes(out)


def bytes_around(content: Content, random: np.random.Generator) -> bytes:
    packed = content.packed()
    head, tail = b"#!/bin/sh\nexit\n", b"PK\x06\x07" + struct.pack("<LQL", 0, 2**62, 1)
    return [head + packed, packed + head, packed[:-22] + tail + packed[-22:], packed[:-22] + head + packed[-22:]][
        int(random.integers(4))
    ]


SEMANTIC: list[Callable[[Content, np.random.Generator], bytes]] = [
    manifest_value, manifest_number, tensor_header, manifest_key_missing, tensor_content, archive_members,
    manifest_value, threshold_value, tensor_header_length, manifest_key_added, tensor_content, deep_nesting,
    manifest_value, format_version, zip_bomb, manifest_key_missing, tensor_content, manifest_text,
    manifest_key_twice, bytes_around,
]  # fmt: skip
