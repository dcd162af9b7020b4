from quiesce.model.disk import Disk
from quiesce.providers.scratch import needed_bytes


def test_a_twentieth_of_all_disks_must_be_free():
    assert needed_bytes([Disk("a", 1000), Disk("b", 3000)]) == 200
