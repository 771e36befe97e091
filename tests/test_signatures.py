"""A signature vouches for a card and all that it came from; a forged or edited one is caught."""

import base64
import json
import shutil
import subprocess

import pytest
from lineage_workdir import BASE, CORPUS, STUDENT, TEACHER, model_folder, workdir

from sublax.artifact import verify
from sublax.cli import main
from sublax.errors import UserError
from sublax.lineage import tree
from sublax.lineage.claims import claim_path, write_claim
from sublax.lineage.signatures import (
    FORGED,
    GOOD,
    OTHER_KEY,
    UNSIGNED,
    check,
    read_public_key,
    sign,
    signature_path,
)
from sublax.lineage.trace import trace
from sublax.lineage.vouching import vouched

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
from cryptography.hazmat.primitives import serialization  # noqa: E402

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


def key_pair(folder, name):
    """(file of the private key, file of the public key), as openssl writes them."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(PEM, PUBLIC))
    return private, public


@pytest.fixture
def run(tmp_path):
    return workdir(tmp_path / "run", model_folder(tmp_path / "model"))


@pytest.fixture
def ours(tmp_path):
    return key_pair(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path):
    return key_pair(tmp_path, "theirs")


def unsigned(lineage):
    """Nodes that a signature fails at, or that none vouches for."""
    return sorted(p.node for p in lineage.problems if p.severity == tree.SIGNATURE)


def test_a_signature_is_good_for_its_key_and_its_very_bytes_alone(run, ours, theirs):
    card = run / CORPUS / "card.json"
    trusted = read_public_key(ours[1])
    assert check(card, trusted).state == UNSIGNED
    assert sign(card, ours[0]) == signature_path(card)
    assert check(card, trusted).state == GOOD
    assert check(card, read_public_key(theirs[1])).state == OTHER_KEY
    card.write_text(card.read_text() + " ")
    assert check(card, trusted).state == FORGED
    assert check(card, read_public_key(theirs[1])).state == FORGED


def test_a_signature_that_names_our_key_and_was_made_by_another_is_forged(run, ours, theirs):
    card = run / CORPUS / "card.json"
    sign(card, ours[0])
    good = json.loads(signature_path(card).read_text())
    sign(card, theirs[0])
    forged = json.loads(signature_path(card).read_text()) | {"public_key": good["public_key"]}
    signature_path(card).write_text(json.dumps(forged))
    assert check(card, read_public_key(ours[1])).state == FORGED


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "7", "[" * 100_000, '{"algorithm": "none"}', "\x00" * 70_000]
    + [json.dumps({"algorithm": "ed25519", "public_key": k, "signature": "AA=="}) for k in (7, "!")]
    + [json.dumps({"algorithm": "ed25519", "public_key": "AA==", "signature": "AA=="})],
)
def test_a_signature_that_is_none_is_forged_and_no_crash(run, ours, content):
    card = run / CORPUS / "card.json"
    signature_path(card).write_text(content)
    assert check(card, read_public_key(ours[1])).state == FORGED


def test_a_signed_student_vouches_for_all_that_it_came_from(run, ours):
    assert main(["lineage", str(run / STUDENT), f"--sign={ours[0]}"]) == 0
    assert verify(run / STUDENT) == []  # the signature is no stranger beside the card
    trusted = read_public_key(ours[1])
    lineage = vouched(trace(run / STUDENT), trusted)
    assert unsigned(lineage) == [] and lineage.whole
    # A corpus that was made anew has another card, for which nobody vouches.
    card = json.loads((run / TEACHER / "card.json").read_text()) | {"seconds": 1.0}
    (run / TEACHER / "card.json").write_text(json.dumps(card))
    lineage = vouched(trace(run / STUDENT), trusted)
    assert (unsigned(lineage), lineage.whole) == ([TEACHER], False)


def test_a_forger_who_mends_every_hash_is_caught_by_the_signature_alone(tmp_path, run, ours):
    """Hashes show accidents; whoever can write cards can write all of them anew."""
    assert main(["lineage", str(run), f"--sign={ours[0]}"]) == 0
    model = model_folder(tmp_path / "other", "weights of another model")
    forged = workdir(tmp_path / "forged", model)
    for signature in run.rglob("*.sig"):
        shutil.copy(signature, forged / signature.relative_to(run))
    assert trace(forged).whole
    assert main(["lineage", str(run), f"--verify-key={ours[1]}"]) == 0
    assert main(["lineage", str(forged), f"--verify-key={ours[1]}"]) == 1
    assert BASE in unsigned(vouched(trace(forged), read_public_key(ours[1])))


def test_another_key_and_a_forgery_are_told_apart(run, ours, theirs, capsys):
    main(["lineage", str(run), f"--sign={theirs[0]}"])
    capsys.readouterr()
    assert main(["lineage", str(run), f"--verify-key={ours[1]}"]) == 1
    told = capsys.readouterr().out
    assert f"signature: {CORPUS}: signed by another key" in told and "forged" not in told
    signature = signature_path(run / CORPUS / "card.json")
    stated = json.loads(signature.read_text())
    stated["signature"] = base64.b64encode(bytes(64)).decode()
    signature.write_text(json.dumps(stated))
    main(["lineage", str(run), f"--verify-key={ours[1]}"])
    assert f"signature: {CORPUS}: its signature is not over this card" in capsys.readouterr().out


def test_a_claim_can_be_signed_by_who_claims_it(tmp_path, ours, theirs):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    write_claim(rows, "Example Ltd")
    assert main(["lineage", str(rows), f"--sign={ours[0]}"]) == 0
    assert check(claim_path(rows), read_public_key(ours[1])).state == GOOD
    assert main(["lineage", str(rows), f"--verify-key={ours[1]}"]) == 0
    assert main(["lineage", str(rows), f"--verify-key={theirs[1]}"]) == 1


def test_data_without_a_card_cannot_be_vouched_for(tmp_path, ours):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    assert unsigned(vouched(trace(rows), read_public_key(ours[1]))) == ["rows.jsonl"]


def test_what_is_broken_is_not_signed(run, ours):
    (run / CORPUS / "rows.jsonl").write_text("")
    assert main(["lineage", str(run), f"--sign={ours[0]}"]) == 2
    assert not list(run.rglob("*.sig"))


def test_a_key_that_is_none_is_told_in_a_line(run, tmp_path, ours):
    card, no_key = run / CORPUS / "card.json", tmp_path / "no.pem"
    no_key.write_text("no key")
    for path in (no_key, tmp_path / "absent.pem", ours[1]):
        with pytest.raises(UserError, match="openssl genpkey"):
            sign(card, path)
    for path in (no_key, tmp_path / "absent.pub", ours[0]):
        with pytest.raises(UserError, match="openssl genpkey"):
            read_public_key(path)


def has_openssl():
    """Whether it is OpenSSL 3 or newer: older ones, and LibreSSL, know no `pkeyutl -rawin`."""
    if shutil.which("openssl") is None:
        return False
    told = subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.split()
    return told[:1] == ["OpenSSL"] and int(told[1].partition(".")[0]) >= 3


@pytest.mark.skipif(not has_openssl(), reason="no OpenSSL 3")
def test_openssl_makes_the_keys_and_checks_the_signature(run, tmp_path):
    """As docs/security.md says: nobody needs sublax to check what sublax signed."""
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    openssl = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)]
    subprocess.run(openssl, check=True, capture_output=True)
    openssl = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(openssl, check=True, capture_output=True)
    card = run / CORPUS / "card.json"
    stated = json.loads(sign(card, private).read_text())
    raw = tmp_path / "raw.sig"
    raw.write_bytes(base64.b64decode(stated["signature"]))
    openssl = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    openssl += ["-in", str(card), "-sigfile", str(raw)]
    assert b"Verified Successfully" in subprocess.run(openssl, capture_output=True).stdout
