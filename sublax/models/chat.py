"""Prompts and completions to token ids, by the tokenizer's own chat template.

The completion's ids are what follows the prompt's in the whole conversation, so they are exactly
what the model would have had to write: no mask inside a template is trusted.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from sublax.errors import UserError

Prompt = str | Sequence[dict[str, str]]

# Qwen 3 writes an empty thought only where thinking is off, and then its prefixes hold. Llama 3
# would print today's date: the one that its template falls back on keeps a run what it was.
_TEMPLATE_OPTIONS: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, system_prompt: str | None = None
) -> list[int]:
    """Token ids of everything that stands before the answer.

    Args:
        tokenizer: with a chat template, or without.
        prompt: a string (one user message; plain text where there is no template) or messages of
            `role` and `content`.
        system_prompt: goes first, unless the messages have their own; None leaves the template's
            default in force.

    Returns:
        The ids, with the generation prompt of the template, or the tokenizer's own bos.

    Raises:
        UserError: messages or a system prompt without a template, or a template that refuses.
    """
    if tokenizer.chat_template is None:
        return _encode_plain(tokenizer, prompt, system_prompt)
    return _ids(tokenizer, _render(tokenizer, _messages(prompt, system_prompt)))


def encode_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    completion: str,
    system_prompt: str | None = None,
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of its answer up to and with the end of the turn.

    Args:
        tokenizer: with a chat template, or without.
        prompt: as in `encode_prompt`.
        completion: the answer's text. What the template strips of it is not in the ids.
        system_prompt: as in `encode_prompt`.

    Returns:
        (prompt ids, completion ids). The completion ends with the end-of-turn token, or with eos
        where there is no template; what the template writes after it is left out.

    Raises:
        UserError: as `encode_prompt`, or a template whose conversation does not begin with its
            prompt or does not end the turn.
    """
    if tokenizer.chat_template is None:
        ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
        return encode_prompt(tokenizer, prompt, system_prompt), [*ids, end_of_turn_id(tokenizer)]
    messages = _messages(prompt, system_prompt)
    prompt_ids, answer_ids = _split(tokenizer, messages, completion)
    end = end_of_turn_id(tokenizer)
    if end not in answer_ids:
        raise _broken(tokenizer, f"does not end an answer with {tokenizer.decode([end])!r}")
    last = len(answer_ids) - answer_ids[::-1].index(end)
    return prompt_ids, answer_ids[:last]


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends an answer: the template's, or eos where there is no template.

    Raises:
        UserError: there is none.
    """
    if tokenizer.chat_template is None:
        if tokenizer.eos_token_id is None:
            raise UserError(f"{_name(tokenizer)}: has neither a chat template nor an eos token")
        return tokenizer.eos_token_id
    _, answer_ids = _split(tokenizer, [{"role": "user", "content": "a"}], "b")
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    for index in answer_ids:
        if index in special:
            return index
    raise _broken(tokenizer, "ends an answer with no special token")


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The longest run of tokens that all prompts begin with, short of any whole prompt.

    At least one token is left to each, because the next token's distribution is read off a
    prompt's own last position.
    """
    room = min(map(len, prompts), default=1) - 1
    for length, column in enumerate(zip(*prompts, strict=False)):
        if length >= room or len(set(column)) > 1:
            return list(prompts[0][:length])
    return []


def check_length(length: int, max_positions: int, where: str) -> None:
    """Demands that a sequence fits the model's context.

    Args:
        length: tokens in all, with those that are still to be written.
        max_positions: the model's longest sequence.
        where: which row of which file, for the error.

    Raises:
        UserError: it is longer.
    """
    if length > max_positions:
        raise UserError(
            f"{where}: {length} tokens are more than the model's context of {max_positions}: "
            "shorten the row or leave it out"
        )


def _encode_plain(tokenizer, prompt, system_prompt):
    if system_prompt is not None or not isinstance(prompt, str):
        what = "messages" if system_prompt is None else "a system prompt"
        raise UserError(
            f"{_name(tokenizer)}: has no chat template, so {what} cannot be given: "
            "use a string alone, or a model with a template"
        )
    ids = tokenizer(prompt)["input_ids"]
    # Some tokenizers end every text with eos, and an answer comes after this one.
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _messages(prompt: Prompt, system_prompt: str | None) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if system_prompt is None or any(message["role"] == "system" for message in messages):
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


def _split(tokenizer, messages, completion) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of all that follows it in the conversation with the answer."""
    before = _render(tokenizer, messages)
    answered = [*messages, {"role": "assistant", "content": completion}]
    whole = _render(tokenizer, answered, add_generation_prompt=False)
    if not whole.startswith(before):
        raise _broken(tokenizer, "writes a conversation that does not begin with its prompt")
    before_ids, whole_ids = _ids(tokenizer, before), _ids(tokenizer, whole)
    if whole_ids[: len(before_ids)] == before_ids:
        return before_ids, whole_ids[len(before_ids) :]
    # The answer's first characters merge with the prompt's last token, as a line break does with
    # a line break. A model that answers cannot take a token back: it writes them apart.
    after_ids = _ids(tokenizer, whole[len(before) :])
    if tokenizer.decode(before_ids + after_ids) != tokenizer.decode(whole_ids):
        raise _broken(tokenizer, "has a prompt that cannot be tokenized apart from its answer")
    return before_ids, after_ids


def _render(tokenizer, messages, add_generation_prompt=True) -> str:
    try:
        return tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **_TEMPLATE_OPTIONS,
        )
    except Exception as error:  # a template is a stranger's program, in a sandbox
        raise _broken(tokenizer, f"refuses these messages ({error})") from error


def _ids(tokenizer, text) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _broken(tokenizer, problem) -> UserError:
    return UserError(
        f"{_name(tokenizer)}: its chat template {problem}: mend tokenizer.chat_template"
    )


def _name(tokenizer) -> str:
    return tokenizer.name_or_path or "the tokenizer"
