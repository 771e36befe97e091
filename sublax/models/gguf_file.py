"""What a GGUF file says of itself: its metadata and where its tensors lie.

`gguf.GGUFReader` trusts every length in the header (an array that claims 2^60 entries is read for
ever) and makes a NumPy view of each token, which takes seconds. Here every length is held against
the file's size before it is used.
"""

import dataclasses
import math
import os
import pathlib
import struct
from typing import Any, NoReturn

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType
from gguf.constants import GGUFValueType as Kind

from sublax.errors import UserError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS
_SCALARS = {
    Kind.UINT8: "<B",
    Kind.INT8: "<b",
    Kind.UINT16: "<H",
    Kind.INT16: "<h",
    Kind.UINT32: "<I",
    Kind.INT32: "<i",
    Kind.FLOAT32: "<f",
    Kind.BOOL: "<?",
    Kind.UINT64: "<Q",
    Kind.INT64: "<q",
    Kind.FLOAT64: "<d",
}


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor as it lies in the file.

    Attributes:
        name: its name in the file.
        kind: how its numbers are encoded.
        shape: in NumPy's order, rows first (the file's order reversed).
        data: uint8 [rows, bytes a row], a view of the mapped file.
    """

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    data: np.ndarray


@dataclasses.dataclass(frozen=True)
class GGUFFile:
    """A GGUF file, mapped into memory and not read yet.

    Attributes:
        path: where it lies.
        metadata: key -> number, bool, string, or list of them.
        tensors: by name.
    """

    path: pathlib.Path
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def open_gguf(path: str | os.PathLike) -> GGUFFile:
    """Reads the header of a little-endian GGUF file of version 2 or 3 and maps the rest.

    Raises:
        UserError: no such file, not a GGUF, a damaged or truncated one, or one that says a thing
            twice.
    """
    path = pathlib.Path(path)
    try:
        data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: check the path") from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise UserError(f"{path}: cannot be read ({error}): fetch the file again") from error
    cursor = _Cursor(path, data.data)
    if bytes(cursor.take(len(_MAGIC))) != _MAGIC:
        cursor.fail("is not a GGUF file")
    version = cursor.scalar(Kind.UINT32)
    if version not in _VERSIONS:
        cursor.fail(f"is GGUF version {version}, and only little-endian 2 and 3 can be read")
    tensor_count, key_count = cursor.scalar(Kind.UINT64), cursor.scalar(Kind.UINT64)

    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.string()
        if key in metadata:
            cursor.fail(f"holds the key {key} twice")
        metadata[key] = cursor.value(key)
    headers = [_tensor_header(cursor) for _ in range(tensor_count)]

    alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        cursor.fail(f"has general.alignment {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for name, kind, shape, offset in headers:
        if name in tensors:
            cursor.fail(f"holds the tensor {name} twice")
        if kind not in GGML_QUANT_SIZES:
            cursor.fail(f"has {name} of the type {kind.name}, whose size nobody states")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            cursor.fail(
                f"has {name} with rows of {shape[-1]}, no multiple of {kind.name}'s {block}"
            )
        row_bytes = shape[-1] // block * block_bytes
        rows = math.prod(shape[:-1])
        first, last = start + offset, start + offset + rows * row_bytes
        if last > data.size:
            cursor.fail(f"ends at byte {data.size}, and {name} lies at {first} to {last}")
        tensors[name] = StoredTensor(name, kind, shape, data[first:last].reshape(rows, row_bytes))
    return GGUFFile(path, metadata, tensors)


def _tensor_header(cursor):
    name = cursor.string()
    dimensions = cursor.scalar(Kind.UINT32)
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        cursor.fail(f"gives the tensor {name} {dimensions} dimensions")
    shape = tuple(cursor.scalar(Kind.UINT64) for _ in range(dimensions))[::-1]
    if 0 in shape:
        cursor.fail(f"gives the tensor {name} the shape {shape}")
    number = cursor.scalar(Kind.UINT32)
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        cursor.fail(f"has {name} of the unknown tensor type {number}")
    return name, kind, shape, cursor.scalar(Kind.UINT64)


class _Cursor:
    """Reads one value after the other, and never past the end."""

    def __init__(self, path: pathlib.Path, data: memoryview):
        self.path, self.data, self.at = path, data, 0

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self.path}: {problem}: fetch the file again")

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            self.fail(f"ends within its header (byte {self.at} of {len(self.data)})")
        self.at += size
        return self.data[self.at - size : self.at]

    def scalar(self, kind: Kind) -> Any:
        layout = _SCALARS[kind]
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def string(self) -> str:
        try:
            return str(self.take(self.scalar(Kind.UINT64)), "utf-8")
        except UnicodeDecodeError:
            self.fail(f"has text that is not UTF-8 before byte {self.at}")

    def value(self, key: str) -> Any:
        kind = self._kind(key)
        if kind == Kind.STRING:
            return self.string()
        if kind != Kind.ARRAY:
            return self.scalar(kind)
        kind, count = self._kind(key), self.scalar(Kind.UINT64)
        if kind == Kind.STRING:
            return [self.string() for _ in range(count)]
        if kind == Kind.ARRAY:
            self.fail(f"has an array of arrays in {key}")
        layout = _SCALARS[kind]
        return np.frombuffer(self.take(count * struct.calcsize(layout)), layout).tolist()

    def _kind(self, key):
        number = self.scalar(Kind.UINT32)
        try:
            return Kind(number)
        except ValueError:
            self.fail(f"has a value of the unknown type {number} in {key}")
