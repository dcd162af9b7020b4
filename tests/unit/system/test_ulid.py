from quiesce.system import ulid


def test_ids_have_the_form_and_differ() -> None:
    ids = {ulid.new() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(ulid.is_ulid(text) for text in ids)


def test_a_later_id_sorts_after_an_earlier_one(monkeypatch) -> None:
    times = iter([1_700_000_000_000_000_000, 1_700_000_000_001_000_000])
    monkeypatch.setattr(ulid.time, "time_ns", lambda: next(times))

    assert ulid.new() < ulid.new()


def test_what_is_no_ulid_is_refused() -> None:
    assert not ulid.is_ulid("")
    assert not ulid.is_ulid("../../etc/passwd0000000000")
    assert not ulid.is_ulid("8" * 26)
    assert not ulid.is_ulid("01JDAAAAAAAAAAAAAAAAAAAAAI")
