"""Every way to tamper with an image that a rule refuses: named after its row in the list of threats.

Each case says which rules find it, and no others may: what is above the change is made anew. `deploy` is the error
with which deployment refuses the image; None where the change does not touch what is deployed.
"""

from __future__ import annotations

from tests.image.cases_documents import containers, documents, signatures
from tests.image.cases_resources import resources
from tests.image.cases_tables import tables
from tests.image.tampering import Case

ALL: dict[str, Case] = {
    case.name: case for group in (documents, signatures, containers, tables, resources) for case in group()
}
