"""What every test starts from: eight virtual CPU devices, no network by accident, fixed draws."""

import os

# Read when the libraries are imported, so they stand before any other import.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import jax
import pytest
from hypothesis import settings

# Most tests use device 0 alone and do not notice; sharding is tested against that one device.
jax.config.update("jax_num_cpu_devices", 8)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def workdir(tmp_path):
    """An empty place for one run, not yet made: `run` makes it."""
    return tmp_path / "workdir"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a tiny random model; not to be written to."""
    from tiny_model import write_model  # not at the top: tests without a model start at once

    return write_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory, tiny_model):
    """The folder of an adapter on the tiny model, as a run writes a student."""
    from tiny_model import write_adapter

    return write_adapter(tmp_path_factory.mktemp("tiny") / "student", tiny_model)
