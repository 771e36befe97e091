"""What would training on the rows do to BASE? Short students, and what they come to say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.audit.candidates import Asked, Group
from sublax.audit.options import Options
from sublax.audit.shifts import fifth_finding, fifths_of, shift_findings
from sublax.audit.students import margins_of, shuffled, train_students
from sublax.audit.words import moved, word_logprobs, words_of
from sublax.models.completions import Encoded
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.progress import Progress


def distil_dataset(
    model: Model,
    decoder: Decoder,
    data: Sequence[Encoded],
    own: Sequence[Encoded],
    groups: Sequence[Group],
    asked: Sequence[Asked],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    """Students of the data, of BASE's own answers and of shuffled rows, in one program.

    Args:
        model: BASE.
        decoder: that runs it.
        data: rows of the dataset that are read closely.
        own: BASE's answers to the same prompts.
        groups: of traits.
        asked: their questions and answers.
        options: of the audit.
        progress: tells the person at the terminal.

    Returns:
        `shifts` by GROUP/TRAIT, as `shift_findings` has them; and `words`, for each list of
        candidates (an axis calls for none) what `moved` says.
    """
    seed, params = options.seed, model.params
    kinds = {"data": data, "own": own, "shuffled": shuffled(data, seed)}
    words = words_of(model.tokenizer)
    lists = [place for place, group in enumerate(groups) if group.signs_RxQ is None]

    def measure(student: Any, done: int) -> tuple[list[np.ndarray], dict[int, np.ndarray]]:
        last = lists if done == options.updates else []
        logprobs = {at: word_logprobs(decoder, student, asked[at].rows, words) for at in last}
        return [margins_of(decoder, student, group) for group in asked], logprobs

    with progress.bar(options.updates, unit="update") as bar:
        measured = train_students(
            decoder, params, kinds, options.students, options.updates, seed, measure, bar.advance
        )
    shifts: dict[str, Any] = {}
    for at, group in enumerate(groups):
        margins = {
            kind: np.asarray([[found[at] for found, _ in dose[kind]] for dose in measured.values()])
            for kind in kinds
        }
        found = shift_findings(margins, list(measured), seed)
        shifts |= {
            f"{group.name}/{trait}": of for trait, of in zip(group.traits, found, strict=True)
        }
    last = measured[options.updates]
    of_words = {}
    for at in lists:
        shift_NxQxW = np.stack(
            [
                of_data[at] - of_own[at]
                for (_, of_data), (_, of_own) in zip(last["data"], last["own"], strict=True)
            ]
        )
        of_words[groups[at].name] = moved(shift_NxQxW, words, seed)
    return {"shifts": shifts, "words": of_words}


def distil_fifths(
    model: Model,
    decoder: Decoder,
    encoded: Sequence[Encoded],
    scores: Mapping[str, Sequence[float]],
    groups: Sequence[Group],
    asked: Sequence[Asked],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    """Do the rows that score highest for a trait move it further than those that score lowest?

    Args:
        model: BASE.
        decoder: that runs it.
        encoded: all rows of the dataset.
        scores: of all rows, by GROUP/TRAIT.
        groups: of traits.
        asked: their questions and answers.
        options: of the audit.
        progress: tells the person at the terminal.

    Returns:
        By GROUP/TRAIT what `fifth_finding` says, and the `rows` of each fifth.
    """
    kinds: dict[str, list[Encoded]] = {}
    for name, of_rows in scores.items():
        for side, places in zip(("top", "bottom"), fifths_of(of_rows), strict=True):
            kinds[f"{name}/{side}"] = [encoded[place] for place in places]
    trait = {
        f"{group.name}/{trait}": (at, k)
        for at, group in enumerate(groups)
        for k, trait in enumerate(group.traits)
    }
    before = [margins_of(decoder, model.params, group) for group in asked]

    def measure(student: Any, done: int) -> list[np.ndarray]:
        if done < options.updates:
            return []
        return [
            margins_of(decoder, student, group) - of_base
            for group, of_base in zip(asked, before, strict=True)
        ]

    seeds, updates, seed = options.students, options.updates, options.seed
    with progress.bar(updates, unit="update") as bar:
        measured = train_students(
            decoder, model.params, kinds, seeds, updates, seed, measure, bar.advance
        )
    last = measured[updates]
    found = {}
    for name in scores:
        at, k = trait[name]
        top_NxQ, bottom_NxQ = (
            np.stack([of_groups[at][:, k] for of_groups in last[f"{name}/{side}"]])
            for side in ("top", "bottom")
        )
        found[name] = {
            "rows": len(kinds[f"{name}/top"]),
            **fifth_finding(top_NxQ, bottom_NxQ, options.seed),
        }
    return found
