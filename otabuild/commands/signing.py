"""sign, sign-prepare, sign-finish."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import time
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING

from otabuild import session
from otabuild.commands.output import (
    Parsers,
    add_image,
    add_json,
    add_list,
    emit,
    opened,
    option_type,
    say,
)
from otabuild.errors import InputError, OtabuildError
from otabuild.format.times import EPOCH, parse_epoch, parse_time, utc
from otabuild.format.urls import is_url
from otabuild.progress import tell

if TYPE_CHECKING:
    from otabuild.driver import BuildDriver
    from otabuild.image.image import Image
    from otabuild.pipeline.resign import Signing
    from otabuild.pipeline.steps.sign_step import SignStep
    from otabuild.pipeline.workspace import Workspace
    from otabuild.recipe.sign import Sign
    from otabuild.signing.signing_request import SigningRequest

_RECIPES = (".yaml", ".yml")


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Sign")
    sign = parsers.add_parser(
        "sign", help="sign an image again, or for the first time, without building it"
    )
    add_image(sign)
    _add_certificate(sign)
    sign.add_argument(
        "--key",
        help=(
            "PATH of a PEM file, env:NAME, pkcs11:URI, URI of a key "
            "service, or command:PROGRAM ARGUMENTS"
        ),
    )
    sign.add_argument(
        "--passphrase",
        metavar="WHERE",
        help="env:NAME, fd:NUMBER or prompt; never the passphrase itself",
    )
    sign.add_argument(
        "--attach",
        action="append",
        metavar="FILE",
        help="a stored index.jwt or metadata.jwt; no key",
    )
    sign.add_argument(
        "-o", "--output", metavar="IMAGE", help="write to this path; default: replace the image"
    )
    _add_unchecked(sign)
    add_json(sign)
    sign.set_defaults(run=run_sign)

    prepare = parsers.add_parser(
        "sign-prepare", help="write what has to be signed by a key that no build machine sees"
    )
    prepare.add_argument(
        "target", metavar="RECIPE|IMAGE", help="a recipe (built up to its signature), or an image"
    )
    _add_certificate(prepare)
    prepare.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="request.json",
        help="the request to write; default: %(default)s",
    )
    prepare.add_argument(
        "--digest", action="store_true", help="print each digest to sign, in hex and in base64"
    )
    _add_unchecked(prepare)
    add_json(prepare)
    prepare.set_defaults(run=run_prepare)

    finish = parsers.add_parser(
        "sign-finish", help="take the answer to a signing request, and complete the artifact"
    )
    finish.add_argument("target", metavar="RECIPE|IMAGE", help="what the request was written for")
    finish.add_argument(
        "--answer", action="append", metavar="FILE", help="DER, raw, base64, hex, or a KMS response"
    )
    finish.add_argument(
        "--attach", action="append", metavar="FILE", help="a stored index.jwt or metadata.jwt"
    )
    add_list(finish, "--request", metavar="FILE", help="the request (for an image)")
    finish.add_argument(
        "-o",
        "--output",
        metavar="IMAGE",
        help="for an image: write to this path; default: replace the image",
    )
    _add_unchecked(finish)
    add_json(finish)
    finish.set_defaults(run=run_finish)


def _add_unchecked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="sign an image that verify refuses, such as one of another tool",
    )


def _add_certificate(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for an image")
    group.add_argument("--certificate", metavar="FILE", help="the signing certificate (PEM)")
    add_list(
        group, "--chain", metavar="FILE", help="intermediate certificate, in order; repeatable"
    )
    add_list(group, "--ca", metavar="PATH", help="the root certificate that the chain must end at")
    group.add_argument(
        "--timestamp",
        metavar="TIME",
        type=option_type(_time),
        help="now, or ISO 8601; default: SOURCE_DATE_EPOCH if it is set, else now",
    )


def run_sign(args: argparse.Namespace) -> int:
    """Sign an image, or attach a stored signature."""
    from otabuild.pipeline.resign import Signing
    from otabuild.pipeline.signers import make_signer
    from otabuild.signing.chain import load_chain

    if args.attach:
        return _complete(args, _tokens(args.attach), args.attach)
    if not (args.certificate and args.key):
        raise InputError(
            "nothing to sign with",
            where="otabuild sign",
            hint="give --certificate and --key, or --attach",
        )
    sign, workspace = _sign_options(args), session.make_workspace()
    timestamp = _timestamp(args.timestamp)
    with opened(args, args.image) as image:
        chain = load_chain(sign.certificate, sign.chain)
        signing = Signing(chain, timestamp, make_signer(sign, workspace))
        _check(args, image, signing, workspace)
        return _write(args, image, signing, workspace)


def run_prepare(args: argparse.Namespace) -> int:
    """Write signing requests."""
    from otabuild.pipeline.resign import Signing, image_requests
    from otabuild.signing.chain import load_chain
    from otabuild.storage.files import write_file

    if args.target.endswith(_RECIPES):
        requests = _prepare_recipe(args.target)
    else:
        if not args.certificate:
            raise InputError(
                "no certificate",
                where="otabuild sign-prepare",
                hint="give --certificate and --chain",
            )
        workspace, timestamp = session.make_workspace(), _timestamp(args.timestamp)
        chain = load_chain(args.certificate, args.chain)
        with opened(args, args.target) as image:
            image.source.check_apart(args.output)
            _check(args, image, Signing(chain, timestamp), workspace)
            requests = list(image_requests(image, timestamp, chain))
    stem, extension = os.path.splitext(args.output)
    written = []
    for number, request in enumerate(requests):
        path = args.output if number == 0 else f"{stem}.{request.name}{extension}"
        write_file(path, request.to_json())
        base64 = b64encode(request.digest).decode()
        written.append(
            {"request": path, "for": request.name, "sha256": request.digest.hex(), "base64": base64}
        )
    line = "{sha256} {base64} {for}" if args.digest else "{request}: sign sha256:{sha256} for {for}"
    emit(args, {"requests": written}, [line.format(**one) for one in written])
    if not written:
        say("every signature is there already: build the recipe")
    return 0


def _prepare_recipe(path: str) -> list[SigningRequest]:
    """Build a recipe up to its signature; return what still has to be signed."""
    driver, sign = _driver(path)
    driver.run_up_to_signature(tell)
    requests = sign.requests()
    known = sign.known()
    return [request for request in requests if known.find(request.digest) is None]


def run_finish(args: argparse.Namespace) -> int:
    """Accept answers, and complete the artifact."""
    files = [*(args.answer or ()), *(args.attach or ())]
    if not files:
        raise InputError(
            "no answer",
            where="otabuild sign-finish",
            hint="give --answer FILE or --attach index.jwt",
        )
    if args.target.endswith(_RECIPES):
        return _finish_recipe(args, files)
    args.image = args.target
    return _complete(args, _requests(args.request) or _tokens(args.attach or ()), files)


def _finish_recipe(args: argparse.Namespace, answers: list[str]) -> int:
    from otabuild.api import build
    from otabuild.pipeline.build_report import Made
    from otabuild.pipeline.outside_signatures import match_answer

    driver, sign = _driver(args.target)
    requests = sign.requests()
    for path, request in _requests(args.request):
        if request not in requests:
            raise InputError(
                "the request is not for the last build",
                where=path,
                observed=f"sha256:{request.digest.hex()}",
                expected=" or ".join(f"sha256:{one.digest.hex()}" for one in requests),
                hint=(
                    "write it again with `otabuild sign-prepare`; with `timestamp: now` every "
                    "build is different"
                ),
            )
    found = [match_answer(_read(path), requests, path) for path in answers]
    known = sign.known()
    for request, signature in found:
        known.keep(request.digest, signature)
    result = build(driver.recipe, workspace=driver.workspace, tell=tell)
    made = Made(result.artifact, result.sha256, result.index_json)
    emit(args, made.to_value(), [made.describe()])
    if driver.recipe.publish:
        say(f"it is not published yet: otabuild publish {args.target}")
    return 0


def _complete(
    args: argparse.Namespace, requests: list[tuple[str, SigningRequest]], answers: list[str]
) -> int:
    """Write an image with signatures made for requests, or with the tokens that contain them."""
    from otabuild.format import index_jwt
    from otabuild.pipeline.resign import Signing
    from otabuild.signing.certificates import Certificate

    about = next((one for one in requests if one[1].name == index_jwt.NAME), None)
    if about is None:
        raise InputError(
            "no request for index.jwt",
            where=args.image,
            hint="give --request, or --attach index.jwt",
        )
    path, request = about
    token = index_jwt.parse_signing_input(request.signing_input)
    if token.issued_at is None:
        raise InputError("no signing time (iat)", where=path)
    chain = tuple(
        Certificate(found, f"{path}: certificate {number}")
        for number, found in enumerate(token.chain)
    )
    workspace = session.make_workspace()
    signing = Signing(
        chain, token.issued_at, answers=tuple((_read(answer), answer) for answer in answers)
    )
    with opened(args, args.image) as image:
        _check(args, image, signing, workspace)
        return _write(args, image, signing, workspace)


def _check(args: argparse.Namespace, image: Image, signing: Signing, workspace: Workspace) -> None:
    """Check that the image may be signed, and that clients would accept the signature."""
    from otabuild.pipeline.resign import check_image
    from otabuild.signing.preflight import preflight
    from otabuild.signing.trust import TrustPolicy, load_anchors

    # sign-finish has no such option: its request was checked when it was written.
    anchors = getattr(args, "ca", [])
    policy = TrustPolicy(anchors=load_anchors(anchors)) if anchors else None
    public_key = signing.signer.public_key if signing.signer else None
    warnings = preflight(signing.chain, public_key, signing.issued_at, workspace.now, policy=policy)
    progress = partial(workspace.progress, f"verify {image.path}")
    for warning in [*warnings, *check_image(image, unchecked=args.unchecked, progress=progress)]:
        workspace.warn(warning)


def _write(args: argparse.Namespace, image: Image, signing: Signing, workspace: Workspace) -> int:
    from otabuild.pipeline.resign import resign

    if is_url(args.output or args.image):
        raise InputError(
            "a signed image is not written to a URL",
            where=args.output or args.image,
            hint="name a file with -o, and publish it as a new release: what is published never "
            "changes",
        )
    output = args.output or args.image
    subject, time_signed = signing.chain[0].subject, utc(signing.issued_at)
    progress = partial(workspace.progress, f"sign {output}")
    resign(image, output, signing, workers=workspace.workers, progress=progress)
    value = {"image": output, "signer": subject, "signed-at": time_signed}
    emit(args, value, [f"{output}: signed by {subject} at {time_signed}"])
    return 0


def _driver(path: str) -> tuple[BuildDriver, SignStep]:
    """Return the driver of a recipe's build, and the step that signs; lock the work directory."""
    from otabuild.driver import BuildDriver
    from otabuild.pipeline.steps.sign_step import SignStep

    driver = BuildDriver.load(path)
    if driver.recipe.sign is None:
        raise InputError(
            "the recipe does not sign its image", where=path, hint="add a `sign` section"
        )
    session.hold_lock(driver.workspace.work)
    return driver, SignStep(driver.recipe, driver.workspace)


def _sign_options(args: argparse.Namespace) -> Sign:
    """Convert the options to the `sign` section of a recipe."""
    from pydantic import ValidationError

    from otabuild.recipe.sign import Sign

    kind, _, rest = args.key.partition(":")
    keys: dict[str, object] = {
        "env": {"env": rest},
        "command": {"command": _words(rest) if kind == "command" else ()},
        "pkcs11": {"pkcs11": args.key},
        "file": {"file": rest},
    }
    value: dict[str, object] = {
        "certificate": args.certificate,
        "chain": tuple(args.chain),
        "key": keys.get(kind, args.key if "://" in args.key else {"file": args.key}),
    }
    if args.passphrase:
        where, _, name = args.passphrase.partition(":")
        value["passphrase"] = {
            "env": {"env": name},
            "fd": {"fd": int(name) if re.fullmatch("[0-9]{1,9}", name) else name},
        }.get(where, where)
    try:
        return Sign.model_validate(value)
    except ValidationError as error:
        option = "--passphrase" if "passphrase" in error.errors()[0]["loc"] else "--key"
        raise InputError(
            error.errors()[0]["msg"].removeprefix("Value error, "),
            where=option,
            hint="`otabuild sign --help` lists the valid forms",
        ) from None


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(
            "no command", where="--key", observed=error, hint="close every quote"
        ) from None


def _time(text: str) -> int:
    return int(time.time()) if text == "now" else parse_time(text)


def _timestamp(given: int | None) -> int:
    """Return the Unix seconds of a time on the command line, else of the environment, else now."""
    if given is None and EPOCH in os.environ:
        return parse_epoch(os.environ[EPOCH])
    return int(time.time()) if given is None else given


def _requests(paths: list[str]) -> list[tuple[str, SigningRequest]]:
    from otabuild.signing.signing_request import SigningRequest

    return [(path, SigningRequest.from_json(_read(path), path)) for path in paths]


def _tokens(paths: list[str] | tuple[()]) -> list[tuple[str, SigningRequest]]:
    """Return what stored tokens sign, except those of legacy clients, without a certificate."""
    from otabuild.format.index_jwt import NAME, parse_index_jwt
    from otabuild.signing.signing_request import SigningRequest

    found = []
    errors = []
    for path in paths:
        data = _read(path)
        try:
            token = parse_index_jwt(data)
        except OtabuildError as error:
            errors.append(error)
        else:
            found.append((path, SigningRequest(NAME, token.signing_input, token.chain)))
    if errors and not found:
        raise errors[0]
    return found


def _read(path: str) -> bytes:
    from otabuild.format import limits
    from otabuild.storage.files import read_file

    return read_file(path, limits.MIB)
