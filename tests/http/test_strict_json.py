import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causal_orchestrator import strict_json
from causal_orchestrator.errors import InputError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert strict_json.parse(json.dumps(value), max_bytes=10**6) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_input_error(data: bytes) -> None:
    with contextlib.suppress(InputError):  # anything else fails the test
        strict_json.parse(data, max_bytes=100)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "NOT_JSON"),
        ("[" * 5_000_000, "TOO_LARGE"),
        ("[" * 1000, "NOT_JSON"),
        ('{"a": NaN}', "NOT_FINITE"),
        ('{"a": -Infinity}', "NOT_FINITE"),
        ('{"a": 1e999}', "NOT_FINITE"),
        ('{"a": 1, "a": 2}', "DUPLICATE_KEY"),
        ('{"a": ' + "9" * 5000 + "}", "NUMBER_TOO_LONG"),
        ('{"a": "\\ud800"}', "NOT_UNICODE"),
        ('{"a": 1,}', "NOT_JSON"),
        (b'\xff\xfe{"a": 1}', "NOT_JSON"),
    ],
)
def test_what_python_would_accept_or_choke_on_is_refused(text: str | bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        strict_json.parse(text, max_bytes=100_000)
    assert caught.value.code == code


def test_brackets_inside_a_string_do_not_nest() -> None:
    text = json.dumps({"a": "[" * 100 + '\\"' + "{" * 100})
    assert strict_json.parse(text, max_bytes=1000)["a"].count("[") == 100
