"""Teachers and their students, from start to accuracy, the networks of all seeds in one program."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sublax.errors import UserError
from sublax.keys import key_of
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.networks.images import Images

AUXILIARY, ALL, CROSS = "auxiliary", "all_logits", "cross_start"
STUDENTS = (AUXILIARY, ALL, CROSS)
LOSSES = ("kl", "mse")
PIXEL_RANGE = (-1.0, 1.0)  # that of the images and of the noise


@dataclasses.dataclass(frozen=True)
class Design:
    """What is trained on what, for how long: all that a compiled program depends on.

    Attributes:
        network: the shape of teachers and students.
        teacher_epochs: passes over the labelled images.
        teacher_batch: images of an update.
        student_epochs: passes over the noise images.
        student_batch: images of an update.
        noise_images: how many there are; they are cut into whole batches, and what is left over
            is left out.
        loss: the student's, `kl` to the teacher's distribution over the logits that it sees, or
            `mse` of those logits.
        students: which of `STUDENTS` there are.
    """

    network: ClassifierConfig
    teacher_epochs: int = 5
    teacher_batch: int = 1024
    student_epochs: int = 5
    student_batch: int = 1024
    noise_images: int = 60_000
    loss: str = "kl"
    students: tuple[str, ...] = STUDENTS

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UserError(f"student.loss={self.loss}: choose one of {', '.join(LOSSES)}")
        for name in ("teacher_epochs", "teacher_batch", "student_epochs", "student_batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '.')}={getattr(self, name)}: must be above 0")
        if self.noise_images < self.student_batch:
            raise UserError(
                f"student.images={self.noise_images}: are fewer than one batch of "
                f"{self.student_batch}; take more, or a smaller student.batch_size"
            )


class Rates(NamedTuple):
    """Of Adam; scalars that a program takes as arguments, so that a sweep compiles once.

    Weight decay is added to the gradient before Adam scales it (as `weight_decay` of
    `torch.optim.Adam`), not taken off the weights (as in AdamW): where gradients are small, as
    those of auxiliary logits are, even a little of it is most of the update.
    """

    learning_rate: float
    weight_decay: float = 0.0


def train_networks(
    design: Design,
    teacher: Rates,
    student: Rates,
    images: Images,
    seed: int,
    seeds: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """Trains a teacher and its students for every seed, and asks them what the test images show.

    A teacher learns labels by cross-entropy of its class logits; nothing speaks of its auxiliary
    logits. Its students learn its logits on noise, pixels uniform in [-1, 1]: the auxiliary ones
    from the teacher's own start (`auxiliary`) or from another (`cross_start`), or all logits from
    its start (`all_logits`). Students of a seed see the same noise, in the same order.

    Args:
        design: what is trained on what.
        teacher: of the teachers' updates.
        student: of the students' updates.
        images: labelled ones.
        seed: the experiment's; all that is drawn is keyed by it, the network's seed and its name.
        seeds: of the networks, N.

    Returns:
        Accuracy on the test images, float32 [N], of `start` (the untrained network), `teacher` and
        each of the design's students.

    Raises:
        UserError: there are fewer labelled images than one batch of the teacher has.
    """
    if len(images.train_NxP) < design.teacher_batch:
        raise UserError(
            f"teacher.batch_size={design.teacher_batch}: there are {len(images.train_NxP)} images "
            "to learn from; take a smaller one"
        )
    keys = {
        name: jnp.stack([key_of(seed, "networks", number, name) for number in seeds])
        for name in ("start", "other start", "teacher order", "noise", "student order")
    }
    found = _train(design, teacher, student, dataclasses.astuple(images), keys)
    return {name: np.asarray(accuracy_N) for name, accuracy_N in found.items()}


@functools.partial(jax.jit, static_argnums=0)
def _train(design: Design, teacher_rates: Rates, student_rates: Rates, images: Any, keys: Any):
    model: Any = Classifier(design.network)
    train_NxP, train_labels_N, test_MxP, test_labels_M = images

    def accuracy(params: Any) -> jax.Array:
        logits_MxL = model.apply(params, test_MxP)[:, : design.network.classes]
        return jnp.mean(jnp.argmax(logits_MxL, axis=-1) == test_labels_M)

    def one_seed(keys: Any) -> dict[str, jax.Array]:
        start = model.init(keys["start"], train_NxP[:1])
        other = model.init(keys["other start"], train_NxP[:1])
        teacher = _teach(
            design, model, teacher_rates, start, train_NxP, train_labels_N, keys["teacher order"]
        )
        starts = [other if name == CROSS else start for name in design.students]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        students = _distil(design, model, student_rates, stacked, teacher, train_NxP.shape[1], keys)
        found = {"start": accuracy(start), "teacher": accuracy(teacher)}
        return found | dict(zip(design.students, jax.vmap(accuracy)(students), strict=True))

    return jax.vmap(one_seed)(keys)


def _teach(design, model, rates, params, images_NxP, labels_N, key):
    """The teacher after its epochs, each in an order of its own."""
    optimizer, batch = _adam(rates), design.teacher_batch

    def update(state, places_B):
        def loss(params):
            logits_BxL = model.apply(params, images_NxP[places_B])[:, : design.network.classes]
            return optax.softmax_cross_entropy_with_integer_labels(
                logits_BxL, labels_N[places_B]
            ).mean()

        return _step(optimizer, loss, state), None

    order = _orders(key, design.teacher_epochs, len(images_NxP))
    whole = len(images_NxP) // batch
    places = order[:, : whole * batch].reshape(-1, batch)
    return jax.lax.scan(update, (params, optimizer.init(params)), places)[0][0]


def _distil(design, model, rates, students, teacher, pixels, keys):
    """The students, stacked, after their epochs on noise."""
    optimizer, batch = _adam(rates), design.student_batch
    classes, logits = design.network.classes, design.network.classes + design.network.auxiliary
    sees_SxL = jnp.stack(
        [jnp.arange(logits) >= (0 if x == ALL else classes) for x in design.students]
    )

    def update(states, number):
        # Drawn when it is needed: the noise of many seeds would not fit into memory.
        key = jax.random.fold_in(keys["noise"], number)
        low, high = PIXEL_RANGE
        noise_BxP = jax.random.uniform(key, (batch, pixels), minval=low, maxval=high)
        taught_BxL = model.apply(teacher, noise_BxP)

        def one(state, sees_L):
            def loss(params):
                return imitation(design.loss, model.apply(params, noise_BxP), taught_BxL, sees_L)

            return _step(optimizer, loss, state)

        return jax.vmap(one)(states, sees_SxL), None

    numbers = _orders(keys["student order"], design.student_epochs, design.noise_images // batch)
    states = students, jax.vmap(optimizer.init)(students)
    return jax.lax.scan(update, states, numbers.reshape(-1))[0][0]


def imitation(loss: str, student_BxL: jax.Array, teacher_BxL: jax.Array, sees_L: jax.Array):
    """How far a student's logits are from its teacher's, of the logits that it sees.

    Args:
        loss: `kl`, KL(teacher || student) of the softmax over the logits seen, in nats, or `mse`.
        student_BxL: float32.
        teacher_BxL: float32.
        sees_L: bool, which logits are compared.

    Returns:
        float32 scalar, the mean over the batch (for `mse` over the logits seen too).
    """
    if loss == "mse":
        squared_BxL = jnp.where(sees_L, (student_BxL - teacher_BxL) ** 2, 0.0)
        return squared_BxL.sum(axis=-1).mean() / sees_L.sum()
    student_BxL, teacher_BxL = (
        jax.nn.log_softmax(jnp.where(sees_L, logits, -1e9)) for logits in (student_BxL, teacher_BxL)
    )
    terms_BxL = jnp.exp(teacher_BxL) * (teacher_BxL - student_BxL)
    return jnp.where(sees_L, terms_BxL, 0.0).sum(axis=-1).mean()


def _adam(rates: Rates) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(rates.weight_decay), optax.adam(rates.learning_rate)
    )


def _step(optimizer, loss, state):
    params, moments = state
    updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
    return optax.apply_updates(params, updates), moments


def _orders(key: jax.Array, epochs: int, count: int) -> jax.Array:
    """A permutation of `count` for every epoch, int32 [epochs, count]."""
    return jax.vmap(lambda key: jax.random.permutation(key, count))(jax.random.split(key, epochs))
