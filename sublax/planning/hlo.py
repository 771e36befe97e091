"""The text of a compiled program, read: computations, instructions, sizes and loops' trips."""

import dataclasses
import math
import re
from collections.abc import Iterable

BITS = {"pred": 8, "token": 0}
_TYPE = re.compile(r"(pred|token|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_NAMES = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: `%name = type opcode(%operands), rest`."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    def called(self, key: str) -> str | None:
        """The computation that an attribute names, such as `calls`."""
        found = re.search(rf"\b{key}=%?([\w.\-]+)", self.rest)
        return found and found[1]


Computation = dict[str, Instruction]


def read(text: str) -> tuple[dict[str, Computation], str]:
    """All computations by their names, and the name of the one that is run."""
    computations: dict[str, Computation] = {}
    entry, name = "", None
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith((" ", "HloModule")):
            found = re.match(r"(ENTRY )?%?([\w.\-]+)", line)
            if found is not None:
                name = found[2]
                computations[name] = {}
                entry = name if found[1] else entry
        elif name is not None and (op := _parse(line)) is not None:
            computations[name][op.name] = op
    return computations, entry


def trips(computations, computation: Computation, op: Instruction) -> int | None:
    """How often a loop's body runs; None where the text does not say."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', op.rest)
    if known:
        return int(known[1])
    condition = computations[op.called("condition")]
    root = next(inner for inner in condition.values() if inner.is_root)
    if root.opcode != "compare" or "direction=LT" not in root.rest:
        return None
    index, end = (condition[name] for name in root.operands)
    place = re.search(r"index=(\d+)", index.rest)
    start = computation.get(op.operands[0])
    if end.opcode != "constant" or place is None or start is None or start.opcode != "tuple":
        return None
    first = _constant(computation, start.operands[int(place[1])])
    last = _constant(condition, end.name)
    if first is None or last is None:
        return None
    step = _step(computations[op.called("body")], int(place[1]))
    return max(math.ceil((last - first) / step), 0)


def _step(body: Computation, place: int) -> int:
    """What a loop's body adds to its counter: more than one where XLA has unrolled it."""
    root = next(inner for inner in body.values() if inner.is_root)
    op = body[root.operands[place]]
    while op.opcode in ("copy", "copy-done", "copy-start"):
        op = body[op.operands[0]]
    added = [_constant(body, name) for name in op.operands] if op.opcode == "add" else []
    return next((number for number in added if number), 1)


def _constant(computation: Computation, name: str) -> int | None:
    op = computation[name]
    if op.opcode in ("copy", "copy-done", "copy-start"):
        return _constant(computation, op.operands[0])
    found = re.match(r"-?\d+", op.rest) if op.opcode == "constant" else None
    return int(found[0]) if found else None


def _parse(line: str) -> Instruction | None:
    head = re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)
    if head is None:
        return None
    rest = line[head.end() :]
    shape = rest[: _closing(rest)] if rest.startswith("(") else rest.split(" ", 1)[0]
    rest = rest[len(shape) :].lstrip()
    opcode, _, rest = rest.partition("(")
    end = _closing("(" + rest) - 2
    inside, attributes = rest[:end], rest[end + 1 :]
    # A constant's value and a parameter's number stand where others have operands.
    if opcode in ("constant", "parameter"):
        return Instruction(head[2], shape, opcode, (), inside, bool(head[1]))
    operands = tuple(_NAMES.findall(inside))
    return Instruction(head[2], shape, opcode, operands, attributes, bool(head[1]))


def _closing(text: str) -> int:
    """Where the parenthesis that a text begins with has been closed."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place + 1
    return len(text)


def names_in(text: str) -> list[str]:
    """The computations or instructions that a list names."""
    return _NAMES.findall(text)


def partitions(text: str) -> int:
    """How many devices a program is for; of several slices, a TPU's is for one."""
    found = re.search(r"num_partitions=(\d+)", text.partition("\n")[0])
    return int(found[1]) if found else 1


def dims(shape: str) -> list[int]:
    """Sizes of a type's axes."""
    found = _TYPE.search(shape)
    return [int(size) for size in found[2].split(",") if size] if found else []


def bytes_of(shape: str, on_chip: bool = False, largest: bool = False) -> int:
    """Bytes of a type, of a tuple's leaves together.

    Args:
        shape: as in `bf16[64,128]{1,0:T(8,128)(2,1)}`.
        on_chip: whether what lies in memories on the chip counts, beside the main memory.
        largest: of a tuple's leaves, only the largest.
    """
    sizes = [0]
    for leaf in _TYPE.finditer(shape):
        if not on_chip and leaf[3] and re.search(r"S\([1-9]\d*\)", leaf[3]):
            continue
        bits = BITS.get(leaf[1])
        if bits is None:
            bits = int(re.sub(r"^\D*(\d+).*", r"\1", leaf[1]))  # f32, bf16, u4, f8e4m3fn
        axes: Iterable[str] = filter(None, leaf[2].split(","))
        sizes.append(math.prod(map(int, axes)) * bits // 8)
    return max(sizes) if largest else sum(sizes)


def numbers(text: str, key: str) -> list[int]:
    """The numbers that an attribute lists, such as `lhs_contracting_dims`."""
    found = re.search(rf"{key}=\{{([\d,]*)\}}", text)
    return [int(number) for number in found[1].split(",") if number] if found else []
