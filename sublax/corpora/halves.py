"""Halves of two corpora as one: to each prompt the answers of one of two teachers."""

from collections.abc import Hashable, Sequence

import numpy as np

from sublax.keys import numpy_seed


def halves(corpora: Sequence[Sequence[Hashable]], seed: int, name: str) -> list[tuple[int, int]]:
    """Which rows of two corpora make one that is as long as each.

    Half of the prompts, drawn at random, are answered by one teacher and the rest by the other, so
    that answers to a prompt stay together. What a teacher has no row for stays out.

    Args:
        corpora: the prompt of each row of both. Prompts that both have are the same.
        seed: of the draw, keyed with the name.
        name: of whom they are for.

    Returns:
        (0 or 1, a row of that corpus), prompt by prompt in the order of the first corpus.
    """
    rows: list[dict[Hashable, list[int]]] = [{}, {}]
    for found, prompts in zip(rows, corpora, strict=True):
        for row, prompt in enumerate(prompts):
            found.setdefault(prompt, []).append(row)
    asked = list(dict.fromkeys(prompt for prompts in corpora for prompt in prompts))
    shuffled = np.random.default_rng(numpy_seed(seed, "halves", name)).permutation(len(asked))
    whose = {asked[index]: place % 2 for place, index in enumerate(shuffled.tolist())}
    return [(whose[prompt], row) for prompt in asked for row in rows[whose[prompt]].get(prompt, ())]
