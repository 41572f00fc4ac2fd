"""Fuzz targets, guided by the coverage of otabuild: `python -m tests.fuzz.run [--seconds N] [TARGET…]`.

An input that leads to anything but a result or an OtabuildError, or that takes over 20 seconds or 2 GiB, is written to
build/fuzz/TARGET. Mend the kind, and move the input to the corpus of the target. `python -m tests.fuzz.run --input FILE
TARGET` reads one input without the fuzzer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from random import Random

BUILD = Path("build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*")
    args = parser.parse_args()
    if args.here:
        _fuzz(args.target[0], args.seconds)
    from tests.fuzz.targets import TARGETS

    unknown = set(args.target) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(unknown)}: there are {', '.join(TARGETS)}")
    if args.input:
        TARGETS[args.target[0]].run(args.input.read_bytes())
        return 0
    failed = [name for name in args.target or TARGETS if not fuzz(name, args.seconds)]
    sys.stderr.write(f"findings in {', '.join(failed)}\n" if failed else "no findings\n")
    return bool(failed)


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz a target in a process of its own, which libFuzzer ends; return whether nothing was found."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--here", "--seconds", str(seconds), name]
    return subprocess.run(command, check=False).returncode == 0


def _fuzz(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["otabuild"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.target import CORPUS

    target = TARGETS[name]
    own = BUILD / name
    (own / "corpus").mkdir(parents=True, exist_ok=True)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.2:
            return bytes(atheris.Mutate(data, size))
        return target.mutate(bytes(data), random)[:size]

    options = (
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-max_len=65536",
        "-print_final_stats=1",
        f"-artifact_prefix={own}/",
    )
    atheris.Setup([name, *options, str(own / "corpus"), str(CORPUS / name)], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
