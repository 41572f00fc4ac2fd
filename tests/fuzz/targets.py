"""All fuzz targets by name."""

from __future__ import annotations

from tests.fuzz import archives, documents, signatures, tables, texts

TARGETS = {**documents.TARGETS, **signatures.TARGETS, **archives.TARGETS, **tables.TARGETS, **texts.TARGETS}
