"""Bills of materials: documents about what an image contains, made from the image alone.

Belongs here: documents in the forms of others (CycloneDX), package URLs, and the libraries for
both, which nothing else imports; checking that a VEX document is about the components of such a
document.
Does not: finding packages (`packages/`), signing (`attestation` of `signing/`), judging a
vulnerability.
Start with `cyclonedx.make_sbom`; the extra `sbom` of the project installs the libraries.
"""
