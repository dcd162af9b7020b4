"""What was brought to rest is always released, in reverse, also what failed half-way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from quiesce.guest.record.record import Held
from quiesce.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from quiesce.guest.configuration.script_spec import ScriptSpec
    from quiesce.guest.scripts.script import ScriptResult


class RestStack:
    """The applications that are held; *note* is called before each change to the outside.

    *run* runs one script with the given variables.
    """

    def __init__(
        self,
        held: list[Held],
        *,
        note: Callable[[], None],
        run: Callable[[ScriptSpec, dict[str, str]], ScriptResult],
    ) -> None:
        self._held = held
        self._note = note
        self._run = run

    def hold(self, name: str, pre: ScriptSpec, post: ScriptSpec) -> ScriptResult:
        """Hold one application; it counts as held from before its script starts, even if it fails.

        Where the script was refused before it ever started there is nothing to release. Raises
        OSError where it cannot be written down; the script is not started then.
        """
        self._held.append(Held(name, post, "failed"))
        try:
            self._note()
        except OSError:
            self._held.pop()
            raise
        result = self._run(pre, {"QUIESCE_PHASE": "pre"})
        if result.attempts:
            status = result.status if result.status in {"ok", "timeout"} else "failed"
            self._held[-1] = replace(self._held[-1], pre_status=status)
        else:
            self._held.pop()
        return result

    def release(self, snapshot: str) -> ScriptResult:
        """Release the one that was held last, and say how that went; *snapshot* is its fate.

        It is off the stack afterwards, however its script ended: nothing is released twice.
        """
        held = self._held[-1]
        variables = {
            "QUIESCE_PHASE": "post",
            "QUIESCE_PRE_STATUS": held.pre_status,
            "QUIESCE_SNAPSHOT": snapshot,
        }
        result = self._run(held.post, variables)
        self._held.pop()
        with contextlib.suppress(OSError):  # at worst it is released once more
            self._note()
        return result
