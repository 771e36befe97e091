"""What an audit says of this very dataset: which rows speak for a trait, and how it looked."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sublax.artifact import file_hash, read_card, verify
from sublax.audit.audit import FORMAT
from sublax.audit.candidates import Group, named_groups, one_against_others
from sublax.audit.findings import full_name
from sublax.audit.options import Options
from sublax.errors import UserError
from sublax.models.source import Model


@dataclasses.dataclass(frozen=True)
class Audited:
    """The results of one audit, and the trait that is to be cleaned away.

    Attributes:
        folder: the audit's.
        result: its verdict, as `schema.json` describes it.
        config: of the verdict's card.
        entry: of the trait, one of the verdict's candidates with the scores of all rows.
    """

    folder: Path
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    entry: Mapping[str, Any]

    @property
    def trait(self) -> str:
        """Its name, as in animals/owl."""
        return full_name(self.entry)

    @property
    def marks_sha256(self) -> str:
        """The sha256 of all that methods take from the audit."""
        marks = [self.trait, self.entry["scores"], self.entry["flags"]["flagged"]]
        return hashlib.sha256(json.dumps(marks).encode()).hexdigest()

    @property
    def options(self) -> Options:
        """How the audit looked."""
        known = {field.name for field in dataclasses.fields(Options)}
        given = {key: value for key, value in self.result["options"].items() if key in known}
        return Options(**{**given, "suspects": tuple(given.get("suspects", ()))})

    @property
    def groups(self) -> list[Group]:
        """The groups of traits that the audit asked for."""
        return [_group(*stated) for stated in self.config["traits"]]

    @property
    def group(self) -> Group:
        """The group that the trait is of."""
        return next(group for group in self.groups if group.name == self.entry["group"])

    def check_model(self, model: Model) -> None:
        """Refuses a model that the audit was not of.

        Raises:
            UserError: its files are others.
        """
        if self.config["model"] != {path.name: file_hash(path) for path in model.files}:
            raise UserError(
                f"--model={model.name}: the audit in {self.folder} is of {self.result['model']}, "
                "or of other files of that name; name that model, or audit with this one"
            )


def read_audit(folder: str, sha256: str, name: str, trait: str | None) -> Audited:
    """What an audit says of a dataset and a trait.

    Args:
        folder: the audit's --output.
        sha256: of the dataset that it must be of, as `dataset_sha256` gives it.
        name: the dataset's, for errors.
        trait: its name, alone or with its group's; None is what the audit says the rows carry, or
            else the foremost trait.

    Raises:
        UserError: no finished audit there, one of another dataset, or no such trait with scores.
    """
    verdict = Path(folder) / "verdict"
    card = read_card(verdict)
    if card is None:
        raise UserError(
            f"--audit={folder}: no finished audit there; run sublax audit --output={folder} first"
        )
    if problems := verify(verdict):
        raise UserError(f"--audit={folder}: {problems[0]}; run the audit again")
    result = json.loads((verdict / "verdict.json").read_text("utf-8"))
    if result.get("format") != FORMAT or "traits" not in card["config"]:
        raise UserError(f"--audit={folder}: of another version of sublax; run the audit again")
    if result["dataset"]["sha256"] != sha256:
        raise UserError(
            f"--audit={folder}: is of {result['dataset']['name']} with other rows than {name} has "
            f"now; run sublax audit --dataset={name}"
        )
    return Audited(Path(folder), result, card["config"], _entry(folder, result, trait))


def _entry(folder: str, result: Mapping[str, Any], trait: str | None) -> Mapping[str, Any]:
    scored = [entry for entry in result["candidates"] if "scores" in entry]
    if not scored:
        raise UserError(f"--audit={folder}: no trait has scores of rows; run the audit again")
    if trait is None:
        carried = [entry for entry in scored if entry["trait"] in result["carries"]]
        return max(carried or scored, key=lambda entry: entry["z"])
    found = [entry for entry in scored if trait in (entry["trait"], full_name(entry))]
    if len(found) != 1:
        problem = "scores of it in several groups" if found else "no scores of rows for it"
        known = ", ".join(map(full_name, scored))
        raise UserError(f"--trait={trait}: {folder} has {problem}; choose from {known}")
    return found[0]


def _group(name: str, traits: list[str], questions: list[str]) -> Group:
    if len(traits) > 1:
        return one_against_others(name, questions, traits)
    (group,) = named_groups([name])  # an axis has answers of its own
    if list(group.questions) != questions:
        raise UserError(f"{name}: the audit is of another version of sublax; run it again")
    return group
