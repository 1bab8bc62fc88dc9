"""The file of a multipart/form-data body (RFC 7578), as forms and `curl -F` send it."""

from email.message import Message
from http import HTTPStatus

from gencomp.serving.refusal import Refusal

MOST_PARTS = 16


def file_of(body: bytes, content_type: str) -> bytes:
    """The one file of a multipart body; any other body as it is. Raises Refusal."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "multipart/form-data":
        return body
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise Refusal(HTTPStatus.BAD_REQUEST, "the multipart body has no usable boundary")
    files = [content for head, content in _parts(body, boundary.encode()) if b"filename" in head.lower()]
    if len(files) != 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the multipart body must hold one file, and holds {len(files)}")
    return files[0]


def _parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Head and content of each part."""
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MOST_PARTS + 1)
    if not parts or not parts[-1].startswith(b"--"):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the multipart body is cut off, or has more than {MOST_PARTS} parts")
    found = []
    for part in parts[:-1]:
        padding, _, rest = part.partition(b"\r\n")
        head, end, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
        if padding.strip(b" \t") or not end:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the multipart body is damaged")
        found.append((head, content))
    return found
