"""The messages of commands, for errors and for success. The commands run in this process."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from otabuild import progress
from otabuild.cli import main, make_parser
from otabuild.commands.verify import finding_lines
from otabuild.errors import Finding
from otabuild.format.times import utc
from otabuild.signing.certificates import read_certificates
from tests.image import forge
from tests.shell.projects import Ended, Project, make_project
from tests.verification.tampering import put

Run = Callable[..., Ended]
RECIPE = "recipes/vehicle.yaml"
IMAGE = "dist/vehicle.zip"
CA = ("--ca", "pki/root-ca.pem")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A built project, for tests that do not change it."""
    project = make_project(tmp_path_factory.mktemp("built") / "product")
    for name, target in (("loop", "loop"), ("absolute", "/etc/hostname"), ("outside", "../../../../etc/hostname")):
        (project.root / "rootfs/etc" / name).symlink_to(target)
    project.build()
    return project


@pytest.fixture
def run(built: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the project."""
    monkeypatch.chdir(built.root)
    monkeypatch.setattr(progress, "_quiet", False)

    def call(*arguments: str | Path) -> Ended:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        return Ended(code, *capsys.readouterr())

    return call


def test_an_image_that_is_cut_off(run: Run, built: Project, tmp_path: Path) -> None:
    image = tmp_path / "cut.zip"
    image.write_bytes(built.artifact.read_bytes()[:-1000])
    done = run("verify", image, *CA)
    assert done.code == 1
    assert f"error: {image}: not a complete OTA image: the ZIP's end record is missing" in done.err
    assert f"observed {image.stat().st_size} bytes" in done.err
    assert "hint: the file is probably truncated; download it again and compare its SHA-256" in done.err


def test_what_is_no_image_is_named(run: Run, tmp_path: Path) -> None:
    text, folder = tmp_path / "text.zip", tmp_path / "folder"
    text.write_text("no image")
    folder.mkdir()
    assert f"error: {text}: not an OTA image: it does not begin like a ZIP" in run("list-image", text).err
    assert f"error: {folder}: not an OTA image: blobs/sha256 is missing" in run("list-image", folder).err
    assert "hint: name a file in it, such as dist/vehicle.zip" in run("list-image", "dist").err
    (folder / "blobs/sha256").mkdir(parents=True)
    assert f"error: {folder}: not an OTA image: index.json is missing" in run("list-image", folder).err


def test_a_recipe_where_an_image_is_due_and_an_image_where_a_recipe_is(run: Run) -> None:
    assert "hint: this is a recipe; build it first" in run("verify", "recipes/vehicle.yaml", *CA).err
    done = run("build", IMAGE)
    assert (done.code, done.err) == (
        1,
        f"error: {IMAGE}: not a recipe\n  hint: this is an image; did you mean `otabuild verify`?\n",
    )


def test_a_recipe_that_is_not_there(run: Run) -> None:
    done = run("build", "recipes/vehicel.yaml")
    assert (done.code, done.err) == (
        1,
        "error: recipes/vehicel.yaml: no such file\n  hint: did you mean `recipes/vehicle.yaml`?\n",
    )
    assert "did you mean `recipes/vehicle.yaml`?" in run("build", "vehicle").err
    assert (
        run("build", "nowhere").err == "error: nowhere: no such file\n  hint: `otabuild init` writes a first recipe\n"
    )


def test_verify_tells_who_signed_and_when(run: Run) -> None:
    done = run("verify", IMAGE, *CA)
    assert done.code == 0
    verified, signed, trusted = done.out.splitlines()
    assert re.fullmatch(
        rf"{IMAGE}: verified \([\d.]+ KiB, 1 payload, \d+ blobs of [\d.]+ KiB, \d+ contents of [\d.]+ KiB\)", verified
    )
    assert re.fullmatch(
        r"  signed by  CN=DEMO sign,O=otabuild DEMO - not for real images, at 2025-01-01T00:00:00Z; "
        r"certificate valid until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        signed,
    )
    assert trusted == "  trusted    CN=DEMO root-ca,O=otabuild DEMO - not for real images"
    assert run("verify", "--shallow", IMAGE, *CA).out.startswith(f"{IMAGE}: verified, shallow (")
    assert run("verify-sign", IMAGE, *CA).out.splitlines()[1:] == [signed, trusted]


def test_a_certificate_that_soon_expires_is_noted(run: Run, built: Project) -> None:
    (certificate,) = read_certificates(str(built.root / "pki/sign.pem"))
    done = run("verify", IMAGE, *CA, "--at", utc(certificate.not_after - 12 * 86_400))
    assert done.code == 0
    assert f"note: {certificate.subject}: expires in 12 days, at {utc(certificate.not_after)}" in done.out


def test_a_damaged_signature_is_not_verified(run: Run, built: Project, tmp_path: Path) -> None:
    raw = (built.root / IMAGE).read_bytes()
    damaged = tmp_path / "damaged.zip"
    token = raw.index(b"index.jwt") + len("index.jwt") + 100
    damaged.write_bytes(raw[:token] + bytes([raw[token] ^ 1]) + raw[token + 1 :])
    done = run("verify", damaged, *CA)
    assert done.code == 1
    assert done.out.startswith("error: index.jwt: CRC is wrong")
    assert f"\n{damaged}: NOT VERIFIED (" in done.out


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("build",), "RECIPE; one of recipes/vehicle.yaml"),
        (("plan",), "RECIPE; one of recipes/vehicle.yaml"),
        (("pki",), "COMMAND; one of demo, request, check"),
        (("store",), "ACTION; one of list, show, verify, withdraw, prune"),
    ],
)
def test_what_is_left_out_is_listed(run: Run, arguments: tuple[str, ...], known: str) -> None:
    done = run(*arguments)
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        f"otabuild {arguments[0]}: error: the following arguments are required: {known}",
    )


def test_a_store_without_releases_says_so(run: Run, tmp_path: Path) -> None:
    done = run("store", "list", tmp_path)
    assert (done.code, done.out, done.err) == (0, "", f"note: no release in {tmp_path}\n")


@pytest.mark.parametrize("store", ["s3:bucket", "https:/host/x", "file:folder"])
def test_a_url_without_its_slashes_is_no_folder(run: Run, built: Project, store: str) -> None:
    scheme = store.partition(":")[0]
    done = run("store", "list", store)
    assert done.err == f"error: {scheme}:…: a URL without its slashes\n  hint: write {scheme}://…\n"
    assert not (built.root / store.partition("/")[0]).exists()


def test_verify_without_a_ca_fails_before_it_reads(run: Run) -> None:
    done = run("verify", "nowhere.zip")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: nowhere.zip: no trust anchor was given\n  hint: name CA certificates with --ca")


def test_an_image_is_verified_without_its_signature_on_request(run: Run, built: Project, tmp_path: Path) -> None:
    done = run("verify", "--no-signature", IMAGE)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "  signature NOT CHECKED"
    unsigned = forge.forge(
        files=lambda files: [(name, raw) for name, raw in files if name != "index.jwt"],
        index=put(f"annotations|{forge.COUNT}.signed-at", ...),
    ).artifact(tmp_path / "unsigned.zip")
    done = run("verify", "--no-signature", unsigned)
    assert done.code == 0
    assert "NOT SIGNED: everything but its authenticity was verified" in done.out
    value = json.loads(run("verify", "--no-signature", "--json", unsigned).out)
    assert (value["ok"], value["signed"], value["signature-checked"]) == (True, False, False)
    assert run("verify", unsigned, *CA).code == 1
    assert run("verify", "--no-signature", unsigned, *CA).code == 1
    raw = bytearray(unsigned.read_bytes())
    raw[len(raw) // 2] ^= 1
    unsigned.write_bytes(raw)
    assert run("verify", "--no-signature", unsigned).code == 1


def test_findings_have_hints(run: Run, tmp_path: Path) -> None:
    run("pki", "demo", tmp_path / "pki")
    done = run("verify", IMAGE, "--ca", tmp_path / "pki/root-ca.pem")
    assert "not signed by the trusted root of that name, which has a different key" in done.out
    assert "  hint: you may have two CAs of that name; compare their fingerprints" in done.out


def test_many_notes_of_a_rule_are_one_line() -> None:
    notes = [Finding(f"/{number}", "names alike", severity="note", rule="table.case") for number in range(15)]
    few = [Finding("index.json", "another mode", severity="note", rule="layout.mode")]
    assert list(finding_lines([*notes, *few])) == [
        "note: names alike: 15 times, such as /0 and /1; --json lists all [table.case]",
        "note: index.json: another mode [layout.mode]",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", IMAGE, "--at", "tomorrow"], "argument --at: is not a valid time (observed tomorrow"),
        (["cost", IMAGE, IMAGE, "--ecu-id", "main", "--max-download", "100XB"], "--max-download: is not a size"),
        (["lint", IMAGE, "--ignore", "nosuch"], "argument --ignore: no such rule (observed nosuch"),
        (["inspect-blob", IMAGE, "--checksum", "00"], "argument --checksum: "),
        (["verify-resources", IMAGE, "--blob-checksum", "00"], "argument --blob-checksum: "),
        (["cache", "prune", "--size", "much"], "argument --size: is not a size"),
        (["sign", IMAGE, "--timestamp", "soon"], "argument --timestamp: is not a valid time"),
    ],
)
def test_values_that_are_none_are_wrong_usage(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_lint_of_a_clean_image_says_so(run: Run) -> None:
    done = run("lint", "--ignore", "certificate-expires", IMAGE)
    assert (done.code, done.out, done.err) == (0, "", "no findings\n")


def test_json_is_one_object(run: Run) -> None:
    assert json.loads(run("lint", IMAGE, "--json").out) == {"ok": True, "findings": []}
    entries = json.loads(run("ls", IMAGE, "--ecu-id", "main", "/etc", "--json").out)["entries"]
    assert "/etc/hostname" in [entry["path"] for entry in entries]
    found = json.loads(run("cost", IMAGE, IMAGE, "--ecu-id", "main", "--json").out)
    assert (found["base"], found["new"], found["ecu"], found["release-key"]) == (IMAGE, IMAGE, "main", "dev")
    assert [key for key in found if re.search("[ _]", key)] == []
    signed = json.loads(run("verify-sign", IMAGE, *CA, "--json").out)
    assert (signed["ok"], signed["image"]) == (True, IMAGE)


def test_json_of_a_failure(run: Run) -> None:
    for arguments in (["list-image", "x.zip", "--json"], ["diff", "x.zip", "y.zip", "--format", "json"]):
        done = run(*arguments)
        assert done.err == "error: x.zip: no such image\n"
        facts = {"what": "no such image", "where": "x.zip", "observed": None, "expected": None, "hint": ""}
        assert json.loads(done.out) == {"ok": False, "error": facts}
    problems = json.loads(run("build", "x.yaml", "--json").out)["error"]["problems"]
    assert [problem["what"] for problem in problems] == ["no such file"]


def test_a_quiet_build_tells_its_result_only(project: Project) -> None:
    loud = project.otabuild("build", "recipes/vehicle.yaml")
    assert loud.err.splitlines()[0] == "preflight:vehicle: not built yet"
    project.artifact.unlink()
    quiet = project.otabuild("build", "-q", "recipes/vehicle.yaml")
    assert (quiet.code, quiet.err) == (0, "")
    assert re.fullmatch(rf"dist/vehicle.zip  [\d.]+ KiB  sha256:{project.sha256}  [\d.]+ s\n", quiet.out)


def test_a_warning_of_two_steps_is_told_once(project: Project) -> None:
    (project.root / "pki/sign.key").chmod(0o644)
    assert project.otabuild("build", RECIPE).err.count("warning: pki/sign.key: the private key") == 1


def test_doit_tells_what_it_built_and_the_report_what_the_last_run_did(project: Project) -> None:
    report = project.root / "dist/vehicle.zip.report.json"
    for reasons in (["not built yet"], []):
        done = project.doit("build")
        assert re.search(rf"^dist/vehicle.zip  [\d.]+ KiB  sha256:{project.sha256}$", done.out, re.MULTILINE)
        found = json.loads(report.read_text())
        assert (found["artifact"], found["sha256"]) == ("dist/vehicle.zip", project.sha256)
        assert found["size"] == project.artifact.stat().st_size
        assert found["steps"][0]["ran-because"] == reasons
        assert found["totals"]["files-hashed"] > 0 or not reasons


def test_a_changed_artifact_is_told_from_a_missing_one(project: Project) -> None:
    project.build()
    project.artifact.write_bytes(b"other")
    assert "build:vehicle: dist/vehicle.zip was changed by something else" in project.otabuild("plan", RECIPE).out
    project.artifact.unlink()
    assert "build:vehicle: dist/vehicle.zip is missing" in project.otabuild("plan", RECIPE).out


def test_bare_otabuild_and_help_show_the_commands_by_group(run: Run) -> None:
    bare, asked = run(), run("help")
    assert (bare.code, bare.out, asked.code, asked.err) == (2, "", 0, "")
    assert bare.err == asked.out
    groups = re.findall(r"^([A-Z][a-z ]+):\n((?:  .*\n)+)", asked.out, re.MULTILINE)
    assert [name for name, _ in groups] == ["Build", "Look", "Verify and deploy", "Sign", "Release", "Maintenance"]
    listed = [line.split()[0] for _, lines in groups for line in lines.splitlines()]
    assert sorted(listed) == sorted(completion_words())
    assert run("help", "build").out.startswith("usage: otabuild build ")


def completion_words() -> list[str]:
    """Every command there is."""
    return next(list(action.choices) for action in make_parser()._actions if action.choices)


def test_version_as_an_option(run: Run) -> None:
    assert run("--version").out == run("version").out


@pytest.mark.parametrize(
    ("arguments", "usage", "said"),
    [
        (["verfy", "x"], "usage: otabuild [-h]", "no such command: verfy; did you mean `verify`?"),
        (["verify", "x", "--nothing"], "usage: otabuild verify [-h]", "unrecognized arguments: --nothing"),
        (["pki"], "usage: otabuild pki [-h]", "required: COMMAND"),
        (["a\u202eb\x1b[1m"], "usage: otabuild [-h]", r"no such command: a\u202eb\x1b[1m"),
        (["version", "a\u2066b"], "usage: otabuild version [-h]", r"unrecognized arguments: a\u2066b"),
        (["verify", "x", "--max-age", "\x9b1d"], "usage: otabuild verify", r"\x9b1d"),
        (["deploy-image", "--image", "x", "--ecu-id", "m", "--to-tar", "-"], "usage: otabuild deploy-image", "stdout"),
    ],
)
def test_wrong_usage_shows_the_usage_of_the_command(run: Run, arguments: list[str], usage: str, said: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(usage)
    assert said.replace("stdout", "standard output") in done.err


def test_every_command_takes_the_common_options(run: Run, tmp_path: Path) -> None:
    assert run("pki", "demo", tmp_path / "pki", "-q", "-d").code == 0


def test_ls_cat_and_stat_go_through_links(run: Run) -> None:
    payload = (IMAGE, "--ecu-id", "main")
    assert run("ls", *payload, "/bin").out.endswith(" bin -> usr/bin\n")
    inside = run("ls", *payload, "/usr/bin").out
    assert "tool-again" in inside
    assert run("ls", *payload, "/bin/").out == inside
    assert "path: /usr/bin/tool\n" in run("stat", *payload, "/bin/tool").out
    assert run("cat", *payload, "/bin/../etc/hostname").code == 1  # /usr/etc does not exist
    for path in ("/bin/../../etc/hostname", "/etc/absolute", "/etc/outside"):
        assert run("cat", *payload, path).out == "test\n"
    assert "no such path" in run("cat", *payload, "/etc/hostname/x").err
    assert "too many symlinks" in run("cat", *payload, "/etc/loop").err
    assert "target: loop\n" in run("stat", *payload, "/etc/loop").out


def test_list_image_tells_what_it_is(run: Run) -> None:
    lines = run("list-image", IMAGE).out.splitlines()
    assert re.fullmatch(r"signed artifact, [\d.]+ KiB", lines[0])
    assert lines[1:4] == [
        "  created       2025-01-01T00:00:00Z",
        "  signer        CN=DEMO sign,O=otabuild DEMO - not for real images, at 2025-01-01T00:00:00Z (not checked)",
        "  platform      test",
    ]
    assert re.fullmatch(r"payload main/dev  sha256:[0-9a-f]{64}", lines[4])
    assert lines[5:8] == ["  architecture  x86_64", "  os            Test 1", "  base image    test:1"]
    assert re.fullmatch(r"  rootfs        [\d.]+ KiB", lines[8])
    found = json.loads(run("list-image", IMAGE, "--json").out)
    assert found["signed-at"] == "2025-01-01T00:00:00Z"
    assert {"artifact", "signed", "size", "signer", "annotations", "payloads", "unknown"} <= found.keys()
    assert {"ecu", "release-key", "digest", "os", "base-image", "rootfs-size"} <= found["payloads"][0].keys()


def test_what_is_no_tar_archive_or_layout(project: Project) -> None:
    source, (root, text) = "{directory: ../rootfs}", (project.root, project.recipe.read_text())
    (root / "x.tar").write_text("no tar")
    (root / "empty").mkdir()
    with tarfile.open(root / "plain.tar", "w") as archive:
        archive.add(root / "rootfs/etc/hostname", "etc/hostname")
    for other, said in (
        ("{tar: ../x.tar}", "not a tar archive (observed begins with b'no tar', expected plain, gzip, xz, bzip2 or"),
        (
            "{docker-archive: ../plain.tar}",
            "plain.tar: not a docker save archive: no manifest.json\n  hint: a root file",
        ),
        ("{oci: ../empty}", "empty: not an OCI layout: no oci-layout\n"),
    ):
        project.recipe.write_text(text.replace(source, other))
        done = project.otabuild("build", RECIPE)
        assert done.code == 1
        assert said in done.err, done.err


def test_several_problems_have_a_head_line(project: Project) -> None:
    project.edit("recipe: 1", "recipe: 2")
    project.edit("output:", "ouput:")
    done = project.otabuild("build", RECIPE)
    assert done.err.splitlines()[0] == "error: recipes/vehicle.yaml: 2 problems"
    assert (
        "recipe: is not one of the choices (observed 2, expected 1)\n  hint: this otabuild reads version 1; "
        in done.err
    )
    assert "did you mean `output`?" in done.err


def test_an_expired_certificate_of_an_archived_image(run: Run) -> None:
    done = run("verify", IMAGE, *CA, "--at", "2060-01-01")
    assert done.code == 1
    assert "  hint: sign the image again with `otabuild sign`, or judge an archived image with --at TIME" in done.out


def test_a_diff_of_one_entry(run: Run, built: Project, project: Project) -> None:
    (project.root / "rootfs/etc/hostname").write_text("more\n")
    for name, target in (("loop", "loop"), ("absolute", "/etc/hostname"), ("outside", "../../../../etc/hostname")):
        (project.root / "rootfs/etc" / name).symlink_to(target)
    project.build()
    assert "1 changed entry, rootfs " in run("diff", IMAGE, project.artifact).out
    assert "size unchanged" in run("diff", IMAGE, project.artifact).out


def test_one_broken_recipe_of_several(project: Project) -> None:
    project.add_recipe("broken", "recipe: 1\n")
    assert "  hint: the others can still be built: doit build:vehicle" in project.doit("build:broken").out


def test_an_own_step_without_words_is_listed_as_one(project: Project) -> None:
    (project.root / "dodo.py").write_text(
        "import otabuild\nfrom otabuild.tasks import *\n\n\n"
        "@otabuild.after_build('vehicle')\ndef notes(artifact):\n    pass\n"
    )
    listed = project.doit("list", "--all").out
    assert re.search(r"^notes:vehicle +your own step$", listed, re.MULTILINE)


def test_a_terminal_without_columns_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2)
    monkeypatch.setattr("os.get_terminal_size", lambda _fd: os.terminal_size((0, 0)))
    monkeypatch.setattr(progress, "_QUIET_SECONDS", -1)
    progress.show_progress("test of columns", 1 << 20, 2 << 20)
    progress.clear()
    assert capsys.readouterr().err == "test of columns: 1.0 MiB of 2.0 MiB\n"
