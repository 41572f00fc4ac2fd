"""One SoftHSM2 token for the whole process: the module reads its configuration once, when it is first loaded."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pki import signer

MODULE = next(
    (
        str(path)
        for path in map(Path, ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm.so"))
        if path.exists()
    ),
    None,
)
PIN = "123456"

needs_token = pytest.mark.skipif(
    MODULE is None or find_spec("pkcs11") is None or shutil.which("softhsm2-util") is None,
    reason="needs SoftHSM2 (Debian: softhsm2) and the extra pkcs11",
)
needs_pkcs11_tool = pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="needs pkcs11-tool (Debian: opensc)")


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A token `my token` with the signer's key as `sign`, id 01; returns its folder, in which `pin` has the PIN."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    (folder / "key.pem").write_bytes(signer().key_pem())
    (folder / "pin").write_text(f"{PIN}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        for arguments in (
            ["--init-token", "--free", "--label", "my token", "--so-pin", "12345678"],
            ["--import", str(folder / "key.pem"), "--token", "my token", "--label", "sign", "--id", "01"],
        ):
            subprocess.run(["softhsm2-util", *arguments, "--pin", PIN], check=True, capture_output=True)
        yield folder
