"""Look at everything that a session depends on, before anything is at rest."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from quiesce.guest.configuration import settings
from quiesce.guest.filesystems import devices
from quiesce.guest.filesystems.mounts import freeze_errors, plan_freeze
from quiesce.guest.record.decision import Cause
from quiesce.guest.record.record import Record, now_text
from quiesce.values import dataclass

if TYPE_CHECKING:
    from quiesce.errors import QuiesceError
    from quiesce.guest.configuration.settings import GuestSettings
    from quiesce.guest.filesystems.mounts import FreezePlan

MOST_DEADLINE_S = 3600.0


@dataclass(frozen=True)
class Order:
    """What one session is asked to do.

    *door* names who asks. *frozen_by*: engine, door or command (the snapshot command freezes by
    itself). *only*: freeze these mounts and no others. *disks* and *deadline_s* are None where
    the caller says nothing of them. *unguarded*: why nothing can guard a session; then nothing
    is brought to rest (row 24).
    """

    session: str
    door: str
    frozen_by: str = "engine"
    freeze: bool = True
    only: tuple[str, ...] | None = None
    disks: int | None = None
    deadline_s: float | None = None
    plugin_config: str | None = None
    unguarded: QuiesceError | None = None


@dataclass(frozen=True)
class Survey:
    """What was found: the settings, the plan, and the record that begins with them."""

    settings: GuestSettings
    plan: FreezePlan
    record: Record


def look(order: Order) -> Survey:
    """Read settings, mounts and disks, and begin the record; refusals are failures in it.

    Raises NotAMountPointError where a path in *only* is none, OSError where the kernel does not
    tell its mounts.
    """
    started_s = time.monotonic()
    started_at = now_text()
    found = settings.load(plugin_config=order.plugin_config)
    mounts = devices.read_mounts()
    plan = plan_freeze(
        mounts, carriers=devices.read_carriers(mounts), skip=found.skip, only=order.only
    )
    deadline_s = found.deadline_s if order.deadline_s is None else order.deadline_s
    record = Record(
        session=order.session,
        machine=os.uname().nodename,
        door=order.door,
        started_at=started_at,
        started_s=started_s,
        deadline_s=min(deadline_s, MOST_DEADLINE_S),
        settings=found.to_json(),
        configured=found.configured,
        freeze_wanted=order.freeze and found.freeze_enabled,
        continue_on_failure=found.continue_on_failure,
        disks=_disks(order),
        frozen_by=order.frozen_by,
        warnings=[*found.warnings, *plan.warnings],
    )
    for error in found.refused:
        record.fail(Cause.REFUSED, error)
    if order.unguarded is not None:
        record.fail(Cause.GUARD, order.unguarded)
    elif record.freeze_wanted:
        for error in freeze_errors(plan, tries=order.frozen_by != "door"):
            record.fail(Cause.FREEZE, error)
    return Survey(found, plan, record)


def _disks(order: Order) -> dict[str, object]:
    if order.disks is not None:
        return {"count": order.disks, "source": "host"}
    return {"count": devices.count_disks(), "source": "guest"}
