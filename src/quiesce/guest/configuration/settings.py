"""What this machine's owner wants of a backup: the configuration files, read and checked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from quiesce.catalogue import phrase
from quiesce.errors import QuiesceError
from quiesce.guest.configuration import guest_conf, plugin_config, plugin_host, trust
from quiesce.guest.configuration.guest_conf import GuestConf
from quiesce.guest.configuration.plugin_host import PluginHost
from quiesce.guest.configuration.script_spec import ScriptSpec
from quiesce.guest.shipped import selfcheck
from quiesce.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quiesce.guest.configuration.plugin_config import PluginConfig

GUEST_CONF = "/etc/quiesce/guest.conf"
PLUGIN_HOST = "/etc/azure/VMSnapshotPluginHost.conf"
PLUGIN_CONFIGS = (
    "/etc/azure/VMSnapshotPluginConfig.json",
    "/etc/azure/VMSnapshotScriptPluginConfig.json",
)


@dataclass(frozen=True)
class Plugin:
    """One ScriptRunner configuration; *source* is its file."""

    source: str
    pre: ScriptSpec
    post: ScriptSpec


@dataclass(frozen=True)
class GuestSettings:
    """All that the files say; with anything *refused* no script is run (rows 4-7).

    *source* is the first plugin configuration, None where there is none; *configured* is also true
    of a refused one. *notes* are findings that change nothing. *is_damaged*: our own files in this
    machine are not as they were shipped. *declared* are the plugins whose files can be read, also
    where none of them is run.
    """

    source: str | None
    plugins: tuple[Plugin, ...]
    continue_on_failure: bool
    freeze_enabled: bool
    skip: tuple[str, ...]
    freeze_timeout_s: float
    deadline_s: float
    max_timeout_s: float
    refused: tuple[QuiesceError, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    configured: bool
    is_damaged: bool = False
    declared: tuple[Plugin, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report's `settings`; of script parameters only their number."""
        return {
            "source": self.source,
            "continueBackupOnFailure": self.continue_on_failure,
            "fsFreezeEnabled": self.freeze_enabled,
            "plugins": [_plugin_to_json(plugin) for plugin in self.plugins],
            "skip": list(self.skip),
            "timeout_s": self.freeze_timeout_s,
            "deadline_s": self.deadline_s,
            "max_timeout_s": self.max_timeout_s,
        }


def _plugin_to_json(plugin: Plugin) -> dict[str, Any]:
    return {
        "source": plugin.source,
        "timeoutInSeconds": plugin.pre.timeout_s,
        "preScriptLocation": plugin.pre.path,
        "preScriptParams": len(plugin.pre.params),
        "preScriptNoOfRetries": plugin.pre.retries,
        "postScriptLocation": plugin.post.path,
        "postScriptParams": len(plugin.post.params),
        "postScriptNoOfRetries": plugin.post.retries,
    }


@dataclass(frozen=True)
class _Config:
    """One plugin configuration as it was read; *parsed* where its C and F may count."""

    source: str
    parsed: PluginConfig | None
    errors: tuple[QuiesceError, ...]

    def flag(self, key: str) -> bool:
        """Return C or F: true unless a trustworthy owner says otherwise."""
        return self.parsed is None or bool(self.parsed.get(key, True))


def load(*, root: str = "/", plugin_config: str | None = None) -> GuestSettings:
    """Read and check every configuration file and every configured script below *root*.

    Never raises for what it finds: that is in `refused`, whose scripts then never run. Paths that
    the files themselves name are taken as they are.
    """
    places = _Places(root)
    conf = _read_guest_conf(places.guest_conf)
    host, configs = _read_configs(places, plugin_config)
    cap_s = min(conf.max_timeout_s, host.max_timeout_s or conf.max_timeout_s)
    damages = selfcheck.damages(root=root)
    refused = [*damages, *conf.errors, *host.errors]
    refused += [error for each in configs for error in each.errors]
    warnings = [
        *conf.warnings,
        *host.warnings,
        *_host_capped(places.plugin_host, host, cap_s),
        *places.unused(configs, is_given=plugin_config is not None),
    ]
    notes: list[str] = []
    plugins: list[Plugin] = []
    for config in configs:
        if config.parsed is not None:
            warnings += config.parsed.warnings
            notes += config.parsed.notes
            if not config.errors:
                plugin = _plugin(config.source, config.parsed, cap_s=cap_s)
                plugins.append(plugin)
                warnings += _capped(config, cap_s)
                refused += _refused_scripts(plugin)
    return GuestSettings(
        source=configs[0].source if configs else None,
        plugins=() if refused else tuple(plugins),
        continue_on_failure=all(config.flag("continueBackupOnFailure") for config in configs),
        freeze_enabled=all(config.flag("fsFreezeEnabled") for config in configs),
        skip=conf.skip,
        freeze_timeout_s=conf.freeze_timeout_s,
        deadline_s=conf.deadline_s,
        max_timeout_s=cap_s,
        refused=tuple(refused),
        warnings=tuple(warnings),
        notes=tuple(notes),
        configured=bool(configs or host.errors or conf.has_app),
        is_damaged=bool(damages),
        declared=tuple(plugins),
    )


class _Places:
    """Where the files lie below *root*."""

    def __init__(self, root: str) -> None:
        above = root.rstrip("/")
        self.guest_conf = above + GUEST_CONF
        self.plugin_host = above + PLUGIN_HOST
        self.plugin_configs = tuple(above + path for path in PLUGIN_CONFIGS)

    def existing_configs(self) -> list[str]:
        """Return the plugin configurations by the known names that exist, first things first."""
        return [path for path in self.plugin_configs if _lies(path)]

    def unused(self, configs: Sequence[_Config], *, is_given: bool) -> Iterator[str]:
        """Tell each known file that exists and is not used; *is_given*: the caller named one."""
        used = {config.source for config in configs}
        candidates = [*self.existing_configs()]
        if is_given and _lies(self.plugin_host):
            candidates.insert(0, self.plugin_host)
        for path in candidates:
            if path not in used:
                instead = ", ".join(sorted(used)) or phrase("nothing")
                template = "{path} is not used; used instead: {instead}"
                yield phrase(template, path=path, instead=instead)


def _lies(path: str) -> bool:
    """Return whether something lies at *path*, or may: what cannot be looked at is refused."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _read_guest_conf(path: str) -> GuestConf:
    looked = trust.look(path, modes=trust.CONFIG_MODES, most_bytes=plugin_config.MOST_BYTES)
    if not looked.exists:
        return GuestConf()
    if looked.objections or looked.data is None:
        return GuestConf(errors=(trust.refusal("IncorrectGuestConf", path, looked.objections),))
    return guest_conf.parse(looked.data, source=path)


def _read_configs(places: _Places, given: str | None) -> tuple[PluginHost, list[_Config]]:
    """Return the plugin host's say and the plugin configurations that count."""
    if given is not None:
        return PluginHost(), [_read_config(given)]
    if not _lies(places.plugin_host):
        return PluginHost(), [_read_config(path) for path in places.existing_configs()[:1]]
    host = _read_plugin_host(places.plugin_host)
    if host.errors:  # no script will run; the owner's C and F are still looked for
        existing = [path for path in host.configs if _lies(path)]
        return host, [_read_config(path) for path in existing or places.existing_configs()]
    return host, [_read_config(path) for path in host.configs]


def _read_plugin_host(path: str) -> PluginHost:
    modes = trust.HOST_CONFIG_MODES
    looked = trust.look(path, modes=modes, most_bytes=plugin_config.MOST_BYTES)
    host = PluginHost()
    is_roots = not any(objection.writable_by_others for objection in looked.objections)
    if looked.data is not None and is_roots:
        host = plugin_host.parse(looked.data, source=path)
    if not looked.objections and looked.data is not None:
        return host
    error = trust.refusal("IncorrectPluginhostFile", path, looked.objections)
    return PluginHost(host.configs, None, (error, *host.errors), host.warnings)


def _read_config(path: str) -> _Config:
    looked = trust.look(path, modes=trust.CONFIG_MODES, most_bytes=plugin_config.MOST_BYTES)
    if not looked.exists:
        error = QuiesceError(
            "IncorrectJSONConfigFile",
            "there is no plugin configuration {path}",
            path=path,
            action="put it there, or name the one that is meant",
        )
        return _Config(path, None, (error,))
    errors: tuple[QuiesceError, ...] = ()
    if looked.objections:
        errors = (trust.refusal("IncorrectJSONConfigFile", path, looked.objections),)
    is_roots = not any(objection.writable_by_others for objection in looked.objections)
    if looked.data is None or not is_roots:
        return _Config(path, None, errors)
    parsed = plugin_config.parse(looked.data, source=path)
    return _Config(path, parsed, (*errors, *parsed.errors))


def _plugin(source: str, parsed: PluginConfig, *, cap_s: float) -> Plugin:
    pre, post = (
        ScriptSpec(
            phase=phase,
            path=parsed.get(f"{phase}ScriptLocation", ""),
            params=parsed.get(f"{phase}ScriptParams", ()),
            retries=parsed.get(f"{phase}ScriptNoOfRetries", 0),
            timeout_s=min(_timeout_s(parsed), cap_s),
        )
        for phase in ("pre", "post")
    )
    return Plugin(source, pre, post)


def _timeout_s(parsed: PluginConfig) -> float:
    return float(parsed.get("timeoutInSeconds", plugin_config.DEFAULT_TIMEOUT_S))


def _host_capped(path: str, host: PluginHost, cap_s: float) -> Iterator[str]:
    if host.max_timeout_s is not None and host.max_timeout_s > cap_s:
        yield _is_capped(path, host.max_timeout_s, cap_s)


def _capped(config: _Config, cap_s: float) -> Iterator[str]:
    if config.parsed is not None and "timeoutInSeconds" in config.parsed.values:
        timeout_s = _timeout_s(config.parsed)
        if timeout_s > cap_s:
            yield _is_capped(config.source, timeout_s, cap_s)


def _is_capped(path: str, found: float, used: float) -> str:
    template = "{path}: timeoutInSeconds is {found:g}, {used:g} is used"
    return phrase(template, path=path, found=found, used=used)


def _refused_scripts(plugin: Plugin) -> list[QuiesceError]:
    errors = (_refusal_of(spec) for spec in (plugin.pre, plugin.post))
    return [error for error in errors if error is not None]


def _refusal_of(spec: ScriptSpec) -> QuiesceError | None:
    try:
        trust.check_script(spec)
    except QuiesceError as exc:
        return exc
    return None
