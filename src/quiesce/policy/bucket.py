"""What a host may do in the bucket of a vault: create and read, never delete or overwrite."""

from __future__ import annotations

from typing import Any, Final

PRINCIPAL: Final = "arn:aws:iam::ACCOUNT:user/HOST"


def host_policy(bucket: str, prefix: str) -> dict[str, Any]:
    """Return the S3 bucket policy of the host PRINCIPAL, a placeholder, for the vault at *prefix*.

    A create carries `If-None-Match`, which is what `NeverOverwrite` insists on; a store that does
    not know that condition has to do without this statement.
    """
    objects = f"arn:aws:s3:::{bucket}/{prefix}/*" if prefix else f"arn:aws:s3:::{bucket}/*"
    within = {"Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*"]}}} if prefix else {}
    return {
        "Version": "2012-10-17",
        "Statement": [
            _statement("CreateAndRead", "Allow", ["s3:GetObject", "s3:PutObject"], objects),
            {**_statement("List", "Allow", ["s3:ListBucket"], f"arn:aws:s3:::{bucket}"), **within},
            {
                **_statement("NeverOverwrite", "Deny", ["s3:PutObject"], objects),
                "Condition": {"Null": {"s3:if-none-match": "true"}},
            },
            _statement(
                "NeverDelete",
                "Deny",
                ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"],
                objects,
            ),
        ],
    }


def _statement(sid: str, effect: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": effect,
        "Principal": {"AWS": [PRINCIPAL]},
        "Action": actions,
        "Resource": resource,
    }
