"""The demo's disks, made from a small tree: bootable, sound, and seen to be unsound when broken."""

import subprocess

import pytest

from quiesce.demo import bootdisk, prover, vm
from quiesce.system.deadline import Deadline

pytestmark = pytest.mark.integration

MIB = 1 << 20
SYSTEM_BYTES = 64 * MIB
DATA_BYTES = 320 * MIB


@pytest.fixture
def disks(tmp_path):
    """A system disk and a data disk of one small tree, by name."""
    tree = tmp_path / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "boot/grub/grub.cfg").write_text("boot\n")
    (tree / "empty").mkdir(mode=0o700)
    (tree / "link").symlink_to("boot/grub")
    (tree / "large").write_bytes(b"quiesce\n" * (2 * MIB // 8))
    made = {"system": tmp_path / "system.raw", "data": tmp_path / "data.raw"}
    deadline = Deadline.after(60)
    bootdisk.build_system_disk(tree, made["system"], size_bytes=SYSTEM_BYTES, deadline=deadline)
    bootdisk.build_data_disk(tree, made["data"], size_bytes=DATA_BYTES, deadline=deadline)
    return made


@pytest.fixture
def overlays(disks, tmp_path):
    made = {name: tmp_path / f"{name}.qcow2" for name in disks}
    for name, path in disks.items():
        vm.create_overlay(path, made[name], deadline=Deadline.after(30))
    return made


def said(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_system_disk_has_a_boot_record_grub_and_one_active_partition(disks):
    record = disks["system"].read_bytes()[:512]

    assert record[510:] == b"\x55\xaa"
    assert record[446] == 0x80
    assert int.from_bytes(record[454:458], "little") * 512 == bootdisk.PARTITION_AT_BYTES
    assert int.from_bytes(record[458:462], "little") * 512 == SYSTEM_BYTES - MIB
    assert b"GRUB" in record[:440]


def test_both_file_systems_hold_the_tree(disks, tmp_path):
    in_ext4 = said("debugfs", "-R", "cat /boot/grub/grub.cfg", f"{disks['system']}?offset={MIB}")
    in_xfs = said("xfs_db", "-r", "-c", "ls /", str(disks["data"]))

    assert in_ext4 == "boot\n"
    assert {"boot", "empty", "link", "large"} <= set(in_xfs.split())


def test_the_disks_are_sparse_and_leave_nothing_beside_them(disks, tmp_path):
    assert {path.name for path in tmp_path.iterdir()} == {"tree", "system.raw", "data.raw"}
    assert disks["system"].stat().st_blocks * 512 < SYSTEM_BYTES // 2


def test_sound_disks_pass_from_outside(overlays, tmp_path):
    assert [check.passed for check in prover.check_from_outside(tmp_path, overlays)] == [True, True]


def test_a_damaged_ext4_fails_from_outside(disks, overlays, tmp_path):
    place = f"{disks['system']}?offset={MIB}"
    said("debugfs", "-w", "-R", "clri /large", place)
    ext4, xfs = prover.check_from_outside(tmp_path, overlays)

    assert not ext4.passed
    assert xfs.passed


def test_a_damaged_xfs_fails_from_outside(disks, overlays, tmp_path):
    with disks["data"].open("r+b") as file:
        file.seek(4096)  # free space and inode headers of the first allocation group
        file.write(b"\xa5" * 8192)
    ext4, xfs = prover.check_from_outside(tmp_path, overlays)

    assert ext4.passed
    assert not xfs.passed
