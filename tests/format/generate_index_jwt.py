"""The golden token; `python -m tests.format.generate_index_jwt` writes it again."""

from __future__ import annotations

from pathlib import Path

from otabuild.format.index_jwt import assemble, signing_input
from tests import pki

GOLDEN = Path(__file__).parent / "golden" / "index.jwt"


def made() -> bytes:
    chain = [certificate.x509 for certificate in pki.chain()]
    signed = signing_input(pki.INDEX, pki.NOW, chain)
    return assemble(signed, pki.raw_signature(pki.signer().ec_key, signed))


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(made())
