"""Values as JSON has them, odd ones too."""

import math
from typing import Final

from hypothesis import strategies as st

__all__ = ["ODD", "VALUES", "numbers"]

ODD: Final[list[object]] = [
    None,
    "",
    "x",
    "nan",
    "inf",
    "1e999",
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    [],
    [1.0],
    {},
    {"a": 1},
    "é" * 2_000,
    b"1",
]

numbers = st.integers() | st.floats() | st.sampled_from([0, -0.0, 10**400, -(10**400), 1e308, -1e308, 5e-324])
_scalars = st.none() | st.booleans() | numbers | st.text(max_size=20) | st.floats().map(str)
VALUES = _scalars | st.lists(_scalars, max_size=4) | st.dictionaries(st.text(max_size=3), _scalars, max_size=3)
