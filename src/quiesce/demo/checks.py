"""What a restored machine must show, judged from what it and the tools say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quiesce.demo.ledger import Comparison

_FEW = 5
_EXT4_RECOVERY = re.compile(r"EXT4-fs \(\S+\): (recovery complete|.*recovery required)")
_JBD2_RECOVERY = re.compile(r"JBD2: .*recover", re.IGNORECASE)
_DAMAGE = re.compile(
    r"EXT4-fs error|EXT4-fs \(\S+\): (error|warning)|I/O error|[Cc]orrupt|Internal error"
    r"|Metadata CRC error|run xfs_repair|Remounting filesystem read-only|Log inconsistent"
)
_ORPHAN = re.compile(r"orphan", re.IGNORECASE)
_E2FSCK_SUMMARY = re.compile(r": clean, |: \d+/\d+ files \(")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was expected, whether it is so, and what was seen."""

    name: str
    passed: bool
    detail: str


def check_commits(comparison: Comparison) -> Check:
    """Judge the restored rows against the clients' ledger."""
    return Check(
        "every commit acknowledged before the freeze is there, none begun after the thaw",
        comparison.is_consistent and comparison.before > 0 and comparison.after > 0,
        _commits_detail(comparison),
    )


def _commits_detail(comparison: Comparison) -> str:
    wrong = [
        f"{len(numbers)} {what} ({', '.join(map(str, numbers[:_FEW]))} …)"
        for numbers, what in (
            (comparison.lost, "lost"),
            (comparison.from_later, "from after the thaw"),
            (comparison.unknown, "that nobody wrote"),
        )
        if numbers
    ]
    return "; ".join(wrong) or (
        f"{comparison.before} before, all there; {comparison.after} after, none there;"
        f" {comparison.between_present} of {comparison.between} in between"
    )


def check_kernel_log(log: str) -> Check:
    """Judge the kernel's messages of the restored machine's first boot.

    A frozen ext4 is clean, so recovery of its journal means that it was not frozen. A frozen XFS
    leaves a log to replay, which is no finding. Orphan inodes of ext4 are reported, not judged.
    """
    lines = log.splitlines()
    bad = [
        line
        for line in lines
        if _EXT4_RECOVERY.search(line) or _JBD2_RECOVERY.search(line) or _DAMAGE.search(line)
    ]
    orphans = sum(1 for line in lines if "EXT4-fs" in line and _ORPHAN.search(line))
    replayed = any("XFS" in line and "Starting recovery" in line for line in lines)
    detail = bad[0].strip() if bad else "ext4 mounted clean"
    detail += ", XFS replayed its log as after every freeze" if replayed else ""
    detail += f", {orphans} lines about orphan inodes" if orphans else ""
    return Check("the kernel found no ext4 journal to recover and no damage", not bad, detail)


def check_ext4(exit_status: int, said: str) -> Check:
    """Judge `e2fsck -fn`, or `e2fsck -fp` on a throw-away copy that has orphan inodes."""
    lines = [line for line in said.splitlines() if line.strip() and "e2fsck 1." not in line]
    orphans = [line for line in lines if _ORPHAN.search(line)]
    rest = [line for line in lines if line not in orphans and not _E2FSCK_SUMMARY.search(line)]
    passed = exit_status == 0 or (exit_status == 1 and bool(orphans) and not rest)
    seen = f"{len(orphans)} orphan inodes, no damage" if orphans else "clean"
    return Check("e2fsck finds nothing", passed, seen if passed else "; ".join(lines[:_FEW]))


def check_xfs(exit_status: int, said: str) -> Check:
    """Judge `xfs_repair -n`."""
    last = said.strip().splitlines()[-_FEW:]
    return Check(
        "xfs_repair finds nothing", exit_status == 0, "; ".join(last) if exit_status else "clean"
    )


def check_postgresql(exit_status: int | None, said: str) -> Check:
    """Judge `pg_amcheck`."""
    passed = exit_status == 0 and not said.strip()
    return Check(
        "PostgreSQL is up, pg_amcheck finds nothing",
        passed,
        "every table and index is sound" if passed else said.strip()[:300],
    )


def check_position(lsn: str | None, *, reached: bool, now: str) -> Check:
    """Judge the WAL position that the pre-script handed over: the restored server is past it."""
    return Check(
        "the restored WAL reaches the position that the pre-script wrote down",
        lsn is not None and reached,
        f"{lsn} in the recovery point, {now} now",
    )


def check_evidence(shown: Mapping[str, Any]) -> Check:
    """Judge `quiesce show`'s document: the level is `application`, and its evidence agrees."""
    point, evidence = shown["point"], shown["evidence"]
    report = evidence["report"]
    findings = [
        *_level_findings(point, evidence),
        *_report_findings(point["id"], report),
        *(f"{error['name']}: {error['message']}" for error in evidence["errors"]),
    ]
    return Check(
        "the manifest says application-consistent, with the guest's own report as evidence",
        not findings,
        "; ".join(findings[:_FEW]) or _report_detail(report),
    )


def _level_findings(point: Mapping[str, Any], evidence: Mapping[str, Any]) -> list[str]:
    levels = {
        "the point's level": point["consistency"],
        "the manifest's level": evidence["consistency"],
        "the guest's level": (evidence["report"] or {}).get("reached"),
    }
    return [f"{what} is {level}" for what, level in levels.items() if level != "application"]


def _report_findings(point_id: str, report: Mapping[str, Any] | None) -> list[str]:
    if report is None:
        return ["the guest's report is missing"]
    scripts = {step["name"]: step["status"] for step in report["steps"] if step["kind"] == "script"}
    findings = [
        f"{name} is {scripts.get(name, 'missing')}"
        for name in ("pre-script", "post-script")
        if scripts.get(name) != "ok"
    ]
    findings += [
        f"{mount['path']} is not frozen" for mount in report["mounts"] if not mount["frozen"]
    ]
    if not report["mounts"]:
        findings.append("no file system was frozen")
    if report["session"] != point_id:
        findings.append(f"the report is of session {report['session']}")
    if report["window"] is None or report["window"]["expired"]:
        findings.append("the window expired")
    return findings


def _report_detail(report: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name}={value}" for name, value in report["facts"].items())
    frozen = sum(1 for mount in report["mounts"] if mount["frozen"])
    return f"pre-script and post-script ok, {frozen} file systems frozen, {facts}"
