"""The report as one HTML file that works offline: no requests, no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

from otabuild.comparison.cost import Cost
from otabuild.comparison.diff import Diff, PayloadDiff
from otabuild.comparison.diff_text import aspect_text, entry_text
from otabuild.errors import OtabuildError, printable
from otabuild.format import annotations as ann
from otabuild.format.sizes import counted, human_change, human_size
from otabuild.format.times import DAY, utc, utc_date
from otabuild.image.image import Payload
from otabuild.report.html import Html, fold, join, table, tag, text
from otabuild.report.report_data import Identity, ReportData, SignatureFacts
from otabuild.report.usage import ContentUse, FolderUse, Usage

_SHOWN = 500
_OPEN = 40
"""A longer table of packages is folded, so that the costs are not far below."""
_ARROW = "→"
_FORMS = {
    "bundled": "small files cut from a shared bundle",
    "compressed": "a zstd frame of its own",
    "sliced": "a large file in several blobs",
    "plain": "an unchanged blob",
    "inline": "in the file table (up to 64 bytes)",
}


def render_page(report: ReportData) -> bytes:
    """Return the page as UTF-8."""
    files = resources.files("otabuild.report")
    page, style, script = (
        (files / f"report.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    parts = list(_sections(report))
    return (
        string.Template(page)
        .substitute(
            title=_title(report.image),
            identity=_identity(report),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=style,
            script=script,
            tiles=_tiles(report),
            nav=join(tag("a", title, href=f"#{id_}") for id_, title, _ in parts),
            sections=join(
                tag("section", tag("h2", title), body, id=id_) for id_, title, body in parts
            ),
            data=_json([_node_value(found.tree) for found in report.usage]),
            made=f"{utc(report.now)}",
        )
        .encode()
    )


def _json(value: object) -> str:
    """Return JSON that cannot end the script element around it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _node_value(node: FolderUse) -> list[object]:
    children = [_node_value(child) for child in node.children.values()]
    return [printable(node.name), node.size, round(node.stored), node.files, children]


def _title(image: Identity) -> Html:
    """Return the project and its version, or the name of the file if the image has neither."""
    known = (
        image.annotations.get(ann.INDEX_SHORT_KEYS[f"project.{key}"]) for key in ("name", "version")
    )
    return text(" ".join(str(value) for value in known if value) or _file_name(image))


def _file_name(image: Identity) -> str:
    return image.path.rstrip("/").rpartition("/")[2]


def _identity(report: ReportData) -> Html:
    """Return what names the image, and the one that devices run now, beyond doubt."""
    annotations = report.image.annotations
    commit, branch, repository, platform = (
        annotations.get(ann.INDEX_SHORT_KEYS[key])
        for key in (
            "project.release-commit",
            "project.release-branch",
            "project.source-repo",
            "platform",
        )
    )
    facts: list[tuple[str, object]] = [
        ("file", _file_name(report.image)),
        (_digest_name(report.image), _digest(report.image)),
        ("platform", platform),
        ("commit", commit),
        ("branch", branch),
        ("repository", repository),
    ]
    if report.base is not None:
        base = join(
            (_title(report.base), f", {_file_name(report.base)}, {_digest_name(report.base)} ")
        )
        facts.append(("update from", join((base, _digest(report.base)))))
    return _facts(facts)


def _digest_name(image: Identity) -> str:
    return "SHA-256" if image.is_artifact else "SHA-256 of index.json"


def _digest(image: Identity) -> Html:
    return tag("code", image.digest.removeprefix("sha256:"))


def _facts(facts: Iterable[tuple[str, object]]) -> Html:
    return tag("dl", *(join((tag("dt", name), tag("dd", value))) for name, value in facts if value))


def _tiles(report: ReportData) -> Html:
    annotations = report.image.annotations
    size, created = annotations.get(ann.BLOBS_SIZE), annotations.get(ann.CREATED_AT)
    facts = []
    if report.costs:
        most = max((cost for _, cost in report.costs), key=lambda cost: cost.total)
        facts.append(("update download", human_size(most.total)))
    facts += [
        ("stored", human_size(size) if isinstance(size, int) else "unknown"),
        ("blobs", _count(annotations.get(ann.BLOBS_COUNT))),
        ("payloads", f"{len(report.payloads)}"),
        ("built", utc_date(created) if isinstance(created, int) else "not finalized"),
        _verdict(report.signature),
    ]
    return join(
        tag("div", tag("b", value), tag("span", name), class_="tile") for name, value in facts
    )


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _verdict(signature: SignatureFacts | None) -> tuple[str, str]:
    if signature is None:
        return "signature", "none"
    if signature.problems:
        return "signature", "not valid"
    return "certificates expire", utc_date(
        min(certificate.not_after for certificate in signature.chain)
    )


def _sections(report: ReportData) -> Iterator[tuple[str, str, Html]]:
    if report.problems:
        yield "problems", "What cannot be read", _problems(report.problems)
    if report.diff is not None:
        yield "changes", "What changed", _changes(report.diff)
        yield (
            "cost",
            "What the update costs",
            join(_cost(*found) for found in _distinct(report.costs)),
        )
    yield "contents", "What is in it", join([*map(_payload, report.payloads), _annotations(report)])
    yield "signature", "Who signed it", _signature(report.signature, report.now)
    yield (
        "bytes",
        "Where the bytes are",
        join(_usage(n, found) for n, found in enumerate(report.usage)),
    )


def _problems(problems: Iterable[tuple[str, OtabuildError]]) -> Html:
    """Say what is missing in the rest of the page."""
    note = tag(
        "p",
        "What is listed here is missing below; ",
        tag("code", "otabuild verify"),
        " says more.",
        class_="note",
    )
    said = (tag("p", f"{name}: {error}", class_="bad") for name, error in problems)
    return tag("article", *said, note)


def _annotations(report: ReportData) -> Html:
    return fold(
        "Annotations of the image",
        table(("annotation", "value"), sorted(report.image.annotations.items())),
    )


def _payload(payload: Payload) -> Html:
    labels, config = payload.config.labels, payload.config
    size = labels.get(ann.ROOTFS_SIZE)
    counts = [
        _count(labels.get(key))
        for key in (ann.REGULAR_COUNT, ann.DIRS_COUNT, ann.NON_REGULAR_COUNT)
    ]
    facts: list[tuple[str, object]] = [
        ("base image", labels.get(ann.BASE_IMAGE)),
        ("system", " ".join(filter(None, (config.os, config.os_version))) or None),
        ("architecture", config.architecture),
        ("hardware", payload.manifest.annotations.get(ann.HARDWARE_MODEL)),
        ("description", config.description),
        ("rootfs", human_size(size) if isinstance(size, int) else None),
        ("entries", f"{counts[0]} files, {counts[1]} directories, {counts[2]} links and whiteouts"),
        ("created", config.created),
    ]
    sys_config = payload.sys_config
    shown = (
        ""
        if sys_config is None
        else fold("sys_config", _pre(sys_config.decode("utf-8", "replace").splitlines()))
    )
    rest = sorted({**payload.manifest.annotations, **labels}.items())
    return tag(
        "article",
        tag("h3", payload.name),
        _facts(facts),
        shown,
        fold("Annotations and labels", table(("key", "value"), rest)),
    )


def _pre(lines: Sequence[str]) -> Html:
    return tag("pre", Html("\n".join(map(text, lines))), tabindex="0")


def _signature(signature: SignatureFacts | None, now: int) -> Html:
    if signature is None:
        return tag("article", tag("p", "The image is not signed.", class_="bad"))
    rows = [
        (
            c.subject,
            c.issuer,
            utc_date(c.not_before),
            utc_date(c.not_after),
            f"{(c.not_after - now) // DAY} days",
        )
        for c in signature.chain
    ]
    issued = "without a time" if signature.issued_at is None else f"at {utc(signature.issued_at)}"
    problems = [tag("p", str(problem), class_="bad") for problem in signature.problems]
    note = tag(
        "p",
        "The signature is over this index.json. " if not problems else "",
        "Whether the chain ends at a CA that you trust, and whether every blob is whole, ",
        tag("code", "otabuild verify"),
        " says.",
        class_="note",
    )
    chain = table(("subject", "issuer", "valid from", "valid until", "left"), rows, (2, 3, 4))
    return tag("article", tag("p", f"Signed {issued}."), *problems, chain, note)


def _usage(number: int, found: Usage) -> Html:
    forms = sorted(found.forms.items(), key=lambda item: -item[1].size)
    rows = [
        (
            tag("b", name, class_=f"form {name}"),
            _FORMS[name],
            _count(use.contents),
            human_size(use.size),
            human_size(round(use.stored)),
        )
        for name, use in forms
    ]
    largest = [
        (_paths(c), c.form, human_size(c.size), human_size(round(c.stored))) for c in found.largest
    ]
    total = sum(use.size for _, use in forms) or 1
    bar = join(
        tag(
            "span",
            "",
            class_=f"form {name}",
            style=f"width:{100 * use.size / total:.2f}%",
            title=f"{name} {human_size(use.size)}",
        )
        for name, use in forms
    )
    return tag(
        "article",
        tag("h3", f"Rootfs of {', '.join(found.payloads)}"),
        tag("div", "", class_="treemap", data_tree=number),
        fold("The same as a table", _directories(found.tree)),
        tag("h4", "By form of storage"),
        tag("div", bar, class_="bar", aria_hidden="true"),
        table(("form", "meaning", "contents", "bytes", "stored"), rows, (2, 3, 4)),
        tag("h4", "Largest files"),
        table(("file", "form", "bytes", "stored"), largest, (2, 3)),
        tag("h4", "Duplicates: stored once, written several times"),
        table(
            ("files", "copies", "each", "more on the device"),
            (
                (_paths(c), len(c.paths), human_size(c.size), human_size(c.repeated))
                for c in found.duplicates
            ),
            (1, 2, 3),
        ),
    )


def _directories(tree: FolderUse) -> Html:
    top = [(f"/{name}", child) for name, child in tree.children.items()]
    below = [
        (f"{path}/{name}", child) for path, folder in top for name, child in folder.children.items()
    ]
    rows = [
        (path, _count(folder.files), human_size(folder.size), human_size(round(folder.stored)))
        for path, folder in sorted([*top, *below])
    ]
    return table(("path", "files", "bytes", "stored"), rows, (1, 2, 3))


def _paths(content: ContentUse) -> Html:
    more = len(content.paths) - 1
    return join((tag("code", content.paths[0]), f" and {more} more" if more else ""))


def _changes(found: Diff) -> Html:
    head = tag("p", f"Blobs of the image: {human_change(*found.blobs_size, _ARROW)}.")
    rows = [
        (
            p.name,
            p.kind,
            *map(p.count, ("added", "removed", "changed")),
            len(p.packages),
            human_change(*p.rootfs_size, _ARROW),
        )
        for p in found.payloads
    ]
    columns = ("payload", "state", "added", "removed", "changed", "packages", "rootfs")
    aspects = [(a.name, a.before or "", a.after or "") for a in found.annotations]
    annotations = fold(
        "Annotations of the image", table(("annotation", "before", "after"), aspects)
    )
    shown: dict[object, str] = {}
    details = [
        _payload_changes(payload, shown) for payload in found.payloads if payload.kind == "changed"
    ]
    return join((tag("article", head, table(columns, rows, (2, 3, 4, 5)), annotations), *details))


def _payload_changes(payload: PayloadDiff, shown: dict[object, str]) -> Html:
    twin = shown.setdefault((payload.entries, payload.packages, payload.sys_config), payload.name)
    metadata = _fold_of(
        "Annotations and labels", [aspect_text(aspect, _ARROW) for aspect in payload.metadata]
    )
    if twin != payload.name:
        same = tag("p", f"Files, packages and sys_config differ as those of {twin} do.")
        return tag("article", tag("h3", payload.name), same, metadata)
    return tag(
        "article",
        tag("h3", payload.name),
        *(tag("p", note, class_="bad") for note in payload.notes),
        *_loud(payload),
        tag("h4", "Packages"),
        _packages(payload),
        _fold_of("New licenses", payload.new_licenses, is_open=True),
        _fold_of(
            f"New files of no package ({len(payload.new_unpackaged)})", _cut(payload.new_unpackaged)
        ),
        tag("h4", "Files"),
        _files(payload),
        _fold_of("sys_config", payload.sys_config),
        metadata,
    )


def _loud(payload: PayloadDiff) -> Iterator[Html]:
    """Yield what nobody should have to look for."""
    risky = [entry_text(entry, _ARROW) for entry in payload.entries if entry.gains_privileges]
    if risky:
        yield tag("h4", "Files with new privileges", class_="bad")
        yield _pre(_cut(risky))
    if payload.system:
        yield tag("h4", "Kernel and BSP")
        yield _pre([aspect_text(aspect, _ARROW) for aspect in payload.system])


def _files(payload: PayloadDiff) -> Html:
    folds: list[Html] = []
    for kind in ("added", "removed", "changed"):
        lines = [entry_text(entry, _ARROW) for entry in payload.entries if entry.kind == kind]
        if lines:
            folds.append(fold(f"{kind} ({len(lines)})", _pre(_cut(lines))))
    return join(folds) if folds else tag("p", "No files changed.", class_="none")


def _fold_of(title: str, lines: Sequence[str], *, is_open: bool = False) -> Html:
    """Return lines that can be opened and closed; nothing if there are none."""
    return fold(title, _pre(lines), is_open=is_open) if lines else join(())


def _packages(payload: PayloadDiff) -> Html:
    if payload.packages:
        rows = [(p.name, p.kind, p.before or "", p.after or "") for p in payload.packages]
        title = counted(len(rows), "package")
        older = [f"{p.name} {p.before} {_ARROW} {p.after}" for p in payload.downgraded]
        loud = (
            join((tag("h4", "Downgraded packages", class_="bad"), _pre(_cut(older))))
            if older
            else ""
        )
        changes = table(("package", "change", "before", "after"), rows)
        return join((loud, fold(title, changes, is_open=len(rows) <= _OPEN)))
    said = (
        "No packages changed."
        if payload.has_packages
        else "Neither image has a package that otabuild can read."
    )
    return tag("p", "Not known." if payload.notes else said, class_="none")


def _cut(lines: Sequence[str]) -> list[str]:
    more = [f"... and {len(lines) - _SHOWN} more: see otabuild diff"] if len(lines) > _SHOWN else []
    return [*lines[:_SHOWN], *more]


def _distinct(costs: tuple[tuple[str, Cost], ...]) -> Iterator[tuple[str, Cost]]:
    """Yield each cost once, with the names of all payloads that have it."""
    names: dict[Cost, list[str]] = {}
    for name, found in costs:
        names.setdefault(found, []).append(name)
    return ((", ".join(users), found) for found, users in names.items())


def _cost(name: str, found: Cost) -> Html:
    facts: list[tuple[str, object]] = [
        ("download", f"{human_size(found.total)} in {counted(found.total_requests, 'request')}"),
        ("contents", f"{human_size(found.download)} in {counted(found.requests, 'request')}"),
        ("tables", human_size(found.metadata)),
        ("documents", human_size(found.documents)),
        (
            "changed",
            (
                f"{found.changed} of {counted(found.resources, 'content')}, "
                f"{human_size(found.changed_bytes)}"
            ),
        ),
        ("without a base", f"{human_size(found.full_download)} of contents"),
        ("room on the device", f"{human_size(found.peak_disk)} at most"),
    ]
    rows = [
        (tag("code", f.paths[0]), human_size(f.size), human_size(f.download), f.why)
        for f in found.files
    ]
    return tag(
        "article",
        tag("h3", name),
        _facts(facts),
        tag("h4", "What costs most"),
        table(("file", "bytes", "its share of the download", "why"), rows, (1, 2)),
    )
