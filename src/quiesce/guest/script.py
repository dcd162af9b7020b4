"""Run one script: attempts, one deadline, nobody left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiesce.guest import trust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quiesce.errors import QuiesceError
    from quiesce.guest.settings import ScriptSpec
    from quiesce.model.report import Attempt


@dataclass(frozen=True)
class ScriptResult:
    """How a script ended: *status* is ok, failed, timeout or refused.

    Refused without attempts means that it was never started.
    """

    status: str
    attempts: tuple[Attempt, ...]
    error: QuiesceError | None


def run_script(
    spec: ScriptSpec,
    *,
    env: Mapping[str, str],
    check: Callable[[ScriptSpec], None] = trust.check_script,
) -> ScriptResult:
    """Run *spec* until it succeeds, its retries are used up or its time is over.

    *env* is added to a clean environment; QUIESCE_ATTEMPT and QUIESCE_TIMEOUT_S are added here.
    Trust is checked right before each attempt. What *env* must not hold: secrets. If a signal
    handler raises meanwhile, the script and all its descendants are killed and reaped first.
    """
    raise NotImplementedError
