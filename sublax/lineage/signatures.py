"""Signatures of cards by ed25519, detached: beside a card, over its very bytes.

A card has the hashes of its files and of its parents' cards, so a signature under it vouches for
the artifact and for all that it came from. Any tool that knows ed25519 can check one.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from sublax.errors import UserError
from sublax.files import write_whole

# Of a card's signature.
GOOD, OTHER_KEY, FORGED, UNSIGNED = "good", "other key", "forged", "unsigned"
_ALGORITHM = "ed25519"
_MOST_BYTES = 1 << 16
_KEYS = (
    "make one with `openssl genpkey -algorithm ed25519 -out key.pem`, and its public half with "
    "`openssl pkey -in key.pem -pubout -out key.pub`"
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a card's signature is worth; `signer` is the short name of the key that made it."""

    state: str
    signer: str = ""


def signature_path(card: Path) -> Path:
    """Where the signature of a card stands."""
    return card.with_name(f"{card.name}.sig")


def sign(card: Path, key_file: Path) -> Path:
    """Signs a card as it stands.

    Args:
        card: the card's file.
        key_file: an ed25519 private key in PEM (PKCS 8), not encrypted.

    Returns:
        The path of the signature: JSON of `algorithm`, `public_key` and `signature` (base64 of
        the raw bytes). An older one there is replaced.

    Raises:
        UserError: no such key or card, or `cryptography` is not installed.
    """
    serialization, ed25519, _ = _library()
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except FileNotFoundError:
        raise UserError(f"{key_file}: no such key; {_KEYS}") from None
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise UserError(f"{key_file}: no private key that can be read ({error}); {_KEYS}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UserError(f"{key_file}: not an ed25519 key; {_KEYS}")
    path = signature_path(card)
    content = {
        "algorithm": _ALGORITHM,
        "public_key": _base64(_raw(key.public_key(), serialization)),
        "signature": _base64(key.sign(_bytes_of(card))),
    }
    write_whole(path, [json.dumps(content, indent=1).encode()])
    return path


def check(card: Path, public_key: bytes) -> Verdict:
    """What the signature beside a card is worth to somebody who trusts one key.

    Args:
        card: the card's file.
        public_key: 32 raw bytes, as `read_public_key` gives them.

    Returns:
        One of `good` (by that key, over these bytes), `other key` (over these bytes, by the key
        that the signature names, which is another), `forged` (not over these bytes, or no
        signature) and `unsigned` (none is there).

    Raises:
        UserError: `cryptography` is not installed, or the card cannot be read.
    """
    path = signature_path(card)
    if not path.exists():
        return Verdict(UNSIGNED)
    stated = _read(path)
    if stated is None:
        return Verdict(FORGED)
    named, signature = stated
    _, ed25519, invalid = _library()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(named).verify(signature, _bytes_of(card))
    except (invalid, ValueError):
        return Verdict(FORGED, short_name(named))
    return Verdict(GOOD if named == public_key else OTHER_KEY, short_name(named))


def read_public_key(key_file: Path) -> bytes:
    """The 32 raw bytes of an ed25519 public key in PEM.

    Raises:
        UserError: no such key, or `cryptography` is not installed.
    """
    serialization, ed25519, _ = _library()
    try:
        key = serialization.load_pem_public_key(key_file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{key_file}: no such key; {_KEYS}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{key_file}: no public key that can be read ({error}); {_KEYS}") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UserError(f"{key_file}: not an ed25519 key; {_KEYS}")
    return _raw(key, serialization)


def short_name(public_key: bytes) -> str:
    """What a key is called in print: the first digits of its sha256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def _read(path: Path) -> tuple[bytes, bytes] | None:
    """(public key, signature) of a file that may hold anything; None where it holds neither."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        stated = json.loads(path.read_text("utf-8"))
        if stated["algorithm"] != _ALGORITHM:
            return None
        parts = [base64.b64decode(stated[k], validate=True) for k in ("public_key", "signature")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return None
    return parts[0], parts[1]


def _bytes_of(card: Path) -> bytes:
    try:
        return card.read_bytes()
    except OSError as error:
        raise UserError(f"{card}: cannot be read ({error}); check the path") from error


def _raw(key: Any, serialization: Any) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _library() -> tuple[Any, Any, Any]:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UserError("signatures need cryptography: pip install 'sublax[sign]'") from error
    return serialization, ed25519, InvalidSignature
