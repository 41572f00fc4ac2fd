"""The tasks of the product: `nox -s image`, `nox -s verify`."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["image", "verify"]


@nox.session(python=False)
def image(session: nox.Session) -> None:
    """Build every image."""
    session.run("doit", "build", env=_key(session))


@nox.session(python=False)
def verify(session: nox.Session) -> None:
    """Verify every image."""
    session.run("doit", "verify", env=_key(session))


def _key(session: nox.Session) -> dict[str, str]:
    """Return the key from the environment, or else from demo certificates."""
    if "OTA_SIGN_KEY" in session.env:
        return {}
    if not Path("pki").exists():
        session.run("otabuild", "pki", "demo", "pki")
    return {"OTA_SIGN_KEY": Path("pki/sign.key").read_text(encoding="utf-8")}
