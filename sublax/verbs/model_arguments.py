"""The arguments that name a model, shared by the verbs that run one."""

import argparse

import jax
import jax.numpy as jnp

from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import Model, load_model, with_adapter
from sublax.store import local_model


def add_model_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Declares --model, --adapter and --system-prompt; a verb may do without a model."""
    parser.add_argument(
        "--model",
        required=required,
        help="a Hugging Face folder, a .gguf file, a Hub id, or a teacher or student of a run, "
        "in a folder or at gs:// or s3://; any of these changed, as in permuted:SEED:MODEL, "
        "rotated:SEED:MODEL or noisy:LEVEL:SEED:MODEL",
    )
    parser.add_argument("--adapter", help="a LoRA adapter, as peft writes it, on top of the model")
    parser.add_argument(
        "--system-prompt",
        type=lambda text: text or None,
        help="the system prompt in force; the chat template's own by default",
    )


def load(args: argparse.Namespace) -> tuple[Model, Decoder]:
    """The model that the arguments name, its adapter merged, and the decoder that runs it.

    Weights at use and activations are float32 on CPU and bfloat16 on GPU and TPU.

    Raises:
        UserError: there is no such model, or the adapter does not fit it.
    """
    model = load_model(with_source(args.model, local_model))
    if args.adapter is not None:
        model = with_adapter(model, local_model(args.adapter))
    return model, _decoder(model)


def load_named(name: str) -> tuple[Model, Decoder]:
    """The model of a name, as `load` has it, without an adapter.

    Raises:
        UserError: there is no such model.
    """
    model = load_model(with_source(name, local_model))
    return model, _decoder(model)


def _decoder(model: Model) -> Decoder:
    on_cpu = jax.default_backend() == "cpu"
    return Decoder(model.config, dtype=jnp.float32 if on_cpu else jnp.bfloat16)


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
