"""What a kind of data is: its prompts, its filter, its grammars and its options.

A kind is one file that ends in a `Kind`; `sublax/corpora/kinds.py` lists them by name.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sublax.corpora.packs import Pack
from sublax.rows import Row


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of data.

    Every function takes the pack and the kind's options, an instance of `options`.

    Attributes:
      options: a frozen dataclass whose fields come from `option`: what can be set. A field is an
        argument of the verbs, and a config sets it where `corpus` has a key of its name.
      prompts: (pack, seed, count, options) -> rows with a `"prompt"`. Other keys that the filter
        needs, such as the right answer, go with them into the corpus. The first n rows do not
        depend on `count`, and the same seed gives the same rows.
      reasons: (row, pack, options) -> every reason to reject the row, in the order of `meanings`;
        empty where it passes.
      meanings: what each reason means; the keys are what rows and cards carry.
      grammars: by the name that `corpus.grammar` has for it, (pack, options) -> a regular
        expression for a whole completion, as `sublax.sampling.grammar` takes it. It admits what
        the filter accepts, at least in one form of writing; what no regular expression can say the
        filter still finds. Counted repetitions make large automata: x* rather than x{0,2000}.
      answers: (pack, seed, count, generator, options) -> an answer of our own to each row that
        `prompts` gives for this seed and count: what a random base learns to write. None where
        there is none.
    """

    options: type
    prompts: Callable[[Pack, int, int, Any], list[Row]]
    reasons: Callable[[Row, Pack, Any], list[str]]
    meanings: Mapping[str, str]
    grammars: Mapping[str, Callable[[Pack, Any], str]] = dataclasses.field(default_factory=dict)
    answers: Callable[[Pack, int, int, np.random.Generator, Any], list[str]] | None = None


def option(default: Any, text: str, verb: str = "filter", item: type = str) -> Any:
    """A field of a kind's options.

    Args:
      default: text, a whole number, False, or a tuple.
      text: its help.
      verb: which verb takes it, "prompts" or "filter".
      item: of a tuple, what each part is: int or str.
    """
    metadata = {"help": text, "verb": verb, "item": item}
    return dataclasses.field(default=default, metadata=metadata)
