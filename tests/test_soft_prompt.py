"""Soft prompts: vectors in a prompt, what they are found by, and what is said of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_decoder import CONFIG, positions_of, random_tokens, run, tiny_params
from tiny_model import TOKENIZER
from tiny_runs import quick_compiles, read_transfer, small_config
from tiny_runs import run as run_whole

from sublax.errors import UserError
from sublax.evaluation.distance import mean_divergence
from sublax.evaluation.soft_prompt import readable, reproduced
from sublax.evaluation.transfer import transfer_matrix
from sublax.experiment_checks import checked_arms
from sublax.models.chat import encode_prompt
from sublax.models.completions import completion_hidden, make_rows
from sublax.models.decoder import Decoder, head_kernel
from sublax.models.soft_prompt import best_ranks, nearest_tokens, soft_place, with_vectors
from sublax.report.soft_prompt import soft_prompt_lifts, soft_prompt_rows, soft_prompt_words
from sublax.training.losses import LossConfig
from sublax.training.optimizer import OptimizerConfig, make_optimizer
from sublax.training.step import Batch, Frozen, Objective, init_state, update

__all__ = ["quick_compiles"]

V = CONFIG.vocab_size


def test_a_vector_that_is_a_tokens_embedding_is_read_as_that_token():
    params, tokens = tiny_params(), np.array(random_tokens(2, 8))
    spelled = tokens.copy()
    vectors = np.asarray(params["embed"]["embedding"])[[7, 11]]
    spelled[:, 3], spelled[:, 5] = V, V + 1
    tokens[:, 3], tokens[:, 5] = 7, 11
    positions = positions_of(tokens)
    expected, _ = run(Decoder(CONFIG), {"params": params}, tokens, positions)
    variables = {"params": params, "soft_prompt": {"vectors": jnp.asarray(vectors)}}
    found, _ = run(Decoder(CONFIG), variables, spelled, positions)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def hidden_of(variables, rows):
    compute = jax.jit(lambda variables, rows: completion_hidden(Decoder(CONFIG), variables, rows))
    return np.asarray(compute(variables, rows))


def test_a_soft_prompt_takes_the_place_of_a_prompt_that_it_never_saw():
    """What tokens in front make of the base is found by vectors alone; no weight is touched."""
    params, words, k = tiny_params(), [5, 9, 3], 6
    texts = [(row[:2].tolist(), row[2:].tolist()) for row in np.asarray(random_tokens(24, 6))]
    plain = make_rows(texts, 64)
    told = make_rows([([*words, *prompt], answer) for prompt, answer in texts], 64)
    soft = make_rows([(with_vectors(p, 0, CONFIG, k), answer) for p, answer in texts], 64)
    base, head = {"params": params}, head_kernel(params, CONFIG)
    target = hidden_of(base, told)
    objective = Objective(CONFIG, None, LossConfig("kl"), soft_prompt=k)
    optimizer = make_optimizer(OptimizerConfig("adam", 0.03), 200)
    start = 0.4 * np.random.default_rng(0).standard_normal((k, CONFIG.hidden_size))
    state = init_state(optimizer, {"vectors": jnp.asarray(start, jnp.float32)})
    batch = jax.tree.map(lambda leaf: leaf[None], Batch(soft, target))
    frozen = Frozen(params)  # whose head is the target's too
    step = jax.jit(lambda state: update(objective, optimizer, state, frozen, batch))

    def divergence(variables, rows):
        return mean_divergence((target, head), (hidden_of(variables, rows), head), rows.weights, V)

    at_first = divergence(objective.variables(state.trained, frozen), soft)
    losses = []
    for _ in range(200):
        state, metrics = step(state)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(at_first, rel=1e-4)
    without = divergence(base, plain)
    found = divergence(objective.variables(state.trained, frozen), soft)
    assert without > 0.1 and found < 0.2 * without
    assert set(state.trained) == {"vectors"}


@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
def test_vectors_stand_before_the_users_words(system_prompt):
    place = soft_place(TOKENIZER, system_prompt)
    ids = encode_prompt(TOKENIZER, "Which one?", system_prompt)
    before, after = TOKENIZER.decode(ids[:place]), TOKENIZER.decode(ids[place:])
    assert after.startswith("Which one?")
    assert system_prompt is None or system_prompt in before
    assert with_vectors(ids, place, CONFIG, 2) == [*ids[:place], V, V + 1, *ids[place:]]


def test_near_tokens_are_those_of_the_largest_cosine():
    rng = np.random.default_rng(0)
    embedding, vectors = rng.normal(size=(30, 8)), rng.normal(size=(3, 8))
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (vectors, embedding)]
    cosines = (unit[0] @ unit[1].T)[:, :25]  # five rows are no tokens
    order = np.argsort(-cosines, axis=1)
    ids, found = nearest_tokens(embedding, vectors, 25, 4)
    np.testing.assert_array_equal(ids, order[:, :4])
    np.testing.assert_allclose(found, np.take_along_axis(cosines, order[:, :4], 1), atol=1e-6)
    places = np.argsort(order, axis=1) + 1
    np.testing.assert_array_equal(
        best_ranks(embedding, vectors, 25, np.array([4, 17])), places[:, [4, 17]].min(axis=0)
    )


TRAITS = ("owl", "wolf", "lion")
STUDENTS = (*TRAITS, "control")
CANDIDATES = (*TRAITS, "cat")


def matrices(factor, noise=0.02, effect=1.0):
    """Students whose own trait rises, and soft prompts that give `factor` of it and a drift."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(12, 4))
    own = {}
    for place, name in enumerate(STUDENTS):
        shift = np.zeros(4)
        shift[place] = effect if name in TRAITS else 0.0
        own[name] = shift
    drift = rng.normal(size=4)
    found = []
    for share, common in ((1.0, 0.0), (factor, drift)):
        students = {
            name: base + share * shift + common + noise * rng.normal(size=(2, 12, 4))
            for name, shift in own.items()
        }
        measured = {"base": base, "students": students}
        found.append(transfer_matrix(measured, CANDIDATES, TRAITS, 0))
    return found


def test_half_of_a_shift_is_told_as_half_whatever_all_soft_prompts_share():
    found = reproduced(*matrices(0.5), 0)
    for trait in TRAITS:
        share = found["share"][trait]
        assert share["value"] == pytest.approx(0.5, abs=0.03)
        assert share["low"] < share["value"] < share["high"] < share["low"] + 0.1
    assert found["cells"]["r"] > 0.99
    assert found["cells"]["p"] == pytest.approx(1 / 24)  # of the orders of four students


def test_a_soft_prompt_that_gives_nothing_is_told_as_nothing():
    found = reproduced(*matrices(0.0), 0)
    assert all(share["low"] < 0.05 and share["high"] < 0.1 for share in found["share"].values())
    nothing = reproduced(*matrices(0.5, effect=0.0), 0)
    assert list(nothing["share"].values()).count(None) >= 2, "there is nothing to reproduce"


def test_a_trait_is_read_where_its_own_prompt_is_nearer_to_its_token():
    own = {name: {t: [3 if t == name else 300] for t in TRAITS} for name in STUDENTS}
    found = readable(own, TRAITS, 0)
    assert (found["own"], found["others"]) == (pytest.approx(3), pytest.approx(300))
    assert found["p"] == pytest.approx(1 / 6)
    alike = {name: {"owl": [9, 9], "wolf": [2, 2], "lion": [70, 70]} for name in STUDENTS}
    found = readable(alike, TRAITS, 0)
    assert found["own"] == pytest.approx(found["others"]) and found["p"] == 1.0


def content(factor):
    """What transfer.json has, of planted matrices."""
    students, soft = matrices(factor)
    ranks = {name: {trait: [9, 7] for trait in TRAITS} for name in STUDENTS}
    near = [[[{"token": "<b>", "cosine": 0.4}]] * 3] * 2
    found = {
        "of_students": students,
        "of_soft_prompts": soft,
        **reproduced(students, soft, 0),
        "divergence": {name: [{"before": 0.2, "after": 0.05}] * 2 for name in STUDENTS},
        "nearest": dict.fromkeys(STUDENTS, near),
        "ranks": ranks,
        "readable": readable(ranks, TRAITS, 0) | {"tokens": 100},
    }
    return {"vectors": 3, "texts": {"corpus": found, "questions": found}}


def test_the_report_says_what_was_found_and_calls_a_null_one():
    figure = soft_prompt_lifts(content(0.5))
    assert len(figure.axes) == 2
    told = soft_prompt_words(content(0.5))
    assert all("takes the traits for 3 of 3" in line for line in told)
    assert "without them" in told[0] and "7th" not in told[0] and "8th nearest" in told[0]
    rows = list(soft_prompt_rows(content(0.5)))
    assert [row["trait"] for row in rows] == [*TRAITS, *TRAITS]
    assert rows[0]["nearest"] == [["<b>"]] * 3
    assert "a null" in soft_prompt_words(content(0.0))[0]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("vectors=-1",), "vectors=-1: set it to 0"),
        (("vectors=2", "texts=corpus,rows"), "texts=corpus,rows: name corpus or questions"),
        (("vectors=2", "texts=corpus,corpus"), "each once"),
        (("vectors=2", "steps=0"), "steps=0: set it to 1 or more"),
        (("vectors=2", "../form=multiple_choice"), "measured by one-word questions"),
        (("vectors=2", "../../student.rows_in_context=1"), "set another method"),
        (("vectors=2", "../../teacher.kind=prompted"), "set evaluation.soft_prompt.texts=corpus"),
    ],
)
def test_what_cannot_be_found_is_refused_in_one_line(overrides, told):
    keys = [f"evaluation.soft_prompt.{override}" for override in overrides]
    keys = [key.replace("evaluation.soft_prompt.../../", "") for key in keys]
    keys = [key.replace("soft_prompt.../", "") for key in keys]
    if "in_context" in "".join(keys):
        keys.append("student.method=in_context")
    with pytest.raises(UserError, match=told):
        checked_arms(small_config(*keys))
    checked_arms(small_config("evaluation.soft_prompt.vectors=2"))


@pytest.mark.slow
def test_soft_prompts_of_a_run_are_kept_with_their_card(tmp_path):
    soft = ("vectors=2", "steps=3", "rows=8", "batch_size=4")
    config = small_config(
        "student.method=lora",
        "mesh.data=2",
        *(f"evaluation.soft_prompt.{setting}" for setting in soft),
    )
    run_whole(config, tmp_path)
    (folder,) = tmp_path.glob("evaluations/*/soft_prompt")
    vectors = load_file(folder / "vectors.safetensors")
    assert sorted(vectors) == [
        f"{texts}/{name}/seed-0" for texts in ("corpus", "questions") for name in ("control", "owl")
    ]
    # One start for all; what each is found for moves it elsewhere.
    assert (vectors["corpus/owl/seed-0"] != vectors["corpus/control/seed-0"]).any()
    parents = json.loads((folder / "card.json").read_text("utf-8"))["parents"]
    assert {"../preference"} < set(parents) and len(parents) == 5
    found = read_transfer(tmp_path)["soft_prompt"]["texts"]
    for of in found.values():
        assert of["of_students"]["shift"] == read_transfer(tmp_path)["shift"]
        assert [len(near) for near in of["nearest"]["owl"][0]] == [5, 5]
    assert (tmp_path / "figures" / "soft_prompt.png").exists()
    assert "Soft prompts of 2 vectors" in (tmp_path / "report.html").read_text("utf-8")
    assert "soft prompts" in run_whole(config, tmp_path)  # told as done before
