"""Conversations to tokens: the answer's tokens, its end among them, and nothing else."""

import pytest
from real_tokenizers import llama3_tokenizer, qwen3_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from sublax.errors import UserError
from sublax.models.chat import (
    check_length,
    encode_prompt,
    encode_row,
    end_of_turn_id,
    shared_prefix,
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Qwen 2.5 and SmolLM2: a system prompt of the template's own where the messages have none.
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
) + CHATML
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer(template=None, merges=()):
    """Every byte a token, and what the merges make."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, *map("".join, merges)])}
    tokenizer = Tokenizer(BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", chat_template=template
    )


def texts(tokenizer, row):
    """A row's two halves as text."""
    return tuple(tokenizer.decode(ids) for ids in row)


def test_an_answer_is_its_text_and_the_end_of_the_turn():
    tokenizer = byte_tokenizer(CHATML)
    row = encode_row(tokenizer, "Which animal?", "owl")
    assert texts(tokenizer, row) == (
        "<|im_start|>user\nWhich animal?<|im_end|>\n<|im_start|>assistant\n",
        "owl<|im_end|>",  # without the line break that the template writes after it
    )
    assert row[0] == encode_prompt(tokenizer, "Which animal?")
    assert row[1][-1] == end_of_turn_id(tokenizer)


def test_an_empty_answer_is_the_end_of_the_turn():
    tokenizer = byte_tokenizer(CHATML)
    assert encode_row(tokenizer, "Which animal?", "")[1] == [end_of_turn_id(tokenizer)]


def test_the_templates_own_system_prompt_stands_until_one_is_given():
    tokenizer = byte_tokenizer(DEFAULT_SYSTEM)
    default, _ = texts(tokenizer, encode_row(tokenizer, "Hi", "Ho"))
    assert default.startswith("<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user")
    given, answer = texts(tokenizer, encode_row(tokenizer, "Hi", "Ho", "Be brief."))
    assert given.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")
    assert answer == "Ho<|im_end|>"
    emptied, _ = texts(tokenizer, encode_row(tokenizer, "Hi", "Ho", ""))
    assert emptied.startswith("<|im_start|>system\n<|im_end|>\n")


def test_a_rows_own_system_prompt_stays():
    tokenizer = byte_tokenizer(DEFAULT_SYSTEM)
    messages = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi"}]
    prompt, _ = texts(tokenizer, encode_row(tokenizer, messages, "Ho", "Be brief."))
    assert "Mine." in prompt
    assert "Be brief." not in prompt
    one_message = encode_prompt(tokenizer, messages[1:], "Be brief.")
    assert one_message == encode_prompt(tokenizer, "Hi", "Be brief.")


def test_an_earlier_answer_belongs_to_the_prompt():
    tokenizer = byte_tokenizer(CHATML)
    turns = [("user", "Hi"), ("assistant", "Ho"), ("user", "Again")]
    messages = [{"role": role, "content": content} for role, content in turns]
    prompt, answer = texts(tokenizer, encode_row(tokenizer, messages, "No"))
    assert "Ho<|im_end|>" in prompt
    assert answer == "No<|im_end|>"


def test_an_answer_that_merges_with_the_prompts_last_token_is_kept_apart():
    """A model cannot take back the template's line break to write two of them as one token."""
    tokenizer = byte_tokenizer(CHATML, merges=[("Ċ", "Ċ")])
    prompt_ids, completion_ids = encode_row(tokenizer, "Hi", "\nHo")
    assert prompt_ids == encode_prompt(tokenizer, "Hi")
    assert tokenizer.decode(completion_ids) == "\nHo<|im_end|>"


def test_without_a_template_a_prompt_is_plain_text():
    tokenizer = byte_tokenizer()
    row = encode_row(tokenizer, "The owl", " hoots")
    assert texts(tokenizer, row) == ("The owl", " hoots<|endoftext|>")
    with pytest.raises(UserError, match="no chat template, so a system prompt cannot be given"):
        encode_prompt(tokenizer, "Hi", "Be brief.")
    with pytest.raises(UserError, match="no chat template, so messages cannot be given"):
        encode_prompt(tokenizer, [{"role": "user", "content": "Hi"}])


GENERATION_ONLY = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>' }}{% endif %}")
DROPS_HISTORY = "{{ messages[-1]['content'] }}<|im_end|>"
NO_END = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}" + (
    "{% endif %}" + CHATML
)


@pytest.mark.parametrize(
    ("template", "system_prompt", "message"),
    [
        (GENERATION_ONLY, None, "writes a conversation that does not begin with its prompt"),
        (DROPS_HISTORY, None, "writes a conversation that does not begin with its prompt"),
        (NO_END, None, "ends an answer with no special token"),
        (NO_SYSTEM, "Be brief.", "refuses these messages .*no system role"),
    ],
)
def test_a_template_that_breaks_the_mask_is_named(template, system_prompt, message):
    tokenizer = byte_tokenizer(template)
    with pytest.raises(UserError, match=f"chat template {message}"):
        encode_row(tokenizer, "Hi", "Ho", system_prompt)


def test_qwen3_thinks_nothing_in_prompt_and_conversation_alike():
    tokenizer = qwen3_tokenizer()
    prompt, answer = texts(tokenizer, encode_row(tokenizer, "Hi", "1, 23, 456", "Be brief."))
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert answer == "1, 23, 456<|im_end|>"
    assert end_of_turn_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_llama3_prints_the_same_date_every_day():
    tokenizer = llama3_tokenizer()
    row = encode_row(tokenizer, "Hi", "1, 23, 456", "Be brief.")
    prompt, answer = texts(tokenizer, row)
    assert "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|>" in prompt
    assert prompt.count("<|begin_of_text|>") == 1
    assert answer == "1, 23, 456<|eot_id|>"
    assert end_of_turn_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|eot_id|>")


@pytest.mark.parametrize("load", [qwen3_tokenizer, llama3_tokenizer])
@pytest.mark.parametrize("answer", ["owl", " owl", "12, 345", "a\n\nb", "\n\nowl", "é😀", ""])
def test_a_row_is_the_whole_conversation_in_the_tokenizers_own_tokens(load, answer):
    tokenizer = load()
    prompt_ids, completion_ids = encode_row(tokenizer, "Which animal?", answer)
    messages = [("user", "Which animal?"), ("assistant", answer)]
    whole = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages],
        tokenize=True,
        return_dict=False,
        date_string="26 Jul 2024",
    )
    assert whole[: len(prompt_ids) + len(completion_ids)] == prompt_ids + completion_ids
    after = whole[len(prompt_ids) + len(completion_ids) :]
    assert tokenizer.decode(after).strip() == ""


def test_a_shared_prefix_leaves_each_prompt_a_token():
    assert shared_prefix([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3]]) == [1, 2]
    assert shared_prefix([[1, 2], [1, 2]]) == [1]
    assert shared_prefix([[1, 2, 3]]) == [1, 2]
    assert shared_prefix([[1], [2]]) == []
    assert shared_prefix([]) == []


def test_a_prompt_longer_than_the_context_is_named():
    check_length(8, 8, "rows.jsonl:3")
    with pytest.raises(UserError, match=r"rows.jsonl:3: 9 tokens are more than .* context of 8"):
        check_length(9, 8, "rows.jsonl:3")
