"""Sets of rooms that tests of the structure share."""

from __future__ import annotations

READER = {
    "errors",
    "version",
    "tally",
    "findings",
    "format",
    "storage",
    "stores",
    "signing",
    "image",
    "verification",
    "deployment",
}
"""What to ship where images are only read: to list, verify and deploy."""
