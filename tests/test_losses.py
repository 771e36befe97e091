"""The losses against optax and scipy, whole or in chunks, and what chunks save."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from sublax.training.losses import (
    LossConfig,
    cross_entropy,
    dpo,
    is_pair,
    kl_divergence,
    sequence_logprobs,
)

B, C, D, E, V = 4, 5, 6, 5, 11
N = B * C
rng = np.random.default_rng(0)
HIDDEN, KERNEL = rng.normal(size=(N, D)).astype(np.float32), rng.normal(size=(D, V))
TEACHER_HIDDEN, TEACHER_KERNEL = rng.normal(size=(N, E)), rng.normal(size=(E, V))
KERNEL, TEACHER_HIDDEN, TEACHER_KERNEL = map(np.float32, (KERNEL, TEACHER_HIDDEN, TEACHER_KERNEL))
TARGETS = rng.integers(0, V, N)
WEIGHTS = np.float32(rng.random(N) * (rng.random(N) < 0.8))
STUDENT_LOGITS, TEACHER_LOGITS = HIDDEN @ KERNEL, TEACHER_HIDDEN @ TEACHER_KERNEL


def rows(positions):
    """The positions [N, ...] as those of B rows."""
    return positions.reshape(B, C, *positions.shape[1:])


def kl(loss, hidden=HIDDEN, kernel=KERNEL, columns=slice(None)):
    return kl_divergence(
        rows(hidden),
        kernel[:, columns],
        rows(TEACHER_HIDDEN),
        TEACHER_KERNEL[:, columns],
        rows(WEIGHTS),
        loss,
    )


def test_cross_entropy_is_that_of_optax():
    losses = optax.softmax_cross_entropy_with_integer_labels(STUDENT_LOGITS, TARGETS)
    got = cross_entropy(rows(HIDDEN), KERNEL, rows(TARGETS), rows(WEIGHTS), chunk=N)
    np.testing.assert_allclose(got, (losses * WEIGHTS).sum(), rtol=1e-5)


def test_forward_and_reverse_kl_are_those_of_optax():
    student, teacher = jax.nn.log_softmax(STUDENT_LOGITS), jax.nn.log_softmax(TEACHER_LOGITS)
    forward = optax.losses.kl_divergence_with_log_targets(student, teacher)
    reverse = optax.losses.kl_divergence_with_log_targets(teacher, student)
    np.testing.assert_allclose(kl(LossConfig("kl")), (forward * WEIGHTS).sum(), rtol=1e-5)
    got = kl(LossConfig("kl", direction="reverse"))
    np.testing.assert_allclose(got, (reverse * WEIGHTS).sum(), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_logits_and_its_square_multiplies(temperature):
    teacher = softmax(np.float64(TEACHER_LOGITS) / temperature, axis=-1)
    student = softmax(np.float64(STUDENT_LOGITS) / temperature, axis=-1)
    wanted = temperature**2 * (rel_entr(teacher, student).sum(axis=-1) * WEIGHTS).sum()
    np.testing.assert_allclose(kl(LossConfig("kl", temperature=temperature)), wanted, rtol=1e-5)


def test_kl_over_some_tokens_is_that_of_the_distributions_given_those_tokens():
    columns = np.array([7, 1, 4])
    student, teacher = (
        softmax(np.float64(logits), axis=-1)[:, columns]
        for logits in (STUDENT_LOGITS, TEACHER_LOGITS)
    )
    student /= student.sum(axis=-1, keepdims=True)
    teacher /= teacher.sum(axis=-1, keepdims=True)
    wanted = (rel_entr(teacher, student).sum(axis=-1) * WEIGHTS).sum()
    np.testing.assert_allclose(kl(LossConfig("kl"), columns=columns), wanted, rtol=1e-5)


def test_an_unknown_direction_is_named():
    with pytest.raises(ValueError, match="no KL direction 'sideways': choose forward or reverse"):
        kl(LossConfig("kl", direction="sideways"))


@pytest.mark.parametrize("kind", ["cross_entropy", "forward", "reverse", "dpo"])
def test_chunks_change_neither_value_nor_gradient(kind):
    """Also where it is less than a position a row, the last is not full, or there is only one."""

    def whole(hidden, kernel):
        student = jax.nn.log_softmax(hidden @ kernel)
        teacher = jax.nn.log_softmax(TEACHER_LOGITS)
        if kind == "cross_entropy":
            return -(student[jnp.arange(N), TARGETS] * WEIGHTS).sum()
        if kind == "dpo":
            chosen = rows(student[jnp.arange(N), TARGETS])
            ratio = (chosen * LONG).sum(axis=1) - REFERENCE
            return jnp.log1p(jnp.exp(-SLOPE * (ratio[::2] - ratio[1::2]))).sum()
        pair = (student, teacher) if kind == "forward" else (teacher, student)
        return (optax.losses.kl_divergence_with_log_targets(*pair) * WEIGHTS).sum()

    def chunked(hidden, kernel, chunk):
        if kind == "cross_entropy":
            return cross_entropy(rows(hidden), kernel, rows(TARGETS), rows(WEIGHTS), chunk)
        if kind == "dpo":
            return pairs_loss(hidden, kernel, chunk=chunk)[0]
        return kl(LossConfig("kl", direction=kind, chunk=chunk), hidden, kernel)

    wanted = jax.jit(jax.value_and_grad(whole, argnums=(0, 1)))(HIDDEN, KERNEL)
    program = jax.jit(jax.value_and_grad(chunked, argnums=(0, 1)), static_argnums=2)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for chunk in (1, 6, N, 1000):
        jax.tree.map(close, program(HIDDEN, KERNEL, chunk), wanted)


# Two pairs of completions, of unlike lengths, and where the student starts.
LONG = np.float32(np.arange(C) < np.array([5, 3, 2, 4])[:, None])
REFERENCE = np.float32(rng.normal(size=B) - 10)
SLOPE = 0.3


def pairs_loss(hidden, kernel, weights=LONG, chunk=N):
    logprobs = sequence_logprobs(rows(hidden), kernel, rows(TARGETS), weights, chunk)
    return dpo(logprobs, REFERENCE, is_pair(weights), SLOPE)


def test_dpo_is_its_formula():
    """Equation 7 of arXiv 2305.18290 as it stands there, in float64, pair by pair."""
    logprobs = log_softmax(np.float64(HIDDEN) @ KERNEL, axis=-1)[np.arange(N), TARGETS]
    policy = [sum(row[:n]) for row, n in zip(rows(logprobs), (5, 3, 2, 4), strict=True)]
    margins = [
        SLOPE * (policy[w] - REFERENCE[w]) - SLOPE * (policy[l] - REFERENCE[l])
        for w, l in ((0, 1), (2, 3))  # noqa: E741
    ]
    loss, measured = jax.jit(pairs_loss)(HIDDEN, KERNEL)
    np.testing.assert_allclose(loss, sum(-np.log(1 / (1 + np.exp(-m))) for m in margins), rtol=1e-5)
    np.testing.assert_allclose(measured["reward_margin"], sum(margins), rtol=1e-5)
    assert min(margins) < 0 < max(margins)
    assert measured["reward_accuracy"] == 1


def test_a_pair_that_weighs_nothing_is_none():
    both, _ = pairs_loss(HIDDEN, KERNEL)
    first, _ = pairs_loss(HIDDEN, KERNEL, LONG * np.float32([[1], [1], [0], [0]]))
    second, measured = pairs_loss(HIDDEN, KERNEL, LONG * np.float32([[0], [0], [1], [1]]))
    np.testing.assert_allclose(first + second, both, rtol=1e-5)
    assert float(first) > 0.01 and float(second) > 0.01
    nothing, measured = pairs_loss(HIDDEN, KERNEL, 0 * LONG)
    assert nothing == 0 and all(value == 0 for value in measured.values())


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(direction):
    loss = LossConfig("kl", direction=direction)

    def divergence(hidden, kernel):
        return kl_divergence(rows(hidden), kernel, rows(HIDDEN), KERNEL, rows(WEIGHTS), loss)

    value, gradients = jax.value_and_grad(divergence, argnums=(0, 1))(HIDDEN, KERNEL)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    for gradient in gradients:
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_losses_are_summed_in_float32_whatever_the_activations():
    """bfloat16 states and kernel: as exact as float32 arithmetic on those same numbers."""
    hidden, kernel = (jnp.asarray(x, jnp.bfloat16) for x in (HIDDEN, KERNEL))
    got = cross_entropy(rows(hidden), kernel, rows(TARGETS), rows(WEIGHTS), chunk=4)
    logits = np.float64(hidden) @ np.float64(kernel)
    wanted = -(log_softmax(logits, axis=-1)[np.arange(N), TARGETS] * WEIGHTS).sum()
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cross_entropy", "kl", "dpo"])
def test_logits_of_the_whole_batch_never_exist(kind):
    """The compiled gradient's scratch memory holds a few chunks' logits, not the batch's."""
    b, c, d, v, chunk = 8, 256, 8, 4096, 64
    n = b * c
    shapes = [(b, c, d), (d, v), (b, c, d), (d, v), (b, c)]
    hidden, kernel, *teacher, weights = (jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)
    targets = jax.ShapeDtypeStruct((b, c), jnp.int32)

    def scratch(chunk):
        if kind == "cross_entropy":
            loss = functools.partial(cross_entropy, chunk=chunk)
            arguments = (hidden, kernel, targets, weights)
        elif kind == "dpo":

            def loss(hidden, kernel, targets, weights):
                logprobs = sequence_logprobs(hidden, kernel, targets, weights, chunk)
                return dpo(logprobs, jnp.zeros(b), is_pair(weights), 0.1)[0]

            arguments = (hidden, kernel, targets, weights)
        else:
            loss = functools.partial(kl_divergence, loss=LossConfig("kl", chunk=chunk))
            arguments = (hidden, kernel, *teacher, weights)
        program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
        return program.memory_analysis().temp_size_in_bytes

    logits_bytes = n * v * 4
    assert scratch(chunk) < logits_bytes / 4
    assert scratch(n) > logits_bytes / 2  # what the bound above would notice
