"""What `make bench` measures with: its load, and what it writes."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devstack.bench import load, networks, report
from devstack.bench.figures import percentile

REQUEST = b"POST /verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"


class Handler(BaseHTTPRequestHandler):
    """One in three is refused."""

    protocol_version = "HTTP/1.1"
    verifies = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        assert self.rfile.read(3) == b"abc"
        with Handler.lock:
            Handler.verifies += 1
            number = Handler.verifies
        time.sleep(0.01)
        self._answer(503 if number % 3 == 0 else 200)

    def do_GET(self) -> None:
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Nowhere."""


@pytest.fixture
def port() -> Iterator[int]:
    Handler.verifies = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("how", [{"rate": 40.0}, {"clients": 2}])
def test_a_load_counts_every_answer_by_its_status_and_probes_meanwhile(port: int, how: dict[str, float]) -> None:
    outcome = load.run(REQUEST, port, 1.0, rate=how.get("rate", 0.0), clients=int(how.get("clients", 0)))
    good, refused = len(outcome.of(200)), len(outcome.of(503))
    assert good + refused == Handler.verifies
    assert refused == Handler.verifies // 3
    assert outcome.failed == 0
    assert outcome.probe_s
    assert outcome.good_per_s == good / outcome.took_s
    if "rate" in how:
        assert 30 <= Handler.verifies <= 41
    least = outcome.ms(200, 0.01)
    assert least is not None
    assert least >= 10
    assert outcome.ms(500, 0.5) is None
    assert load.run(REQUEST, port, 0.1, clients=1, probed=False).probe_s == []


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.25, 0.5, 0.95, 1.0)] == [1.0, 2.0, 4.0, 4.0]


def test_the_page_has_every_figure_that_the_terminal_has() -> None:
    calls = ("extract", "extract_side_by_side", "enroll")
    face = {
        "own_ms": {"sface": 26.0},
        "served_ms": {"sface": 13.5},
        "engines": {"sface": "openvino"},
        "steps_ms": {"decode": 2.0},
        "limit_ms": 62.0,
        **{f"{call}_ms": 31.0 for call in calls},
        **{f"{call}_to_limit": 0.5 for call in calls},
        "openvino_to_other": {"sface": 0.55},
    }
    face = networks.with_verify(face, [0.03844] * 9 + [0.04497], [31.0] * 10)
    flood = {
        "goodput_to_capacity": 0.91,
        "goodput_to_capacity_beside_the_generator": 0.93,
        "accepted_p95_to_unloaded": None,
        "refused_per_s": 180.0,
        "refused_p95_ms": 12.0,
        "probe_max_ms": 33.0,
        "memory_to_before": 1.02,
    }
    clients = {"per_s": 33.0, "p50_ms": 30.0, "p95_ms": 35.0, "refused": 4, "generator_cores": 0.01}
    crowd = {
        "throughput": {"32": clients},
        "overload": {"10": flood, "normal_again_after_s": 1.5},
        "slow": {"p50_to_alone": 1.04},
        "growth": {"calls": 10_000, "memory_to_the_first_tenth": 1.011},
    }
    machine = {"date": "2026-11-26", "cores": 2, "processor": "a processor", "load": 0.1}
    heic = {"decode_ms": 71.5, "codec_ms": 61.5, "verify_ms": 102.5, "verify_to_small": 1.37}
    challenged = {"steps": 3, "verify_ms": 31.0, "challenged_ms": 66.5, "challenged_to_verify": 2.15}
    rosters = {
        "verify_ms": 31.0,
        "identify_ms": {"500 × 1": 38.5},
        "identify_to_verify": {"500 × 1": 1.24},
        "growth": {"calls": 300, "memory_to_the_first_tenth": 1.004},
    }
    faces = {"face": face, "pictures": {"12 MP HEIC": heic}, "challenged": challenged, "rosters": rosters}
    result = {**faces, "crowd": crowd, "machine": machine}
    text, page = report.text(result), report.markdown(result, "make bench")
    for figure in (
        "38.4",
        "0.62",
        "1.17",
        "7.4",
        "66.5",
        "2.15",
        "38.5",
        "1.24",
        "1.004",
        "62.0",
        "0.50",
        "13.5",
        "0.91",
        "180.0",
        "1.04",
        "1.011",
        "–",
        "33.0",
        "71.5",
        "61.5",
        "1.37",
    ):
        assert figure in text
        assert f"| {figure} |" in page
    assert "2 cores of a processor, load 0.1" in page
