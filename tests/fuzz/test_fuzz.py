"""The short form of `make fuzz`."""

from tests.fuzz.mutations import mutated, names
from tests.fuzz.runner import Report, one, run


def test_damaged_pictures_are_read_or_refused_and_nothing_else() -> None:
    report = run(4000, seed=2026, workers=2)
    assert report.runs == 4000
    assert report.findings == []
    # otherwise this tests little but the file's first bytes
    assert report.reached.total() * 2 >= report.runs
    assert all(report.reached[name] and report.decoded[name] for name in names())


def test_a_run_can_be_repeated() -> None:
    assert mutated(7, 1) == mutated(7, 1)
    assert mutated(7, 1) != mutated(7, 2)


def test_an_unforeseen_exception_is_a_finding(monkeypatch: object) -> None:
    from ml_models.engine import decode

    def broken(*_: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(decode, "decode_opened", broken)  # type: ignore[attr-defined]
    report = Report()
    for index in range(20):
        one(index, 1, report)
    assert report.findings
    assert "KeyError" in report.findings[0]


def test_a_picture_with_odd_exif_that_is_refused_is_a_finding(monkeypatch: object) -> None:
    from ml_models.engine import exif

    def raises(_: bytes) -> int:
        raise ValueError("unforeseen")

    monkeypatch.setattr(exif, "orientation", raises)  # type: ignore[attr-defined]
    report = Report()
    for index in range(100):
        one(index, 1, report)
    assert any("odd EXIF" in finding for finding in report.findings)
