"""`sublax lineage PATH`: where an artifact came from, hash by hash."""

import argparse
import json
from pathlib import Path

from sublax.errors import UserError
from sublax.lineage import claims, signatures, tree
from sublax.lineage.huggingface import card_head
from sublax.lineage.jsonld import jsonld
from sublax.lineage.shown import clean, closing, lines
from sublax.lineage.trace import artifact_of, trace
from sublax.lineage.vouching import sign, vouched
from sublax.store import Store, open_store

EXAMPLE = """sublax lineage runs/quickstart/corpora/BASE/owl/rows.jsonl

  who made these rows (exit status 1 where a hash does not hold or nobody knows):
    sublax lineage rows.jsonl
  data from elsewhere: write down who says that it was made by what
    sublax lineage rows.jsonl --claimed-by="Example Ltd" --made-by=Qwen/Qwen2.5-7B-Instruct
  sign a whole run, and hold somebody's copy of it against your key
    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out key.pub
    sublax lineage runs/quickstart --sign=key.pem
    sublax lineage runs/quickstart --verify-key=key.pub"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="an artifact's folder, a file in one such as rows.jsonl, a run's whole workdir (at "
        "gs:// or s3:// too, which brings it down to this host's mirror), or data from elsewhere",
    )
    parser.add_argument("--json", action="store_true", help="nodes, edges and problems as JSON")
    parser.add_argument(
        "--export",
        choices=["jsonld", "huggingface"],
        help="print it as Croissant with W3C PROV, or as the YAML head of a card for the Hub",
    )
    parser.add_argument(
        "--claimed-by",
        metavar="WHO",
        help="write a card for data from elsewhere, marked as claimed and not verified",
    )
    parser.add_argument(
        "--made-by", metavar="MODEL", default="", help="with it: the model that is said to have"
    )
    parser.add_argument("--note", default="", help="with it: what else is said")
    parser.add_argument(
        "--sign", metavar="KEY", type=Path, help="sign by an ed25519 private key (PEM)"
    )
    parser.add_argument(
        "--verify-key", metavar="PUB", type=Path, help="demand signatures by this public key (PEM)"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="read large files of the base again, though their "
        "sha256 is remembered in the cache folder",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the tree of parents, or what was asked for in its place.

    Returns:
        0 where every hash holds and nothing is of unknown origin, else 1.

    Raises:
        UserError: nothing at the path, a key that cannot be used, or arguments that do not fit.
    """
    if args.json and args.export:
        raise UserError("--json and --export: both print; give one of them")
    if (args.made_by or args.note) and args.claimed_by is None:
        raise UserError("--made-by and --note: say who claims it; add --claimed-by=WHO")
    store, path = _local(args.path)
    if args.claimed_by is not None:
        _claim(args, path)
    key = signatures.read_public_key(args.verify_key) if args.verify_key else None
    lineage = trace(path, args.fresh)
    if args.sign:
        written = sign(lineage, args.sign)
        for signature in written:
            store.push(signature)
        print(f"{len(written)} {'card' if len(written) == 1 else 'cards'} signed")
        if key is None and not (args.json or args.export):
            print(clean(closing(lineage)))
            return int(not lineage.whole)
    if key is not None:
        lineage = vouched(lineage, key)
    if args.json:
        print(json.dumps(tree.plain(lineage), indent=1))
    elif args.export == "jsonld":
        print(json.dumps(jsonld(lineage), indent=1))
    elif args.export == "huggingface":
        print(card_head(lineage), end="")
    else:
        print("\n".join(lines(lineage)))
    return int(not lineage.whole)


def _local(name: str) -> tuple[Store, Path]:
    """Where it stands on this host; of an object store a whole workdir is brought down."""
    store = open_store(name)
    if store.url:
        store.pull_all()
        if not (store.local / "config.json").is_file():
            raise UserError(f"{name}: no workdir of a run; give the address of the whole workdir")
    return store, store.local


def _claim(args: argparse.Namespace, path: Path) -> None:
    if "://" in args.path:
        raise UserError(f"{args.path}: a claim is written beside local data; fetch it first")
    if path.exists() and artifact_of(path) is not None:
        raise UserError(f"{path}: has a card that says where it came from; nothing to claim")
    print(claims.write_claim(path, args.claimed_by, args.made_by, args.note))
