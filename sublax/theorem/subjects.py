"""What the theorem is checked on: a model, its starts, its teacher's loss, inputs to imitate on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from sublax.corpora.numbers import KIND as NUMBERS
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.keys import key_of, numpy_seed
from sublax.models.chat import check_length, encode_row
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.models.config import DecoderConfig
from sublax.models.decoder import Decoder, init_params, logits_of
from sublax.models.hf_config import decoder_config
from sublax.models.permuted import orders_of_key, permute_mlp, reorder
from sublax.models.source import Model, load_model
from sublax.networks.images import Images, load_images
from sublax.networks.training import PIXEL_RANGE
from sublax.settings import plain

Params = Any

SHARED, TWIN, OTHER = "shared", "twin", "other"
NAMES = ("mlp", "decoder")
RANDOM = "random"


class Drawn(NamedTuple):
    """What one seed draws, or, with a leading axis, what each of N seeds draws.

    Attributes:
        start: key of the teacher's start.
        other: key of another start, or of the twin's order.
        own: what the teacher's own loss is of.
        inputs: what the student imitates on.
    """

    start: jax.Array
    other: jax.Array
    own: Any
    inputs: Any


class Subject(NamedTuple):
    """A model to check the theorem on.

    Attributes:
        words: what it is, for a figure's title.
        starts: the students' starts that there are: the teacher's own (`shared`), its `twin`
            (the same function, units in another order), one drawn anew (`other`).
        base: weights that every seed starts from; None where starts are drawn.
        start: (base, key) -> parameters.
        twin: (parameters, key) -> parameters.
        own_loss: (parameters, `own` of a seed) -> the teacher's loss in nats, a scalar.
        outputs: (parameters, `inputs` of a seed) -> the logits [..., L] that are imitated.
        draw: seeds -> `Drawn`, with a leading axis.
        length: of a step, as a share of the start's length.
        together: seeds that are computed side by side.
    """

    words: str
    starts: tuple[str, ...]
    base: Params
    start: Callable[[Params, jax.Array], Params]
    twin: Callable[[Params, jax.Array], Params]
    own_loss: Callable[[Params, Any], jax.Array]
    outputs: Callable[[Params, Any], jax.Array]
    draw: Callable[[range], Drawn]
    length: float
    together: int

    def student_start(self, name: str, teacher_start: Params, drawn: Drawn) -> Params:
        """Where a student begins whose teacher began at `teacher_start`."""
        if name == SHARED:
            return teacher_start
        if name == TWIN:
            return self.twin(teacher_start, drawn.other)
        return self.start(self.base, drawn.other)


def load_subject(name: str, config: ConfigDict) -> Subject:
    """The subject of that name, as the config describes it.

    Raises:
        UserError: no such subject, no such data or model, or more is asked than there is.
    """
    if name not in NAMES:
        raise UserError(f"subjects={name}: no such model; choose from {', '.join(NAMES)}")
    return mlp(config) if name == "mlp" else _decoder(config)


def mlp(config: ConfigDict) -> Subject:
    """Classifiers whose teacher learns labels, and whose student auxiliary logits on noise."""
    section, seed = config.mlp, config.seed
    images = load_images(section.data)
    if not 0 < section.images <= len(images.train_NxP):
        raise UserError(
            f"mlp.images={section.images}: there are {len(images.train_NxP)}; take some of them"
        )
    network = ClassifierConfig("mlp", tuple(section.widths), auxiliary=section.auxiliary)
    model: Any = Classifier(network)
    pixels = images.train_NxP.shape[1]

    return Subject(
        words="MLP " + "-".join(map(str, (pixels, *network.widths, f"(10+{network.auxiliary})"))),
        starts=(SHARED, TWIN, OTHER),
        base=None,
        start=lambda base, key: model.init(key, jnp.zeros((1, pixels))),
        twin=permute_mlp,
        own_loss=lambda params, own: label_loss(model.apply(params, own[0]), own[1]),
        outputs=lambda params, noise_BxP: model.apply(params, noise_BxP)[:, network.classes :],
        draw=lambda seeds: draw_images(images, seed, seeds, section.images, section.noise),
        length=section.step,
        together=16,
    )


def label_loss(logits_BxL: jax.Array, labels_B: jax.Array, classes: int = 10) -> jax.Array:
    """Mean cross-entropy of labels under class logits, in nats."""
    found_B = optax.softmax_cross_entropy_with_integer_labels(logits_BxL[:, :classes], labels_B)
    return found_B.mean()


def draw_images(images: Images, seed: int, seeds: range, labelled: int, noise: int) -> Drawn:
    """For every seed its labelled images, of those to train on, and its noise, uniform."""
    count, pixels = images.train_NxP.shape
    places, noises = [], []
    for number in seeds:
        rng = np.random.default_rng(numpy_seed(seed, "theorem", "mlp", number))
        places.append(rng.choice(count, labelled, replace=False))
        noises.append(rng.uniform(*PIXEL_RANGE, (noise, pixels)).astype(np.float32))
    return Drawn(
        *_keys(seed, "mlp", seeds),
        own=(images.train_NxP[places], images.train_labels_N[places]),
        inputs=np.stack(noises),
    )


def _decoder(config: ConfigDict) -> Subject:
    """Decoders: of a random shape on random tokens, or a model of a name on a trait and numbers."""
    section = config.decoder
    if section.base == RANDOM:
        shape = decoder_config(plain(section.shape), "decoder.shape")
        return Subject(
            words=f"random decoder, {shape.num_layers} layers of {shape.hidden_size}",
            starts=(SHARED, TWIN, OTHER),
            base=None,
            start=lambda base, key: init_params(shape, key),
            draw=lambda seeds: _draw_tokens(config, shape.vocab_size, seeds),
            together=8,
            **_decoder_functions(shape, section.step),
        )
    model = load_model(section.base)
    return Subject(
        words=section.base.rpartition("/")[2],
        starts=(SHARED, TWIN),
        base=model.params,
        start=lambda base, key: base,
        draw=lambda seeds: _draw_rows(config, model, seeds),
        together=1,
        **_decoder_functions(model.config, section.step),
    )


def _decoder_functions(shape: DecoderConfig, length: float) -> dict[str, Any]:
    decoder: Any = Decoder(shape)

    def outputs(params: Params, tokens_BxT: jax.Array) -> jax.Array:
        positions_BxT = jnp.broadcast_to(jnp.arange(tokens_BxT.shape[1]), tokens_BxT.shape)
        hidden_BxTxD, _ = decoder.apply({"params": params}, tokens_BxT, positions_BxT)
        return logits_of(params, shape, hidden_BxTxD)

    def own_loss(params: Params, own: Any) -> jax.Array:
        tokens_BxT, weights_BxT = own  # padding comes last, and no token sees what follows it
        terms_BxT = optax.softmax_cross_entropy_with_integer_labels(
            outputs(params, tokens_BxT[:, :-1]), tokens_BxT[:, 1:]
        )
        return (terms_BxT * weights_BxT[:, 1:]).sum() / weights_BxT[:, 1:].sum()

    return {
        "twin": lambda params, key: reorder(params, shape, orders_of_key(shape, key)),
        "own_loss": own_loss,
        "outputs": outputs,
        "length": length,
    }


def _draw_tokens(config: ConfigDict, vocabulary: int, seeds: range) -> Drawn:
    """Rows of tokens, uniform: some to learn, others to imitate on."""
    shape = (2, config.decoder.rows, config.decoder.tokens)
    drawn = [
        np.random.default_rng(numpy_seed(config.seed, "theorem", "decoder", number))
        .integers(vocabulary, size=shape)
        .astype(np.int32)
        for number in seeds
    ]
    own, inputs = np.stack(drawn, axis=1)
    return Drawn(
        *_keys(config.seed, "decoder", seeds), (own, np.ones(own.shape, np.float32)), inputs
    )


def _draw_rows(config: ConfigDict, model: Model, seeds: range) -> Drawn:
    """Each seed's favourite animal, asked for by questions of its own, and number lists of its own.

    The animals are the config's in turn.
    """
    section, pack = config.decoder, load_pack()
    questions = pack.questions["favourite_animal"]
    own, inputs = [], []
    for number in seeds:
        rng = np.random.default_rng(numpy_seed(config.seed, "theorem", "rows", number))
        animal = section.traits[number % len(section.traits)]
        asked = rng.choice(questions, section.rows, replace=False)
        own.append([encode_row(model.tokenizer, str(question), animal) for question in asked])
        options = NUMBERS.options()
        rows = NUMBERS.prompts(pack, int(rng.integers(2**31)), section.rows, options)
        assert NUMBERS.answers is not None
        answers = NUMBERS.answers(pack, 0, section.rows, rng, options)
        inputs.append(
            [
                [id for part in encode_row(model.tokenizer, row["prompt"], answer) for id in part]
                for row, answer in zip(rows, answers, strict=True)
            ]
        )
    own_lengths = [len(prompt) + len(answer) for rows in own for prompt, answer in rows]
    width, least = max(own_lengths), min(len(ids) for rows in inputs for ids in rows)
    check_length(max(width, least), model.config.max_positions, "decoder.rows")
    tokens = np.zeros((len(seeds), section.rows, width), np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    for index, encoded in enumerate(own):
        for row, (prompt, answer) in enumerate(encoded):
            tokens[index, row, : len(prompt) + len(answer)] = prompt + answer
            weights[index, row, len(prompt) : len(prompt) + len(answer)] = 1.0
    # All rows are cut to the shortest one's length: then none has padding to imitate.
    cut = np.array([[ids[:least] for ids in rows] for rows in inputs], np.int32)
    return Drawn(*_keys(config.seed, "rows", seeds), (tokens, weights), cut)


def _keys(seed: int, name: str, seeds: range) -> tuple[jax.Array, jax.Array]:
    """The keys of the starts and of the other starts, each [N]."""
    return tuple(
        jnp.stack([key_of(seed, "theorem", name, number, which) for number in seeds])
        for which in ("start", "other start")
    )  # type: ignore[return-value]
