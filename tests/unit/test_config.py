from pathlib import Path

import pytest

from quiesce import config
from quiesce.errors import QuiesceError


def _load(tmp_path, text):
    path = tmp_path / "quiesce.toml"
    path.write_text(text)
    return config.load(path)


def test_a_machine_is_known_by_its_sockets(tmp_path):
    settings = _load(tmp_path, '[machine.db1]\nqmp = "/run/db1.qmp"\nqga = "/run/db1.qga"\n')

    assert settings.machine["db1"].qmp == Path("/run/db1.qmp")
    assert settings.machine["db1"].agent is True


def test_a_machine_may_be_disks_alone(tmp_path):
    settings = _load(tmp_path, '[machine.old]\ndisks = ["/images/a.raw", "qcow2:/images/b"]\n')

    assert settings.machine["old"].qmp is None
    assert settings.machine["old"].disks == ("/images/a.raw", "qcow2:/images/b")


def test_an_empty_file_is_fine(tmp_path):
    assert _load(tmp_path, "").machine == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[machine.db1]\n", "machine.db1: value error, a machine has either qmp or disks"),
        ('[machine.db1]\nqmp = "/q"\ndisks = ["/d"]\n', "either qmp or disks"),
        ('[machine.db1]\nqga = "/q"\ndisks = ["/d"]\n', "qga means nothing"),
        ('[machine.db1]\nqmp = "/q"\nqmq = "/q"\n', "machine.db1.qmq"),
        ("[vault]\nurl = 7\n", "vault.url"),
        ("[vault\n", "cannot read"),
        ("[typo]\n", "typo"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path, text, told):
    with pytest.raises(QuiesceError) as caught:
        _load(tmp_path, text)

    assert caught.value.name == "IncorrectSettings"
    assert told in caught.value.message
    assert "quiesce.toml" in caught.value.message


def test_a_named_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(QuiesceError) as caught:
        config.load(tmp_path / "none.toml")

    assert caught.value.name == "IncorrectSettings"
