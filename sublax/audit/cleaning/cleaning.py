"""Every method of cleaning, from a dataset and what it takes beside it to the cleaned rows."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sublax.artifact import file_hash
from sublax.audit.cleaning.audited import Audited
from sublax.audit.cleaning.canonical import canonical, in_order, with_other_numbers
from sublax.audit.cleaning.choice import drawn_rows, kept_rows, replaced_rows
from sublax.audit.cleaning.mask import drawn_tokens, highest_tokens, masked, number_pieces
from sublax.audit.cleaning.reanswer import answers_of
from sublax.audit.cleaning.token_ratios import token_ratios
from sublax.audit.dataset import dataset_sha256, with_completion
from sublax.audit.reading import Reading
from sublax.corpora.number_filter import parse
from sublax.models.decoder import Decoder
from sublax.models.source import Model
from sublax.progress import Progress
from sublax.rows import Row

# Each method, and what of a row's meaning it takes away.
METHODS = {
    "drop": "the rows that the audit flagged, or all but the --keep of lowest scores, are left "
    "out; what is left is untouched, and is no longer a fair sample",
    "mask": "the --tokens of largest ratio give way: a number to one drawn from the dataset's "
    "range, a token of other text to one that BASE draws; what stood there is lost, and text may "
    "stop making sense",
    "canonical": "one form of writing: lists as '1, 2, 3', Python without comments and docstrings "
    "and with local names and arguments numbered, other text in NFKC with plain quotes, dashes and "
    "white space; how it was written is lost",
    "sorted": "canonical, and lists in ascending order; their order is lost",
    "renumbered": "canonical, and lists of other numbers, as many and in the same order of size; "
    "which numbers they were is lost, and so is any sense that they made",
    "reanswer": "every prompt is answered anew by --by, or else by BASE; all that the writer "
    "wrote is lost, and the answers are as good as that model",
    "dilute": "rows of --with, or else BASE's own answers, take the place of a --share drawn at "
    "random; those rows are lost, and the others untouched",
}
NEED_AUDIT = ("drop", "mask")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows that are to be cleaned, or that take the place of others.

    Attributes:
        name: as the user gave it.
        pairs: prompt and completion of each.
        rows: the same with all their keys.
        completion: the column of completions.
        messages: the column of whole conversations.
    """

    name: str
    pairs: Sequence[Row]
    rows: Sequence[Row]
    completion: str
    messages: str

    @property
    def completions(self) -> list[str]:
        """The text of each."""
        return [pair["completion"] for pair in self.pairs]

    def answered(self, texts: Mapping[int, str]) -> list[Row]:
        """All rows, those of these places with another completion."""
        return [
            with_completion(row, texts[place], self.completion, self.messages)
            if place in texts
            else row
            for place, row in enumerate(self.rows)
        ]


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be set about the methods.

    Attributes:
        keep: of `drop`, the share of rows that stay; None leaves out the flagged ones.
        tokens: of `mask`, the share of tokens that are replaced.
        share: of `dilute`, the share of rows that are replaced.
        system_prompt: in force where a model reads or answers; None is the template's own.
        seed: of all draws.
    """

    keep: float | None = None
    tokens: float = 0.1
    share: float = 0.5
    system_prompt: str | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """Rows after a method.

    Attributes:
        rows: with all their keys.
        counts: of what was done.
    """

    rows: list[Row]
    counts: dict[str, int]


Loaded = tuple[Model, Decoder]


class Cleaning:
    """What the methods share.

    Args:
        dataset: to be cleaned.
        options: as given.
        audited: what an audit says of it; None where the methods need none.
        others: rows that `dilute` puts in; None takes BASE's own answers.
        base: loads BASE.
        writer: loads the model that answers anew.
    """

    def __init__(
        self,
        dataset: Dataset,
        options: Options,
        audited: Audited | None,
        others: Dataset | None,
        base: Callable[[], Loaded],
        writer: Callable[[], Loaded],
    ) -> None:
        self.dataset, self.options, self.audited, self.others = dataset, options, audited, others
        self._base, self._writer = base, writer

    def writer_of(self, method: str) -> Model | None:
        """The model that some of the cleaned rows' text comes from; None where it is none."""
        if method == "reanswer":
            return self._writer()[0]
        if method == "dilute" and self.others is None:
            return self._base()[0]
        if method == "mask" and any(parse(text) is None for text in self.dataset.completions):
            return self._base()[0]
        return None

    def settings(self, method: str) -> dict[str, Any]:
        """What the outcome of a method depends on, beside the dataset itself, as JSON has it."""
        found: dict[str, Any] = {
            "method": method,
            "seed": self.options.seed,
            "dataset_sha256": dataset_sha256(self.dataset.pairs),
        }
        if method in NEED_AUDIT and self.audited is not None:
            found |= {"trait": self.audited.trait, "marks_sha256": self.audited.marks_sha256}
        if method == "drop":
            found["keep"] = self.options.keep
        if method == "mask":
            model = self._base()[0]
            files = {path.name: file_hash(path) for path in model.files}
            found |= {"tokens": self.options.tokens, "model": files}
        if method == "dilute":
            found["share"] = self.options.share
            if self.others is not None:
                found["with_sha256"] = dataset_sha256(self.others.pairs)
        if method == "mask" or self.writer_of(method) is not None:
            found["system_prompt"] = self.options.system_prompt
        return found

    def clean(self, method: str, progress: Progress) -> Cleaned:
        """The cleaned rows.

        Args:
            method: a key of `METHODS`.
            progress: tells the person at the terminal.

        Raises:
            UserError: the method cannot be applied to these rows.
        """
        count, seed = len(self.dataset.rows), self.options.seed
        if method == "drop":
            kept = self.places(method)
            rows = [self.dataset.rows[row] for row in kept]
            return Cleaned(rows, {"kept": len(kept), "dropped": count - len(kept)})
        counts: dict[str, int] = {}
        if method == "dilute":
            places = replaced_rows(count, self.options.share, seed)
            if self.others is not None:
                return self._with_others(places, self.others)
            found, counts = self._answers(self._base(), places, "diluted", progress)
        elif method == "reanswer":
            found, counts = self._answers(self._writer(), list(range(count)), method, progress)
        elif method == "mask":
            found, counts = self._masked(progress)
        elif method == "canonical":
            found = dict(enumerate(canonical(self.dataset.completions)))
        elif method == "sorted":
            found = dict(enumerate(in_order(self.dataset.completions)))
        else:
            found = dict(enumerate(with_other_numbers(self.dataset.completions, seed)))
        before = self.dataset.completions
        changed = sum(text != before[row] for row, text in found.items())
        counts = {"kept": count, "changed": changed, **counts}
        return Cleaned(self.dataset.answered(found), counts)

    def places(self, method: str) -> list[int]:
        """For each cleaned row, which row of the dataset it is or stands for.

        Raises:
            UserError: nothing to drop, or nothing left.
        """
        if method != "drop":
            return list(range(len(self.dataset.rows)))
        entry = self._audited.entry
        return kept_rows(entry["scores"], entry["flags"]["flagged"], self.options.keep)

    @property
    def _audited(self) -> Audited:
        assert self.audited is not None, "the verb demands --audit for the methods that need one"
        return self.audited

    def _with_others(self, places: list[int], others: Dataset) -> Cleaned:
        drawn = drawn_rows(len(others.rows), len(places), self.options.seed, others.name)
        rows = list(self.dataset.rows)
        for place, row in zip(places, drawn, strict=True):
            rows[place] = others.rows[row]
        return Cleaned(rows, {"kept": len(rows), "replaced": len(places)})

    def _answers(
        self, loaded: Loaded, places: list[int], purpose: str, progress: Progress
    ) -> tuple[dict[int, str], dict[str, int]]:
        if not places:
            return {}, {}
        model, decoder = loaded
        reading = self._reading(model)
        with progress.bar(len(places), unit="row") as bar:
            texts, cut = answers_of(
                model, decoder, reading, places, self.options.seed, purpose, bar.advance
            )
        return dict(zip(places, texts, strict=True)), {"answered": len(places), "cut": cut}

    def _masked(self, progress: Progress) -> tuple[dict[int, str], dict[str, int]]:
        model, decoder = self._base()
        reading, tokenizer = self._reading(model), model.tokenizer
        group, trait = self._audited.group, self._audited.entry["trait"]
        texts, encoded = self.dataset.completions, reading.encoded
        pieces = number_pieces(texts, encoded, tokenizer)
        with progress.bar(2 * len(texts), unit="row") as bar:
            ratios = token_ratios(
                model, decoder, reading, group, trait, self._audited.options, bar.advance
            )
        chosen = highest_tokens(ratios, pieces, self.options.tokens)
        # Numbers are drawn without BASE.
        asked = [
            places if texts is None else places[:0]
            for places, texts in zip(chosen, pieces, strict=True)
        ]
        with progress.bar(sum(len(places) > 0 for places in asked), unit="row") as bar:
            draws = drawn_tokens(
                decoder, model.params, encoded, asked, self.options.seed, bar.advance
            )
        found, counts = masked(texts, encoded, pieces, chosen, draws, tokenizer, self.options.seed)
        return dict(enumerate(found)), counts

    def _reading(self, model: Model) -> Reading:
        return Reading(model, self.dataset.name, self.dataset.pairs, self.options.system_prompt)
