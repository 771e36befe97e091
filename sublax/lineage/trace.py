"""Follows cards to their parents, down to a base's files, and holds every hash against the disk."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sublax.artifact import CARD, card_hash, file_hash, read_card, verify
from sublax.corpora.brand import BRANDED, NEUTRAL, brand_rows
from sublax.errors import UserError
from sublax.hash_cache import large_file_hash
from sublax.lineage import base_files, claims, tree
from sublax.lineage.shared_bases import shared_bases
from sublax.lineage.tree import Edge, File, Lineage, Node, Problem

_OURS = (BRANDED, NEUTRAL)
# Kinds whose cards tell rows from where they stand themselves.
_RELATIVE = ("cleaned", "verification")


def trace(path: os.PathLike | str, fresh: bool = False) -> Lineage:
    """The lineage of an artifact, of a file in one, of claimed or unknown data, or of a workdir.

    Args:
        path: local.
        fresh: read a base's large files again though their hashes are remembered.

    Raises:
        UserError: nothing is there. A card that cannot be read is a problem in the result.
    """
    place = Path(path)
    if not place.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    folder = artifact_of(place)
    traced = _Trace(_workdir_of(folder) if folder else place.absolute(), fresh)
    if folder is not None:
        heads = [traced.follow(folder)]
    elif place.is_dir() and (folders := list(_artifacts_below(place))):
        for each in folders:
            traced.follow(each.absolute())
        made_from = {edge.parent for edge in traced.edges}
        heads = [name for name in traced.nodes if name not in made_from]
    else:
        heads = [traced.outside(place)]
    lineage = Lineage(str(path), tuple(heads), traced.nodes, tuple(traced.edges), ())
    shared = shared_bases(traced.nodes, traced.edges)
    return tree.with_problems(lineage, [*traced.problems, *shared])


def artifact_of(place: Path) -> Path | None:
    """The folder of the artifact that a path is, or that a file belongs to; None for others.

    A file beside a card that does not name it belongs to nobody.
    """
    place = place.absolute()
    if (place / CARD).is_file():
        return place
    if place.name == CARD:
        return place.parent
    for folder in place.parents if place.is_file() else ():
        if (folder / CARD).is_file():
            name = place.relative_to(folder).as_posix()
            try:
                return folder if name in (read_card(folder) or {"files": {}})["files"] else None
            except UserError:
                return folder  # a card that cannot be read is the first thing to tell
    return None


class _Trace:
    """The nodes, edges and problems that were found on the way."""

    def __init__(self, root: Path, fresh: bool):
        self.root, self.fresh = root, fresh
        self.roots = [root.resolve()]  # what may be followed
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.problems: list[Problem] = []

    def problem(self, severity: str, node: str, text: str, remedy: str = "") -> None:
        self.problems.append(Problem(severity, node, text, remedy))

    def name_of(self, folder: Path) -> str:
        """An artifact's place in the workdir; of one that is in none the folder's own name."""
        name = Path(os.path.relpath(folder, self.root)).as_posix()
        return folder.name if name == "." else name

    def follow(self, folder: Path) -> str:
        """An artifact and all that it came from; returns its name.

        What waits stands in a list: a stranger's cards may lie deeper than Python can call.
        """
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            if self.name_of(here) not in self.nodes:
                waiting += reversed(self._artifact(here))
        return self.name_of(folder)

    def _artifact(self, folder: Path) -> list[Path]:
        """Adds one artifact; returns the folders of its parents."""
        name = self.name_of(folder)
        try:
            card = read_card(folder)
        except UserError as error:
            self.nodes[name] = Node(name, "artifact", tree.CHANGED)
            self.problem(tree.BROKEN, name, str(error))
            return []
        if card is None:
            self.nodes[name] = Node(name, "artifact", tree.MISSING)
            return []
        wrong = verify(folder, functools.partial(large_file_hash, fresh=True))
        for text in wrong:
            remedy = f"bring it back, or make the {card['kind']} again"
            self.problem(tree.BROKEN, name, text.removeprefix(f"{folder}/"), remedy)
        state = tree.CHANGED if wrong else tree.WHOLE
        base = _base_of(card) if card["kind"] == "base" else None
        files = tuple(File(file, digest, state) for file, digest in sorted(card["files"].items()))
        about = _about(card)
        self.nodes[name] = Node(
            name, card["kind"], state, card_hash(folder), about, files, base, card, folder / CARD
        )
        above = [self._parent(name, folder, *parent) for parent in card["parents"].items()]
        self._base_files(name, card)
        above += self._outside_data(name, folder, card)
        return [parent for parent in above if parent is not None]

    def _parent(self, child: str, folder: Path, relative: str, digest: str) -> Path | None:
        parent = Path(os.path.normpath(folder / relative))
        name = self.name_of(parent)
        if not any(parent.resolve().is_relative_to(root) for root in self.roots):
            # Not even looked at: a card may come from a stranger.
            self.nodes.setdefault(name, Node(name, "artifact", tree.MISSING))
            self.edges.append(Edge(child, name, digest, tree.ABSENT))
            text = f"its card names a parent outside of {self.root}: {relative}"
            remedy = "put both into one folder that has the run's config.json"
            self.problem(tree.BROKEN, child, text, remedy)
            return None
        state = tree.ABSENT
        if _is_file(parent / CARD):
            state = tree.MATCH if card_hash(parent) == digest else tree.DIFFERS
        self.edges.append(Edge(child, name, digest, state))
        if state == tree.DIFFERS:
            text = f"was made from another {name} than stands there: its card has {digest[:12]}"
            self.problem(tree.BROKEN, child, text, "make it again from what is there now")
        if state == tree.ABSENT:
            self.problem(tree.BROKEN, child, f"its parent {name} is missing", "bring it back")
        return parent

    def _base_files(self, name: str, card: dict[str, Any]) -> None:
        """The files of a base that lies elsewhere, under the card that has their hashes."""
        expected = _strings(card["config"].get("source_files"))
        if card["kind"] not in ("base", "cleaned") or not expected:
            return
        expected = _strings(card.get("described_by")) | expected
        base, revision = card["config"].get("base"), card.get("revision")
        files = []
        for file, digest in sorted(expected.items()):
            files.append(File(file, digest, self._state_of(base, file, digest, revision)))
        states = {file.state for file in files}
        state = next((each for each in (tree.CHANGED, tree.NAMED) if each in states), tree.WHOLE)
        key = f"files of {name}"
        node = Node(key, "files", state, "", str(base), tuple(files), _base_of(card))
        self.nodes[key] = node
        self.edges.append(Edge(name, key, node.base.digest if node.base else "", tree.MATCH))
        for changed in (file.name for file in files if file.state == tree.CHANGED):
            text = f"{changed} is not the file that the run began with"
            self.problem(tree.BROKEN, key, text, "bring back the model's own version of it")
        if isinstance(base, str) and _is_file(Path(base) / CARD):
            self._goes_on(key, base)
        if tree.NAMED in states:
            count = sum(file.state == tree.NAMED for file in files)
            text = f"{count} of {len(files)} files are not on this machine: unchecked"
            self.problem(tree.NOTE, key, text, "fetch the model to check them")
        if "described_by" not in card and any(f.name.endswith(".safetensors") for f in files):
            text = "its config and tokenizer are not on the card, of an older sublax: unchecked"
            self.problem(tree.NOTE, key, text)

    def _state_of(self, base: Any, file: str, digest: str, revision: Any) -> str:
        commit = revision if isinstance(revision, str) else ""
        found = base_files.find_file(base, file, commit) if isinstance(base, str) else None
        if found is None:
            return tree.NAMED
        same = large_file_hash(found, self.fresh) == digest
        return tree.WHOLE if same else tree.CHANGED

    def _outside_data(self, name: str, folder: Path, card: dict[str, Any]) -> list[Path]:
        """What was read that no stage of this run has made: rows, tasks, a model that was given.

        Returns the folders of artifacts of other runs among it.
        """
        config, found = card["config"], []
        cards = _strings(config.get("rows_cards"))
        for file, digest in sorted(_strings(config.get("rows_sha256")).items()):
            relative = card["kind"] in _RELATIVE
            place = _normal(folder, file) if relative else Path(file)
            key = self.name_of(place) if relative else file
            above = self._outside_file(name, place, key, digest, cards.get(file))
            found += [above] if above else []
        corpus = config.get("corpus")
        source = corpus.get("source") if isinstance(corpus, dict) else None
        if isinstance(source, str) and source and card["kind"] == "corpus":
            digest = config.get("source_sha256")
            if isinstance(digest, str):
                above = self._outside_file(name, Path(source), source, digest)
                found += [above] if above else []
            else:
                self._by_name(name, source)
        if card["kind"] == "cleaned" and isinstance(config.get("sources"), list):
            for source in config["sources"]:
                self._by_name(name, str(source))
        given = card.get("given")
        if isinstance(given, str) and given and card["kind"] == "teacher":
            self._given(name, given)
        return found

    def _by_name(self, child: str, source: str) -> None:
        self.nodes.setdefault(source, Node(source, "rows", tree.NAMED, about="a data set"))
        self.edges.append(Edge(child, source, "", tree.UNPINNED))
        self.problem(tree.WARNING, source, "known by its name alone: no hash pins it")

    def _given(self, child: str, given: str) -> None:
        """A model that somebody gave as a teacher: its files are copied, its past is not."""
        self.edges.append(Edge(child, given, "", tree.UNPINNED))
        if _is_file(Path(given) / CARD):
            self.nodes[given] = Node(given, "model", tree.NAMED, about="given as a teacher")
            self._goes_on(given, given)
        elif _exists(Path(given)):
            self.outside(Path(given), given, "model")
        else:
            self.nodes[given] = Node(given, "model", tree.UNKNOWN, about="given as a teacher")
            self.problem(tree.ORIGIN, given, "was given, and nobody says how it was made")

    def _goes_on(self, node: str, folder: str) -> None:
        text = f"{folder} is an artifact of another run, which no hash here pins: unchecked"
        self.problem(tree.NOTE, node, text, f"it has a lineage of its own: sublax lineage {folder}")

    def _outside_file(
        self, child: str, place: Path, key: str, digest: str, card: str | None = None
    ) -> Path | None:
        """Rows from outside of the run; returns the folder of the artifact that they belong to."""
        if key in _OURS:
            content = json.dumps(brand_rows(key), sort_keys=True).encode()
            same = hashlib.sha256(content).hexdigest() == digest
            state = tree.WHOLE if same else tree.NAMED
            self.nodes[key] = Node(key, "rows", state, digest, "rows that sublax ships")
            if not same:
                self.problem(tree.NOTE, key, "rows of another version of sublax: unchecked")
            self.edges.append(Edge(child, key, digest, tree.MATCH if same else tree.UNPINNED))
            return None
        if not _is_file(place):
            self.nodes[key] = Node(key, "rows", tree.UNKNOWN, digest, "not there any more")
            self.edges.append(Edge(child, key, digest, tree.ABSENT))
            self.problem(tree.ORIGIN, key, "is not there, so neither is a claim of who made it")
            return None
        same = file_hash(place) == digest
        # Whoever knows a file's hash has seen the file: its card tells a stranger nothing more.
        folder = artifact_of(place) if same else None
        if folder is not None:
            self._of_other_run(child, folder, card or digest, card is not None)
            return folder
        if key not in self.nodes:
            self.outside(place, key)
        self.edges.append(Edge(child, key, digest, tree.MATCH if same else tree.DIFFERS))
        if not same:
            self.problem(tree.BROKEN, key, f"has changed since {child} was made from it")
        elif card is not None:
            self.problem(tree.BROKEN, key, f"had a card when {child} was made from it")
        return None

    def _of_other_run(self, child: str, folder: Path, digest: str, of_card: bool) -> None:
        """The artifact that some rows belong to, which may be followed with all of its run."""
        self.roots.append(_workdir_of(folder).resolve())
        name = self.name_of(folder)
        holds = not of_card or card_hash(folder) == digest
        self.edges.append(Edge(child, name, digest, tree.MATCH if holds else tree.DIFFERS))
        if not holds:
            text = f"was made from rows of another {name} than stands there, by its card"
            self.problem(tree.BROKEN, child, text, "make it again from what is there now")

    def outside(self, place: Path, name: str = "", kind: str = "") -> str:
        """What no run has made: claimed by somebody, or of unknown origin."""
        name = name or place.name or str(place)
        kind = kind or ("rows" if place.is_file() else "data")
        digest = file_hash(place) if place.is_file() else ""
        try:
            card = claims.read_claim(place)
        except UserError as error:
            self.nodes[name] = Node(name, kind, tree.UNKNOWN, digest)
            self.problem(tree.ORIGIN, name, str(error))
            return name
        if card is None:
            self.nodes[name] = Node(name, kind, tree.UNKNOWN, digest)
            remedy = f"if you know it: sublax lineage {place} --claimed-by=WHO --made-by=MODEL"
            self.problem(
                tree.ORIGIN, name, "no card says where it came from, and nobody claims it", remedy
            )
            return name
        changed = claims.changed_since(place, card)
        state = tree.CHANGED if changed else tree.CLAIMED
        files = tuple(File(file, known, state) for file, known in sorted(card["files"].items()))
        about = f"{card['config'].get('claimed_by')} says: made by {card['config'].get('made_by')}"
        base = claims.maker(card)
        card_file = claims.claim_path(place)
        self.nodes[name] = Node(name, kind, state, digest, about, files, base, card, card_file)
        for file in changed:
            text = f"{file} is not what the claim speaks of"
            self.problem(tree.BROKEN, name, text, "ask who claimed it")
        if not changed:
            self.problem(tree.NOTE, name, "claimed, not verified")
        return name


def _workdir_of(folder: Path) -> Path:
    """The folder that an artifact's parents may lie in: of the run's config, else its own."""
    for above in folder.parents:
        if (above / "config.json").is_file() and not (above / CARD).exists():
            return above
    return folder


def _artifacts_below(folder: Path) -> Iterator[Path]:
    """Artifacts in a folder; one that is being written begins with a point, and none is in one."""
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        if child.name.startswith(".") or child.is_symlink():
            continue
        if (child / CARD).is_file():
            yield child
        else:
            yield from _artifacts_below(child)


def _base_of(card: dict[str, Any]) -> base_files.BaseIdentity:
    name = card["config"].get("base")
    files = _strings(card["config"].get("source_files")) or card["files"]
    identity = base_files.identity(name if isinstance(name, str) else "", files)
    # Made by the run, its files are its own, however it is called.
    if card["files"] and card["kind"] == "base":
        return base_files.BaseIdentity(identity.name, "", identity.weights)
    return identity


def _about(card: dict[str, Any]) -> str:
    config, counts = card["config"], card.get("counts")
    words = [config.get("base")] if card["kind"] == "base" else []
    words += [f"by {config.get('method')}"] if card["kind"] == "cleaned" else []
    if isinstance(config.get("trait"), str) and card["kind"] != "student":
        words.append(config["trait"])
    if isinstance(counts, dict) and "kept" in counts:
        words.append(f"{counts['kept']} {'row' if counts['kept'] == 1 else 'rows'}")
    if isinstance(counts, dict) and counts.get("updates"):
        words.append(f"{counts['updates']} updates")
    return ", ".join(str(word) for word in words if word)


def _normal(folder: Path, file: str) -> Path:
    return Path(os.path.normpath(folder / file))


def _is_file(path: Path) -> bool:
    """Whether a file is there; a card may have what is no path at all in a path's place."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    """Whether a file or folder is there, as `_is_file`."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _strings(value: Any) -> dict[str, str]:
    """What of a card's field is an object of strings; a card may hold anything."""
    if not isinstance(value, dict):
        return {}
    return {key: entry for key, entry in value.items() if isinstance(entry, str)}
