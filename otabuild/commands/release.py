"""diff, cost, report, lint: what a release engineer checks before a release."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from otabuild.commands.output import (
    Parsers,
    add_compat,
    add_image,
    add_json,
    add_list,
    add_payload,
    checked,
    emit,
    opened,
    option_type,
    say,
)
from otabuild.errors import printable
from otabuild.format.sizes import counted, human_size, parse_size

if TYPE_CHECKING:
    from otabuild.comparison.cost import Cost
    from otabuild.errors import Finding

_SHOWN = 10


def add(parsers: Parsers) -> None:
    """Add the commands of this module."""
    parsers.group("Release")
    diff = parsers.add_parser(
        "diff", help="show what changed between two images: files, packages, configuration"
    )
    add_image(diff, "a", "the older image")
    add_image(diff, "b", "the newer image")
    diff.add_argument("--ecu-id", metavar="ID", help="compare the payloads of this ECU only")
    diff.add_argument(
        "--format",
        choices=("text", "markdown", "json"),
        default="text",
        help="markdown fits a pull request",
    )
    diff.add_argument(
        "--json",
        action="store_const",
        dest="format",
        const="json",
        help="the same as --format json",
    )
    add_compat(diff)
    diff.set_defaults(run=run_diff)

    cost = parsers.add_parser(
        "cost", help="show what a device that runs BASE fetches to get to NEW, and why"
    )
    add_image(cost, "base", "the image that devices run now")
    add_image(cost, "new", "the image to update to")
    add_payload(cost, all_without=True)
    cost.add_argument(
        "--max-download",
        metavar="SIZE",
        type=option_type(parse_size),
        help="exit 1 if a device fetches more, such as 300MiB",
    )
    add_json(cost)
    add_compat(cost)
    cost.set_defaults(run=run_cost)

    report = parsers.add_parser(
        "report", help="write an HTML page: what is in an image, and what it costs"
    )
    add_image(report)
    report.add_argument(
        "--base", metavar="OLD", help="the image that devices run now: also show what changes"
    )
    report.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the HTML file to write"
    )
    add_json(report)
    add_compat(report)
    report.set_defaults(run=run_report)

    lint = parsers.add_parser(
        "lint", help="find what may cause trouble on the device although the image is valid"
    )
    lint.add_argument(
        "subject",
        metavar="RECIPE|IMAGE",
        help="a recipe (YAML), an artifact (ZIP) or a directory, or its URL",
    )
    lint.add_argument(
        "--base",
        metavar="OLD",
        help="the image that devices run now: also find what is newly risky",
    )
    add_list(
        lint,
        "--ignore",
        metavar="RULE",
        type=option_type(checked(_check_rule)),
        help="a rule to silence; repeatable",
    )
    lint.add_argument(
        "--strict", action="store_true", help="also fail for what is only worth knowing (notes)"
    )
    add_json(lint)
    add_compat(lint)
    lint.set_defaults(run=run_lint)


def run_diff(args: argparse.Namespace) -> int:
    """Print the differences; the exit code is 0 with or without any."""
    from otabuild.comparison.diff import diff
    from otabuild.comparison.diff_text import markdown_lines, text_lines

    with opened(args, args.a) as before, opened(args, args.b) as after:
        found = diff(before, after, args.ecu_id)
    args.json = args.format == "json"
    lines = markdown_lines(found) if args.format == "markdown" else text_lines(found)
    emit(args, found.to_value() if args.json else {}, lines)
    return 0


def run_cost(args: argparse.Namespace) -> int:
    """Print the cost of an update, and check it against a budget."""
    from otabuild.comparison.cost import cost

    budget: int | None = args.max_download
    with opened(args, args.base) as base, opened(args, args.new) as new:
        found = cost(base, new, args.ecu_id, args.release_key)
    name = f"{args.ecu_id or 'all ECUs'}/{args.release_key}"
    about = {"base": args.base, "new": args.new}
    about |= {"ecu": args.ecu_id, "release-key": args.release_key}
    head = printable(f"update of {name} from {args.base} to {args.new}")
    fits = budget is None or found.total <= budget
    emit(args, {**about, **found.to_value()}, [head, *_cost_lines(found)], ok=fits)
    if budget is None or fits:
        return 0
    say(
        f"error: a device fetches {human_size(found.total)}, more than --max-download "
        f"{human_size(budget)}"
    )
    return 1


def _cost_lines(found: Cost) -> Iterator[str]:
    yield f"download   {human_size(found.total)} in {counted(found.total_requests, 'request')}"
    yield f"  contents   {human_size(found.download)} in {counted(found.requests, 'request')}"
    yield f"  tables     {human_size(found.metadata)}"
    yield f"  documents  {human_size(found.documents)}"
    yield (
        f"changed    {found.changed} of {counted(found.resources, 'content')}, "
        f"{human_size(found.changed_bytes)}"
    )
    yield f"without a base the contents are {human_size(found.full_download)}"
    yield f"disk       {human_size(found.peak_disk)} at most"
    for file in found.files:
        more = f" and {len(file.paths) - 1} more" if len(file.paths) > 1 else ""
        yield (
            f"{human_size(file.download):>11}  {printable(file.paths[0])}{more} "
            f"({human_size(file.size)}): {file.why}"
        )


def run_report(args: argparse.Namespace) -> int:
    """Write the page."""
    from otabuild.report.report_data import make_report
    from otabuild.report.report_page import render_page
    from otabuild.storage.files import write_file

    with contextlib.ExitStack() as stack:
        image = stack.enter_context(opened(args, args.image))
        base = stack.enter_context(opened(args, args.base)) if args.base else None
        for one in filter(None, (image, base)):
            one.source.check_apart(args.output)
        report = make_report(image, base, now=int(time.time()))
        page = render_page(report)
    for name, error in report.problems:
        say(f"warning: {args.image}: {name} is not in the report: {error}")
    write_file(args.output, page)
    emit(args, {"report": args.output}, [args.output])
    return 0


def _check_rule(text: str) -> None:
    from otabuild.lint.lint import check_ignored

    check_ignored(text)


def run_lint(args: argparse.Namespace) -> int:
    """Print findings; exit with 1 if there are any but notes, with --strict also for these."""
    findings = [finding for finding in _findings(args) if finding.rule not in args.ignore]
    notes = [finding for finding in findings if finding.severity == "note" and not args.strict]
    ok = len(notes) == len(findings)
    value = {"ok": ok, "findings": [_lint_value(finding) for finding in findings]}
    emit(args, value, _lint_lines(findings))
    told = counted(len(findings), "finding")
    kind = "; notes only, which fail with --strict" if findings and ok else ""
    say(f"{told}{kind}; silence a rule with --ignore RULE" if findings else "no findings")
    return 0 if ok else 1


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    from otabuild import session
    from otabuild.lint.lint_image import lint_image

    with contextlib.ExitStack() as stack:
        base = stack.enter_context(opened(args, args.base)) if args.base else None
        if not args.subject.endswith((".yaml", ".yml")):
            image = stack.enter_context(opened(args, args.subject))
            yield from lint_image(image, int(time.time()), base)
            return
        from otabuild.pipeline.lint_recipe import lint_recipe
        from otabuild.recipe.load import load_recipe

        yield from lint_recipe(load_recipe(args.subject), session.make_workspace(), base)


def _lint_value(finding: Finding) -> dict[str, str]:
    from otabuild.findings import RULES

    return {**finding.to_value(), "reason": _joined(RULES[finding.rule].doc)}


def _joined(doc: str) -> str:
    return " ".join(doc.split())


def _lint_lines(findings: list[Finding]) -> Iterator[str]:
    """Yield the findings by rule, each with its reason; long lists are cut."""
    from otabuild.findings import RULES

    by_rule: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_rule[finding.rule].append(finding)
    for rule, found in by_rule.items():
        yield f"{rule} ({len(found)})"
        yield f"  why:  {_joined(RULES[rule].doc)}"
        yield f"  fix: {RULES[rule].hint}"
        if len(found) <= _SHOWN:
            yield from (f"  - {finding.facts}" for finding in found)
            continue
        equal: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in found:
            equal[finding.what].append(finding)
        for what, such in list(equal.items())[:_SHOWN]:
            examples = " and ".join(printable(finding.where) for finding in such[:2])
            times = f"{what}: {len(such):,} times, such as {examples}; --json lists all"
            yield f"  - {printable(times)}" if len(such) > 1 else f"  - {such[0].facts}"
        if len(equal) > _SHOWN:
            yield f"  - and {len(equal) - _SHOWN} more: see --json"
