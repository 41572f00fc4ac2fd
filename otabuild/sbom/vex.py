"""VEX documents: whether known vulnerabilities of components of a bill of materials matter.

What it says of them is for its author to judge; the document itself is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from packageurl import PackageURL

from otabuild.errors import FormatError, InputError
from otabuild.format import limits
from otabuild.format.document import parse_json
from otabuild.format.json_text import load_json

LIMIT = 16 * limits.MIB
"""The largest VEX document, in bytes."""
_OPENVEX = "https://openvex.dev/ns"

Placed = Iterator[tuple[str, dict[str, Any]]]
"""Objects of a document, each with its place."""


class Named(NamedTuple):
    """What a VEX document is about: where it says so, and by which names of one component."""

    place: str
    names: tuple[str, ...]


def check_vex(raw: bytes, where: str, sbom: bytes) -> None:
    """Check that a VEX document is about components of a bill of materials, and about nothing else.

    A component is named by its `bom-ref`, its CPE or its package URL. A package URL may say less
    than that of the component: without a version it means each, without qualifiers likewise.

    Args:
        raw: the VEX document.
        where: its file, for messages.
        sbom: the bill of materials, of `make_sbom`.

    Raises:
        InputError: it names something else.
        FormatError, LimitError: see `read_vex`.
    """
    known = _Known(load_json(sbom))
    for place, names in read_vex(raw, where):
        if not any(map(known.has, names)):
            raise InputError(
                "the VEX document is about something that is not in the bill of materials",
                where=f"{where}: {place}",
                observed=" or ".join(names) or "no name",
                expected="the bom-ref, the CPE or the package URL of a component",
                hint=(
                    "look at the components with `otabuild sbom`, and leave out what "
                    "is not in this image"
                ),
            )


def read_vex(raw: bytes, where: str) -> tuple[Named, ...]:
    """Return what a VEX document is about.

    Args:
        raw: the document: OpenVEX, or CycloneDX with vulnerabilities.
        where: its file, for messages.

    Raises:
        FormatError: it is neither, or about nothing.
        LimitError: it is too large.
    """
    value = parse_json(raw, where, LIMIT)
    try:
        match value:
            case {"@context": str(context)} if context.startswith(_OPENVEX):
                found = tuple(_of_openvex(value))
            case {"bomFormat": "CycloneDX"}:
                found = tuple(_of_cyclonedx(value))
            case _:
                found = ()
    except FormatError as error:
        raise error.at(where) from None
    if not found:
        expected = f"OpenVEX (`@context` {_OPENVEX}) or CycloneDX, with at least one vulnerability"
        raise FormatError("not a VEX document", where=where, expected=expected)
    return found


def _of_openvex(document: dict[str, Any]) -> Iterator[Named]:
    for place, statement in _objects(document, "statements"):
        yield from tuple(_products(_objects(statement, "products", place))) or (Named(place, ()),)


def _products(products: Placed) -> Iterator[Named]:
    for place, product in products:
        identifiers = product.get("identifiers")
        others = identifiers.values() if isinstance(identifiers, dict) else ()
        yield Named(place, _texts([product.get("@id"), *others]))
        yield from _products(_objects(product, "subcomponents", place))


def _of_cyclonedx(document: dict[str, Any]) -> Iterator[Named]:
    own = {str(one.get("bom-ref")): one.get("purl") for _, one in _objects(document, "components")}
    for place, vulnerability in _objects(document, "vulnerabilities"):
        affected = _objects(vulnerability, "affects", place)
        named = (
            Named(at, _texts([one.get("ref"), own.get(str(one.get("ref")))]))
            for at, one in affected
        )
        yield from tuple(named) or (Named(place, ()),)


def _objects(value: dict[str, Any], key: str, place: str = "") -> Placed:
    """Yield the objects of a list in an object, with places; a missing list is empty."""
    above = f"{place}.{key}" if place else key
    listed = value.get(key, [])
    if not isinstance(listed, list):
        raise FormatError("not a list", where=above)
    for number, one in enumerate(listed):
        if not isinstance(one, dict):
            raise FormatError("not an object", where=f"{above}[{number}]")
        yield f"{above}[{number}]", one


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


class _Known:
    """The components of a bill of materials."""

    def __init__(self, sbom: dict[str, Any]) -> None:
        components = [sbom["metadata"]["component"], *sbom["components"]]
        self._link = f"{sbom['serialNumber'].replace('urn:uuid:', 'urn:cdx:')}/{sbom['version']}#"
        self._names = {one[key] for one in components for key in ("bom-ref", "cpe") if key in one}
        self._urls: dict[tuple[str | None, ...], list[PackageURL]] = {}
        for url in (PackageURL.from_string(one["purl"]) for one in components if "purl" in one):
            self._urls.setdefault(url[:3], []).append(url)

    def has(self, name: str) -> bool:
        """Whether a name is a component's; it may be a link from another document to this one."""
        name = name.removeprefix(self._link)
        # As the end of a link, a reference is percent-encoded.
        if name in self._names or unquote(name) in self._names:
            return True
        try:
            wanted = PackageURL.from_string(name)
        except ValueError:
            return False
        return any(_means(wanted, url) for url in self._urls.get(wanted[:3], ()))


def _means(wanted: PackageURL, url: PackageURL) -> bool:
    """Whether all that a package URL says holds for another one of the same type and name."""
    return (
        wanted.version in (None, url.version)
        and wanted.qualifiers.items() <= url.qualifiers.items()
    )
