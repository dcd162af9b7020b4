import pytest

from quiesce.providers.machine import disk_names, drive_of

INSERTED = {"node-name": "n0", "ro": False, "file": "/a.raw", "image": {"virtual-size": 1}}


def entry(**changes):
    return {"device": "", "qdev": "vda", "removable": False, "inserted": INSERTED, **changes}


def test_a_device_with_an_id_is_named_by_it():
    assert drive_of(entry()).identity == "vda"


def test_the_part_of_a_virtio_device_that_holds_the_disk_has_the_device_s_name():
    drive = drive_of(entry(qdev="/machine/peripheral/system/virtio-backend"))

    assert drive.identity == "system"
    assert drive.qom_path == "/machine/peripheral/system/virtio-backend"


def test_an_id_becomes_a_path_in_the_object_tree():
    assert drive_of(entry()).qom_path == "/machine/peripheral/vda"


@pytest.mark.parametrize("qdev", ["/machine/unattached/device[23]", "a b", "x" * 65])
def test_what_is_no_plain_id_is_no_name(qdev):
    assert drive_of(entry(qdev=qdev)).identity is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inserted": None}, "no medium"),
        ({"inserted": {**INSERTED, "ro": True}}, "read-only"),
        ({"removable": True}, "removable"),
        ({"qdev": ""}, "no device uses it"),
        ({"qdev": "/machine/system.flash1", "device": "pflash1"}, "firmware"),
    ],
)
def test_a_drive_that_is_no_disk_is_skipped_with_a_reason(changes, reason):
    assert drive_of(entry(**changes)).reason == reason


def test_a_plain_disk_is_not_skipped():
    assert drive_of(entry()).reason is None


def test_disks_without_a_name_are_numbered_by_their_place():
    assert disk_names([None, "vda", None]) == ["disk0", "vda", "disk2"]


def test_a_number_never_takes_the_name_of_another_disk():
    names = disk_names([None, "disk0"])

    assert names[1] == "disk0"
    assert len(set(names)) == 2
