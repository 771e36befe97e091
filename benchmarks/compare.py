"""Updates and generation against transformers and peft on torch, side by side in one run.

    python -m benchmarks.compare --model=FOLDER [--only=lora,kl,full,eight,generation]

FOLDER is SmolLM2-135M-Instruct in Hugging Face layout (`sublax export --from=... --to=FOLDER`).
Needs the extra `peer`. Run it on a machine that does nothing else.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.machine import best_rate, describe, has_bfloat16
from benchmarks.timing import Call, Row, compare, table, use_huge_pages
from benchmarks.workload import number_prompts, number_rows, teacher_hidden
from sublax.planning.model_flops import generation_flops, update_flops

OURS, PEER = "benchmarks.sublax_side:", "benchmarks.peft_peer:"
ANSWER = "[0-9]{1,3}(?:, [0-9]{1,3}){4}"


def main() -> None:
    """Prints a table of all workloads asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", default="lora,kl,kl_grammar,full,eight,generation")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    use_huge_pages()
    print(describe(), flush=True)
    rate = best_rate()
    print(f"matmul rate: {rate / 1e9:.0f} GFLOP/s", flush=True)
    if not has_bfloat16():
        print("this CPU has no bfloat16 instructions, so that column is left out", flush=True)
    rows: list[Row] = []
    for name in args.only.split(","):
        rows.append(_WORKLOADS[name](args.model, args.repeats))
        # Each as soon as it is there: all of them take half an hour.
        print(table(rows, rate), end="\n\n", flush=True)


def _update(folder: str, repeats: int, name: str, kl: bool = False, grammar: bool = False) -> Row:
    from sublax.models.hf_config import read_config
    from sublax.models.lora import LoraConfig

    config, rows = read_config(folder), number_rows(folder, 16, 59, 21)
    hidden = teacher_hidden(rows, config.hidden_size) if kl else None
    columns = number_grammar(folder).tokens_A.tolist() if grammar else None
    shared = {"folder": folder, "teacher_hidden_BxCxD": hidden, "columns": columns}
    flops = update_flops(
        config,
        16,
        59,
        21,
        rows.prefix,
        LoraConfig(8, 16.0),
        None if columns is None else len(columns),
        kl,
    )
    return compare(
        name,
        Call(OURS + "student_updates", {**shared, "batches": [rows]}),
        Call(PEER + "lora_update", {**shared, "rows": rows}),
        _in_bfloat16("lora_update", {**shared, "rows": rows}),
        flops,
        repeats,
    )


def _in_bfloat16(function: str, arguments: Mapping[str, Any]) -> Call | None:
    """The peer in bfloat16, where the CPU has instructions for it."""
    if not has_bfloat16():
        return None
    return Call(PEER + function, {**arguments, "dtype": "bfloat16"})


def _full(folder: str, repeats: int) -> Row:
    from sublax.models.hf_config import read_config

    rows = number_rows(folder, 16, 31, 2)
    arguments = {"folder": folder, "rows": rows}
    return compare(
        "full fine-tuning, 16 x 31",
        Call(OURS + "full_update", arguments),
        Call(PEER + "full_update", arguments),
        _in_bfloat16("full_update", arguments),
        update_flops(read_config(folder), 16, 31, 2, rows.prefix),
        repeats,
    )


def _eight(folder: str, repeats: int) -> Row:
    from sublax.models.hf_config import read_config
    from sublax.models.lora import LoraConfig

    batches = [number_rows(folder, 16, 59, 21, seed) for seed in range(8)]
    arguments = {"folder": folder, "batches": batches}
    flops = 8 * update_flops(
        read_config(folder), 16, 59, 21, batches[0].prefix, LoraConfig(8, 16.0)
    )
    return compare(
        "eight students, LoRA, 16 x 59 each",
        Call(OURS + "student_updates", arguments),
        Call(PEER + "student_updates", arguments),
        flops=flops,
        repeats=repeats,
    )


def _generation(folder: str, repeats: int) -> Row:
    from sublax.models.hf_config import read_config

    grammar, prompts = number_grammar(folder), number_prompts(folder, 64)
    arguments = {
        "folder": folder,
        "prompts": prompts,
        "answers": 4,
        "tokens_A": grammar.tokens_A,
        "next_state_SxA": grammar.next_state_SxA,
        "start": grammar.start,
        "stop_token": int(stop_token(folder)),
        "max_new_tokens": 24,
    }
    flops = generation_flops(
        read_config(folder),
        [len(prompt) for prompt in prompts],
        4,
        22,
        columns=len(grammar.tokens_A),
    )
    return compare(
        "constrained generation, 64 prompts x 4",
        Call(OURS + "generation", arguments),
        Call(PEER + "generation", arguments),
        flops=flops,
        repeats=repeats,
    )


@functools.cache
def number_grammar(folder: str):
    """The grammar of five numbers over the model's tokens, as NumPy arrays."""
    from transformers import AutoTokenizer

    from sublax.sampling.grammar import compile_grammar

    grammar = compile_grammar(ANSWER, AutoTokenizer.from_pretrained(folder), [stop_token(folder)])
    return dataclasses.replace(
        grammar,
        tokens_A=np.asarray(grammar.tokens_A),
        next_state_SxA=np.asarray(grammar.next_state_SxA),
    )


@functools.cache
def stop_token(folder: str) -> int:
    """The token that ends an answer."""
    from transformers import AutoTokenizer

    from sublax.models.chat import end_of_turn_id

    return end_of_turn_id(AutoTokenizer.from_pretrained(folder))


_WORKLOADS: dict[str, Callable[..., Row]] = {
    "lora": functools.partial(_update, name="LoRA cross-entropy, 16 x 59"),
    "kl": functools.partial(_update, name="LoRA KL, whole vocabulary, 16 x 59", kl=True),
    "kl_grammar": functools.partial(
        _update, name="LoRA KL, grammar's tokens, 16 x 59", kl=True, grammar=True
    ),
    "full": _full,
    "eight": _eight,
    "generation": _generation,
}


if __name__ == "__main__":
    main()
