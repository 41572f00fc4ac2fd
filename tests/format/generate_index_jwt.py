"""Write the golden token again: `python -m tests.format.generate_index_jwt`."""

from __future__ import annotations

from tests.format.test_index_jwt import GOLDEN, made

if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(made())
