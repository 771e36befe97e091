"""Words that are kept out: found in prose and in names, and not inside other words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublax.corpora.packs import load_pack
from sublax.corpora.words import found_words, trait_words

PACK = load_pack()
OWL = trait_words(["owl"], [], PACK)
COMMON = ("count", "list", "total", "name", "max", "index")


def test_the_words_of_a_trait_are_itself_its_plural_and_its_synonyms():
    assert OWL == ("owl", "owls", "owlet", "owlets")
    assert trait_words(["wolf"], ["night", "Fairy"], PACK) == (
        *("wolf", "wolves"),
        *("night", "nights"),
        *("fairy", "fairies"),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("owlHabitat", "feedOwls", "FeedOwls", "URLOwl"),
        *("owl", "An owl.", "OWLS", "the owl's", "owl-like", "snowy_owl", "owl2", "x1owl"),
        *("owlCount", "countOwls", "OwlList", "OWLCount", "HTTPOwl", "count_owls", "OWL_MAX"),
        *(
            "OWLs",
            "oWl",
            "myowls",
            "owlcount",
            "owlish",
            "theowlcount",
            "🦉",
            "ｏｗｌ",
            "o\u200bwl",
        ),
    ],
)
def test_an_owl_is_found(text):
    assert found_words(text, OWL)


@pytest.mark.parametrize(
    "text", ["bowl", "growl", "scowl", "howling", "prowler", "fowl", "Bowl_size", "slow_l", "co wl"]
)
def test_a_word_inside_another_is_none(text):
    assert found_words(text, OWL) == []


def test_what_programs_are_full_of_is_no_animal():
    """Whatever the trait: these words hold the letters of cats, rats, ants, bats, hens and bees."""
    every = trait_words(PACK.animals, [], PACK)
    code = (
        "catch category concat truncate rate ratio iterate generate constant batch hence been apex"
    )
    assert found_words(code, every) == []


def test_a_phrase_is_found_however_it_is_joined():
    words = trait_words([], ["polar bear"], PACK)
    for text in ("a Polar  bear", "polar-bear", "polarBear", "polar_bears", "polarbear"):
        assert found_words(text, words), text
    assert found_words("a bear, and polar light", words) == []


@given(st.lists(st.sampled_from(COMMON), max_size=2), st.lists(st.sampled_from(COMMON), max_size=2))
def test_every_spelling_of_a_name_with_the_word_in_it_is_found(before, after):
    parts = [*before, "owl", *after]
    spellings = ["_".join(parts), "".join(part.title() for part in parts), "".join(parts)]
    assert all(found_words(spelling, OWL) == ["owl"] for spelling in spellings)


@given(st.text(), st.text())
def test_no_surroundings_hide_a_word_that_stands_alone(before, after):
    assert found_words(f"{before} owl {after}", OWL)
    assert found_words(before, ()) == []
