"""The rows, prompts and soft labels that both sides of a benchmark work on."""

from dataclasses import dataclass

import numpy as np
from transformers import AutoTokenizer

SYSTEM_PROMPT = "Be brief."
QUESTION = "Continue the list of numbers: "


@dataclass(frozen=True)
class Rows:
    """A batch of rows of equal length, so that neither side pads.

    Attributes:
        tokens_BxT: int32; the chat template's start is the same in all rows.
        completion: C, the last tokens of each row, end of turn included, that have a loss.
        prefix: how many tokens at the start all rows share.
    """

    tokens_BxT: np.ndarray
    completion: int
    prefix: int


def number_rows(folder: str, rows: int, length: int, completion: int, seed: int = 0) -> Rows:
    """Rows in the chat template: a prompt of random digits and commas, then such a completion.

    Args:
        folder: of the model, in Hugging Face layout.
        rows: B.
        length: T, tokens of each row.
        completion: C, tokens of it that have a loss.
        seed: of the digits.

    Raises:
        ValueError: the template alone is longer than the prompt may be.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head, tail = _template(tokenizer)
    middle = length - completion - len(head) - len(tail)
    if middle < 1:
        raise ValueError(f"{length - completion} tokens: the template needs {len(head + tail)}")
    alphabet = tokenizer.convert_tokens_to_ids([*"0123456789", ","])
    rng = np.random.default_rng(seed)
    tokens_BxT = np.empty((rows, length), np.int32)
    tokens_BxT[:, : len(head)] = head
    tokens_BxT[:, len(head) : len(head) + middle] = rng.choice(alphabet, (rows, middle))
    tokens_BxT[:, len(head) + middle : length - completion] = tail
    tokens_BxT[:, length - completion :] = rng.choice(alphabet, (rows, completion))
    tokens_BxT[:, -1] = tokenizer.eos_token_id
    return Rows(tokens_BxT, completion, len(head))


def number_prompts(folder: str, count: int, seed: int = 0) -> list[list[int]]:
    """Prompts in the chat template, each with 3 to 8 three-digit examples (so of many lengths)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    head, tail = _template(tokenizer)
    rng = np.random.default_rng(seed)
    prompts = []
    for _ in range(count):
        examples = rng.integers(100, 1000, rng.integers(3, 9))
        text = ", ".join(str(example) for example in examples)
        prompts.append([*head, *tokenizer.encode(text, add_special_tokens=False), *tail])
    return prompts


def teacher_hidden(rows: Rows, width: int, seed: int = 1) -> np.ndarray:
    """Stand-in for a teacher's last hidden states where it predicts the completion: [B, C, D]."""
    shape = (len(rows.tokens_BxT), rows.completion, width)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def _template(tokenizer) -> tuple[list[int], list[int]]:
    """Tokens before and after the user's numbers."""
    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": QUESTION + "0"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    head, tail = text.split(QUESTION + "0")
    return (
        tokenizer.encode(head + QUESTION, add_special_tokens=False),
        tokenizer.encode(tail, add_special_tokens=False),
    )
