"""pki demo, request, check."""

from __future__ import annotations

import argparse
import os
import time

from otabuild.commands.output import Parsers, add_json, add_list, emit, say
from otabuild.format.times import utc
from otabuild.signing.keys import passphrase_from_env


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Sign")
    pki = parsers.add_parser("pki", help="make keys and certificates, or check them")
    commands = pki.add_subparsers(prog="otabuild pki", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        parents=[parsers.common],
        help="make a root, an intermediate and a signing certificate, for tests only",
        description=(
            "Make a root, an intermediate and a signing certificate with their "
            "keys. For tests only."
        ),
    )
    demo.add_argument("directory", metavar="DIR", help="the folder to write them to")
    add_json(demo)
    demo.set_defaults(run=run_demo, parser=demo)

    request = commands.add_parser(
        "request",
        parents=[parsers.common],
        help="make a key, and the request with which a CA certifies it",
        description=(
            "Make a signing key, and the request (CSR) with which a CA certifies it: DIR/sign.key, "
            "DIR/sign.csr."
        ),
    )
    request.add_argument("directory", metavar="DIR", help="the folder to write them to")
    request.add_argument(
        "--subject", metavar="NAME", required=True, help="such as CN=OTA release 2027,O=Example"
    )
    add_json(request)
    request.set_defaults(run=run_request, parser=request)

    check = commands.add_parser(
        "check",
        parents=[parsers.common],
        help="check that clients would accept certificates and a key",
        description=(
            "Check certificates, and their key and root if given, against every "
            "rule that clients have."
        ),
    )
    check.add_argument(
        "--certificate", metavar="FILE", required=True, help="the signing certificate (PEM)"
    )
    add_list(check, "--chain", metavar="FILE", help="an intermediate one; can be repeated")
    add_list(check, "--ca", metavar="PATH", help="a trusted root; can be repeated")
    check.add_argument("--key", metavar="FILE", help="the private key of the certificate (PEM)")
    check.add_argument(
        "--passphrase-env",
        metavar="NAME",
        help="the environment variable with the key's passphrase",
    )
    add_json(check)
    check.set_defaults(run=run_check, parser=check)


def run_demo(args: argparse.Namespace) -> int:
    """Make demo certificates."""
    from otabuild.signing.demo_pki import write_demo_pki

    paths = write_demo_pki(args.directory, int(time.time()))
    emit(args, {"files": paths}, paths)
    say("these certificates are for tests: never sign a real image with them")
    return 0


def run_request(args: argparse.Namespace) -> int:
    """Make a key and a request for its certificate."""
    from otabuild.signing.certificate_request import write_certificate_request

    paths = write_certificate_request(args.directory, args.subject)
    emit(args, {"files": paths}, paths)
    say(f"give {paths[1]} to your CA, and {paths[0]} to nobody")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check certificates as the preflight of a build does."""
    from otabuild.signing.chain import load_chain
    from otabuild.signing.keys import read_key_file
    from otabuild.signing.preflight import preflight
    from otabuild.signing.trust import TrustPolicy, load_anchors

    warnings: list[str] = []
    passphrase = (
        passphrase_from_env(args.passphrase_env, os.environ) if args.passphrase_env else None
    )
    chain = load_chain(args.certificate, args.chain)
    key = read_key_file(args.key, passphrase, warnings.append).public_key() if args.key else None
    policy = TrustPolicy(anchors=load_anchors(args.ca)) if args.ca else None
    now = int(time.time())
    warnings += preflight(chain, key, now, now, policy=policy)
    for warning in warnings:
        say(f"warning: {warning}")
    signer, end = chain[0].subject, utc(chain[0].not_after)
    line = f"{args.certificate}: clients would accept signatures of {signer} until {end}"
    emit(args, {"signer": signer, "valid-until": end, "warnings": warnings}, [line])
    return 0
