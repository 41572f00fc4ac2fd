"""Measure otabuild: `python -m benchmarks.run ROOTFS --second ROOTFS2`.

Every command ends with a sync of the file systems. Compared commands run in turn, A B A B, with a
warm page cache. Only ratios are portable: seconds depend on the machine. Nothing is asserted: PASS
or MISS is shown beside each target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import building, deltas, reading, scale, stores
from benchmarks.bench import Bench
from benchmarks.figures import Figure, head
from benchmarks.measure import Meter

_BENCHMARKS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "cold": building.cold,
    "size": building.size,
    "unchanged": building.unchanged,
    "one-file": building.one_file,
    "archive": building.archive,
    "same-bytes": building.same_bytes,
    "deploy": reading.deploy,
    "verify": reading.verify,
    "update": reading.update,
    "diff": reading.diff,
    "publish": stores.publish,
    "runner": stores.runner,
    "many-releases": stores.many_releases,
    "reuse": deltas.reuse,
    "slow": deltas.slow,
    "scale": scale.scale,
}
_NEED_SECOND = {"update", "diff", "publish", "runner", "reuse", "slow"}
_TOOLS = {"tar": "--version", "zstd": "--version", "mksquashfs": "-version"}


def main() -> int:
    """Run the requested benchmarks; return 0 whatever the figures are."""
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    meter = Meter(args.work / "commands.log", args.rounds)
    second = args.second and args.second.resolve()
    bench = Bench(
        args.work.resolve(),
        args.rootfs.resolve(),
        second,
        tuple(args.entries),
        tuple(args.python),
        meter,
    )
    machine = _machine()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"rounds: {args.rounds}; work: {bench.work}\n\n{head()}", flush=True)
    found: dict[str, list[Figure]] = {}
    for name in args.only or [name for name in _BENCHMARKS if second or name not in _NEED_SECOND]:
        print(f"-- {name}: {(_BENCHMARKS[name].__doc__ or '').splitlines()[0]}", flush=True)
        for figure in _BENCHMARKS[name](bench):
            print(figure.line(), flush=True)
            found.setdefault(name, []).append(figure)
    missed = sum(figure.verdict == "MISS" for figures in found.values() for figure in figures)
    print(f"\n{missed} missed")
    if args.json:
        figures = {
            name: [{**asdict(f), "verdict": f.verdict} for f in each]
            for name, each in found.items()
        }
        samples = {name: [asdict(usage) for usage in runs] for name, runs in meter.samples.items()}
        args.json.write_text(
            json.dumps({"machine": machine, "figures": figures, "samples": samples}, indent=2)
        )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rootfs", type=Path, help="the tree to build; it is only read")
    parser.add_argument("--second", type=Path, help="the same tree after an update")
    parser.add_argument(
        "--only", nargs="+", choices=_BENCHMARKS, metavar="NAME", help=", ".join(_BENCHMARKS)
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each side runs (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write figures and samples there, too")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("build/benchmarks"),
        help="folder for what is made (default: %(default)s)",
    )
    parser.add_argument(
        "--entries",
        type=int,
        nargs="+",
        default=(20_000, 200_000),
        help="entries of the trees of `scale`",
    )
    parser.add_argument(
        "--python", nargs="+", default=(), help="more interpreters with otabuild, for `same-bytes`"
    )
    return parser.parse_args()


def _machine() -> dict[str, str]:
    found = {
        "machine": f"{os.cpu_count()} cores, {platform.release()}, load {os.getloadavg()[0]:.2f}",
        "python": sys.version.split()[0],
    }
    for tool, option in _TOOLS.items():
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed, and not installed")
        done = subprocess.run([tool, option], stdout=subprocess.PIPE, text=True, check=False)
        found[tool] = done.stdout.strip().splitlines()[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
