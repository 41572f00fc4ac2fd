"""Every holder of a key: memory, a program, a token, an external party; and no key leaks (threat S21)."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from otabuild.errors import FormatError, InputError, LimitError, OtabuildError, TrustError
from otabuild.format.index_jwt import NAME, assemble, signing_input
from otabuild.format.legacy_jwt import verify_legacy_jwt
from otabuild.signing.answer import parse_answer
from otabuild.signing.authenticity import verify_index_jwt
from otabuild.signing.hsm import Pkcs11Signer
from otabuild.signing.signer import CommandSigner, PemSigner, Signer, sign_index, sign_legacy
from otabuild.signing.signing_request import SigningRequest
from otabuild.signing.trust import TrustPolicy
from tests import pki
from tests.pki import INDEX, NOW, intermediate, signer
from tests.softhsm import MODULE, PIN, needs_pkcs11_tool, needs_token

KEY = signer().ec_key
DIGEST = hashlib.sha256(b"digest").digest()
OPENSSL = shutil.which("openssl")
P256 = bytes.fromhex("06082a8648ce3d030107")
TOKEN = f"pkcs11:token=my%20token;object=sign;id=%01?module-path={MODULE}"


def verify(token: bytes) -> None:
    verify_index_jwt(token, INDEX, TrustPolicy(anchors=pki.anchors()), NOW)


def script(tmp_path: Path, source: str) -> list[str]:
    path = tmp_path / "sign.py"
    path.write_text(f"import os, sys\nfrom pathlib import Path\n{source}\n")
    return [sys.executable, str(path)]


# A key in memory.


def test_an_openssl_that_cannot_sign_deterministically_is_named() -> None:
    class Old:
        """A key of an OpenSSL before 3.2, which no wheel of the library brings any more."""

        def sign(self, *_arguments: object) -> bytes:
            raise UnsupportedAlgorithm("deterministic ECDSA")

    with pytest.raises(InputError, match="cannot make deterministic signatures"):
        PemSigner(cast("ec.EllipticCurvePrivateKey", Old())).sign(DIGEST)


def test_signatures_are_those_of_rfc_6979() -> None:
    """The vector of its appendix A.2.5: P-256, SHA-256, message `sample`."""
    key = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
    assert PemSigner(key).sign(hashlib.sha256(b"sample").digest()).hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


def test_same_input_same_token() -> None:
    tokens = {sign_index(INDEX, NOW, pki.chain(), PemSigner(KEY)) for _ in range(3)}
    assert len(tokens) == 1
    verify(tokens.pop())


def test_another_key_gives_no_token() -> None:
    with pytest.raises(TrustError, match="does not verify"):
        sign_index(INDEX, NOW, pki.chain(), PemSigner(pki.key("another")))


def test_the_legacy_pair_is_signed_with_the_same_key() -> None:
    certificate, token = sign_legacy(pki.chain(), PemSigner(KEY))
    assert verify_legacy_jwt(token, certificate) == signer().certificate
    with pytest.raises(TrustError, match="does not verify"):
        sign_legacy(pki.chain(), PemSigner(pki.key("another")))


# What a signature may look like.

RAW = PemSigner(KEY).sign(DIGEST)
DER = encode_dss_signature(int.from_bytes(RAW[:32], "big"), int.from_bytes(RAW[32:], "big"))
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    "answer",
    [
        RAW,
        DER,
        RAW + b"\n",
        DER + b"\r\n",
        RAW.hex().encode(),
        RAW.hex().upper().encode() + b"\n",
        DER.hex().encode(),
        base64.b64encode(RAW),
        base64.b64encode(DER) + b"\n",
        base64.encodebytes(DER),
        json.dumps({"KeyId": "arn:aws:kms:…", "Signature": base64.b64encode(DER).decode()}).encode(),
        json.dumps(
            {"Signature": base64.b64encode(DER).decode(), "SigningAlgorithm": "ECDSA_SHA_256"}, indent=4
        ).encode(),
        json.dumps(base64.b64encode(DER).decode()).encode() + b"\n",  # aws … --query Signature
        json.dumps(
            {"name": "k", "signature": base64.b64encode(DER).decode(), "signatureCrc32c": "1"}
        ).encode(),  # Google
        json.dumps({"kid": "k", "value": base64.urlsafe_b64encode(RAW).decode().rstrip("=")}).encode(),  # Azure, REST
        json.dumps({"algorithm": "ES256", "signature": base64.urlsafe_b64encode(RAW).decode()}).encode(),  # Azure, az
        base64.urlsafe_b64encode(RAW).rstrip(b"="),
        base64.b64encode(DER).rstrip(b"="),
        b"vault:v12:" + base64.b64encode(DER) + b"\n",
        b"vault:v1:" + base64.urlsafe_b64encode(RAW).rstrip(b"="),  # marshaling_algorithm=jws
        json.dumps({"data": {"signature": f"vault:v1:{base64.b64encode(DER).decode()}"}, "warnings": None}).encode(),
        b"arn:aws:kms:eu:1:key/12ab-34\t" + base64.b64encode(DER) + b"\tECDSA_SHA_256\n",  # aws … --output text
        b"Key          Value\n---          -----\nkey_version  1\nsignature    vault:v1:" + base64.b64encode(DER),
        json.dumps({"KeyId": "k", "RequestId": "1", "Value": base64.b64encode(DER).decode()}).encode(),  # Alibaba Cloud
        json.dumps({"Signature": base64.b64encode(DER).decode()}).encode("utf-8-sig") + b"\r\n",
        json.dumps({"value": base64.urlsafe_b64encode(RAW).decode()}).encode("utf-16"),
        base64.b64encode(DER).decode().encode("utf-16") + "\r\n".encode("utf-16-le"),
    ],
)
def test_answers_in_every_form(answer: bytes) -> None:
    assert parse_answer(answer, "answer") == RAW


@pytest.mark.parametrize("text", [DER, RAW], ids=["DER", "raw"])
def test_no_text_is_taken_for_binary(text: bytes) -> None:
    """Base64 that looks like the start of DER is still base64."""
    signature = bytes([0xD1, 0x50]) + RAW[2:]
    assert base64.b64encode(signature).startswith(b"0V")
    assert parse_answer(base64.b64encode(signature), "answer") == signature
    assert parse_answer(base64.b64encode(text), "answer") == RAW


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"error: no such key",
        RAW[:-1],
        RAW + b"\0",
        DER[:-1],
        DER + b"\0",
        bytes(64),
        b"\xff" * 64,
        encode_dss_signature(0, 1),
        encode_dss_signature(1, ORDER),
        b"{}",
        b'{"Signature":5}',
        b'{"data":{"signature":null}}',
        b'"',
        b"[" * 100_000,
        json.dumps({"algorithm": "ES384", "signature": base64.b64encode(DER).decode()}).encode(),
        b"vault:v1:!",
        b'{"Signature":"!"}',
        b'"\\ud800"',
        b'{"signature":"\\udfff"}',
        b'{"data":{"signature":"vault:v1:\\ud800"}}',
        '{"value":"\u00e9"}'.encode(),
        b"{",
        json.dumps({"Signature": base64.b64encode(DER).decode(), "SigningAlgorithm": "ECDSA_SHA_384"}).encode(),
        bytes(100_000),
        b'{"kid":"k","result":"x"}',
        json.dumps({"field" * 50: 1}).encode(),
        json.dumps({"algorithm": "x" * 100, "signature": base64.b64encode(DER).decode()}).encode(),
        b'{"data":5}',
        b'"' + b" " * 65_600 + base64.b64encode(DER) + b'"',
    ],
)
def test_other_answers_are_refused(answer: bytes) -> None:
    with pytest.raises(FormatError):
        parse_answer(answer, "answer")


@pytest.mark.parametrize("r", [1, ORDER - 1])
@pytest.mark.parametrize("s", [1, ORDER - 1])
def test_r_and_s_are_below_the_order(r: int, s: int) -> None:
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert parse_answer(raw, "answer") == parse_answer(encode_dss_signature(r, s), "answer") == raw
    for other in ((0, s), (ORDER, s), (r, 0), (r, ORDER)):
        with pytest.raises(FormatError, match="not an ES256 signature"):
            parse_answer(b"".join(number.to_bytes(32, "big") for number in other), "answer")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_answer_is_a_signature_or_our_error(answer: bytes) -> None:
    try:
        assert len(parse_answer(answer, "answer")) == 64
    except OtabuildError:
        return


@given(st.binary(max_size=200))
def test_any_request_is_our_error(raw: bytes) -> None:
    with pytest.raises(OtabuildError):
        SigningRequest.from_json(raw, "request.json")


# An external party.


def request() -> SigningRequest:
    signed = signing_input(INDEX, NOW, [c.x509 for c in pki.chain()])
    return SigningRequest(NAME, signed, (signer().certificate, intermediate().certificate))


def test_a_request_comes_back_as_it_was() -> None:
    assert SigningRequest.from_json(request().to_json(), "request.json") == request()


def test_a_request_says_all_that_somebody_needs_to_sign_it() -> None:
    assert json.loads(request().to_json()) == {
        "kind": "otabuild.signing-request.v1",
        "name": "index.jwt",
        "signing-input": base64.b64encode(request().signing_input).decode(),
        "sha256": hashlib.sha256(request().signing_input).hexdigest(),
        "subject": "CN=signer,O=otabuild tests",
        "chain": [signer().pem.decode(), intermediate().pem.decode()],
        "aws-kms-sign": {
            "Message": base64.b64encode(hashlib.sha256(request().signing_input).digest()).decode(),
            "MessageType": "DIGEST",
            "SigningAlgorithm": "ECDSA_SHA_256",
        },
    }
    assert request().to_json().endswith(b"}\n")


def test_a_request_with_a_certificate_that_is_too_large_is_named() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(20_000))
    large = pki.issue("large", extensions=[(unknown, False)])
    value = json.loads(request().to_json()) | {"chain": [large.pem.decode()]}
    with pytest.raises(LimitError, match=r"request\.json: certificate too large"):
        SigningRequest.from_json(json.dumps(value).encode(), "request.json")


def test_a_request_over_a_mebibyte_is_not_read() -> None:
    for size in (2**20, 2**20 + 1):
        with pytest.raises(OtabuildError):
            SigningRequest.from_json(b" " * size, "request.json")


def test_a_key_service_completes_the_signature() -> None:
    """A simulated AWS KMS: it sees only the digest, and signs with a random nonce."""
    call = json.loads(request().to_json())["aws-kms-sign"]
    assert (call["MessageType"], call["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
    der = KEY.sign(base64.b64decode(call["Message"]), ec.ECDSA(Prehashed(hashes.SHA256())))
    response = json.dumps({"Signature": base64.b64encode(der).decode(), "SigningAlgorithm": "ECDSA_SHA_256"}).encode()
    verify(assemble(request().signing_input, parse_answer(response, "response.json")))


def test_an_answer_to_another_request_is_refused() -> None:
    other = PemSigner(KEY).sign(hashlib.sha256(b"another request").digest())
    with pytest.raises(TrustError, match="does not verify"):
        assemble(request().signing_input, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(sha256="0" * 64),
        lambda value: value.update({"signing-input": base64.b64encode(b"another").decode()}),
        lambda value: value["aws-kms-sign"].update(Message=base64.b64encode(bytes(32)).decode()),
        lambda value: value["chain"].reverse(),
        lambda value: value.update(chain=[]),
        lambda value: value.update(chain=5),
        lambda value: value.update(chain=["text"]),
        lambda value: value.update(kind="another"),
        lambda value: value.update(name=5),
        lambda value: value.pop("name"),
        lambda value: value.update(more=1),
    ],
)
def test_a_changed_request_is_refused(change: Callable[[dict[str, object]], object]) -> None:
    value = json.loads(request().to_json())
    change(value)
    with pytest.raises(FormatError, match="sign-prepare"):
        SigningRequest.from_json(json.dumps(value).encode(), "request.json")


# A program.


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_openssl_signs(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(signer().key_pem())
    verify(
        sign_index(
            INDEX, NOW, pki.chain(), CommandSigner(["openssl", "pkeyutl", "-sign", "-inkey", str(tmp_path / "key.pem")])
        )
    )


def test_a_program_gets_the_digest_and_nothing_else(tmp_path: Path) -> None:
    argv = script(tmp_path, f"assert sys.stdin.buffer.read() == bytes.fromhex('{DIGEST.hex()}')\nprint('{DER.hex()}')")
    assert CommandSigner(argv).sign(DIGEST) == RAW


def test_a_program_need_not_read_stdin(tmp_path: Path) -> None:
    assert CommandSigner(script(tmp_path, f"os.close(0)\nprint('{RAW.hex()}')")).sign(DIGEST) == RAW


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("sys.exit('the token is locked')", "exit code 1: the token is locked"),
        ("os.kill(os.getpid(), 9)", "signal 9: nothing on stderr"),
        ("print('no signature')", "not an ES256 signature"),
        ("", "not an ES256 signature"),
        (r"sys.stderr.buffer.write(b'a \xff'); sys.exit(1)", "exit code 1: a \ufffd"),
        ("sys.exit('x' * 600)", r"exit code 1: x{499}\)"),
        ("sys.stderr.write('PIN: ' + chr(27) + '[2J'); sys.exit(3)", r"exit code 3: PIN: \\x1b\[2J"),
    ],
)
def test_a_program_that_fails(tmp_path: Path, source: str, text: str) -> None:
    with pytest.raises(OtabuildError, match=text):
        CommandSigner(script(tmp_path, source)).sign(DIGEST)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot run the program"):
        CommandSigner([str(tmp_path / "missing")]).sign(DIGEST)


def test_a_program_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no answer within 0\.5 seconds"):
        CommandSigner(script(tmp_path, "import time\ntime.sleep(60)"), timeout=0.5).sign(DIGEST)


def test_nothing_that_a_program_started_stays_when_it_is_killed(tmp_path: Path) -> None:
    held, survived = tmp_path / "held", tmp_path / "survived"
    source = (
        "import fcntl, subprocess\n"
        f"fd = os.open({str(held)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        f"subprocess.run(['sh', '-c', 'sleep 20; touch {survived}'], pass_fds=[fd])"
    )
    with pytest.raises(InputError, match="no answer"):
        CommandSigner(script(tmp_path, source), timeout=3).sign(DIGEST)
    with held.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for the last process with the lock
    assert not survived.exists()


def test_a_program_at_a_terminal_is_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it stays in the session of the build, so that it can ask for a PIN."""
    held = tmp_path / "held"
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 0)
    source = (
        "import fcntl, time\n"
        f"fd = os.open({str(held)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        f"print(os.getsid(0) == {os.getsid(0)}, file=sys.stderr, flush=True)\n"
        "time.sleep(60)"
    )
    with pytest.raises(InputError, match="no answer") as refused:
        CommandSigner(script(tmp_path, source), timeout=3).sign(DIGEST)
    assert refused.value.observed == "True"
    with held.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A token.


@needs_token
def test_a_token_signs(softhsm: Path) -> None:
    asked: list[int] = []

    def pin() -> bytes:
        asked.append(1)
        return b"123456"

    held = Pkcs11Signer(TOKEN, pin)
    assert held.public_key == KEY.public_key()
    verify(sign_index(INDEX, NOW, pki.chain(), held))
    assert len(asked) == 1
    without_module = TOKEN.partition("?")[0]
    verify(sign_index(INDEX, NOW, pki.chain(), Pkcs11Signer(without_module, lambda: b"123456", module=MODULE)))
    verify(sign_index(INDEX, NOW, pki.chain(), Pkcs11Signer(f"{TOKEN}&pin-source=file:{softhsm / 'pin'}")))


@needs_token
@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize(
    "attribute",
    [
        "object=sign",
        "id=%01",
        "object=sign;type=private;model=SoftHSM%20v2",
        "object=sign;manufacturer=SoftHSM%20project;slot-manufacturer=SoftHSM%20project",
    ],
)
def test_one_attribute_is_enough_where_it_leaves_one_key(attribute: str) -> None:
    held = Pkcs11Signer(f"pkcs11:token=my%20token;{attribute}", lambda: b"123456", module=MODULE)
    assert held.public_key == KEY.public_key()


@needs_token
@pytest.mark.usefixtures("softhsm")
def test_a_key_whose_public_half_is_not_on_the_token_signs() -> None:
    pkcs11 = pytest.importorskip("pkcs11")
    (token,) = pkcs11.lib(MODULE).get_tokens(token_label="my token")
    with token.open(user_pin=PIN, rw=True) as session:
        pair = session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: P256}, local=True
        ).generate_keypair(store=True, label="lonely")
        pair[0].destroy()
    held = Pkcs11Signer("pkcs11:token=my%20token;object=lonely", PIN.encode, module=MODULE)
    assert held.public_key is None
    assert len(held.sign(DIGEST)) == 64
    with token.open(user_pin=PIN, rw=True) as session:
        session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, label="lonely").destroy()


@needs_token
@pytest.mark.usefixtures("softhsm")
def test_a_token_that_was_never_initialised_does_not_count() -> None:
    """SoftHSM always shows one more; a slot may be named, too."""
    pkcs11 = pytest.importorskip("pkcs11")
    tokens = list(pkcs11.lib(MODULE).get_tokens())
    assert len(tokens) == 2
    (slot,) = [token.slot for token in tokens if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags]
    for uri in ("pkcs11:object=sign", f"pkcs11:slot-id={slot.slot_id};object=sign"):
        assert Pkcs11Signer(uri, lambda: b"123456", module=MODULE).public_key == KEY.public_key()
    with pytest.raises(InputError, match="0 tokens match"):
        Pkcs11Signer(f"pkcs11:slot-id={slot.slot_id + 1};object=sign", lambda: b"123456", module=MODULE)


@needs_token
@pytest.mark.usefixtures("softhsm")
@pytest.mark.parametrize(
    ("uri", "pin", "text"),
    [
        (TOKEN, b"999999", "PinIncorrect"),
        (TOKEN, b"\xff", "not UTF-8"),
        (TOKEN, None, "NoSuchKey"),
        (TOKEN.replace("object=sign", "object=other"), b"123456", "NoSuchKey"),
        (TOKEN.replace("my%20token", "other"), b"123456", "0 tokens match"),
        *(
            (TOKEN.replace("object", f"{name}=other;object"), b"123456", "0 tokens match")
            for name in ("serial", "manufacturer", "model", "slot-id", "slot-description", "slot-manufacturer")
        ),
        (TOKEN.replace("object=sign", "object=%ff"), b"123456", "NoSuchKey"),
        (TOKEN.replace("libsofthsm", "missing"), b"123456", "cannot open"),
    ],
)
def test_a_token_that_refuses(uri: str, pin: bytes | None, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        Pkcs11Signer(uri, None if pin is None else lambda: pin)
    assert "999999" not in str(caught.value)


@needs_token
@needs_pkcs11_tool
@pytest.mark.usefixtures("softhsm")
def test_pkcs11_tool_signs_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["pkcs11-tool", "--module", str(MODULE), "--token-label", "my token", "--login", "--pin", "env:OTA_PIN"]
    argv += ["--id", "01", "--sign", "-m", "ECDSA", "--input-file", "/dev/stdin", "--output-file", "/dev/stdout"]
    monkeypatch.setenv("OTA_PIN", PIN)
    verify(sign_index(INDEX, NOW, pki.chain(), CommandSigner(argv)))


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("file:key.pem", "not a pkcs11: URI"),
        ("pkcs11:token=a", "no module-path"),
        ("pkcs11:tokens=a?module-path=/x", "unknown attribute 'tokens'"),
        ("pkcs11:object=a?module-name=softhsm2", "module-name is not supported"),
        ("pkcs11:object=a;library-version=2?module-path=/x", "library-version is not supported"),
        ("pkcs11:object=a;library-description=b?module-path=/x", "library-description is not supported"),
        ("pkcs11:object=a?module-path=/x&library-manufacturer=b", "library-manufacturer is not supported"),
        ("pkcs11:object=a?module=/x", "unknown attribute 'module'"),
        ("pkcs11:token=a;token=b?module-path=/x", "twice"),
        ("pkcs11:token=a?module-path=/x&module-path=/y", "twice"),
        ("pkcs11:token=a;type=public?module-path=/x", "type=public cannot sign"),
        ("pkcs11:token=a?module-path=/x&pin-value=123456", "the PIN itself"),
    ],
)
def test_uris_that_cannot_be_used(uri: str, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        Pkcs11Signer(uri)
    assert "123456" not in str(caught.value)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(InputError, match=r"pip install -c constraints.txt '\.\[pkcs11\]'"):
        Pkcs11Signer("pkcs11:token=a?module-path=/x")


# Nothing leaks.


def test_no_form_of_the_key_is_in_what_we_say_or_write(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """S21."""
    (tmp_path / "request.json").write_bytes(request().to_json())
    (tmp_path / "index.jwt").write_bytes(sign_index(INDEX, NOW, pki.chain(), PemSigner(KEY)))
    said: list[object] = [PemSigner(KEY), vars(PemSigner(KEY)), request()]
    signers: list[Signer] = [PemSigner(KEY), CommandSigner(script(tmp_path, "sys.exit(1)"))]
    for one in signers:
        try:
            sign_index(INDEX, NOW, pki.chain(pki.issue("other", intermediate())), one)
        except OtabuildError as error:
            said += [error, repr(error), error.__dict__, error.__cause__]
    output = "".join(capfd.readouterr())
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir()) + repr(said).encode() + output.encode()
    assert not [form for form in pki.secrets(KEY) if form in everything]
