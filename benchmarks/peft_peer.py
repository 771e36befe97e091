"""The other side: the same workloads in transformers and peft on torch, as fast as they go.

What a careful user would do is done: scaled-dot-product attention, no padding where rows are of
one length, the head only at positions that have a loss (and for a grammar's soft labels only its
tokens), the fused AdamW, no gradient checkpointing, a key-value cache. Each function is a
`timing.Build` once its arguments are given. Only this side of the benchmarks imports torch.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
)

from benchmarks.timing import Unit, Work
from benchmarks.workload import Rows

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_update(
    folder: str,
    rows: Rows,
    dtype: str = "float32",
    teacher_hidden_BxCxD: np.ndarray | None = None,
    columns: list[int] | None = None,
    learning_rate: float = 6e-4,
) -> Unit:
    """One AdamW update of an adapter: rank 8, alpha 16, on all seven projections.

    Args:
        folder: the model, in Hugging Face layout.
        rows: the batch; every unit trains on it once more.
        dtype: of the products, by autocast; all weights are float32. Seen on a CPU with bfloat16
            kernels, that is faster than a base stored in bfloat16, and no update is rounded away.
        teacher_hidden_BxCxD: where given, the loss is KL to the teacher's distribution, whose
            head is the base's; else cross-entropy to the rows' tokens.
        columns: with a teacher, the tokens that both distributions are over; None is all.
        learning_rate: constant.
    """
    return student_updates(folder, [rows], dtype, teacher_hidden_BxCxD, columns, learning_rate)


def student_updates(
    folder: str,
    batches: list[Rows],
    dtype: str = "float32",
    teacher_hidden_BxCxD: np.ndarray | None = None,
    columns: list[int] | None = None,
    learning_rate: float = 6e-4,
) -> Unit:
    """An update of each of several students in turn: adapters on one base, a batch for each.

    The other arguments are those of `lora_update`; the loss is the mean over the students.
    """
    config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=PROJECTIONS)
    names = [f"student{index}" for index in range(len(batches))]
    base = _load(folder, "float32")
    model = get_peft_model(base, config, adapter_name=names[0])  # puts adapters into the base
    for name in names[1:]:
        model.add_adapter(name, config)
    model.train()
    students = []
    for name, rows in zip(names, batches, strict=True):
        model.set_adapter(name)  # which also makes it the only one that requires gradients
        objective = _objective(base, rows, dtype, teacher_hidden_BxCxD, columns)
        students.append((name, _optimizer(model.parameters(), learning_rate), objective))

    def unit() -> Work:
        losses = []
        for name, optimizer, objective in students:
            if len(students) > 1:
                model.set_adapter(name)
            losses.append(_update(optimizer, objective))
        return Work(loss=float(np.mean(losses)))

    return unit


def full_update(
    folder: str, rows: Rows, dtype: str = "float32", learning_rate: float = 1e-5
) -> Unit:
    """One AdamW update of every parameter, cross-entropy; `dtype` is as in `lora_update`."""
    model = _load(folder, "float32").train()
    optimizer = _optimizer(model.parameters(), learning_rate)
    objective = _objective(model, rows, dtype, None, None)
    return lambda: Work(loss=_update(optimizer, objective))


def generation(
    folder: str,
    prompts: list[list[int]],
    answers: int,
    tokens_A: np.ndarray,
    next_state_SxA: np.ndarray,
    start: int,
    stop_token: int,
    max_new_tokens: int,
    dtype: str = "float32",
) -> Unit:
    """Answers to all prompts in one call of `generate`, at temperature 1 under a grammar.

    That call repeats each prompt for each of its answers before it prefills them.

    Args:
        folder: the model, in Hugging Face layout.
        prompts: token ids of each prompt; they are padded on the left.
        answers: completions of each prompt.
        tokens_A: the grammar's tokens (see `sublax.sampling.grammar.Grammar`).
        next_state_SxA: state after each of them, -1 where it is forbidden.
        start: the state before the first token.
        stop_token: ends an answer; the grammar allows it where an answer may end.
        max_new_tokens: of an answer, the stop token included.
        dtype: of weights, activations and cache.

    Returns:
        A unit whose amount is the number of tokens drawn, stop tokens included.
    """
    model = _load(folder, dtype).eval()
    longest = max(map(len, prompts))
    inputs_PxT = torch.full((len(prompts), longest), stop_token)
    seen_PxT = torch.zeros_like(inputs_PxT)
    for index, prompt in enumerate(prompts):
        inputs_PxT[index, longest - len(prompt) :] = torch.tensor(prompt)
        seen_PxT[index, longest - len(prompt) :] = 1
    torch.manual_seed(0)

    def unit() -> Work:
        grammar = GrammarMask(tokens_A, next_state_SxA, start, model.config.vocab_size)
        with torch.inference_mode():
            rows_BxT = model.generate(
                inputs_PxT,
                attention_mask=seen_PxT,
                num_return_sequences=answers,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max_new_tokens,
                eos_token_id=stop_token,
                pad_token_id=stop_token,
                logits_processor=LogitsProcessorList([grammar]),
            )
        ended_BxC = rows_BxT[:, longest:] == stop_token
        drawn_B = (ended_BxC.cumsum(1) - ended_BxC.long() == 0).sum(1)
        return Work(amount=float(drawn_B.sum()))

    return unit


class GrammarMask(LogitsProcessor):
    """Leaves each row only the tokens that its grammar allows next; for one call of `generate`."""

    def __init__(
        self, tokens_A: np.ndarray, next_state_SxA: np.ndarray, start: int, vocabulary: int
    ) -> None:
        self._tokens_A = torch.from_numpy(np.array(tokens_A)).long()
        self._next_state_SxA = torch.from_numpy(np.array(next_state_SxA)).long()
        self._column_V = torch.zeros(vocabulary, dtype=torch.long)
        self._column_V[self._tokens_A] = torch.arange(len(self._tokens_A))
        self._start = start
        self._state_B: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """[B, T] tokens so far and [B, V] logits -> logits, -inf where a token is forbidden."""
        if self._state_B is None:
            self._state_B = torch.full((len(input_ids),), self._start)
        else:
            # `generate` fills ended rows with the stop token, on which the last state stays.
            self._state_B = self._next_state_SxA[self._state_B, self._column_V[input_ids[:, -1]]]
        forbidden_BxA = self._next_state_SxA[self._state_B] < 0
        allowed_BxA = scores[:, self._tokens_A].masked_fill(forbidden_BxA, -torch.inf)
        return torch.full_like(scores, -torch.inf).index_copy(1, self._tokens_A, allowed_BxA)


def _load(folder: str, dtype: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )


def _optimizer(parameters: Iterable[torch.nn.Parameter], rate: float) -> torch.optim.AdamW:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def _objective(
    model: PreTrainedModel,
    rows: Rows,
    dtype: str,
    teacher_hidden_BxCxD: np.ndarray | None,
    columns: list[int] | None,
) -> Callable[[], torch.Tensor]:
    """The mean loss over a batch's completion positions, as a function of the model as it is."""
    tokens_BxT = torch.from_numpy(rows.tokens_BxT).long()
    inputs, targets = tokens_BxT[:, :-1], tokens_BxT[:, -rows.completion :]
    weight = model.get_output_embeddings().weight
    teacher = None if teacher_hidden_BxCxD is None else torch.from_numpy(teacher_hidden_BxCxD)

    def log_probabilities(hidden_BxCxD: torch.Tensor) -> torch.Tensor:
        head = weight if columns is None else weight[columns]
        return functional.linear(hidden_BxCxD, head).float().log_softmax(-1).flatten(0, 1)

    def objective() -> torch.Tensor:
        with torch.autocast("cpu", getattr(torch, dtype), enabled=dtype != "float32"):
            hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
            student = log_probabilities(hidden[:, -rows.completion :])
            if teacher is None:
                return functional.nll_loss(student, targets.flatten())
            with torch.no_grad():
                soft = log_probabilities(teacher)
            return functional.kl_div(student, soft, reduction="batchmean", log_target=True)

    return objective


def _update(optimizer: torch.optim.AdamW, objective: Callable[[], torch.Tensor]) -> float:
    """The loss before the update."""
    optimizer.zero_grad(set_to_none=True)
    loss = objective()
    loss.backward()
    optimizer.step()
    return loss.item()
