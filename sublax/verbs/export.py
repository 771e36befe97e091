"""`sublax export`: a Hugging Face folder or a PEFT adapter that other tools load."""

import argparse
import shutil
import tempfile
from pathlib import Path

import jax.numpy as jnp

from sublax.errors import UserError
from sublax.files import disk_errors
from sublax.models import peft_adapter
from sublax.models.derived import with_source
from sublax.models.export import empty_directory, export_folder
from sublax.models.source import find_adapter, load_model
from sublax.models.weights import open_tensors
from sublax.store import local_model

EXAMPLE = (
    "sublax export --from=runs/quickstart/students/BASE/owl/seed-0 --to=owl-student --merge "
    "--dtype=bfloat16"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "--from",
        required=True,
        dest="source",
        help="a Hugging Face folder, a .gguf file, a Hub id, or a teacher or student of a run, "
        "in a folder or at gs:// or s3://; any of these changed, as in permuted:SEED:MODEL, "
        "rotated:SEED:MODEL or noisy:LEVEL:SEED:MODEL",
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--merge",
        action="store_true",
        help="add an adapter to its base's weights; without it an adapter stays an adapter",
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="of the stored weights; float32 by default",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the folder, whole or not at all, and prints where it is.

    Raises:
        UserError: no such model, the folder is not empty, or an adapter is asked for in another
            dtype than its own float32.
    """
    name = with_source(args.source, local_model)
    adapter, target = find_adapter(name), empty_directory(args.to)
    if args.merge:
        adapter = None  # what is left is a whole model
    if adapter is not None and args.dtype not in (None, "float32"):
        raise UserError(
            f"--dtype={args.dtype}: {adapter} is an adapter, which stays float32; add --merge, or "
            "leave --dtype out"
        )
    with (
        disk_errors(target),
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as own,
    ):
        folder = Path(own) / "export"
        if adapter is not None:
            peft_adapter.stated_base(adapter)
            with open_tensors([adapter / peft_adapter.WEIGHTS_FILE]):
                folder.mkdir()
            for name in (peft_adapter.CONFIG_FILE, peft_adapter.WEIGHTS_FILE):
                shutil.copyfile(adapter / name, folder / name)
        else:
            model = load_model(name)
            dtype = jnp.dtype(args.dtype or "float32")
            export_folder(folder, model.params, model.config, model.tokenizer, dtype)
        folder.replace(target)
    print(target)
    return 0
