import pytest

from quiesce.guest.configuration import plugin_host
from quiesce.guest.configuration.plugin_host import PluginHost

SOURCE = "/etc/azure/VMSnapshotPluginHost.conf"
GOOD = """\
[pre_post]
timeoutInSeconds = 1800
numberOfPlugins = 2
pluginName0 = ScriptRunner
pluginPath0 = ScriptRunner.py
pluginConfigPath0 = /etc/azure/one.json
pluginName1 : ScriptRunner
pluginConfigPath1:/etc/azure/two.json
"""


def read(text: str) -> PluginHost:
    return plugin_host.parse(text.encode(), source=SOURCE)


def test_plugins_are_read_in_their_order() -> None:
    assert read(GOOD) == PluginHost(("/etc/azure/one.json", "/etc/azure/two.json"), 1800.0)


def test_the_cap_may_be_missing() -> None:
    assert read(GOOD.replace("timeoutInSeconds = 1800\n", "")).max_timeout_s is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pluginName0 = ScriptRunner\n", "", "pluginName0 is missing"),
        ("pluginName1 : ScriptRunner\n", "", "pluginName1 is missing"),
        ("pluginConfigPath0 = /etc/azure/one.json\n", "", "pluginConfigPath0 is missing"),
        ("pluginConfigPath1:/etc/azure/two.json\n", "", "pluginConfigPath1 is missing"),
        ("numberOfPlugins = 2\n", "", "numberOfPlugins is missing"),
        ("numberOfPlugins = 2", "numberOfPlugins = 1", "is 1, but the plugins listed are: 0, 1"),
        ("numberOfPlugins = 2", "numberOfPlugins = 3", "is 3, but the plugins listed are: 0, 1"),
        (
            "numberOfPlugins = 2",
            "numberOfPlugins = 0",
            "line 3, column 19: numberOfPlugins is '0'; allowed",
        ),
        (
            "numberOfPlugins = 2",
            "numberOfPlugins = two",
            "line 3, column 19: numberOfPlugins is 'two'",
        ),
        (
            "pluginName0 = ScriptRunner",
            "pluginName0 = Mysql",
            "line 4, column 15: pluginName0 is 'Mysql'",
        ),
        (
            "/etc/azure/one.json",
            "one.json",
            "line 6, column 21: pluginConfigPath0 is 'one.json', which is no",
        ),
        ("one.json", "two.json", "line 8, column 19: /etc/azure/two.json is listed twice"),
        ("= 1800", "= never", "line 2, column 20: timeoutInSeconds is 'never'; allowed"),
        ("= 1800", "= 0", "line 2, column 20: timeoutInSeconds is '0'; allowed"),
        ("= 1800", "= 1_800", "line 2, column 20: timeoutInSeconds is '1_800'; allowed"),
        ("pluginName0 =", "pluginName00 =", "pluginName0 is missing"),
        ("[pre_post]", "[post_pre]", "there is no section [pre_post]"),
        ("[pre_post]", "", "line 2, column 1: timeoutInSeconds stands before the first section"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(old: str, new: str, says: str) -> None:
    host = read(GOOD.replace(old, new))

    assert {error.name for error in host.errors} == {"IncorrectPluginhostFile"}
    assert any(says in error.message for error in host.errors)


def test_of_a_refused_file_the_configurations_that_can_be_read_are_still_known() -> None:
    host = read(GOOD.replace("numberOfPlugins = 2", "numberOfPlugins = 7"))

    assert host.configs == ("/etc/azure/one.json", "/etc/azure/two.json")


def test_an_unknown_key_is_a_warning_that_suggests_the_nearest() -> None:
    host = read(GOOD + "numberOfPlugin = 2\n")

    assert host.errors == ()
    said = "numberOfPlugin is unknown and ignored; did you mean numberOfPlugins?"
    assert host.warnings == (f"{SOURCE}: line 9, column 1: {said}",)


def test_a_number_with_a_zero_before_it_is_no_plugin() -> None:
    host = read(GOOD + "pluginName01 = ScriptRunner\n")

    assert host.errors == ()
    assert "pluginName01 is unknown and ignored" in host.warnings[0]
