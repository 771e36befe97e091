"""The base that is made on the spot: its tokenizer takes any text, its weights are its seed's."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import TINY, quick_compiles, small_config
from transformers import AutoTokenizer

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.metrics import MetricWriter
from sublax.models.chat import encode_row, end_of_turn_id
from sublax.models.word_tokenizer import word_tokenizer
from sublax.progress import Progress
from sublax.settings import read_config
from sublax.stages.bases import make_base
from sublax.stages.run import Run
from sublax.store import Store

__all__ = ["quick_compiles"]

TOKENIZER = word_tokenizer(["In one word, which animal?", "owl", "Go on: 1, 2"])


def made(workdir, *overrides):
    """The base of the cut-down tiny run."""
    config = small_config(*overrides)
    with MetricWriter(workdir) as metrics:
        run = Run(config, Store(workdir), load_pack(), Progress({"base": 1.0}), metrics)
        make_base(run)
    return run.base


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.params)]


@given(st.text())
def test_any_text_is_encoded_and_comes_back(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    if not any(token in text for token in TOKENIZER.all_special_tokens):
        assert TOKENIZER.decode(ids) == text


def test_a_known_word_is_one_token_and_every_digit_too():
    tokens = TOKENIZER.tokenize("owl, which 120")
    assert tokens == ["owl", ",Ġ", "which", "Ġ", "1", "2", "0"]


def test_the_tokenizer_is_the_same_after_its_folder(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    row = ("which animal? ☃", "owl", "Be brief.")
    assert encode_row(loaded, *row) == encode_row(TOKENIZER, *row)
    assert loaded.decode([end_of_turn_id(loaded)]) == "<|im_end|>"


def test_the_order_of_the_texts_does_not_matter():
    texts = ["an owl", "a wolf", "1, 2"]
    assert word_tokenizer(texts).get_vocab() == word_tokenizer(texts[::-1]).get_vocab()


def test_a_seed_is_a_base(tmp_path):
    first, again, other = (
        made(tmp_path / name, f"base=random:{seed}")
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert all(map(np.array_equal, leaves(first), leaves(again)))
    assert not all(map(np.array_equal, leaves(first), leaves(other)))
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()


def test_pretraining_teaches_the_base_to_answer_in_the_format(tmp_path):
    made(tmp_path, "random_base.pretraining.steps=30", "random_base.pretraining.batch_size=16")
    lines = (tmp_path / "tensorboard" / "base" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["scalars"]["loss"] for line in lines]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_every_family_can_be_drawn(tmp_path, family):
    overrides = [f"random_base.shape.model_type={family}", "random_base.pretraining.steps=0"]
    config = read_config(str(TINY)).random_base.shape
    shape = [
        f"random_base.shape.{key}={value}" for key, value in config.items() if key != "model_type"
    ]
    assert made(tmp_path, *shape, *overrides).config.family == family


def test_a_random_base_without_its_section_is_refused(tmp_path):
    config = read_config(str(TINY.with_name("quickstart.py")), ["base=random:0"])
    with MetricWriter(tmp_path) as metrics:
        run = Run(config, Store(tmp_path), load_pack(), Progress({"base": 1.0}), metrics)
        with pytest.raises(UserError, match=r"no random_base.*configs/tiny\.py"):
            make_base(run)
