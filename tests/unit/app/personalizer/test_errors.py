"""Refusals say a code for programs, a sentence for people, and a status that clients understand."""

from app.personalizer.errors import Refusal


def test_refusal() -> None:
    """400 unless another status is given."""
    one, other = Refusal("InvalidRankRequest", "no"), Refusal("ResourceNotFound", "none", status=404)
    assert (one.code, str(one), one.status, other.status) == ("InvalidRankRequest", "no", 400, 404)
