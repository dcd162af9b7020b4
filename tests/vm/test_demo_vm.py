"""The demo's VM itself: it boots by itself and is what the demo says it is."""

import json

import pytest

from quiesce.system.deadline import Deadline

pytestmark = pytest.mark.vm


def test_the_vm_boots_from_its_own_disk_with_two_file_systems_and_powers_off(machines):
    vm = machines.boot()
    deadline = Deadline.after(60)
    mounts = vm.output_of(["findmnt", "-rno", "TARGET,FSTYPE,SOURCE"], deadline=deadline)
    hook = vm.output_of(["/bin/cat", "/etc/qemu/qemu-ga.conf"], deadline=deadline)
    check = vm.output_of(["/usr/local/bin/quiesce-guest", "check", "--json"], deadline=deadline)
    vm.power_off(deadline=deadline)

    assert "/ ext4 /dev/vda1" in mounts
    assert "/var/lib/postgresql xfs /dev/vdb" in mounts
    assert "fsfreeze-hook=" in hook
    assert json.loads(check)["expected"] == "application"
    assert not vm.is_alive()
