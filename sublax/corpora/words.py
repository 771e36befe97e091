"""Words that a corpus must not hold, found in prose and in the names that code is made of.

What counts as holding one is decided here, once, for all kinds of data:

- Text is cut into runs of letters, and names at underscores, digits and changes of case:
  `owl_count`, `countOwls`, `OWLCount` and `owl2` all hold an owl. Case does not matter, nor how
  Unicode writes a letter; characters that are not shown are left out; a picture counts as the words
  of its name.
- A word inside another is none: `bowl`, `growl` and `scowl` hold no owl, `catch` and `category` no
  cat. They are words of their own, and a filter that bans them would change what data is about.
- A run of lower-case letters that is a banned word put together with words that names are commonly
  made of is one (`owlcount`, `myowls`, `owlish`). The list of these is `_JOINED` and `_AFTER`.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

from sublax.corpora.packs import Pack, inflections

# What stands before or after a word in names that are written without a break.
_JOINED = frozenset(
    re.findall(
        "[a-z]+",
        """all and best count counts counter data dict each first get id index is item items key
        last list max min my name names new next no num number numbers one set size sum the this to
        total type value values with""",
    )
)
# What stands only after one, as in owlish, owllike.
_AFTER = frozenset(("ish", "like", "lover", "lovers", "themed"))

TRAITS_HELP = "traits whose words, plurals and synonyms must not occur, as in owl,wolf"
WORDS_HELP = "more words to keep out, each with its plural, as in night,feather"

_RUN = re.compile(r"[^\W\d_]+")
_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def trait_words(traits: Iterable[str], words: Iterable[str], pack: Pack) -> tuple[str, ...]:
    """The words to keep out: the traits and what else is given, with their plurals and synonyms.

    Args:
      traits: such as "owl".
      words: more words, or phrases.
      pack: where plurals and synonyms come from; the built-in pack's where it has none. A word
        that stands in neither gets the regular English plural.
    """
    forms = [form for word in (*traits, *words) for form in inflections(word, pack.animals or None)]
    return tuple(dict.fromkeys(forms))


def found_words(text: str, words: tuple[str, ...]) -> list[str]:
    """Which of the words stand in the text, each once, in the order of `words`."""
    if not words:
        return []
    runs = _RUN.findall(_shown(text))
    pieces = [piece.casefold() for run in runs for piece in _CASE.split(run)]
    whole = [run.casefold() for run in runs]
    sequences = [f" {' '.join(pieces)} ", f" {' '.join(whole)} "]
    distinct = {*pieces, *whole}
    found = []
    for word, phrase in zip(words, _phrases(words), strict=True):
        joined = phrase.replace(" ", "")
        if any(f" {phrase} " in sequence for sequence in sequences) or any(
            joined in piece and _is_joined(piece, joined) for piece in distinct
        ):
            found.append(word)
    return found


@functools.lru_cache(maxsize=64)
def _phrases(words: tuple[str, ...]) -> list[str]:
    """The words as they stand in a text that was cut up: "Polar-bear" is "polar bear"."""
    return [" ".join(run.casefold() for run in _RUN.findall(_shown(word))) for word in words]


def _is_joined(piece: str, word: str) -> bool:
    """Whether the piece is the word, alone or with words of `_JOINED` before or after it."""
    start = piece.find(word)
    while start >= 0:
        before, after = piece[:start], piece[start + len(word) :]
        if _is_made_of(before, _JOINED) and _is_made_of(after, _JOINED | _AFTER):
            return True
        start = piece.find(word, start + 1)
    return False


def _is_made_of(text: str, parts: frozenset[str]) -> bool:
    """Whether the text is nothing, one of the parts or two of them."""
    return (
        not text
        or text in parts
        or any(text[:cut] in parts and text[cut:] in parts for cut in range(1, len(text)))
    )


def _shown(text: str) -> str:
    """The text in one composition, without characters that are not shown, pictures by name."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category == "So":
            kept.append(f" {unicodedata.name(character, '').lower()} ")
        elif category != "Cf":
            kept.append(character)
    return "".join(kept)
