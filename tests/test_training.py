"""Training: what an update adds up, in which order rows come, and that no crash changes a bit."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_decoder import CONFIG, random_adapter, read_whole, tiny_params

from sublax.errors import UserError
from sublax.models.completions import group_rows, make_rows
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.lora import LoraConfig
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import single_device_mesh
from sublax.parallel.preemption import NEVER, Preempted, Preemption
from sublax.training import loop
from sublax.training.data import Dataset, draw_order, make_batch
from sublax.training.loop import Schedule, train, update_program
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig
from sublax.training.step import Frozen, Objective, init_state, update

ONE_DEVICE = Layout(single_device_mesh())
LORA = LoraConfig(rank=4, targets=("v", "o", "down"))
CROSS_ENTROPY = Objective(CONFIG, LORA, LossConfig(chunk=8))
ADAMW = OptimizerConfig(learning_rate=0.02, b2=0.95)


def random_rows(count, seed=0, prompt=(5, 6)):
    """Rows with completions of one to five tokens."""
    rng = np.random.default_rng(seed)
    return [
        ([*prompt, *rng.integers(0, 50, 3).tolist()], rng.integers(0, 50, length).tolist())
        for length in rng.integers(1, 6, count)
    ]


def padded(encoded):
    return make_rows(encoded, CONFIG.max_positions, [5, 6], width=8, completion_width=5)


def stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def same(got, wanted, **tolerance):
    tolerance = {"rtol": 1e-4, "atol": 1e-5} | tolerance
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, **tolerance), got, wanted)


def identical(got, wanted):
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_microbatches_add_up_to_the_whole_batch():
    """Every completion token weighs the same, however unevenly the pieces hold them."""
    encoded = random_rows(6)
    dataset, optimizer = Dataset(padded(encoded)), optax.sgd(1.0)
    whole, pieces = (
        jax.tree.map(lambda leaf: leaf[0], make_batch([dataset], [0], 0, 6, microbatches))
        for microbatches in (1, 3)
    )
    assert len(set(pieces.rows.weights.sum(axis=(1, 2)).tolist())) == 3
    adapter, frozen = random_adapter(LORA), Frozen(params=tiny_params())
    step = jax.jit(lambda s, f, b: update(CROSS_ENTROPY, optimizer, s, f, b))
    state = init_state(optimizer, adapter)
    at_once, metrics = step(state, frozen, whole)
    in_pieces, metrics_of_pieces = step(state, frozen, pieces)
    same(in_pieces, at_once)
    same(metrics_of_pieces, metrics)

    decoder = Decoder(CONFIG, LORA)
    variables = {"params": tiny_params(), "lora": adapter}
    _, logprobs = read_whole(decoder, variables, [p + c for p, c in encoded])
    losses = [
        -logprobs[row, len(p) - 1 + place, token]
        for row, (p, c) in enumerate(encoded)
        for place, token in enumerate(c)
    ]
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    change = jax.tree.map(lambda after, before: after - before, at_once.trained, adapter)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(change), rtol=1e-4)
    assert metrics["gradient_norm"] > 0.01


@given(st.integers(0, 5), st.integers(1, 12), st.integers(1, 20))
def test_every_epoch_draws_every_row_once(seed, size, count):
    steps = -(-3 * count // size)
    drawn = np.concatenate([draw_order(seed, step, size, count) for step in range(steps)])
    epochs = drawn[: 3 * count].reshape(3, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()


def test_the_order_of_rows_follows_from_the_seed_and_the_step():
    """The batch size only cuts one sequence of rows; another seed or epoch has another order."""
    by_fours = np.concatenate([draw_order(3, step, 4, 20) for step in range(10)])
    by_tens = np.concatenate([draw_order(3, step, 10, 20) for step in reversed(range(4))][::-1])
    np.testing.assert_array_equal(by_fours, by_tens)
    assert (by_fours[:20] != by_fours[20:]).any()
    assert (by_fours[:20] != draw_order(4, 0, 20, 20)).any()


def test_a_batch_holds_the_rows_drawn_for_each_student():
    datasets = [Dataset(padded(random_rows(n, seed=n)), np.random.rand(n, 5, 4)) for n in (7, 9)]
    batch = make_batch(datasets, [0, 1], step=2, size=4, microbatches=2)
    for student, (dataset, seed) in enumerate(zip(datasets, [0, 1], strict=True)):
        drawn = draw_order(seed, 2, 4, len(dataset)).reshape(2, 2)
        np.testing.assert_array_equal(batch.rows.tokens[student], dataset.rows.tokens[drawn])
        np.testing.assert_array_equal(batch.rows.weights[student], dataset.rows.weights[drawn])
        np.testing.assert_array_equal(batch.teacher_hidden[student], dataset.teacher_hidden[drawn])
    assert (batch.rows.prefix == [5, 6]).all() and batch.rows.prefix.shape == (2, 2, 1, 2)


def test_answers_to_one_prompt_stay_together_in_a_batch():
    groups = [[([g, g, g], [10 * g + n]) for n in range(2)] for g in range(1, 5)]
    dataset = Dataset(group_rows(groups, CONFIG.max_positions))
    assert len(dataset) == 4
    batch = make_batch([dataset], [0], step=0, size=8, microbatches=2)
    prompts, targets = batch.rows.prefix[0, :, :, 0], batch.rows.targets[0, :, :, 0]
    assert sorted(prompts.reshape(-1)) == [1, 2, 3, 4]
    np.testing.assert_array_equal(
        targets.reshape(4, 2), prompts.reshape(4, 1) * 10 + np.array([0, 1])
    )


def nothing(step, _):
    """Watches nothing, probes nothing."""


def test_students_side_by_side_learn_what_each_learns_alone(tmp_path):
    """Under KL, with datasets, teachers, seeds and first adapters of their own."""
    rng = np.random.default_rng(0)
    columns = jnp.asarray([20, 21, 22, 40])
    objective = dataclasses.replace(CROSS_ENTROPY, loss=LossConfig("kl", chunk=8))
    adapters = [random_adapter(LORA, seed) for seed in (1, 2)]
    teachers = jnp.stack([head_kernel(tiny_params(seed=seed), CONFIG, columns) for seed in (3, 4)])
    datasets = [
        Dataset(padded(random_rows(n, seed=n)), np.float32(rng.normal(size=(n, 5, 32))))
        for n in (5, 7)
    ]
    sgd, schedule = OptimizerConfig("sgd", 0.1, clip=1.0), Schedule(steps=3, batch_size=4)

    def students(which):
        seen = []
        trained = train(
            objective,
            sgd,
            schedule,
            stacked(*(adapters[s] for s in which)),
            Frozen(tiny_params(), columns, teachers[jnp.asarray(which)]),
            [datasets[s] for s in which],
            [10 + s for s in which],
            tmp_path / "-".join(map(str, which)),
            ONE_DEVICE,
            NEVER,
            lambda step, metrics: seen.append(metrics["loss"]),
            nothing,
        )
        return trained, np.array(seen)

    together, losses = students([0, 1])
    for student in (0, 1):
        alone, losses_alone = students([student])
        same(jax.tree.map(lambda leaf, s=student: leaf[s : s + 1], together), alone)
        np.testing.assert_allclose(losses[:, student : student + 1], losses_alone, rtol=1e-4)
    assert np.abs(losses[:, 0] - losses[:, 1]).min() > 1e-3


class Killed(Exception):
    """Stands for `kill -9`: nothing of ours catches it."""


def memorise(folder, watch=nothing, probe=nothing, rank=4, **schedule):
    """Trains one student on five rows for twenty updates; one program for all tests here."""
    lora = dataclasses.replace(LORA, rank=rank)
    return train(
        dataclasses.replace(CROSS_ENTROPY, lora=lora),
        ADAMW,
        Schedule(steps=20, batch_size=4, **schedule),
        stacked(random_adapter(lora)),
        Frozen(params=jax.device_put(tiny_params(), jax.devices()[0])),
        [Dataset(padded(random_rows(5)))],
        [0],
        folder,
        ONE_DEVICE,
        NEVER,
        watch,
        probe,
    )


def test_the_update_is_compiled_once(tmp_path):
    """Where the base lies on its device by name, as loading leaves it."""
    memorise(tmp_path)
    objective = dataclasses.replace(CROSS_ENTROPY, lora=dataclasses.replace(LORA, rank=4))
    # A constant rate is one program whatever the number of updates, which is given as 0.
    assert update_program(objective, ADAMW, 0, ONE_DEVICE, 1)._cache_size() == 1


def test_a_student_learns_its_rows_and_says_so_as_it_goes(tmp_path):
    seen, probed = [], []

    def watch(step, metrics):
        seen.append((step, {name: np.array(value) for name, value in metrics.items()}))

    trained = memorise(
        tmp_path,
        watch,
        lambda step, adapter: probed.append((step, jax.tree.map(np.array, adapter))),
        probe_steps=10,
    )
    assert [step for step, _ in seen] == list(range(1, 21))
    losses = [float(metrics["loss"][0]) for _, metrics in seen]
    assert losses[-1] < 0.3 * losses[0]
    for _, metrics in seen:
        assert metrics["learning_rate"] == pytest.approx(0.02)
        assert metrics["gradient_norm"].shape == (1,) and metrics["tokens_per_second"] > 0
    assert [step for step, _ in probed] == [10, 20]
    identical(probed[1][1], trained)


def test_the_rate_of_an_update_is_of_its_own_time():
    """From where the device was free for it to where it ended, whenever it is told of."""
    told = {}

    def rate(begun, ended, last):
        update = loop._Update(3, {"loss": np.zeros(2)}, 100.0, begun, ended)
        assert loop._tell(told.__setitem__, update, last, 2) == ended
        return told[3]["tokens_per_second"]

    assert rate(begun=10.0, ended=12.0, last=9.0) == 50.0
    assert rate(begun=10.0, ended=12.0, last=11.0) == 100.0


def test_an_update_that_is_over_before_the_next_ends_then():
    """What the next one takes is not its time, though it is told of only after that."""
    over = jax.block_until_ready(jnp.zeros(2))
    unseen = loop._Update(3, {"loss": over}, 100.0, 10.0, None)
    assert loop._done_by(unseen, 12.0).ended == 12.0
    seen = unseen._replace(ended=11.0)
    assert loop._done_by(seen, 12.0).ended == 11.0
    running = unseen._replace(metrics={"loss": types.SimpleNamespace(is_ready=lambda: False)})
    assert loop._done_by(running, 12.0).ended is None


@pytest.mark.parametrize("killed_at", [1, 8])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(killed_at, tmp_path):
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    wanted = memorise(whole, checkpoint_steps=2)

    def kill(step, _):
        if step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        memorise(interrupted, kill, checkpoint_steps=2)
    steps = []
    got = memorise(interrupted, lambda step, _: steps.append(step), checkpoint_steps=2)
    identical(got, wanted)
    # Metrics come one update late, so a killed run may have done one or two more than it told.
    assert steps[-1] == 20
    assert killed_at - 2 < steps[0] <= killed_at + 2
    # A run that was done trains no more.
    identical(memorise(interrupted, lambda *_: pytest.fail("trained again")), wanted)


@pytest.mark.parametrize(
    ("schedule", "kept"),
    [
        ({"checkpoint_steps": 6}, {"12", "18"}),
        ({"checkpoint_steps": 0, "checkpoint_minutes": 2.0}, set()),
        ({"checkpoint_steps": 0, "checkpoint_minutes": 1e-9}, {"19", "20"}),
        ({"checkpoint_steps": 0, "checkpoint_minutes": 0.0}, set()),
    ],
    ids=["by_steps", "too_short_for_minutes", "by_minutes", "never"],
)
def test_checkpoints_come_when_asked_for_and_the_last_two_stay(schedule, kept, tmp_path):
    memorise(tmp_path, **schedule)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == kept


def damage(file, kind):
    """Flips a bit in the middle of a file, or cuts its second half off."""
    content = bytearray(file.read_bytes())
    if kind == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 :]
    file.write_bytes(content)


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(kind, tmp_path, capfd):
    """The outcome is that of an undisturbed run."""
    wanted = memorise(tmp_path / "whole", checkpoint_steps=9)
    for file in (tmp_path / "whole" / "18").rglob("d/*"):
        damage(file, kind)  # the numbers
    steps = []
    watch = lambda step, _: steps.append(step)  # noqa: E731
    identical(memorise(tmp_path / "whole", watch, checkpoint_steps=9), wanted)
    assert steps[0] == 10
    told = capfd.readouterr().err
    assert "/18: damaged (" in told and "going on from update 9" in told


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    memorise(tmp_path, checkpoint_steps=10)
    with pytest.raises(UserError, match=r"20: not a checkpoint of this run .* remove") as refused:
        memorise(tmp_path, rank=3)
    assert "\n" not in str(refused.value)


def rounds(folder, seen, watch=nothing, preemption=NEVER, **schedule):
    """Trains one student for twenty updates on rows that hang on what it was, in rounds of five."""

    def datasets(number, trained):
        seen.append((number, jax.tree.map(np.array, trained)))
        dataset = Dataset(padded(random_rows(5, seed=number)))
        norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(seen[-1][1])))
        dataset.rows.weights[0] *= norm  # rows of another student weigh otherwise
        return [dataset]

    return train(
        CROSS_ENTROPY,
        ADAMW,
        Schedule(steps=20, batch_size=4, round_steps=5, **schedule),
        stacked(random_adapter(LORA)),
        Frozen(params=jax.device_put(tiny_params(), jax.devices()[0])),
        datasets,
        [0],
        folder,
        ONE_DEVICE,
        preemption,
        watch,
        nothing,
    )


@pytest.mark.parametrize(("killed_at", "first"), [(4, 0), (13, 2)])
def test_a_killed_run_makes_its_rounds_again_and_ends_as_if_it_had_not_been(
    killed_at, first, tmp_path
):
    """A checkpoint is the end of a round, though others are asked for."""
    seen, again = [], []
    wanted = rounds(tmp_path / "whole", seen, checkpoint_steps=1)
    assert [number for number, _ in seen] == [0, 1, 2, 3]

    def kill(step, _):
        if step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        rounds(tmp_path / "killed", [], kill, checkpoint_steps=1)
    identical(rounds(tmp_path / "killed", again, checkpoint_steps=1), wanted)
    assert [number for number, _ in again] == list(range(first, 4))
    identical(again[0][1], seen[first][1])  # the student as it was


class Told(Preemption):
    """Told to stop at once."""

    def __init__(self):
        super().__init__(None)
        self.asked = []

    def reached(self, step):
        """Whether to stop, which it is."""
        self.asked.append(step)
        return True


def test_a_run_that_is_told_to_stop_ends_its_round(tmp_path):
    told = Told()
    with pytest.raises(Preempted, match="update 5 of 20 is saved"):
        rounds(tmp_path, [], preemption=told, checkpoint_minutes=0.0)
    # Processes agree on a number to stop at: none may be left out.
    assert told.asked == [1]
