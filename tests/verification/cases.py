"""Every way to tamper with an image that a rule refuses, named after its row in the list of threats.

Each case lists the rules that find it; no others may. Everything above the change is rebuilt. `deploy` is the error
with which deployment refuses the image, or None if the change does not affect what is deployed.
"""

from __future__ import annotations

from tests.verification.cases_documents import containers, documents, signatures
from tests.verification.cases_resources import resources
from tests.verification.cases_tables import tables
from tests.verification.tampering import Case

ALL: dict[str, Case] = {
    case.name: case for group in (documents, signatures, containers, tables, resources) for case in group()
}
