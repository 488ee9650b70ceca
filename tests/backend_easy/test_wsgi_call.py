"""What a WSGI application sees of an ASGI request."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from backend_easy.wsgi_call import Answer, call

SCOPE = {
    "method": "POST",
    "http_version": "1.1",
    "scheme": "http",
    "raw_path": b"/a%2Fb/%C3%A9",
    "query_string": b"x=%20",
    "headers": [(b"content-type", b"a/b"), (b"x-twice", b"1"), (b"x-twice", b"2")],
    "server": ("127.0.0.1", 8000),
    "client": ("10.0.0.1", 5),
}


def test_the_body_is_read_in_pieces_of_any_size_and_let_go_of() -> None:
    pieces: deque[Any] = deque([b"abc", b"defg", b"h"])
    seen: list[Any] = []

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        seen.extend([stream.read(2), stream.read(), stream.read(1)])
        start("200 OK", [])
        return []

    call(application, SCOPE, pieces, seen.append)
    assert seen[:3] == [b"ab", b"cdefgh", b""]
    assert not pieces


def test_the_answer_is_out_before_the_application_is_closed() -> None:
    told: list[Any] = []

    class Response:
        def __iter__(self) -> Iterator[bytes]:
            yield from (b"one", b"two")

        def close(self) -> None:
            told.append("closed")

    def application(environ: dict[str, Any], start: Any) -> Response:
        told.append((environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_TWICE"], environ["CONTENT_TYPE"]))
        start("201 Created", [("X-Name", "é")])
        return Response()

    call(application, SCOPE, deque(), told.append)
    answer = Answer(201, [(b"x-name", b"\xe9"), (b"content-length", b"6")], b"onetwo")
    assert told == [("/a/b/Ã©", "x=%20", "1,2", "a/b"), answer, "closed"]
