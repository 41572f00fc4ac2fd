"""Keys, certificate chains and trust (section 8).

Belongs here: making signatures, checking chains and revocation, deciding whom to trust.
Does not: the form of tokens (`format/index_jwt`), the recipe's `sign` section (`recipe/sign`).
Start with `authenticity.check_index_jwt` to verify, `signer` to sign.
"""
