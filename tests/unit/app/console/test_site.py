"""Which pages there are."""

from typing import Any

from app.console.site import made_pages


def test_pages() -> None:
    """Each has a path of its own; those in the navigation have no parameter, for nobody could fill it in."""
    nothing: Any = None
    pages = made_pages(nothing)
    paths = [page.path for page in pages]
    assert (len(set(paths)), paths[0]) == (len(paths), "")
    assert [page.path for page in pages if page.name and "{" in page.path] == []
