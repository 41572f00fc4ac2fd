"""Signing with a key in a PKCS#11 token (the optional extra `pkcs11`), named by an RFC 7512 URI."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from otabuild.errors import InputError, how_to_install
from otabuild.signing.answer import parse_answer
from otabuild.signing.certificates import FILE_LIMIT
from otabuild.signing.keys import Passphrase
from otabuild.storage.files import read_file

_TOKEN_ATTRIBUTES = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer_id",
    "model": "model",
}
_KEY_ATTRIBUTES = {"object", "id", "type"}
_SLOT_ATTRIBUTES = {
    "slot-id": "slot_id",
    "slot-description": "slot_description",
    "slot-manufacturer": "manufacturer_id",
}
_QUERY_ATTRIBUTES = {"module-path", "pin-source"}
_UNSUPPORTED = {
    "module-name": "name the module by its file: `module-path=/usr/lib/…/module.so`",
    "library-description": "leave it out: module-path already names one library",
    "library-manufacturer": "leave it out: module-path already names one library",
    "library-version": "leave it out: module-path already names one library",
}
"""Attributes of RFC 7512 that we do not use, and what to write instead."""


class Pkcs11Signer:
    """Signs with a P-256 key that never leaves its token.

    Args:
        uri:
            `pkcs11:token=LABEL;object=LABEL;id=%01?module-path=/usr/lib/…/module.so&pin-source=file:/run/pin`.
            The attributes together must match exactly one key.
        pin: returns the PIN, called once; without it and without pin-source, the token is used
            without login.
        module: path of the PKCS#11 module, used if the URI does not name one.

    Raises:
        InputError: the URI has an unknown attribute, or contains the PIN itself.
    """

    def __init__(
        self, uri: str, pin: Passphrase | None = None, *, module: str | None = None
    ) -> None:
        self._attributes, self._query = _parse_uri(uri)
        self._module = self._query.get("module-path") or module
        if not self._module:
            _refuse(
                "no module-path",
                "add ?module-path=/path/of/the/module.so, or set PKCS11_MODULE_PATH",
            )
        self._pin = None if pin is None else cache(pin)
        # The token is checked once before the build, and again to sign: it may be removed in
        # between.
        with self._session() as (pkcs11, session):
            self._public_key = self._read_public_key(pkcs11, session)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey | None:
        """The public key, if the token stores it beside the private key."""
        return self._public_key

    def sign(self, digest: bytes) -> bytes:
        """See `otabuild.signing.signer.Signer.sign`."""
        with self._session() as (pkcs11, session):
            key = self._find_key(pkcs11, session, pkcs11.ObjectClass.PRIVATE_KEY)
            return parse_answer(key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA), self._where)

    @property
    def _where(self) -> str:
        named = (
            f"{name}={unquote(value, errors='replace')}" for name, value in self._attributes.items()
        )
        return f"pkcs11:{';'.join(named)}"

    @contextmanager
    def _session(self) -> Iterator[tuple[ModuleType, Any]]:
        try:
            pkcs11 = importlib.import_module("pkcs11")
        except ImportError:
            raise InputError(
                "signing with a PKCS#11 token needs an extra",
                where=self._where,
                hint=how_to_install("pkcs11"),
            ) from None
        pin = self._read_pin()
        try:
            with self._find_token(pkcs11).open(user_pin=pin) as session:
                yield pkcs11, session
        except (RuntimeError, OSError) as error:  # every error of the package is a RuntimeError
            raise InputError(
                "the token refused the operation",
                where=self._where,
                observed=f"{type(error).__name__} {error}".strip(),
                hint=_hint(type(error).__name__),
            ) from None

    def _read_pin(self) -> str | None:
        source = self._query.get("pin-source")
        if source is not None:
            raw = read_file(urlsplit(source).path, FILE_LIMIT).rstrip(b"\r\n")
        elif self._pin is not None:
            raw = self._pin()
        else:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise InputError("the PIN is not UTF-8", where=self._where) from None

    def _find_token(self, pkcs11: ModuleType) -> Any:
        # A token that was never initialised has no keys; SoftHSM always shows one such more.
        tokens = [
            token
            for token in pkcs11.lib(self._module).get_tokens()
            if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags
            and self._fits(token, _TOKEN_ATTRIBUTES)
            and self._fits(token.slot, _SLOT_ATTRIBUTES)
        ]
        if len(tokens) != 1:
            raise InputError(
                f"{len(tokens)} tokens match, but exactly one must",
                where=self._where,
                hint=f"`pkcs11-tool --module {self._module} -L` lists tokens",
            )
        return tokens[0]

    def _fits(self, found: Any, attributes: Mapping[str, str]) -> bool:
        """Whether a token or slot is what the URI says about it."""
        return all(
            _text(getattr(found, field)) == unquote(self._attributes[name])
            for name, field in attributes.items()
            if name in self._attributes
        )

    def _find_key(self, pkcs11: ModuleType, session: Any, kind: Any) -> Any:
        label, key_id = self._attributes.get("object"), self._attributes.get("id")
        return session.get_key(
            object_class=kind,
            key_type=pkcs11.KeyType.EC,
            label=None if label is None else unquote(label),
            id=None if key_id is None else unquote_to_bytes(key_id),
        )

    def _read_public_key(
        self, pkcs11: ModuleType, session: Any
    ) -> ec.EllipticCurvePublicKey | None:
        self._find_key(pkcs11, session, pkcs11.ObjectClass.PRIVATE_KEY)
        try:
            public = self._find_key(pkcs11, session, pkcs11.ObjectClass.PUBLIC_KEY)
        except (pkcs11.NoSuchKey, pkcs11.MultipleObjectsReturned):
            return None
        encode = importlib.import_module("pkcs11.util.ec").encode_ec_public_key
        key = load_der_public_key(encode(public))
        return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _parse_uri(uri: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the path and query attributes of a URI; the path is still percent-encoded."""
    scheme, _, rest = uri.partition(":")
    path, _, query = rest.partition("?")
    attributes = _pairs(path, ";")
    options = {name: unquote(value) for name, value in _pairs(query, "&").items()}
    if scheme != "pkcs11":
        _refuse("not a pkcs11: URI")
    if "pin-value" in options:
        _refuse(
            "the PIN itself is in the URI (pin-value)",
            "use `passphrase`, or pin-source with the path of a file",
        )
    unknown = sorted(
        attributes.keys() - _TOKEN_ATTRIBUTES.keys() - _SLOT_ATTRIBUTES.keys() - _KEY_ATTRIBUTES
        | options.keys() - _QUERY_ATTRIBUTES
    )
    if unknown and unknown[0] in _UNSUPPORTED:
        _refuse(f"the attribute {unknown[0]} is not supported", _UNSUPPORTED[unknown[0]])
    if unknown:
        _refuse(f"unknown attribute {unknown[0]!r}")
    if attributes.get("type", "private") != "private":
        _refuse(f"type={attributes['type']} cannot sign; leave it out or write type=private")
    return attributes, options


def _pairs(text: str, separator: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(separator) if part]
    names = [name for name, _, _ in pairs]
    if len(set(names)) != len(names):
        _refuse("an attribute occurs twice")
    return {name: value for name, _, value in pairs}


def _refuse(what: str, hint: str = "") -> NoReturn:
    # The URI itself is not shown, because it may contain a PIN.
    raise InputError(
        what, where="sign.key.pkcs11", hint=hint or "see RFC 7512 for the form of such a URI"
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace").strip(" \0") if isinstance(value, bytes) else str(value)


def _hint(error: str) -> str:
    return {
        "PinIncorrect": "check the PIN: a few wrong ones lock the token",
        "PinLocked": "the PIN is locked: the security officer has to unlock it",
        "NoSuchKey": (
            "no private EC key matches; `pkcs11-tool -O --login` lists what the token contains"
        ),
        "MultipleObjectsReturned": "several keys match: add `object=` or `id=`",
    }.get(error, "check module-path, and that the token is there")
