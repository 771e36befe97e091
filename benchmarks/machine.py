"""What this machine can do: the rate of matrix products in jax and in torch.

    python -m benchmarks.machine

An update's limit is its FLOPs over the best rate measured here at the model's own shapes.
"""

import datetime
import importlib.metadata
import os
import pathlib
import platform

from benchmarks.timing import Call, Side, Unit, Work, alternate

# (rows, inner, columns): SmolLM2-135M's MLP and attention at 16 rows of 59 tokens, and a square
# large enough that only the arithmetic counts.
SHAPES = ((944, 576, 1536), (944, 1536, 576), (944, 576, 576), (2048, 2048, 2048))
MODEL_SHAPES = SHAPES[:3]

# Long enough a unit that a timer's and a dispatch's cost are nothing.
FLOPS_PER_UNIT = 2e10


def describe() -> str:
    """The day, the CPU and the versions, in one line."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    packages = ("jax", "jaxlib", "torch", "transformers", "peft")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    day = datetime.date.today().isoformat()
    cpus = len(os.sched_getaffinity(0))
    return f"{day}, {names[0]}, {cpus} CPUs, Python {platform.python_version()}, {versions}"


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for products in bfloat16; without them they are emulated."""
    flags = set(pathlib.Path("/proc/cpuinfo").read_text("utf-8").split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def jax_matmul(shape: tuple[int, int, int], dtype: str) -> Unit:
    """A `Build` of matrix products in jax; the amount is in FLOPs."""
    import jax
    import jax.numpy as jnp

    rows, inner, columns = shape
    left = jax.random.normal(jax.random.key(0), (rows, inner)).astype(dtype)
    right = jax.random.normal(jax.random.key(1), (inner, columns)).astype(dtype)
    product = jax.jit(jnp.matmul)
    count = _products(shape)

    def unit() -> Work:
        for _ in range(count):
            product(left, right).block_until_ready()
        return Work(count * _flops(shape))

    return unit


def torch_matmul(shape: tuple[int, int, int], dtype: str) -> Unit:
    """The same in torch."""
    import torch

    rows, inner, columns = shape
    left = torch.randn(rows, inner).to(getattr(torch, dtype))
    right = torch.randn(inner, columns).to(getattr(torch, dtype))
    count = _products(shape)

    def unit() -> Work:
        for _ in range(count):
            left @ right
        return Work(count * _flops(shape))

    return unit


def measure(
    shape: tuple[int, int, int], dtype: str = "float32", repeats: int = 5, threads: int = 2
) -> dict[str, Side]:
    """Sides "jax" and "torch" of one shape; their `rate` is in FLOPs a second."""
    arguments = {"shape": shape, "dtype": dtype}
    builds = {
        "jax": Call("benchmarks.machine:jax_matmul", arguments),
        "torch": Call("benchmarks.machine:torch_matmul", arguments),
    }
    return alternate(builds, repeats, threads)


def best_rate(threads: int = 2) -> float:
    """FLOPs a second: the best median in float32 of either library at the model's shapes."""
    return max(
        side.rate for shape in MODEL_SHAPES for side in measure(shape, threads=threads).values()
    )


def main() -> None:
    """Prints the rates of both libraries in float32 and bfloat16."""
    print(describe())
    print("\n| product | dtype | jax GFLOP/s | torch GFLOP/s |\n|---|---|---|---|")
    for shape in SHAPES:
        for dtype in ("float32", "bfloat16"):
            rates = {name: side.rate / 1e9 for name, side in measure(shape, dtype).items()}
            rows, inner, columns = shape
            product = f"[{rows}, {inner}] x [{inner}, {columns}]"
            print(f"| {product} | {dtype} | {rates['jax']:.0f} | {rates['torch']:.0f} |")


def _flops(shape: tuple[int, int, int]) -> float:
    rows, inner, columns = shape
    return 2.0 * rows * inner * columns


def _products(shape: tuple[int, int, int]) -> int:
    return max(1, round(FLOPS_PER_UNIT / _flops(shape)))


if __name__ == "__main__":
    main()
