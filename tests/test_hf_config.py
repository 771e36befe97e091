"""`config.json` in every spelling, transformers' own defaults, and refusals that name the key."""

import dataclasses

import pytest
import transformers

from sublax.errors import UserError
from sublax.models.config import RopeConfig
from sublax.models.hf_config import ARCHITECTURES, decoder_config, hf_config_dict, read_config

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = YARN | {"low_freq_factor": 1.0, "high_freq_factor": 4.0}

each_family = pytest.mark.parametrize("family", ARCHITECTURES)


def small(family="llama", **changes):
    """A small config of a family, parsed."""
    return decoder_config(SMALL | {"model_type": family} | changes, "config.json")


@each_family
def test_missing_keys_take_the_defaults_of_transformers(family):
    ours = decoder_config({"model_type": family}, "config.json")
    theirs = transformers.AutoConfig.for_model(family)
    assert ours.vocab_size == theirs.vocab_size
    assert ours.hidden_size == theirs.hidden_size
    assert ours.intermediate_size == theirs.intermediate_size
    assert ours.num_layers == theirs.num_hidden_layers
    assert ours.num_heads == theirs.num_attention_heads
    assert ours.num_kv_heads == theirs.num_key_value_heads
    assert ours.head_dim == getattr(theirs, "head_dim", theirs.hidden_size // ours.num_heads)
    assert ours.max_positions == theirs.max_position_embeddings
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.rope == RopeConfig(theta=theirs.rope_parameters["rope_theta"])
    assert ours.tied_embeddings == theirs.tie_word_embeddings
    window = theirs.sliding_window if family == "mistral" else None
    assert ours.sliding_windows == (window,) * ours.num_layers


@each_family
def test_biases_and_norms_are_the_family_s(family):
    config = small(family)
    assert config.qkv_bias == (family == "qwen2")
    assert not config.output_bias
    assert config.qk_norm == (family == "qwen3")
    if family in ("llama", "qwen3"):
        biased = small(family, attention_bias=True)
        assert biased.qkv_bias
        assert biased.output_bias
    assert small("llama", mlp_bias=True).mlp_bias


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ({}, RopeConfig()),
        ({"rope_theta": 5e5, "rope_scaling": None}, RopeConfig(5e5)),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, RopeConfig(5e5)),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, RopeConfig(1e4, "linear", 2.0)),
        (
            {"rope_theta": 7, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            RopeConfig(7.0, "dynamic", 2.0),
        ),
        (
            {"rope_theta": 7, "rope_scaling": LLAMA3 | {"rope_type": "llama3"}},
            RopeConfig(7.0, "llama3", 4.0, 32, 1.0, 4.0),
        ),
        (
            {"rope_parameters": LLAMA3 | {"rope_type": "llama3", "rope_theta": 7.0}},
            RopeConfig(7.0, "llama3", 4.0, 32, 1.0, 4.0),
        ),
        ({"rope_scaling": YARN | {"type": "yarn"}}, RopeConfig(1e4, "yarn", 4.0, 32)),
        (
            {"rope_scaling": {"type": "yarn", "factor": None}}
            | {"original_max_position_embeddings": 64},
            RopeConfig(1e4, "yarn", 2.0, 64),
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "attention_factor": 1.5}},
            RopeConfig(1e4, "yarn", 2.0, 128, attention_factor=1.5),
        ),
    ],
)
def test_rope_in_both_spellings(spelled, expected):
    assert small(**spelled).rope == expected


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 0},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 9},
        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        {
            "use_sliding_window": True,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ],
)
def test_qwen_windows_are_those_of_transformers(family, changes):
    theirs = transformers.AutoConfig.for_model(family, **SMALL, **changes)
    expected = tuple(
        theirs.sliding_window if kind == "sliding_attention" else None
        for kind in theirs.layer_types
    )
    assert small(family, **changes).sliding_windows == expected


@pytest.mark.parametrize(
    "config",
    [
        small("llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        small("llama", head_dim=16, rope_scaling=LLAMA3 | {"rope_type": "llama3"}),
        small("llama", rope_scaling=YARN | {"type": "yarn", "mscale": 0.7, "truncate": False}),
        small("mistral", sliding_window=8, rope_scaling={"type": "dynamic", "factor": 2.0}),
        small("mistral", sliding_window=None),
        small("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=2),
        small("qwen3", attention_bias=True, rope_scaling={"type": "linear", "factor": 2.0}),
    ],
    ids=lambda config: config.family,
)
def test_written_config_reads_back_here_and_in_transformers(config):
    written = hf_config_dict(config)
    assert decoder_config(written, "written") == config
    theirs = transformers.AutoConfig.for_model(**written)
    assert theirs.head_dim == config.head_dim
    assert theirs.rope_parameters["rope_theta"] == config.rope.theta
    assert theirs.rope_parameters["rope_type"] == config.rope.kind
    assert decoder_config(theirs.to_dict(), "transformers'") == config


def test_a_config_that_the_family_cannot_express_is_refused():
    config = dataclasses.replace(small("mistral"), qkv_bias=True)
    with pytest.raises(UserError, match=r"mistral in transformers cannot express .*qkv_bias"):
        hf_config_dict(config)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"model_type": None}, "model_type None"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"pretraining_tp": 2}, "pretraining_tp"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"attention_sinks": True}, "attention_sinks"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"num_experts": 1}, "num_experts"),
        ({"residual_multiplier": 0.2}, "residual_multiplier"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope type 'longrope'"),
        ({"rope_scaling": {"type": "linear"}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "mrope_section": [1]}}, "mrope_section"),
        ({"rope_parameters": {"full_attention": {}}}, "full_attention"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_scaling": YARN | {"type": "llama3"}}, "low_freq_factor"),
        ({"rope_theta": None}, "rope_theta"),
        ({"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ({"layer_types": ["sliding_attention"] * 4}, "layer_types"),
        ({"model_type": "qwen2", "layer_types": ["full_attention"]}, "layer_types"),
        ({"model_type": "qwen2", "layer_types": ["sliding_attention"] * 4}, "use_sliding_window"),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding_window"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"hidden_size": 34}, "head_dim"),
        ({"vocab_size": "96"}, "vocab_size"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings"),
    ],
)
def test_what_is_not_implemented_is_named(changes, named):
    with pytest.raises(UserError) as raised:
        decoder_config(SMALL | {"model_type": "llama"} | changes, "config.json")
    message = str(raised.value)
    assert message.startswith("config.json: ")
    assert named in message
    assert "\n" not in message


def test_switched_off_foreign_keys_are_harmless():
    changes = {"num_experts": 0, "attn_logit_softcapping": None, "residual_multiplier": 1.0}
    assert small(**changes) == small()


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_unreadable_file(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)
