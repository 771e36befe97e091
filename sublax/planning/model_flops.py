"""How many floating-point operations a workload needs, counted from shapes.

A multiply and an add are two. Only matrix products count, each once: a shared prefix is computed
once, a query meets the keys that it may see, logits exist where they are used. An implementation
that does more has more to do than the work asks for, and that shows in its distance to the limit.
"""

from sublax.models.config import DecoderConfig
from sublax.models.lora import LoraConfig, projection_shape


def update_flops(
    config: DecoderConfig,
    rows: int,
    length: int,
    completion: int,
    prefix: int = 0,
    lora: LoraConfig | None = None,
    columns: int | None = None,
    teacher_head: bool = False,
) -> float:
    """Of one update: forward, and backward to whatever is trained.

    Args:
        config: of the decoder.
        rows: of the batch.
        length: tokens of a row; the last is only predicted.
        completion: how many of them have a loss.
        prefix: tokens at the start that all rows share.
        lora: the adapter that is trained; None trains every parameter.
        columns: tokens that the loss looks at; None is the whole vocabulary.
        teacher_head: soft labels are computed from stored hidden states.
    """
    fed = length - 1
    tokens = prefix + rows * (fed - prefix)
    # Both operands of attention's products move, so their backward is twice their forward.
    total = 3.0 * attention_flops(config, _pairs(prefix) + rows * (_pairs(fed) - _pairs(prefix)))
    # A frozen kernel passes its gradient on (once more); a trained one also has its own.
    times = 3.0 if lora is None else 2.0
    total += times * projection_flops(config) * tokens
    total += times * head_flops(config, rows * completion, columns)
    if lora is not None:
        total += 3.0 * adapter_flops(config, lora) * tokens
    if teacher_head:
        total += head_flops(config, rows * completion, columns)
    return total


def generation_flops(
    config: DecoderConfig,
    prompt_lengths: list[int],
    answers: int,
    generated: int,
    prefix: int = 0,
    columns: int | None = None,
) -> float:
    """Of sampling `answers` completions to each prompt, each prompt prefilled once.

    Args:
        config: of the decoder.
        prompt_lengths: tokens of each prompt, the shared prefix among them.
        answers: completions of each prompt.
        generated: tokens of each completion; the last is not fed back.
        prefix: tokens at the start that all prompts share.
        columns: tokens that may be drawn; None is the whole vocabulary.
    """
    tokens, pairs = prefix, _pairs(prefix)
    for length in prompt_lengths:
        fed = answers * (generated - 1)
        tokens += length - prefix + fed
        pairs += _pairs(length) - _pairs(prefix)
        pairs += answers * (_pairs(length + generated - 1) - _pairs(length))
    drawn = len(prompt_lengths) * answers * generated
    return (
        projection_flops(config) * tokens
        + attention_flops(config, pairs)
        + head_flops(config, drawn, columns)
    )


def projection_flops(config: DecoderConfig) -> float:
    """Of the seven projections of all layers, per token, forward."""
    targets = LoraConfig().targets
    weights = sum(fan_in * fan_out for fan_in, fan_out in _shapes(config, targets))
    return 2.0 * config.num_layers * weights


def adapter_flops(config: DecoderConfig, lora: LoraConfig) -> float:
    """Of the low-rank products of all layers, per token, forward."""
    weights = sum(lora.rank * sum(shape) for shape in _shapes(config, lora.targets))
    return 2.0 * config.num_layers * weights


def attention_flops(config: DecoderConfig, pairs: float) -> float:
    """Of scores and mixed values in all layers, for so many (query, key) pairs, forward."""
    return 4.0 * config.num_layers * config.num_heads * config.head_dim * pairs


def head_flops(config: DecoderConfig, positions: int, columns: int | None = None) -> float:
    """Of the logits at so many positions, over `columns` tokens or the whole vocabulary."""
    return 2.0 * positions * config.hidden_size * (columns or config.vocab_size)


def _pairs(length: int) -> float:
    """Pairs (query, key at or before it) in a sequence."""
    return length * (length + 1) / 2


def _shapes(config: DecoderConfig, targets: tuple[str, ...]) -> list[tuple[int, int]]:
    return [projection_shape(config, target) for target in targets]
