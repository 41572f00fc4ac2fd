"""verify-sign: the signature and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabuild.errors import IntegrityError, TrustError
from otabuild.image.image import open_image
from otabuild.signing.trust import TrustPolicy
from otabuild.verification.verify_sign import verify_sign
from tests import pki
from tests.image import forge
from tests.image.forge import Mutation
from tests.verification.tampering import constant


def signed(path: Path, policy: TrustPolicy | None, **changes: Mutation) -> str:
    """Return the subject of who signed a forged image."""
    with open_image(forge.forge(**changes).artifact(path / "image")) as image:
        return verify_sign(image, policy, pki.NOW).chain[0].subject


@pytest.mark.parametrize("policy", [forge.policy(), None])
def test_it_names_who_signed(tmp_path: Path, policy: TrustPolicy | None) -> None:
    assert signed(tmp_path, policy) == "CN=signer,O=otabuild tests"


def test_damaged_blobs_are_not_its_business(tmp_path: Path) -> None:
    assert signed(tmp_path, forge.policy(), leaves=constant({})) == "CN=signer,O=otabuild tests"


def test_an_image_that_is_not_signed_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="image: the image is not signed"):
        signed(tmp_path, forge.policy(), token=constant(b""))


def test_a_signature_of_another_index_is_refused(tmp_path: Path) -> None:
    other = pki.token(pki.header(), pki.claims())
    with pytest.raises(IntegrityError, match=r"index\.json: content does not match its digest"):
        signed(tmp_path, forge.policy(), token=constant(other))


def test_a_signer_that_the_policy_does_not_trust_is_refused(tmp_path: Path) -> None:
    others = TrustPolicy(anchors=pki.anchors(pki.issue("root of others")))
    with pytest.raises(TrustError):
        signed(tmp_path, others)
