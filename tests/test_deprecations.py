"""Nothing that sublax calls is on its way out: importing all of it, and running it, warns of none.

In a process of its own, since a module that another test has imported would say nothing again.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent

STRICT = """
import warnings
for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
    warnings.filterwarnings("error", category=category, module=r"sublax|__main__")
"""

EVERYTHING = """
import importlib, pkgutil
import sublax
for module in pkgutil.walk_packages(sublax.__path__, "sublax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

import jax
import optax
from tiny_decoder import CONFIG, random_adapter, tiny_params
from sublax.models.completions import make_rows
from sublax.models.lora import LoraConfig
from sublax.training.losses import LossConfig
from sublax.training.step import Batch, Frozen, Objective, init_state, update

lora, optimizer = LoraConfig(rank=2, targets=("q",)), optax.sgd(0.1)
objective = Objective(CONFIG, lora, LossConfig(chunk=2))
rows = make_rows([([5, 6, 7], [8, 9]), ([5, 6, 1], [2])], CONFIG.max_positions)
batch = jax.tree.map(lambda leaf: leaf[None], Batch(rows))
state, frozen = init_state(optimizer, random_adapter(lora)), Frozen(params=tiny_params())
jax.eval_shape(lambda s, f, b: update(objective, optimizer, s, f, b), state, frozen, batch)
"""


def strictly(program):
    """Runs the program with every such warning in our own code an error."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", STRICT + program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_and_tracing_everything_calls_nothing_deprecated():
    finished = strictly(EVERYTHING)
    assert finished.returncode == 0, finished.stderr


def test_a_deprecated_call_would_be_noticed():
    finished = strictly("warnings.warn('old', DeprecationWarning, stacklevel=1)")
    assert "DeprecationWarning: old" in finished.stderr
