"""The scripts of one session; the process of each is there before the first of them runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quiesce.errors import QuiesceError
from quiesce.guest.scripts import facts, script_cgroup
from quiesce.guest.scripts.launch import prepare
from quiesce.guest.scripts.script import run_script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.scripts.launch import Starter
    from quiesce.guest.scripts.script import ScriptResult


class Scripts:
    """Runs the scripts of *session*, prepared or not."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._waiting: dict[ScriptSpec, Starter] = {}

    def prepare(self, specs: Iterable[ScriptSpec]) -> None:
        """Have the process of each script wait; where we die they end unstarted.

        Raises QuiesceError GuardUnavailable where there cannot be one for each; none waits then.
        """
        script_cgroup.sweep()
        try:
            for spec in specs:
                if spec not in self._waiting:
                    self._waiting[spec] = prepare(spec, session=self._session)
        except OSError as exc:
            self.close()
            raise QuiesceError(
                "GuardUnavailable", "no process for a script: {reason}", reason=exc.strerror
            ) from exc

    def run(self, spec: ScriptSpec, variables: dict[str, str]) -> ScriptResult:
        """Run one script with *variables* and those that all scripts of the session have."""
        fixed = {
            "QUIESCE_SESSION": self._session,
            "QUIESCE_FACTS": str(facts.path_of(self._session)),
        }
        starter = self._waiting.pop(spec, None)
        if starter is not None and not starter.is_alive():
            starter.drop()
            starter = None
        return run_script(spec, env={**fixed, **variables}, starter=starter)

    def close(self) -> None:
        """Have those that still wait end unstarted."""
        while self._waiting:
            self._waiting.popitem()[1].drop()
