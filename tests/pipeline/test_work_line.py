"""The last line of a build: what took time, and what was not done again."""

from __future__ import annotations

import pytest

from otabuild.pipeline.build_report import work_line
from otabuild.pipeline.run import Done

IDLE = Done("scan:a/main", (), {}, {}, 0.1)
RAN = Done("store:a", ("x",), {}, {"contents-reused": 1200}, 2.34)
BASED = Done("tables:a", ("x",), {}, {"contents-of-base": 1}, 1.0)


@pytest.mark.parametrize(
    ("done", "line"),
    [
        ([IDLE], "nothing to do: all 1 step up to date"),
        ([RAN._replace(counts={})], "store 2.3 s"),
        ([IDLE, RAN], "store 2.3 s; 1 of 2 steps up to date; 1,200 stored contents reused"),
        ([RAN, BASED], "store 2.3 s, tables 1.0 s; 1,200 stored contents reused; 1 content of the base reused"),
    ],
)
def test_a_run_in_one_line(done: list[Done], line: str) -> None:
    assert work_line(done) == line
