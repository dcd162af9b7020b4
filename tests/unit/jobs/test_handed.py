"""A report is evidence once."""

import pytest

from quiesce.errors import QuiesceError
from quiesce.jobs.handed import refuse_used
from quiesce.model.consistency import ConsistencyLevel, Outcome
from quiesce.model.point import Evidence
from quiesce.system import ulid
from quiesce.testing.fakes import guest_report
from quiesce.vault.stores.memory import MemoryStore
from vault_box import copied, open_vault, small_vault


def point_with(vault, report, machine="web1"):
    level = ConsistencyLevel.APPLICATION
    evidence = Evidence(level, Outcome.COMPLETE, report and report.to_json(), None)
    with vault.session(machine=machine, uuid=None, sid=ulid.new()) as session:
        copied(session, {"vda": b"x" * 5000})
        return session.commit(evidence, created_at="2026-11-23T10:00:00.000Z")


def test_a_report_that_a_point_has_is_refused():
    vault = small_vault(MemoryStore())
    report = guest_report("A")
    assert refuse_used(vault, "web1", report) == ()
    first = point_with(vault, report)
    point_with(vault, None)
    point_with(vault, guest_report("B"))

    with pytest.raises(QuiesceError, match=first.id) as caught:
        refuse_used(vault, "web1", report)

    assert caught.value.name == "ReportRefused"
    assert refuse_used(vault, "other", report) == ()
    assert refuse_used(vault, "web1", guest_report("C")) == ()


def test_a_point_that_cannot_be_read_is_told():
    store = MemoryStore()
    vault = small_vault(store)
    point = point_with(vault, guest_report("A"))
    for name in list(store.list("domains")):
        if "/m-" in name:
            store._blobs[name] = b"rotten"
    (warning,) = refuse_used(open_vault(store), "web1", guest_report("A"))
    assert point.id in warning
