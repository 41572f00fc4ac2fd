"""Deviations of early builders are read on request, and remembered."""

from __future__ import annotations

from otabuild.format.compat import STRICT, Compat, Early


def test_what_is_met_is_remembered_once_and_told_in_order() -> None:
    found = Compat(is_on=True)
    for deviation in (Early.NO_LINKS, Early.PLAIN_FRAME, Early.NO_LINKS):
        assert found.accepts(deviation)
    assert found.notes == (Early.PLAIN_FRAME.value, Early.NO_LINKS.value)


def test_nothing_is_accepted_without_a_request() -> None:
    for found in (STRICT, Compat()):
        assert not any(found.accepts(deviation) for deviation in Early)
        assert found.notes == ()
