"""Pin the bytes of images anew: `python -m tests.golden.generate`. Say in the changelog why they had to change."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.golden.pins import FILE, LIBRARIES, pins_of
from tests.golden.worlds import CASES


def main() -> None:
    """Write the file of pins."""
    pins = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            pins[case] = pins_of(case, Path(folder))
    FILE.write_text(json.dumps({"libraries": LIBRARIES, "pins": pins}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
