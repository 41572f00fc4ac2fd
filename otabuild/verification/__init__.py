"""Whether an image is valid and authentic (sections 1 to 12).

Belongs here: the rules of the format, one module for each kind of subject, and running them in
order.
Does not: signatures and chains themselves (`signing/`), advice (`lint/`), reading (`image/`).
Start with `verify.verify`; `rules_*` hold the rules.
"""
