import json
import os
import shutil
import subprocess
from contextlib import suppress

import pytest

from quiesce.errors import QuiesceError
from quiesce.providers.images import qcow2_image, raw_image

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
SIZE = 16 * MIB
DATA = os.urandom(256 * 1024)
IMAGES = pytest.mark.parametrize("image", [raw_image, qcow2_image])


def _raw_bytes(path, tmp_path):
    raw = tmp_path / "as.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
    return raw.read_bytes()


@IMAGES
def test_what_is_written_is_read_back_and_the_rest_is_zeros(tmp_path, image):
    with image(tmp_path / "disk", SIZE) as writer:
        writer.write(3 * MIB, DATA)
        writer.finish()
        writer.commit()

    expected = bytearray(SIZE)
    expected[3 * MIB : 3 * MIB + len(DATA)] = DATA
    assert _raw_bytes(tmp_path / "disk", tmp_path) == expected


@IMAGES
def test_a_restored_image_is_sparse(tmp_path, image):
    with image(tmp_path / "disk", 1024 * MIB) as writer:
        writer.write(512 * MIB, DATA)
        writer.finish()
        writer.commit()

    assert (tmp_path / "disk").stat().st_blocks * 512 < 2 * MIB


def test_a_qcow2_image_is_one(tmp_path):
    with qcow2_image(tmp_path / "disk", SIZE) as writer:
        writer.write(0, DATA)
        writer.finish()
        writer.commit()

    info = subprocess.run(
        ["qemu-img", "info", "--output=json", tmp_path / "disk"], check=True, capture_output=True
    )
    told = json.loads(info.stdout)
    assert told["format"] == "qcow2"
    assert told["virtual-size"] == SIZE
    assert told["dirty-flag"] is False


@IMAGES
def test_without_commit_nothing_is_left(tmp_path, image):
    with image(tmp_path / "disk", SIZE) as writer:
        writer.write(0, DATA)

    assert os.listdir(tmp_path) == []


@IMAGES
def test_what_is_finished_has_no_name_before_it_is_committed(tmp_path, image):
    with image(tmp_path / "disk", SIZE) as writer:
        writer.write(0, DATA)
        writer.finish()
        assert not (tmp_path / "disk").exists()

    assert os.listdir(tmp_path) == []


@IMAGES
def test_of_two_targets_none_keeps_its_name_where_one_cannot_be_named(tmp_path, image):
    with (
        pytest.raises(QuiesceError) as caught,
        image(tmp_path / "first", SIZE) as first,
        image(tmp_path / "second", SIZE) as second,
    ):
        first.finish()
        second.finish()
        first.commit()
        (tmp_path / "second").write_bytes(b"precious")
        second.commit()

    assert caught.value.name == "TargetExists"
    assert os.listdir(tmp_path) == ["second"]
    assert (tmp_path / "second").read_bytes() == b"precious"


def test_an_error_does_not_take_a_name_that_is_somebody_elses(tmp_path):
    with suppress(RuntimeError), raw_image(tmp_path / "disk", SIZE) as writer:
        writer.finish()
        writer.commit()
        os.unlink(tmp_path / "disk")
        (tmp_path / "disk").write_bytes(b"precious")
        raise RuntimeError

    assert (tmp_path / "disk").read_bytes() == b"precious"


@pytest.mark.parametrize("missing", ["qemu-img", "qemu-nbd"])
def test_a_missing_program_fails_the_restore_and_is_named(tmp_path, monkeypatch, missing):
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in {"qemu-img", "qemu-nbd"} - {missing}:
        (tools / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tools))

    with pytest.raises(QuiesceError, match=missing) as caught, qcow2_image(tmp_path / "disk", SIZE):
        pytest.fail("an image was made without its program")
    assert caught.value.name == "RestoreFailed"
    assert caught.value.action == "install the package that has it"
    assert os.listdir(tmp_path) == ["tools"]


@pytest.mark.parametrize("broken", ["qemu-img", "qemu-nbd"])
def test_a_program_that_fails_fails_the_restore(tmp_path, monkeypatch, broken):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / broken).write_text("#!/bin/sh\necho out of luck >&2\nexit 1\n")
    (tools / broken).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    with pytest.raises(QuiesceError) as caught, qcow2_image(tmp_path / "disk", SIZE):
        pytest.fail("an image was made by a program that failed")
    assert caught.value.name == "RestoreFailed"
    assert os.listdir(tmp_path) == ["tools"]


@IMAGES
def test_an_error_on_the_way_leaves_nothing(tmp_path, image):
    with suppress(RuntimeError), image(tmp_path / "disk", SIZE):
        raise RuntimeError

    assert os.listdir(tmp_path) == []


@IMAGES
def test_a_target_that_exists_is_refused_and_untouched(tmp_path, image):
    (tmp_path / "disk").write_bytes(b"precious")

    with pytest.raises(QuiesceError) as caught, image(tmp_path / "disk", SIZE):
        pytest.fail("an existing target was opened")

    assert caught.value.name == "TargetExists"
    assert (tmp_path / "disk").read_bytes() == b"precious"


@IMAGES
def test_a_target_that_appears_meanwhile_is_not_replaced(tmp_path, image):
    with pytest.raises(QuiesceError) as caught, image(tmp_path / "disk", SIZE) as writer:
        writer.finish()
        (tmp_path / "disk").write_bytes(b"precious")
        writer.commit()

    assert caught.value.name == "TargetExists"
    assert (tmp_path / "disk").read_bytes() == b"precious"


@IMAGES
def test_a_second_restore_to_one_target_is_refused(tmp_path, image):
    with (
        image(tmp_path / "disk", SIZE),
        pytest.raises(QuiesceError) as caught,
        image(tmp_path / "disk", SIZE),
    ):
        pytest.fail("two restores write one target")

    assert caught.value.name == "AlreadyRunning"


@IMAGES
def test_what_a_killed_restore_left_is_taken_over(tmp_path, image):
    (tmp_path / ".disk.unfinished").write_bytes(b"old" * 1000)

    with image(tmp_path / "disk", SIZE) as writer:
        writer.finish()
        writer.commit()

    assert _raw_bytes(tmp_path / "disk", tmp_path) == bytes(SIZE)


def test_a_full_target_is_named_and_nothing_is_left(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with pytest.raises(QuiesceError) as caught, raw_image(small / "disk", SIZE) as writer:
            for start in range(0, SIZE, len(DATA)):
                writer.write(start, DATA)
        assert caught.value.name == "RestoreNoSpace"
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)
