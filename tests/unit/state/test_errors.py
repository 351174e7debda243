"""The tree of errors."""

from state import errors


def test_every_error_is_in_the_tree() -> None:
    """All are StoreErrors, and the module's docstring shows each."""
    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.StoreError)
        assert name in tree


def test_a_corrupt_key_is_named() -> None:
    """For operators in the message, for code in an attribute."""
    error = errors.CorruptState("oo:{u}:p", "field A is missing")
    assert (str(error), error.key, error.problem) == (
        "oo:{u}:p: field A is missing",
        "oo:{u}:p",
        "field A is missing",
    )
