"""Verifies that a trusted signer signed index.json (section 8).

An image is authentic if all of these are valid: a chain that ends at a trusted root, the signature,
and the size and digest of index.json. Each check is independent; a report exists only if all of
them pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from otabuild.errors import FormatError, OtabuildError, TrustError
from otabuild.format.index_jwt import NAME, parse_index_jwt
from otabuild.format.times import utc
from otabuild.signing.certificates import Certificate, token_certificates
from otabuild.signing.chain import VERIFICATION, chain_problems, in_order, usage_problem
from otabuild.signing.trust import TrustPolicy, check_signer, verify_chain


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """A valid signature.

    Attributes:
        chain: the certificates of x5c, the signing certificate first.
        anchor: the trusted root at which the chain ends; None if the caller gave no policy, and
            then the signature does not show who signed.
        issued_at: `iat`, Unix seconds, if the token has it.
        notes: what is unusual about the chain, although clients take it.
    """

    chain: tuple[Certificate, ...]
    anchor: Certificate | None
    issued_at: int | None
    notes: tuple[TrustError, ...] = ()

    @property
    def path(self) -> tuple[Certificate, ...]:
        """The chain, and the anchor if known."""
        return (*self.chain, self.anchor) if self.anchor else self.chain

    def to_value(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        return {
            "trusted": self.anchor is not None,
            "signed-at": None if self.issued_at is None else utc(self.issued_at),
            "chain": [
                {
                    "subject": certificate.subject,
                    "issuer": certificate.issuer,
                    "not-before": utc(certificate.not_before),
                    "not-after": utc(certificate.not_after),
                }
                for certificate in self.path
            ],
            "notes": [f"{note.where}: {note.what}" for note in self.notes],
        }


def check_index_jwt(
    token_raw: bytes,
    index_raw: bytes,
    policy: TrustPolicy | None,
    now: int,
    *,
    compat: bool = False,
) -> tuple[SignatureReport | None, list[OtabuildError]]:
    """Check a signature and collect everything that is wrong with it.

    Args:
        token_raw: the bytes of index.jwt.
        index_raw: the bytes of index.json.
        policy: whom to trust; None checks everything except the trust anchor.
        now: the time to check validity at, Unix seconds.
        compat: also read tokens of early builders, with PEM certificates.

    Returns:
        The report and no problems, or no report and at least one problem.
    """
    problems: list[OtabuildError] = []
    anchor: Certificate | None = None
    try:
        token = parse_index_jwt(token_raw, compat=compat)
    except OtabuildError as error:
        return None, [error]
    chain, notes = token_certificates(token), list[TrustError]()
    if compat and _is_early(token_raw):
        notes.append(
            TrustError("the certificates are PEM text (builders to 0.9.0)", where=f"{NAME}: x5c")
        )
    if compat and (sorted_chain := in_order(chain)) != chain:
        notes.append(
            TrustError(
                "the certificates of x5c are not in order; they were sorted", where=f"{NAME}: x5c"
            )
        )
        chain = sorted_chain
    # Each check by itself: one that fails must not hide another.
    with _collected(problems):
        if policy is None:
            problems.extend(chain_problems(chain, {VERIFICATION: now}))
        else:
            anchor = verify_chain(chain, policy, now)
    with _collected(problems):
        token.verify_signature()
    with _collected(problems):
        token.image_index.verify(index_raw, "index.json")
    with _collected(problems):
        _check_time(token.issued_at, policy, now)
    with _collected(problems):
        if policy is not None:
            check_signer(chain[0], policy)
    if problems:
        return None, problems
    authorities = (*chain[1:], *([anchor] if anchor else []))
    notes += [note for authority in authorities if (note := usage_problem(authority))]
    return SignatureReport(chain, anchor, token.issued_at, tuple(notes)), []


def _is_early(token_raw: bytes) -> bool:
    """Whether only the compatibility option reads a token."""
    try:
        parse_index_jwt(token_raw)
    except FormatError:
        return True
    return False


def verify_index_jwt(
    token_raw: bytes,
    index_raw: bytes,
    policy: TrustPolicy | None,
    now: int,
    *,
    compat: bool = False,
) -> SignatureReport:
    """Verify a signature; arguments as for `check_index_jwt`.

    Raises:
        FormatError: the token does not follow the format.
        LimitError: the token is too large.
        TrustError: the chain or the signature is invalid, or the policy refuses it.
        IntegrityError: the token covers a different index.json.
    """
    report, problems = check_index_jwt(token_raw, index_raw, policy, now, compat=compat)
    if problems:
        raise problems[0]
    # Whatever goes wrong above: a check that did not run is never reported as passed.
    if report is None or (policy is not None and report.anchor is None):
        raise TrustError("the signature was not verified", where=NAME)
    return report


def _check_time(issued_at: int | None, policy: TrustPolicy | None, now: int) -> None:
    # Without leeway, as clients do it (section 12).
    if issued_at is not None and issued_at > now:
        raise TrustError(
            "signed in the future, which clients refuse",
            where=NAME,
            observed=utc(issued_at),
            expected=f"not after {utc(now)}",
            hint="check the clock of this machine and of the one that signed",
        )
    if policy is None or (policy.not_before is None and policy.max_age is None):
        return
    earliest = max(policy.not_before or 0, 0 if policy.max_age is None else now - policy.max_age)
    if issued_at is None or issued_at < earliest:
        raise TrustError(
            "too old: the policy refuses images signed before a certain time",
            where=NAME,
            observed="no signing time" if issued_at is None else utc(issued_at),
            expected=f"not before {utc(earliest)}",
            hint="this may be the replay of an old image; use a newer one",
        )


@contextmanager
def _collected(problems: list[OtabuildError]) -> Iterator[None]:
    try:
        yield
    except OtabuildError as error:
        problems.append(error)
