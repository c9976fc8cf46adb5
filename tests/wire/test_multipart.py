"""Form fields are found where they stand, and only there."""

from hypothesis import given
from hypothesis import strategies as st

from interpose.wire.multipart import MAX_PARTS, field_spans, replace_field

TYPE = b"multipart/form-data; boundary=xYzZY"


def form(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--xYzZY\r\n%s\r\n\r\n%s\r\n" % part for part in parts) + b"--xYzZY--\r\n"


FIELD = b'Content-Disposition: form-data; name="model"'
FILE = b'Content-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav'


def test_a_field_is_found_behind_a_file() -> None:
    """Its value is read although a file with misleading content stands before it."""
    body = form((FILE, b'name="model"\r\n\r\nno'), (FIELD, b"whisper-1"))
    ((start, end),) = field_spans(body, TYPE, b"model")
    assert body[start:end] == b"whisper-1"


def test_a_quoted_boundary_and_a_bare_name_are_understood() -> None:
    """Both are allowed."""
    body = form((b"content-disposition: form-data; NAME=model", b"m"))
    assert len(field_spans(body, b'Multipart/Form-Data; charset=x; boundary="xYzZY"', b"model")) == 1


def test_a_file_of_that_name_is_no_field() -> None:
    """A file part is never taken for a model's name."""
    assert field_spans(form((FIELD + b'; filename="a"', b"m")), TYPE, b"model") == []


def test_a_body_of_another_type_has_no_fields() -> None:
    """JSON is none, whatever it contains."""
    assert field_spans(form((FIELD, b"m")), b"application/json", b"model") == []
    assert field_spans(form((FIELD, b"m")), b"multipart/form-data", b"model") == []


def test_a_form_of_too_many_parts_is_not_walked_to_its_end() -> None:
    """The work is bounded."""
    assert field_spans(form(*[(b"a: b", b"")] * MAX_PARTS, (FIELD, b"m")), TYPE, b"model") == []


@given(st.binary().filter(lambda value: b"--xYzZY" not in value), st.binary(max_size=20))
def test_replacing_a_field_touches_nothing_else(content: bytes, value: bytes) -> None:
    """Every byte but the value's stays."""
    body = form((FILE, content), (FIELD, b"whisper-1"), (FIELD, b"again"))
    assert replace_field(body, TYPE, b"model", value) == form((FILE, content), (FIELD, value), (FIELD, value))


@given(st.binary(), st.binary())
def test_no_bytes_are_too_odd(body: bytes, content_type: bytes) -> None:
    """Hostile bodies have no fields, or have them within their bounds."""
    for start, end in field_spans(body, b"multipart/" + content_type, b"model"):
        assert 0 <= start <= end <= len(body)
