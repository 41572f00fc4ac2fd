"""verify, verify-sign, verify-resources, deploy-image."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from otabuild.commands.attest import add_attestations, attested_lines, check_attestations
from otabuild.commands.output import (
    Parsers,
    add_bounds,
    add_compat,
    add_image,
    add_json,
    add_list,
    add_payload,
    checked,
    chosen,
    emit,
    number_of,
    opened,
    option_type,
)
from otabuild.errors import Finding, InputError, OtabuildError, TrustError, printable
from otabuild.format.digest import parse_digest
from otabuild.format.sizes import counted, human_size
from otabuild.format.times import DAY, parse_time, utc
from otabuild.progress import fitted, show_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from otabuild.deployment.contents import Transfer
    from otabuild.deployment.old_trees import OldTrees
    from otabuild.image.image import Image
    from otabuild.signing.authenticity import SignatureReport
    from otabuild.signing.trust import TrustPolicy
    from otabuild.verification.verify import Report

_FEW_NOTES = 3
_NEED_ANCHOR = ("--crl", "--not-before", "--max-age", "--allowed-signer", "--eku-strict")


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Verify and deploy")
    verify = parsers.add_parser(
        "verify", help="verify everything: signature, documents, tables, every byte"
    )
    add_image(verify)
    _add_trust(verify)
    verify.add_argument(
        "--shallow",
        action="store_true",
        help="hash every stored blob, but do not rebuild the contents",
    )
    verify.add_argument("--strict", action="store_true", help="treat notes as errors")
    verify.add_argument(
        "--no-signature",
        action="store_true",
        help="check everything but the signature, as for an image that is not signed, and say so",
    )
    add_bounds(verify)
    add_attestations(verify)
    add_json(verify)
    verify.set_defaults(run=run_verify, judges=True)

    sign = parsers.add_parser(
        "verify-sign", help="verify the signature, and that it is over this index.json"
    )
    add_image(sign)
    _add_trust(sign)
    sign.add_argument(
        "--no-trust", action="store_true", help="check without a trust anchor, and say so"
    )
    add_json(sign)
    sign.set_defaults(run=run_verify_sign, judges=True)

    resources = parsers.add_parser(
        "verify-resources", help="hash the stored blobs, and compare with their digests"
    )
    add_image(resources)
    add_compat(resources)
    add_list(
        resources,
        "--blob-checksum",
        metavar="sha256:HEX",
        type=option_type(checked(parse_digest)),
        help="only this blob; repeatable",
    )
    add_json(resources)
    resources.set_defaults(run=run_verify_resources, judges=True)

    deploy = parsers.add_parser(
        "deploy-image",
        help=(
            "write the rootfs of a payload to a new directory or a tar file; all "
            "it reads is verified"
        ),
    )
    deploy.add_argument(
        "image",
        nargs="?",
        metavar="IMAGE",
        help="an image: an artifact (ZIP) or a directory, or its URL",
    )
    deploy.add_argument(
        "--image", dest="image_option", metavar="IMAGE", help="the same, as an option"
    )
    add_payload(deploy)
    target = deploy.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--rootfs-dir", metavar="DIR", help="the directory to make; it must not exist yet"
    )
    target.add_argument(
        "--to-tar",
        metavar="FILE",
        type=_tar_path,
        help="write a tar with exact metadata; needs no root",
    )
    add_list(
        deploy,
        "--reuse",
        metavar="TREE",
        help=(
            "take contents from this directory as far as it has them, such as the rootfs of the "
            "release before; repeatable"
        ),
    )
    add_list(
        deploy,
        "--reuse-image",
        metavar="IMAGE",
        help="an image that the trees were deployed from: it says where contents are, so that not "
        "every file is read; "
        "repeatable",
    )
    _add_trust(deploy)
    deploy.add_argument(
        "--insecure-no-verify", action="store_true", help="skip the signature, and nothing else"
    )
    deploy.add_argument(
        "--no-owner", action="store_true", help="make the calling user the owner of every entry"
    )
    add_bounds(deploy)
    add_json(deploy)
    deploy.set_defaults(run=run_deploy)


def _tar_path(text: str) -> str:
    if text == "-":
        raise argparse.ArgumentTypeError(
            "the tar cannot go to standard output: it is not written in order; name a file"
        )
    return text


def _add_trust(parser: argparse.ArgumentParser) -> None:
    trust = parser.add_argument_group("trust")
    add_list(trust, "--ca", metavar="PATH", help="CA certificate, or folder of them; repeatable")
    add_list(trust, "--ca-dir", metavar="DIR", help="folder of CA certificates; repeatable")
    add_list(trust, "--crl", metavar="FILE", help="certificate revocation list; repeatable")
    trust.add_argument(
        "--at",
        metavar="TIME",
        type=option_type(parse_time),
        help="judge dates at this time (ISO 8601) instead of now",
    )
    trust.add_argument(
        "--not-before",
        metavar="TIME",
        type=option_type(parse_time),
        help="refuse images signed before this time (replay)",
    )
    trust.add_argument(
        "--max-age",
        metavar="DAYS",
        type=number_of("days"),
        help="refuse images signed longer ago than this",
    )
    add_list(
        trust,
        "--allowed-signer",
        metavar="CN",
        help="accept only a signer of this common name; repeatable",
    )
    trust.add_argument(
        "--eku-strict",
        action="store_true",
        help="require the extended key usage codeSigning, also of CAs that have any",
    )
    add_compat(parser)


def trust_policy(args: argparse.Namespace) -> TrustPolicy | None:
    """Return the policy of the options, or None if no anchor is given.

    Raises:
        TrustError, InputError: an anchor, a revocation list or a time cannot be used.
    """
    from otabuild.signing.revocation import load_crls
    from otabuild.signing.trust import TrustPolicy, load_anchors

    anchors = [*args.ca, *args.ca_dir]
    if not anchors:
        for option in _NEED_ANCHOR:
            if getattr(args, option[2:].replace("-", "_")) not in (None, False, []):
                raise InputError(
                    "needs a trust anchor",
                    where=option,
                    hint="name CA certificates with --ca or --ca-dir",
                )
        return None
    return TrustPolicy(
        anchors=load_anchors(anchors),
        not_before=args.not_before,
        max_age=None if args.max_age is None else args.max_age * DAY,
        allowed_signers=frozenset(args.allowed_signer),
        crls=load_crls(args.crl),
        strict_eku=args.eku_strict,
    )


def _now(args: argparse.Namespace) -> int:
    """Return the time to check validity at, in Unix seconds."""
    return int(time.time()) if args.at is None else int(args.at)


def run_verify(args: argparse.Namespace) -> int:
    """Verify everything."""
    from otabuild.verification.verify import verify

    policy = trust_policy(args)
    if policy is not None and args.no_signature:
        raise InputError("cannot be used together with --ca or --ca-dir", where="--no-signature")
    if policy is None and not args.no_signature:
        raise TrustError(
            "no trust anchor was given",
            where=args.image,
            hint=(
                "name CA certificates with --ca or --ca-dir, or check everything else with "
                "--no-signature"
            ),
        )
    now = _now(args)
    with opened(args, args.image) as image:
        report = verify(
            image,
            policy,
            now,
            shallow=args.shallow,
            strict=args.strict,
            without_signature=args.no_signature,
            progress=partial(show_progress, "verify"),
        )
        attested = check_attestations(args, image, policy, now)
        size, is_signed = image.source.total_size(), _is_signed(image)
    told = (*finding_lines(report.findings), *_verdict_lines(args.image, size, report, now))
    lines = [*(fitted(line, sys.stdout) for line in told), *attested_lines(attested)]
    if args.no_signature:
        lines.append(
            "  signature NOT CHECKED"
            if is_signed
            else "  NOT SIGNED: everything but its authenticity was verified"
        )
    statements = {name: statement.to_value() for name, statement in attested.items()}
    about = {"signed": is_signed, "signature-checked": not args.no_signature}
    emit(args, {**report.to_value(), **about, **statements}, lines)
    return 0 if report.ok else 1


def _is_signed(image: Image) -> bool:
    try:
        return image.token_raw is not None
    except OtabuildError:
        return True  # it is there, though it is damaged


def _verdict_lines(image: str, size: int | None, report: Report, now: int) -> Iterator[str]:
    """Say whether an image is valid, what was checked, who signed it, and the size of its files."""
    verdict = "verified" if report.ok else "NOT VERIFIED"
    verdict += ", shallow" if report.shallow else ""
    counts = [] if size is None else [human_size(size)]
    counts.append(counted(report.counts.get("payloads", 0), "payload"))
    counts.append(
        f"{counted(report.counts.get('blobs', 0), 'blob')} of "
        f"{human_size(report.counts.get('bytes', 0))}"
    )
    if "contents" in report.counts:
        counts.append(
            f"{counted(report.counts['contents'], 'content')} of "
            f"{human_size(report.counts['content-bytes'])}"
        )
    yield printable(f"{image}: {verdict} ({', '.join(counts)})")
    if not (report.contents_checked or report.shallow):
        yield "  contents NOT CHECKED"
    yield from (f"  not looked for: {what}" for what in report.not_looked_for)
    if report.signature:
        yield from _signature_lines(report.signature, now)


def _signature_lines(signature: SignatureReport, now: int) -> Iterator[str]:
    """Say who signed, when, and whether that is trusted; and what expires soon."""
    signer, at = signature.chain[0], signature.issued_at
    when = "" if at is None else f", at {utc(at)}"
    yield f"  signed by  {signer.subject}{when}; certificate valid until {utc(signer.not_after)}"
    yield (
        f"  trusted    {signature.anchor.subject}"
        if signature.anchor
        else "  NOT TRUSTED: no anchor was given"
    )
    for certificate in signature.path:
        if certificate.expires_soon(now):
            days = counted((certificate.not_after - now) // DAY, "day")
            yield f"note: {certificate.subject}: expires in {days}, at {utc(certificate.not_after)}"


def run_verify_sign(args: argparse.Namespace) -> int:
    """Verify the signature."""
    from otabuild.verification.verify_sign import verify_sign

    policy = trust_policy(args)
    now = _now(args)
    with opened(args, args.image) as image:
        report = verify_sign(image, policy, now)
    if policy is None and not args.no_trust:
        raise TrustError(
            "everything but the trust anchor was checked: no trust anchor was given",
            where=args.image,
            hint="name CA certificates with --ca or --ca-dir, or give --no-trust",
        )
    notes = [f"note: {note}" for note in report.notes]
    signed = (fitted(line, sys.stdout) for line in _signature_lines(report, now))
    lines = [printable(f"{args.image}: the signature is valid"), *signed, *notes]
    emit(args, {"image": args.image, **report.to_value()}, lines)
    return 0


def run_verify_resources(args: argparse.Namespace) -> int:
    """Hash the stored blobs."""
    from otabuild.verification.verify_resources import verify_resources

    with opened(args, args.image) as image:
        report = verify_resources(image, args.blob_checksum)
    verdict = f"{counted(report.blobs, 'blob')} hashed, {len(report.findings)} bad"
    emit(args, report.to_value(), [*finding_lines(report.findings), verdict])
    return 0 if report.ok else 1


def run_deploy(args: argparse.Namespace) -> int:
    """Deploy a payload."""
    from otabuild.deployment.deploy import deploy
    from otabuild.deployment.deploy_tar import deploy_tar

    images = [image for image in (args.image, args.image_option) if image is not None]
    if len(images) != 1:
        args.parser.error("name one IMAGE")
    (args.image,) = images
    policy = trust_policy(args)
    if policy is None and not args.insecure_no_verify:
        raise TrustError(
            "no trust anchor was given",
            where=args.image,
            hint="name CA certificates with --ca or --ca-dir, or give --insecure-no-verify",
        )
    act, target = (deploy, args.rootfs_dir) if args.to_tar is None else (deploy_tar, args.to_tar)
    with opened(args, args.image) as image, _old_trees(args) as reuse:
        deployed = act(
            chosen(args, image),
            target,
            policy,
            _now(args),
            insecure_no_verify=args.insecure_no_verify,
            no_owner=args.no_owner,
            reuse=reuse,
            progress=partial(show_progress, "deploy"),
        )
    size = human_size(deployed.content_size)
    by = f"signed by {deployed.signer}" if deployed.signer else "signature NOT checked"
    what = f"payload {deployed.payload}, {counted(deployed.inodes, 'inode')}, {size}, {by}"
    line = fitted(printable(f"{deployed.target}: {what}"), sys.stdout)
    emit(args, deployed.to_value(), [line, *_transfer_lines(deployed.transfer)])
    return 0


@contextmanager
def _old_trees(args: argparse.Namespace) -> Iterator[OldTrees | None]:
    from otabuild.deployment.old_trees import OldTrees

    if args.reuse_image and not args.reuse:
        raise InputError(
            "--reuse-image says where contents are in a tree, and no tree was named",
            where=args.reuse_image[0],
            hint="name the tree with --reuse",
        )
    if not args.reuse:
        yield None
        return
    with ExitStack() as stack:
        images = [stack.enter_context(opened(args, path)) for path in args.reuse_image]
        yield stack.enter_context(OldTrees(args.reuse, images))


def _transfer_lines(transfer: Transfer | None) -> Iterator[str]:
    if transfer is None:
        return
    planned, fetched = transfer.planned, transfer.fetched
    yield f"from the image: {human_size(fetched.bytes)} in {counted(fetched.requests, 'request')}"
    if fetched != planned:
        yield f"(planned: {human_size(planned.bytes)} in {counted(planned.requests, 'request')})"
    if transfer.reused_contents:
        yield (
            f"reused: {human_size(transfer.reused_bytes)} in "
            f"{counted(transfer.reused_contents, 'content')}"
        )


def finding_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the findings; if a rule has many notes, only their number and two of them."""
    notes: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.severity == "note":
            notes[finding.rule, finding.what].append(finding)
        else:
            yield str(finding)
    for (rule, what), found in notes.items():
        if len(found) <= _FEW_NOTES:
            yield from map(str, found)
            continue
        such = " and ".join(str(finding.where) for finding in found[:2])
        yield printable(
            f"note: {what}: {len(found)} times, such as {such}; --json lists all [{rule}]"
        )
