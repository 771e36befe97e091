"""The same work as `benchmarks.device` has, in transformers and peft on torch.

Weights are random and of the device's own dtype, attention is fused, the head runs only where there
is a loss, and no gradient is recomputed. It runs in a process of its own, for jax and torch would
each keep a device's memory from the other.
"""

import dataclasses
import multiprocessing
import statistics
import time

REPEATS = 5


@dataclasses.dataclass(frozen=True)
class PeerFigures:
    """What the peer needs.

    Attributes:
        device: as torch names it.
        update: seconds of a LoRA update, median.
        decode: seconds of a decoding step.
        peak: bytes of the device's memory, None where the device does not count them.
    """

    device: str
    update: float
    decode: float
    peak: int | None


def measure(folder: str, rows: int, length: int, new_tokens: int, seed: int = 0) -> PeerFigures:
    """Times the peer on the first CUDA device, or on the CPU where torch sees none.

    Args:
        folder: holds a config.json in Hugging Face's spelling.
        rows: of an update, and decoded at a time.
        length: tokens of a row and of a prompt; the second half of a row has a loss.
        new_tokens: decoded after a prompt; the first of them is the prefill's.
        seed: of weights and tokens.

    Raises:
        ImportError: torch, transformers or peft is missing (the extra `peer`).
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (folder, rows, length, new_tokens, seed))


def _measure(folder: str, rows: int, length: int, new_tokens: int, seed: int) -> PeerFigures:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    cuda = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(folder)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        tokens_BxT = torch.randint(0, config.vocab_size, (rows, length))
    decode = _decode_seconds(model.eval(), tokens_BxT, new_tokens)
    update = _update_seconds(model, tokens_BxT)
    name = torch.cuda.get_device_name() if cuda else "CPU"
    return PeerFigures(name, update, decode, torch.cuda.max_memory_allocated() if cuda else None)


def _update_seconds(model, tokens_BxT) -> float:
    """Rank 8 on all seven projections, float32 adapters, AdamW, cross-entropy on half a row."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional

    from benchmarks.peft_peer import PROJECTIONS

    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=PROJECTIONS)
    adapted = get_peft_model(model, config).train()
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), fused=True)
    completion = tokens_BxT.shape[1] // 2

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(tokens_BxT.device.type, torch.bfloat16, enabled=tokens_BxT.is_cuda):
            hidden = model.model(input_ids=tokens_BxT[:, :-1], use_cache=False).last_hidden_state
            logits = model.get_output_embeddings()(hidden[:, -completion:])
        targets = tokens_BxT[:, -completion:]
        functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
        optimizer.step()

    return _median_seconds(update, tokens_BxT.is_cuda)


def _decode_seconds(model, tokens_BxT, new_tokens: int) -> float:
    import torch

    def seconds(count: int) -> float:
        def decode() -> None:
            model.generate(
                tokens_BxT,
                attention_mask=torch.ones_like(tokens_BxT),
                do_sample=True,
                top_k=0,
                max_new_tokens=count,
                min_new_tokens=count,  # no token ends a row: all rows take all steps
                pad_token_id=0,
            )

        return _median_seconds(decode, tokens_BxT.is_cuda)

    return (seconds(new_tokens) - seconds(1)) / (new_tokens - 1)


def _median_seconds(work, cuda: bool) -> float:
    import torch

    spent = []
    for _ in range(REPEATS + 2):
        started = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[2:])
