"""The gallery's pictures are those of reports, as files that stand by themselves; its definitions can be planned."""

import runpy
from xml.etree import ElementTree

import pytest

import mustherd
from tests.docs.pages import ROOT

MADE = runpy.run_path(str(ROOT / "docs" / "make_gallery.py"))


def test_a_report_s_pictures_become_files_of_their_own() -> None:
    svg = '<svg viewBox="0 0 9 9"><title id="a">Trials</title><path style="stroke: var(--keeps)"/></svg>'
    [(title, whole), _] = MADE["pictures"](f"<p>{svg}</p><figure>{svg}</figure>")
    assert title == "Trials"
    root = ElementTree.fromstring(whole)  # noqa: S314 - ours
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[1].attrib["style"] == "stroke: #0072b2"


def test_a_colour_that_the_page_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError):
        MADE["pictures"]('<svg><path style="stroke: var(--none)"/></svg>')


@pytest.mark.parametrize("name", MADE["RUNS"])
def test_what_it_runs_can_be_planned(name: str) -> None:
    _, definition = MADE["RUNS"][name]
    assert mustherd.plan(definition).trials > 0
