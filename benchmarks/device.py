"""An accelerator's updates and decoding, beside what its arithmetic and its memory would allow.

    python -m benchmarks.device --models=FOLDER,FOLDER [--rows=64] [--length=512] [--mesh=1,-1,1]
        [--peer]

Each FOLDER holds a model's config.json; weights are random, for speed does not depend on them, and
lie in bfloat16 (float32 on a CPU). For each model: tokens a second and device of a LoRA update, its
share of the peak rate (model FLOPs utilisation), decoding steps a second beside the bound that
reading weights and cache once a step sets, and the peak memory. Rates are the makers' published
ones; of a device that the table lacks only the measured figures are told. With `--peer` (the extra
`peer`) the same work is done in transformers and peft before, on one device: in a process that has
ended when jax starts, for each would keep the device's memory from the other.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peft_device import PeerFigures, measure
from sublax.keys import key_of, row_keys
from sublax.models.attention_backends import choose
from sublax.models.completions import make_rows
from sublax.models.config import DecoderConfig
from sublax.models.decoder import Decoder, init_params
from sublax.models.hf_config import read_config
from sublax.models.lora import LoraConfig, init_lora
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import fetch, place
from sublax.parallel.layout import Layout, pieces
from sublax.parallel.mesh import AXES, make_mesh
from sublax.planning.model_flops import update_flops
from sublax.planning.topology import CHIPS
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.training.data import Dataset, make_batch
from sublax.training.loop import in_program, rows_of, update_program
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.shardings import abstract_state, batch_sharding
from sublax.training.step import Frozen, Objective, init_state

PEAKS = {chip.kind: chip for chip in CHIPS.values()}
RULES = (
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("mlp", "tensor"),
    ("vocab", "tensor"),
)
LORA = LoraConfig(rank=8, alpha=16.0)
NEW_TOKENS = 65  # the first of them is the prefill's
REPEATS = 5


def main() -> None:
    """Prints a table, a row a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", required=True, help="folders with a config.json")
    parser.add_argument("--rows", type=int, default=64, help="of an update, and decoded at a time")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--mesh", default="1,-1,1", help="data, fsdp and tensor")
    parser.add_argument("--remat", default="dots", help="none, dots or full")
    parser.add_argument("--attention", default="auto", help="auto, xla, cudnn or splash")
    parser.add_argument("--peer", action="store_true", help="the same in transformers and peft")
    args = parser.parse_args()
    folders = args.models.split(",")
    peers: dict[str, PeerFigures] = {}
    if args.peer:
        peers = {name: measure(name, args.rows, args.length, NEW_TOKENS) for name in folders}
    sizes = dict(zip(AXES, map(int, args.mesh.split(",")), strict=True))
    layout = Layout(make_mesh(sizes), RULES)
    device = layout.mesh.devices.flat[0]
    print(f"{layout.mesh.size} x {device.device_kind}, jax {jax.__version__}, mesh {sizes}")
    print(
        "| model | update | tokens/s/device | of the peak | decoding steps/s | of the bound "
        "| peak memory |\n|---|---|---|---|---|---|---|"
    )
    for folder in folders:
        row, update, step = _row(folder, layout, args.rows, args.length, args.remat, args.attention)
        print(row, flush=True)
        if folder in peers:
            tokens = args.rows * args.length
            print(_peer_row(peers[folder], tokens, update, step), flush=True)


def _peer_row(peer: PeerFigures, tokens: int, update: float, step: float) -> str:
    """The peer's row, with its seconds as multiples of ours."""
    peak = f"{peer.peak / 2**30:.1f} GiB" if peer.peak else "?"
    slower = peer.update / update
    return (
        f"| transformers + peft on {peer.device} | {peer.update:.3f} s ({slower:.2f}x) "
        f"| {tokens / peer.update:.0f} | | {1 / peer.decode:.1f} ({peer.decode / step:.2f}x) | "
        f"| {peak} |"
    )


def _row(
    folder: str, layout: Layout, rows: int, length: int, remat: str, attention: str
) -> tuple[str, float, float]:
    """The table's row, and the seconds of an update and of a decoding step."""
    config = read_config(folder)
    dtype = jnp.float32 if layout.mesh.devices.flat[0].platform == "cpu" else jnp.bfloat16
    shardings = param_shardings(config, layout)
    make = jax.jit(
        lambda key: jax.tree.map(lambda leaf: leaf.astype(dtype), init_params(config, key)),
        out_shardings=shardings,
    )
    params = make(jax.random.key(0))
    chosen, _ = choose(attention, dtype, config, layout)
    objective = Objective(config, LORA, LossConfig(), dtype, remat, attention=chosen)
    update = _update_seconds(objective, params, layout, rows, length)
    decoder = Decoder(config, dtype=dtype, rows=rows_of(layout, 1), attention=chosen)
    step = _decode_seconds(decoder, params, rows, length)
    devices = layout.mesh.size
    flops = update_flops(config, rows, length, length // 2, 0, LORA)
    moved = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    moved += rows * (length + NEW_TOKENS / 2) * _cache_bytes(config, dtype)
    chip = PEAKS.get(layout.mesh.devices.flat[0].device_kind)
    of_peak = f"{flops / update / devices / chip.tflops / 1e12:.0%}" if chip else "?"
    bound = devices * chip.gigabytes * 1e9 / moved if chip else None
    of_bound = f"{1 / step / bound:.0%}" if bound else "?"
    stats = layout.mesh.devices.flat[0].memory_stats()
    peak = f"{stats['peak_bytes_in_use'] / 2**30:.1f} GiB" if stats else "?"
    row = (
        f"| {folder.rstrip('/').rpartition('/')[2]} ({chosen.name}) | {update:.3f} s | "
        f"{rows * length / update / devices:.0f} | {of_peak} | {1 / step:.1f} | {of_bound} "
        f"| {peak} |"
    )
    return row, update, step


def _update_seconds(objective: Objective, params, layout: Layout, rows, length) -> float:
    """Median seconds of a LoRA update with cross-entropy on half of each row."""
    config, rng = objective.config, np.random.default_rng(0)
    tokens = rng.integers(0, config.vocab_size, (rows, length)).tolist()
    encoded = [(row[: -(length // 2)], row[-(length // 2) :]) for row in tokens]
    objective = in_program(objective, layout, students=1)
    rule = OptimizerConfig()
    optimizer = make_optimizer(rule, 100)
    abstract = abstract_state(objective, optimizer, layout, 1)
    state: Any = init_state(optimizer, init_lora(config, LORA, jax.random.key(1)))
    state = jax.tree.map(
        lambda leaf, like: place(np.asarray(leaf)[None], like.sharding), state, abstract
    )
    dataset = Dataset(make_rows(encoded, config.max_positions, prefix=[]))
    batch = make_batch([dataset], [0], 0, rows, 1, pieces(objective.rows))
    batch = place(batch, batch_sharding(objective, layout, 1))
    program, frozen = update_program(objective, rule, 100, layout, 1), Frozen(params)
    spent = []
    for _ in range(REPEATS + 2):
        started = time.perf_counter()
        state, metrics = program(state, frozen, batch)
        jax.block_until_ready(state)
        spent.append(time.perf_counter() - started)
    assert np.isfinite(fetch(metrics["loss"])).all()
    return statistics.median(spent[2:])


def _decode_seconds(decoder: Decoder, params, rows, length) -> float:
    """Seconds of a decoding step: what 64 more tokens take, over 64."""
    rng = np.random.default_rng(1)
    prompts = rng.integers(0, decoder.config.vocab_size, (rows, length)).tolist()
    keys = row_keys(key_of(0, "device"), rows)

    def seconds(new_tokens: int) -> float:
        spent = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            # No token ends a row: all rows take all steps.
            sampling = Sampling(new_tokens)
            generate(decoder, {"params": params}, prompts, sampling, [-1], keys, batch_rows=rows)
            spent.append(time.perf_counter() - started)
        return statistics.median(spent[1:])

    return (seconds(NEW_TOKENS) - seconds(1)) / (NEW_TOKENS - 1)


def _cache_bytes(config: DecoderConfig, dtype) -> int:
    """Keys and values of one position in all layers."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(dtype).itemsize


if __name__ == "__main__":
    main()
