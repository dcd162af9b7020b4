"""The configuration files as they lie in a machine, with their owners and modes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quiesce.guest.configuration import settings
from quiesce.guest.configuration.settings import GuestSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

NOBODY = 65534
PAGE_NAME = "etc/azure/VMSnapshotPluginConfig.json"
OTHER_NAME = "etc/azure/VMSnapshotScriptPluginConfig.json"
HOST_NAME = "etc/azure/VMSnapshotPluginHost.conf"
GUEST_CONF = "etc/quiesce/guest.conf"


class Machine:
    """A root directory with scripts, and the files that are put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("etc/azure", "etc/quiesce", "opt"):
            (root / folder).mkdir(parents=True, mode=0o755)
        self.pre = self.put("opt/pre", "#!/bin/sh\n", 0o700)
        self.post = self.put("opt/post", "#!/bin/sh\n", 0o700)

    def put(self, name: str, content: str, mode: int = 0o600) -> Path:
        path = self.root / name
        path.write_text(content)
        path.chmod(mode)
        return path

    def config(self, name: str = PAGE_NAME, mode: int = 0o600, **values: Any) -> Path:
        document = {"preScriptLocation": str(self.pre), "postScriptLocation": str(self.post)}
        return self.put(name, json.dumps({**document, **values}), mode)

    def host(self, *configs: Path, mode: int = 0o644, extra: str = "") -> Path:
        lines = ["[pre_post]", f"numberOfPlugins = {len(configs)}", extra]
        for number, config in enumerate(configs):
            lines += [f"pluginName{number} = ScriptRunner", f"pluginConfigPath{number} = {config}"]
        return self.put(HOST_NAME, "\n".join(lines), mode)

    def load(self, plugin_config: str | None = None) -> GuestSettings:
        return settings.load(root=str(self.root), plugin_config=plugin_config)


@pytest.fixture
def machine() -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="quiesce-settings-", dir="/root"))
    yield Machine(root)
    shutil.rmtree(root)


def names(found: GuestSettings) -> list[str]:
    return [error.name for error in found.refused]


def test_without_any_file_the_defaults_apply(machine: Machine) -> None:
    found = machine.load()

    assert found == GuestSettings(
        source=None,
        plugins=(),
        continue_on_failure=True,
        freeze_enabled=True,
        skip=(),
        freeze_timeout_s=10.0,
        deadline_s=60.0,
        max_timeout_s=1800.0,
        refused=(),
        warnings=(),
        notes=(),
        configured=False,
    )


@pytest.mark.parametrize("name", [PAGE_NAME, OTHER_NAME])
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_configuration_is_found_by_either_name(machine: Machine, name: str, mode: int) -> None:
    path = machine.config(
        name,
        mode,
        preScriptParams=["a", ""],
        postScriptNoOfRetries=3,
        timeoutInSeconds=7,
        continueBackupOnFailure=False,
    )
    found = machine.load()

    assert found.source == str(path)
    assert found.refused == ()
    assert found.configured
    assert not found.continue_on_failure
    [plugin] = found.plugins
    assert (plugin.pre.phase, plugin.pre.path, plugin.pre.params) == (
        "pre",
        str(machine.pre),
        ("a", ""),
    )
    assert (plugin.post.phase, plugin.post.retries, plugin.post.timeout_s) == ("post", 3, 7.0)


def test_of_two_configurations_the_pages_name_wins_and_the_other_is_named(machine: Machine) -> None:
    page, other = machine.config(PAGE_NAME), machine.config(OTHER_NAME)
    found = machine.load()

    assert found.source == str(page)
    assert found.warnings == (f"{other} is not used; used instead: {page}",)


def test_the_plugin_host_file_wins_over_both_names(machine: Machine) -> None:
    page = machine.config(PAGE_NAME)
    one = machine.config("opt/one.json", timeoutInSeconds=100)
    two = machine.config("opt/two.json", fsFreezeEnabled=False)
    machine.host(one, two, extra="timeoutInSeconds = 50")
    found = machine.load()

    assert [plugin.source for plugin in found.plugins] == [str(one), str(two)]
    assert [plugin.pre.timeout_s for plugin in found.plugins] == [50.0, 30.0]
    assert (found.continue_on_failure, found.freeze_enabled) == (True, False)
    assert any(warning.startswith(f"{page} is not used") for warning in found.warnings)
    assert any("timeoutInSeconds is 100, 50 is used" in warning for warning in found.warnings)


def test_a_configuration_that_is_listed_is_not_named_as_unused(machine: Machine) -> None:
    machine.host(machine.config(PAGE_NAME))

    assert machine.load().warnings == ()


def test_what_the_caller_names_wins_over_everything(machine: Machine) -> None:
    page = machine.config(PAGE_NAME)
    host = machine.host(page)
    mine = machine.config("opt/mine.json")
    found = machine.load(plugin_config=str(mine))

    assert found.source == str(mine)
    assert [warning.split(" ")[0] for warning in found.warnings] == [str(host), str(page)]


def test_what_the_caller_names_must_exist(machine: Machine) -> None:
    machine.config(continueBackupOnFailure=False)
    found = machine.load(plugin_config=str(machine.root / "none.json"))

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert found.configured
    assert found.continue_on_failure
    assert found.plugins == ()


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_refused_configuration_of_several_stops_all_scripts(
    machine: Machine, position: int
) -> None:
    configs = [machine.config(f"opt/{number}.json") for number in range(3)]
    configs[position].chmod(0o644)
    machine.host(*configs)
    found = machine.load()

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert f"{configs[position]} is refused" in found.refused[0].message
    assert found.refused[0].action == f"chmod 600 {configs[position]}"
    assert found.plugins == ()


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("key", ["continueBackupOnFailure", "fsFreezeEnabled"])
def test_c_and_f_are_true_only_where_all_configurations_say_so(
    machine: Machine, position: int, key: str
) -> None:
    configs = [
        machine.config(f"opt/{number}.json", **({key: False} if number == position else {}))
        for number in range(3)
    ]
    machine.host(*configs)
    found = machine.load()

    assert found.continue_on_failure is (key != "continueBackupOnFailure")
    assert found.freeze_enabled is (key != "fsFreezeEnabled")


@pytest.mark.parametrize(
    ("mode", "counts"),
    [(0o644, True), (0o640, True), (0o700, True), (0o4600, True), (0o666, False), (0o620, False)],
)
def test_c_and_f_of_a_refused_configuration_count_where_nobody_else_can_write_it(
    machine: Machine, mode: int, counts: bool
) -> None:
    machine.config(mode=mode, continueBackupOnFailure=False, fsFreezeEnabled=False)
    found = machine.load()

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert (found.continue_on_failure, found.freeze_enabled) == (not counts, not counts)


def test_c_and_f_of_a_strangers_file_do_not_count(machine: Machine) -> None:
    path = machine.config(continueBackupOnFailure=False)
    os.chown(path, NOBODY, -1)
    found = machine.load()

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert found.continue_on_failure


def test_c_and_f_do_not_count_where_a_stranger_can_put_another_file_there(
    machine: Machine,
) -> None:
    path = machine.config(continueBackupOnFailure=False)
    path.parent.chmod(0o777)
    found = machine.load()

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert found.continue_on_failure


@pytest.mark.parametrize(
    ("text", "c", "f"),
    [
        ('{"continueBackupOnFailure": false, "fsFreezeEnabled": "no"}', False, True),
        ('{"continueBackupOnFailure": false, "continueBackupOnFailure": false}', True, True),
        ('{"ContinueBackupOnFailure": false, "fsFreezeEnabled": false}', True, False),
        ('{"continueBackupOnFailure": false', True, True),
    ],
)
def test_of_a_wrong_configuration_each_valid_key_counts(
    machine: Machine, text: str, c: bool, f: bool
) -> None:
    machine.put(PAGE_NAME, text)
    found = machine.load()

    assert set(names(found)) == {"IncorrectJSONConfigFile"}
    assert (found.continue_on_failure, found.freeze_enabled) == (c, f)


def test_a_link_instead_of_a_configuration_is_refused(machine: Machine) -> None:
    target = machine.config("opt/real.json", continueBackupOnFailure=False)
    (machine.root / PAGE_NAME).symlink_to(target)
    found = machine.load()

    assert names(found) == ["IncorrectJSONConfigFile"]
    assert "symbolic link" in found.refused[0].message
    assert found.continue_on_failure


@pytest.mark.parametrize(
    ("spoiled", "name"),
    [
        ("pre", "InsufficientPermissionforPre-Script"),
        ("post", "InsufficientPermissionforPost-Script"),
    ],
)
def test_a_refused_script_stops_the_other_one_too(
    machine: Machine, spoiled: str, name: str
) -> None:
    machine.config()
    (machine.root / "opt" / spoiled).chmod(0o755)
    found = machine.load()

    assert names(found) == [name]
    assert found.plugins == ()


@pytest.mark.parametrize("phase", ["pre", "post"])
@pytest.mark.parametrize("location", ["", "opt/pre", "/no/such/script"])
def test_a_location_that_leads_nowhere_is_not_found(
    machine: Machine, phase: str, location: str
) -> None:
    machine.config(**{f"{phase}ScriptLocation": location})

    assert names(machine.load()) == [f"{phase.capitalize()}-ScriptNotFound"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600, 0o400, 0o444])
def test_the_plugin_host_file_may_be_read_by_others(machine: Machine, mode: int) -> None:
    machine.host(machine.config(), mode=mode)

    assert machine.load().refused == ()


@pytest.mark.parametrize("mode", [0o755, 0o664, 0o646, 0o4644])
def test_a_plugin_host_file_with_another_mode_is_refused(machine: Machine, mode: int) -> None:
    path = machine.host(machine.config(), mode=mode)
    found = machine.load()

    assert names(found) == ["IncorrectPluginhostFile"]
    assert found.refused[0].action == f"chmod 644 {path}"
    assert found.plugins == ()


@pytest.mark.parametrize(
    ("mode", "listed_counts"), [(0o755, True), (0o666, False)], ids=["readable", "a stranger's"]
)
def test_with_a_refused_plugin_host_file_c_and_f_come_from_what_can_still_be_read(
    machine: Machine, mode: int, listed_counts: bool
) -> None:
    machine.config(PAGE_NAME, fsFreezeEnabled=False)
    listed = machine.config("opt/listed.json", continueBackupOnFailure=False)
    machine.host(listed, mode=mode)
    found = machine.load()

    assert found.continue_on_failure is not listed_counts
    assert found.freeze_enabled is listed_counts


def test_a_refused_plugin_host_file_alone_is_a_configuration(machine: Machine) -> None:
    machine.put(HOST_NAME, "nonsense", 0o644)
    found = machine.load()

    assert names(found) == ["IncorrectPluginhostFile"]
    assert (found.configured, found.continue_on_failure, found.freeze_enabled) == (True, True, True)


def test_guest_conf_is_read(machine: Machine) -> None:
    machine.config(timeoutInSeconds=5000)
    machine.put(GUEST_CONF, "[freeze]\nskip = /scratch\n[scripts]\nmax_timeout_s = 4000\n")
    found = machine.load()

    assert (found.skip, found.max_timeout_s) == (("/scratch",), 4000.0)
    assert found.plugins[0].pre.timeout_s == 4000.0


@pytest.mark.parametrize(
    ("text", "mode"), [("[freeze]\nskip = /scratch\n", 0o644), ("[freeze]\nskip = x\n", 0o600)]
)
def test_a_refused_guest_conf_stops_all_scripts_and_its_defaults_apply(
    machine: Machine, text: str, mode: int
) -> None:
    machine.config(continueBackupOnFailure=False)
    machine.put(GUEST_CONF, text, mode)
    found = machine.load()

    assert names(found) == ["IncorrectGuestConf"]
    assert (found.plugins, found.skip) == ((), ())
    assert not found.continue_on_failure


def test_the_settings_in_a_report_have_the_number_of_parameters_only(machine: Machine) -> None:
    machine.config(preScriptParams=["secret", "two"])
    document = machine.load().to_json()

    assert "secret" not in json.dumps(document)
    assert document["plugins"][0]["preScriptParams"] == 2
    assert document["continueBackupOnFailure"] is True


@pytest.mark.parametrize(("host_s", "cap_s"), [(50, 50.0), (600, 100.0)])
def test_the_plugin_hosts_cap_counts_where_it_is_the_lower_one(
    machine: Machine, host_s: int, cap_s: float
) -> None:
    machine.put(GUEST_CONF, "[scripts]\nmax_timeout_s = 100\n")
    machine.host(machine.config(timeoutInSeconds=1000), extra=f"timeoutInSeconds = {host_s}")

    found = machine.load()

    assert found.max_timeout_s == cap_s
    assert [plugin.pre.timeout_s for plugin in found.plugins] == [cap_s]
