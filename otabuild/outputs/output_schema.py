"""The JSON Schema of what each command prints with `--json`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from otabuild.outputs import build_outputs as build
from otabuild.outputs import image_outputs as image
from otabuild.outputs import release_outputs as release
from otabuild.outputs.shape import FailureOutput, FilesOutput, WrittenOutput

COMMANDS: dict[str, Any] = {
    "attest": build.AttestOutput | build.AttestRequestOutput,
    "build": build.BuildOutput,
    "cache prune": build.CachePruneOutput,
    "cache show": build.CacheShowOutput,
    "cache verify": build.CacheVerifyOutput,
    "check": build.CheckOutput,
    "cost": release.CostOutput,
    "deploy-image": image.DeployImageOutput,
    "diff": release.DiffOutput,
    "extract": image.ExtractOutput,
    "get-filetable": WrittenOutput,
    "get-resourcetable": WrittenOutput,
    "init": FilesOutput,
    "inspect-blob": WrittenOutput,
    "inspect-index": image.InspectIndexOutput,
    "lint": image.LintOutput,
    "list-image": image.ListImageOutput,
    "lookup-image": image.LookupImageOutput,
    "ls": image.LsOutput,
    "offline": release.OfflineOutput,
    "otaclient-package": image.OtaclientPackageOutput | FilesOutput,
    "packages": image.PackagesOutput,
    "pki check": build.PkiCheckOutput,
    "pki demo": FilesOutput,
    "pki request": FilesOutput,
    "plan": build.PlanOutput,
    "publish": release.PublishOutput,
    "pull": release.PullOutput,
    "report": image.ReportOutput,
    "repro": build.ReproOutput | build.RecordedOutput,
    "show": build.ShowOutput,
    "sign": build.SignOutput,
    "sign-finish": build.FinishedOutput | build.SignOutput,
    "sign-prepare": build.SignPrepareOutput,
    "stat": image.StatOutput,
    "store list": release.StoreListOutput,
    "store prune": release.StorePruneOutput,
    "store show": release.StoreShowOutput,
    "store verify": release.StoreVerifyOutput,
    "store withdraw": release.StoreWithdrawOutput,
    "verify": image.VerifyOutput,
    "verify-resources": image.VerifyResourcesOutput,
    "verify-sign": image.VerifySignOutput,
    "version": build.VersionOutput,
}
"""What each command prints; if it fails, it prints `FailureOutput`."""


def output_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command prints, such as `cache show`."""
    schema = TypeAdapter(COMMANDS[command] | FailureOutput).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"otabuild {command} --json", **schema}
