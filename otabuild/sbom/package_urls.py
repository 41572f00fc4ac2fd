"""Package URLs, in the forms by which scanners of vulnerabilities match packages."""

from __future__ import annotations

from packageurl import PackageURL

from otabuild.packages.installed import InstalledPackage

Distribution = tuple[str, str]
"""ID and VERSION_ID of os-release."""

_USUAL = {"deb": "debian", "rpm": "", "apk": "alpine", "alpm": "arch"}
"""The namespace of a system package whose rootfs does not say which distribution it is."""
_VENDORS = {
    "rhel": "redhat",
    "opensuse-leap": "opensuse",
    "opensuse-tumbleweed": "opensuse",
    "sles": "suse",
}
"""Names of vendors that differ from their ID."""


def package_url(package: InstalledPackage, distribution: Distribution) -> PackageURL:
    """Return the package URL of a package in a rootfs of a distribution."""
    match package.type:
        case "pypi" | "opkg":
            return PackageURL(
                package.type, None, package.name, package.version, _qualifiers(package, None)
            )
        case "npm" | "golang":
            namespace, _, name = package.name.rpartition("/")
            return PackageURL(package.type, namespace or None, name, package.version)
        case _:
            own = distribution[0] or _USUAL[package.type]
            epoch, colon, rest = package.version.partition(":")
            strip = package.type == "rpm" and colon
            qualifiers = _qualifiers(package, "-".join(filter(None, distribution)))
            return PackageURL(
                package.type,
                _VENDORS.get(own, own) or None,
                package.name,
                rest if strip else package.version,
                qualifiers | ({"epoch": epoch} if strip else {}),
            )


def _qualifiers(package: InstalledPackage, distribution: str | None) -> dict[str, str]:
    """Return architecture, distribution and, if it differs, name or version of the source."""
    found = {
        "arch": package.architecture,
        "distro": distribution or "",
        "upstream": _upstream(package),
    }
    return {name: value for name, value in found.items() if value}


def _upstream(package: InstalledPackage) -> str:
    if package.type == "rpm" and package.source:
        return f"{package.source}-{package.source_version}.src.rpm"
    named = package.name, package.version
    if not package.source or (package.source, package.source_version) == named:
        return ""
    same = package.source_version in ("", package.version)
    return package.source if same else f"{package.source}@{package.source_version}"
