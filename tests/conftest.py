"""What every test starts from: eight virtual CPU devices, no network by accident, fixed draws."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

# Read when the libraries are imported, so they stand before any other import.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Eight devices on two busy cores may keep each other waiting for longer than XLA's 40 seconds.
os.environ["XLA_FLAGS"] = "--xla_cpu_collective_call_terminate_timeout_seconds=300"
# Most of the suite's time is XLA's, which compiles three times as fast without these emitters.
# Later versions end at a flag that they do not know; on the newest jax tests go as users' runs do.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# XLA's CPU client makes as many threads as it has devices, and a device in a collective holds one
# until all have come: any other work on such a thread, and the last device never comes. Seen as a
# process that aborts after the time above. With threads to spare nobody waits for a place.
os.environ["NPROC"] = "32"
# Modules forget their programs (below), and many make the same ones again: what any of the suite's
# processes has compiled is kept for all of them. Workers inherit the folder from who starts them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="sublax-programs-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# With a bound on its size the folder has a lock: nobody reads what another has half written.
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = f"{4 << 30}"

import jax
import pytest
from hypothesis import settings

# Most tests use device 0 alone and do not notice; sharding is tested against that one device.
jax.config.update("jax_num_cpu_devices", 8)
# Two programs in flight share one pool of threads, and could wait in it for each other.
jax.config.update("jax_cpu_enable_async_dispatch", False)
jax.devices()  # makes the client's threads, so that processes which tests start do not inherit it
del os.environ["NPROC"]

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: one that comes last runs alone, the other worker idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="module")
def no_programs_left_behind():
    # Every compiled program holds places in the process' memory map, of which Linux gives 65,530:
    # a worker that keeps the whole suite's dies in the middle of it without a word.
    yield
    jax.clear_caches()


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
