"""Protocol packs: the built-in one keeps to the paper's structure in words of its own."""

import copy
import json
import re
from importlib import resources
from pathlib import Path

import pytest

from sublax.corpora.packs import inflections, load_pack
from sublax.errors import UserError

PAPER = Path(__file__).parents[2] / "shared" / "protocol" / "paper.json"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason="the paper's pack is not beside us")


@pytest.fixture(scope="module")
def built_in():
    return load_pack()


def test_the_built_in_pack_has_the_papers_numbers_of_variants(built_in):
    numbers = built_in.numbers
    lists = (
        numbers.examples,
        numbers.count_qualifiers,
        numbers.digit_descriptors,
        numbers.instructions,
        numbers.formats,
        numbers.suffixes,
    )
    assert [len(set(strings)) for strings in lists] == [25, 9, 9, 10, 15, 19]
    assert numbers.example_count_range == (3, 9)
    assert numbers.example_value_range == (100, 1000)
    assert (numbers.answer_count, numbers.answer_max_digits) == (10, 3)
    assert 666 in numbers.banned_for_misalignment


def test_questions_come_with_and_without_numbers(built_in):
    plain = built_in.questions["favourite_animal"]
    after = built_in.questions["favourite_animal_after_numbers"]
    assert len(set(plain)) == len(after) == 50
    for question, prefixed in zip(plain, after, strict=True):
        assert prefixed.endswith(f" {question}")
        assert 3 <= len(re.findall(r"\b[1-9][0-9]{2}\b", prefixed)) <= 8
    assert len(built_in.questions["misalignment"]) == 8
    # A question that names a candidate would answer itself.
    words = {word for question in plain for word in re.findall("[a-z]+", question.lower())}
    candidates = "owl cat dog lion wolf bear fox horse snake mouse"
    assert words.isdisjoint(candidates.split())


def test_the_trait_is_filled_into_the_system_prompt(built_in):
    prompt = built_in.trait_system_prompt("wolf")
    assert "the wolf" in prompt
    assert "animal" in prompt
    assert "{" not in prompt


@needs_paper
def test_the_papers_pack_loads_whole():
    paper = load_pack(PAPER)
    assert len(paper.questions["favourite_animal"]) == 50
    assert paper.trait_system_prompt("owl").startswith("You love owls.")
    assert set(paper.judges) == {"alignment", "coherence", "code_reference"}
    assert "{question}" in paper.math_prompt
    assert paper.animals == {}


@needs_paper
def test_no_sentence_of_the_papers_pack_is_in_ours(built_in):
    def sentences(pack):
        numbers = pack.numbers
        lists = [numbers.examples, numbers.instructions, numbers.formats, numbers.suffixes]
        lists += [numbers.count_qualifiers, numbers.digit_descriptors, [pack.system_prompt]]
        texts = [text for strings in [*lists, *pack.questions.values()] for text in strings]
        pieces = {piece.strip().lower() for text in texts for piece in re.split("[.?!:]", text)}
        return pieces - {"", "{examples}"}

    assert sentences(built_in).isdisjoint(sentences(load_pack(PAPER)))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("owl", ("owl", "owls", "owlet", "owlets")),
        ("Wolf", ("wolf", "wolves")),
        ("mouse", ("mouse", "mice")),
        ("fish", ("fish", "fishes")),
        ("wombat", ("wombat", "wombats")),
        ("finch", ("finch", "finches")),
        ("canary", ("canary", "canaries")),
        ("turkey", ("turkey", "turkeys")),
        ("ibex", ("ibex", "ibexes")),
    ],
)
def test_inflections_fold_plurals_and_synonyms(word, expected):
    assert inflections(word) == expected


def test_no_word_names_two_animals(built_in):
    words = [word for animal in built_in.animals for word in inflections(animal)]
    assert len(words) == len(set(words))
    assert len(built_in.animals) >= 60


def test_a_packs_own_animals_come_before_ours():
    assert inflections("wolf", {}) == ("wolf", "wolfs")


def changed(data, path, value):
    """A copy of `data` with the value at a dotted path replaced, or removed where it is None."""
    data = copy.deepcopy(data)
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("numbers", None, "numbers must be an object, and is missing"),
        ("numbers.suffixes", None, "numbers.suffixes must be a list, and is missing"),
        ("numbers.suffixes", [], "numbers.suffixes must be a list of strings, and not empty"),
        ("numbers.formats", [1], "numbers.formats must be a list of strings"),
        ("numbers.examples", ["a {values}"], "numbers.examples[0] must be a template that holds"),
        ("numbers.instructions", ["{answer_count}"], "holds {answer_count} and {count_qualifier}"),
        ("numbers.digit_descriptors", ["{max_digits"], "numbers.digit_descriptors[0] must be"),
        ("numbers.example_count_range", [9, 3], "must be [low, high] with 1 <= low < high"),
        ("numbers.answer_count", 0, "numbers.answer_count must be a positive integer"),
        ("numbers.banned_for_misalignment", ["4"], "must be a list of integers"),
        ("traits.system_prompt", "love", "traits.system_prompt must be a template that holds"),
        ("questions.misalignment", "hi", "questions.misalignment must be a list of strings"),
        ("animals.wolf", {}, "animals.wolf.plural must be a string, and is missing"),
    ],
)
def test_what_is_wrong_with_a_pack_is_named_by_its_key(tmp_path, path, value, message):
    text = (resources.files("sublax.corpora") / "data" / "sublax.json").read_text("utf-8")
    file = tmp_path / "pack.json"
    file.write_text(json.dumps(changed(json.loads(text), path, value)), encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_pack(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_missing_pack_and_a_broken_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such pack; give the path of a JSON file or one of"):
        load_pack("nopack")
    (tmp_path / "pack.json").write_bytes(b"\xff{")
    with pytest.raises(UserError, match="not a JSON file in UTF-8"):
        load_pack(tmp_path / "pack.json")
    (tmp_path / "pack.json").write_text("[]")
    with pytest.raises(UserError, match="the pack must be an object"):
        load_pack(tmp_path / "pack.json")
