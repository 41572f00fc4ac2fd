"""Write the seeds of every target to its corpus; what was found there before stays. `python -m tests.fuzz.generate`."""

from __future__ import annotations

from tests.fuzz.target import CORPUS
from tests.fuzz.targets import TARGETS


def main() -> None:
    for name, target in TARGETS.items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in target.seeds().items():
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
