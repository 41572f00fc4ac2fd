"""Through a bad network, from a bad server: the right result, or one clear error in time, and never a wrong byte."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otabuild.errors import NotVerifiedError, OtabuildError
from otabuild.image.image import open_image
from otabuild.stores.open_store import open_store
from otabuild.verification.verify import verify
from tests.image import products
from tests.stores import fault_proxy as faults
from tests.stores.fault_proxy import Fault, FaultProxy
from tests.stores.servers import BUCKET, aws_environ, needs_nginx, needs_seaweedfs

pytestmark = pytest.mark.sweep
"""Each waits for deadlines, which takes minutes for all of them."""
TREE = {
    "etc/hostname": b"vehicle\n",
    "bin/large": random.Random(1).randbytes(1_500_000),
    "bin/text": b"a text that compresses, but not to nothing: %d\n" * 9,
    **{f"usr/{number}": random.Random(number).randbytes(3_000) for number in range(60)},
}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    products.build(folder, TREE)
    return folder / "image.zip"


@pytest.fixture
def proxy(
    built: Path, plain_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FaultProxy]:
    """A proxy before a server that has the image as `image.zip`, and as a release."""
    address, folder = plain_server
    store = folder / "faults"
    if not store.exists():
        _publish(built, str(store))
    monkeypatch.setenv("OTABUILD_TIMEOUT", "20")
    with faults.fault_proxy(address) as running:
        yield running


def _publish(built: Path, url: str) -> None:
    from otabuild.image.inventory import files_of
    from otabuild.storage.member import Member

    store = open_store(url)
    store.put("image.zip", Member("", built.stat().st_size, lambda: [built.read_bytes()]))
    with open_image(built) as image:
        for name, size in files_of(image):
            key = name if name.startswith("blobs/") else f"releases/1.0/{name}"
            store.put(key, Member(name, size, lambda name=name: image.source.chunks(name)))  # type: ignore[misc]
    store.close()


def listed(url: str) -> object:
    with open_image(url) as image:
        return [payload.config.to_value() for payload in image.payloads]


def catted(url: str) -> object:
    with open_image(url) as image, image.payload("main").open("/bin/large") as file:
        return file.read()


def verified(url: str) -> object:
    with open_image(url) as image:
        report = verify(image, None, products.NOW, without_signature=True)
    if not report.ok:
        raise NotVerifiedError(url, report.findings)
    return report.counts


def deployed(url: str) -> object:
    from otabuild.deployment.deploy_tar import deploy_tar

    with tempfile.TemporaryDirectory() as folder, open_image(url) as image:
        target = Path(folder) / "tree.tar"
        try:
            deploy_tar(image.payload("main"), target, None, products.NOW, insecure_no_verify=True)
        except OtabuildError:
            assert set(os.listdir(folder)) <= {".tree.tar.otabuild-fetched"}
            raise
        return target.read_bytes()


WORK: dict[str, Callable[[str], object]] = {
    "list": listed,
    "cat": catted,
    "verify": verified,
    "deploy": deployed,
}
OVERCOME: dict[str, Callable[[], Fault]] = {
    "no fault": lambda: faults.pass_on,
    "resets at every 64 KiB": faults.resets,
    "ends early": lambda: faults.ends_early(100_000),
    "503 twice": lambda: faults.fails(503, times=2),
    "500 once": lambda: faults.fails(500, times=1),
    "429 once": lambda: faults.fails(429, times=1),
    "late answers": lambda: faults.waits(0.1),
    "a slow line": lambda: faults.limits(1 << 20),
    "200 for a range": lambda: faults.ignores_ranges,
}
FATAL: dict[str, Callable[[], Fault]] = {
    "503 always": lambda: faults.fails(503),
    "403 always": lambda: faults.fails(403),
    "404 always": lambda: faults.fails(404),
    "no answers": lambda: faults.drops,
    "shorter": lambda: faults.changes(faults.shorter),
    "longer": lambda: faults.changes(faults.longer),
    "a wrong byte": lambda: faults.changes(faults.wrong_byte),
    "endless": lambda: faults.endless(length=1 << 40),
    "endless, without length": lambda: faults.endless(length=None),
    "a trickle": lambda: faults.trickles,
    "a stall": lambda: faults.stalls,
    "another protocol": lambda: faults.talks_nonsense,
}


@needs_nginx
@pytest.mark.parametrize("form", ["image.zip", "releases/1.0"])
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("fault", OVERCOME)
def test_what_passes_is_overcome(fault: str, work: str, form: str, proxy: FaultProxy, built: Path) -> None:
    due = WORK[work](str(built))
    proxy.fault = OVERCOME[fault]()
    assert WORK[work](f"{proxy.address}/faults/{form}") == due


@needs_nginx
@pytest.mark.parametrize(
    ("work", "form", "after"),
    [
        ("list", "releases/1.0", 0),
        ("cat", "image.zip", 4),
        ("verify", "releases/1.0", 6),
        ("deploy", "releases/1.0", 2),
        ("deploy", "image.zip", 9),
    ],
)
@pytest.mark.parametrize("fault", FATAL)
def test_what_stays_is_one_error(fault: str, work: str, after: int, form: str, proxy: FaultProxy) -> None:
    os.environ["OTABUILD_TIMEOUT"] = "0.5"  # put back by the fixture
    proxy.fault, proxy.after = FATAL[fault](), after
    with pytest.raises(OtabuildError) as caught:
        WORK[work](f"{proxy.address}/faults/{form}")
    assert len(proxy.seen) > after
    assert "\n" not in caught.value.what


@needs_nginx
def test_a_server_that_answered_before_is_waited_for_longer(
    proxy: FaultProxy, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otabuild.stores.object_store._FIRST_PAUSE", 0.001)
    proxy.fault, proxy.after = faults.drops_some(9), 1
    assert listed(f"{proxy.address}/faults/releases/1.0") == listed(str(built))


BOUNDED = ("endless", "endless, without length", "resets at every 64 KiB")


@needs_nginx
@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("form", ["image.zip", "releases/1.0"])
@pytest.mark.parametrize("fault", BOUNDED)
def test_no_server_fills_the_memory(fault: str, form: str, after: int, proxy: FaultProxy) -> None:
    proxy.fault, proxy.after = (OVERCOME | FATAL)[fault](), after
    process = _start(["verify", f"{proxy.address}/faults/{form}", "--no-signature"])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in ((1, 4) if fault in FATAL else (0,))  # 4: it was not the image
    assert usage.ru_maxrss <= 200 << 10


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "otabuild", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@needs_nginx
@pytest.mark.parametrize("after", [0, 9], ids=["while it opens the image", "while threads fetch blobs"])
def test_a_signal_does_not_wait_for_a_server(after: int, proxy: FaultProxy) -> None:
    proxy.fault, proxy.after = faults.waits(15), after
    process = _start(["verify", f"{proxy.address}/faults/releases/1.0", "--no-signature"])
    while len(proxy.seen) <= after:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


@needs_seaweedfs
@pytest.mark.parametrize("form", ["image.zip", "releases/1.0"])
@pytest.mark.parametrize("fault", ["resets at every 64 KiB", "503 twice", "shorter", "a wrong byte"])
def test_a_bucket_behind_a_bad_network(
    fault: str, form: str, built: Path, seaweedfs_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws_environ(seaweedfs_address).items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/faults"
    _publish(built, url)
    due = deployed(str(built))
    with faults.fault_proxy(seaweedfs_address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        proxy.fault = (OVERCOME | FATAL)[fault]()
        if fault in OVERCOME:
            assert deployed(f"{url}/{form}") == due
            return
        with pytest.raises(OtabuildError):
            deployed(f"{url}/{form}")
