"""What a page knows of its visitor."""

from app.console.pages import Visit
from tests.unit.app.console.scene import visit


def test_a_link_leads_from_the_page_that_is_shown() -> None:
    """By the way up to /console, so that a prefix that nobody knows of stays."""
    found: Visit = visit(base="../../console")
    assert (found.link(), found.link("/loops/tips")) == ("../../console", "../../console/loops/tips")
