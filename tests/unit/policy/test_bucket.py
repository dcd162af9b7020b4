from quiesce.policy.bucket import PRINCIPAL, host_policy


def test_a_host_creates_reads_and_lists_under_its_prefix_alone() -> None:
    rules = {each["Sid"]: each for each in host_policy("backups", "hosts/a")["Statement"]}

    assert {each["Principal"]["AWS"][0] for each in rules.values()} == {PRINCIPAL}
    assert rules["CreateAndRead"]["Resource"] == "arn:aws:s3:::backups/hosts/a/*"
    assert rules["CreateAndRead"]["Action"] == ["s3:GetObject", "s3:PutObject"]
    assert rules["List"]["Condition"] == {"StringLike": {"s3:prefix": ["hosts/a/*"]}}


def test_deleting_and_overwriting_are_denied_whatever_else_allows_them() -> None:
    rules = {each["Sid"]: each for each in host_policy("backups", "")["Statement"]}

    assert rules["NeverDelete"]["Effect"] == rules["NeverOverwrite"]["Effect"] == "Deny"
    assert "s3:DeleteObject" in rules["NeverDelete"]["Action"]
    assert rules["NeverOverwrite"]["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert rules["NeverDelete"]["Resource"] == "arn:aws:s3:::backups/*"
    assert "Condition" not in rules["List"]
