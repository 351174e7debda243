"""A stored prior: what is written is read back, and what could spoil the decisions of all users is not."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from state.errors import CorruptState
from state.values.columns import Columns
from state.values.prior import PriorRecord, decode, encode, version_of

COLUMNS = Columns((("1", "0" * 16), ("age", "a" * 16)))
PRIOR = PriorRecord(3, 1_700_000_000, 812, COLUMNS, np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.25, -1.0]))


def text(**changed: Any) -> bytes:
    """The value of PRIOR with other fields; arrays as bytes are put into base64."""
    fields = json.loads(encode(PRIOR)) | {
        name: base64.b64encode(value.tobytes()).decode() if isinstance(value, np.ndarray) else value
        for name, value in changed.items()
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def test_the_layout() -> None:
    """JSON that other languages can read: A row by row and b, little-endian float64 in base64."""
    assert json.loads(encode(PRIOR)) == {
        "version": 3,
        "built_at": 1_700_000_000,
        "users": 812,
        "columns": [["1", "0" * 16], ["age", "a" * 16]],
        "A": base64.b64encode(bytes.fromhex("0000000000000040" + 2 * "000000000000e03f" + "000000000000f03f")).decode(),
        "b": base64.b64encode(bytes.fromhex("000000000000d03f" + "000000000000f0bf")).decode(),
    }


def test_it_is_read_back() -> None:
    """To the last bit; a field that a newer version adds does no harm."""
    for value in (
        encode(PRIOR),
        text(noise=0.5),
        encode(PriorRecord(3, 1_700_000_000, 812, COLUMNS, PRIOR.a.T, PRIOR.b)),
    ):
        found = decode("k", value)
        assert (found.version, found.built_at, found.users, found.columns) == (3, 1_700_000_000, 812, COLUMNS)
        assert (found.a.tolist(), found.b.tolist()) == (PRIOR.a.tolist(), PRIOR.b.tolist())


BROKEN = {
    "is not a prior: ": [
        b"",
        b"[]",
        b"\xff",
        text(A=None),
        text(version=0),
        text(version="3"),
        text(users=-1),
        text(built_at=1.5),
        text(A="!"),
    ],
    "is not a list of columns": [text(columns=[]), text(columns=[["1"]])],
    "has a column twice": [text(columns=[["1", "0" * 16]] * 2)],
    "A has 32 bytes and b 16, which does not fit 1 columns": [text(columns=[["1", "0" * 16]])],
    "A has 24 bytes and b 16": [text(A=np.ones(3))],
    "A has 32 bytes and b 8": [text(b=np.ones(1))],
    "has a number that is not finite": [
        text(A=np.array([np.inf, 0, 0, 1.0])),
        text(A=np.array([1.0, np.nan, np.nan, 1.0])),
        text(b=np.array([0.0, -np.inf])),
    ],
    "A is not symmetric": [text(A=np.array([1.0, 0.1, 0.2, 1.0]))],
    "A is not positive definite": [
        text(A=np.array([1.0, 2.0, 2.0, 1.0])),
        text(A=np.zeros(4)),
        text(A=np.array([1.0, 0.0, 0.0, 1e-10])),
        text(A=np.array([-1.0, 0.0, 0.0, -1.0])),
    ],
}


@pytest.mark.parametrize(("problem", "value"), [(problem, each) for problem, all_ in BROKEN.items() for each in all_])
def test_what_is_broken_is_named(problem: str, value: bytes) -> None:
    """The error has the name of the key."""
    with pytest.raises(CorruptState, match=f"^oo:priors p: .*{problem}"):
        decode("oo:priors p", value)


def test_the_version_of_what_is_broken() -> None:
    """It is known as long as it can be read, so that the next one is higher."""
    assert version_of(encode(PRIOR)) == version_of(text(A=None, columns=None)) == 3
    assert [version_of(value) for value in (None, b"", b"{}", b"\xff", text(version=-1))] == [0] * 5


def test_a_matrix_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the linear algebra gives up on is damage, not an error."""

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("no convergence")

    good = encode(PRIOR)
    monkeypatch.setattr(np.linalg, "eigvalsh", fail)
    with pytest.raises(CorruptState, match="A has no eigenvalues: no convergence"):
        decode("k", good)
