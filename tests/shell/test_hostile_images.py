"""Whatever SQLite hands out of a hostile image, each reading command ends with a result or an error, and prints safely."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
import zstandard

from otabuild.cli import main
from otabuild.errors import printable, printable_json, printable_lines
from tests import pki
from tests.image import forge
from tests.image.forge import Mutation
from tests.verification.tampering import sql


def _in_schema(statement: str) -> Mutation:
    """Change sqlite_master itself, in the bytes of a table, where no VACUUM mends it."""

    def mutate(packed: bytes) -> bytes:
        raw = zstandard.ZstdDecompressor().decompress(packed)
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(raw)
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(statement)
            connection.commit()
            changed = connection.serialize()
        assert changed != raw
        return forge.frame(changed)

    return mutate


NOT_UTF_8 = "CAST(x'2f6574632fff' AS TEXT)"
HOSTILE: dict[str, dict[str, Mutation]] = {
    "mode-negative": {"file_table": sql("UPDATE ft_inode SET mode = -1")},
    "mode-2^32": {"file_table": sql("UPDATE ft_inode SET mode = mode + 4294967296")},
    "mode-2^63": {"file_table": sql("UPDATE ft_inode SET mode = 9223372036854775807")},
    "owner-negative": {"file_table": sql("UPDATE ft_inode SET uid = -5, gid = -9223372036854775807")},
    "owner-2^63": {"file_table": sql("UPDATE ft_inode SET uid = 9223372036854775807")},
    "links-negative": {"file_table": sql("UPDATE ft_inode SET links_count = -9223372036854775807")},
    "size-negative": {"file_table": sql("UPDATE ft_resource SET size = -1 WHERE resource_id > 0")},
    "size-2^63": {"file_table": sql("UPDATE ft_resource SET size = 9223372036854775807 WHERE resource_id > 0")},
    "resource-size-2^63": {"resource_table": sql("UPDATE rs_manifest SET size = 9223372036854775807")},
    "resource-size-negative": {"resource_table": sql("UPDATE rs_manifest SET size = -9223372036854775807")},
    "resource-digest-short": {"resource_table": sql("UPDATE rs_manifest SET digest = CAST(resource_id AS BLOB)")},
    "resource-size-zero": {"resource_table": sql("UPDATE rs_manifest SET size = 0")},
    "resource-empty": {
        "resource_table": sql(("INSERT INTO rs_manifest VALUES (90, ?, 0, NULL, NULL)", (forge.EMPTY,)))
    },
    "bundled-empty": {
        "resource_table": sql(
            (
                "UPDATE rs_manifest SET size = 0, filter_applied = ? WHERE filter_applied >= ? AND filter_applied < ?",
                (b"b:" + msgpack.packb([20, 0, 0]), b"b:", b"b;"),
            )
        )
    },
    "sql-blob": {"file_table_frame": _in_schema("UPDATE sqlite_master SET sql = CAST(sql AS BLOB)")},
    "name-blob": {"file_table_frame": _in_schema("UPDATE sqlite_master SET name = CAST(name AS BLOB)")},
    "sql-not-utf-8": {"file_table_frame": _in_schema("UPDATE sqlite_master SET sql = CAST(sql || x'ff' AS TEXT)")},
    "name-not-utf-8": {
        "file_table_frame": _in_schema(f"UPDATE sqlite_master SET name = {NOT_UTF_8} WHERE type = 'index'")
    },
    "resource-sql-blob": {"resource_table_frame": _in_schema("UPDATE sqlite_master SET sql = CAST(sql AS BLOB)")},
    "path-not-utf-8": {"file_table": sql(f"UPDATE ft_regular SET path = {NOT_UTF_8} WHERE path = '/etc/a'")},
    "surrogate": {"file_table": sql("UPDATE ft_dir SET path = CAST(x'2f62edb080' AS TEXT) WHERE path = '/bin'")},
    "target-not-utf-8": {"file_table": sql("UPDATE ft_non_regular SET meta = x'ff'")},
    "path-with-nul": {"file_table": sql("UPDATE ft_regular SET path = '/etc/' || char(0) WHERE path = '/etc/a'")},
}
HARMLESS = {("deploy", "resource-empty")}  # an empty file needs no resource, so none reaches the row
COMMANDS: dict[str, Callable[[str, str, str], list[str]]] = {
    "ls": lambda bad, _good, _out: ["ls", "--ecu-id", "main", bad, "/etc"],
    "stat": lambda bad, _good, _out: ["stat", "--ecu-id", "main", "--json", bad, "/etc/a"],
    "cat": lambda bad, _good, _out: ["cat", "--ecu-id", "main", bad, "/etc/a"],
    "list": lambda bad, _good, _out: ["list-image", "--json", bad],
    "diff": lambda bad, good, _out: ["diff", bad, good],
    "diff-json": lambda bad, good, _out: ["diff", "--json", good, bad],
    "cost": lambda bad, good, _out: ["cost", "--ecu-id", "main", good, bad],
    "cost-from": lambda bad, good, _out: ["cost", "--ecu-id", "main", bad, good],
    "lint": lambda bad, good, _out: ["lint", "--base", good, bad],
    "lint-base": lambda bad, good, _out: ["lint", "--base", bad, good],
    "report": lambda bad, good, out: ["report", "--base", good, "-o", f"{out}/report.html", bad],
    "verify-resources": lambda bad, _good, _out: ["verify-resources", bad],
    "verify": lambda bad, _good, out: ["verify", "--ca", f"{out}/root.pem", "--at", "2026-01-01T00:00:00Z", bad],
    "deploy": lambda bad, _good, out: [
        *("deploy-image", "--image", bad, "--ecu-id", "main", "--insecure-no-verify", "--to-tar", f"{out}/tree.tar")
    ],
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    pki.save(folder / "root.pem", pki.root())
    return forge.forge().artifact(folder / "image.zip")


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_commands_end_in_order(
    name: str, good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = forge.forge(**HOSTILE[name]).artifact(tmp_path / "bad.zip")
    (tmp_path / "root.pem").write_bytes((good.parent / "root.pem").read_bytes())
    for command, arguments in COMMANDS.items():
        code = main(arguments(str(bad), str(good), str(tmp_path)))  # a traceback would fail here
        out, err = capfd.readouterr()
        assert code in (0, 1), (command, err)
        if command in ("verify", "deploy") and (command, name) not in HARMLESS:
            assert code == 1, (command, err)
        if command != "cat":  # which writes bytes
            assert printable_lines(out) == out
        if command.endswith("json") and out:
            json.loads(out)
        (tmp_path / "tree.tar").unlink(missing_ok=True)


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\x1b", "\x07", "\u200b", "\U000e0001", "\x9b"])
def test_a_name_cannot_steer_the_terminal(
    character: str, good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change = sql(("UPDATE ft_regular SET path = ? WHERE path = '/etc/a'", (f"/etc/a{character}b",)))
    bad = str(forge.forge(file_table=change).artifact(tmp_path / "bad.zip"))
    for arguments in (
        ["ls", "--ecu-id", "main", "--json", bad, "/etc"],
        ["ls", "--ecu-id", "main", bad, "/etc"],
        ["diff", "--json", str(good), bad],
        ["diff", str(good), bad],
        ["diff", "--format", "markdown", str(good), bad],
        ["stat", "--ecu-id", "main", "--json", bad, f"/etc/a{character}b"],
        ["stat", "--ecu-id", "main", "--json", bad, f"/etc/no{character}b"],
    ):
        main(arguments)
        out, err = capfd.readouterr()
        assert character not in out + err, arguments
        if "--json" in arguments:
            assert character in json.dumps(json.loads(out), ensure_ascii=False) or character < " "


@pytest.mark.parametrize("text", ["\u202e", "a\nb", "\ud800", "\U000e0001", "é日", "\\", '"', "\x7f"])
def test_printable_json_is_json(text: str) -> None:
    written = printable_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert printable_lines(written) == written
    assert printable(printable(text)) == printable(text)
