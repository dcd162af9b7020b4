import json

import pytest

from quiesce.providers.definition import without_secrets


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("secret,id=s0,data=hush", "secret,id=s0"),
        ("secret,data=hu,,sh,id=s0", "secret,id=s0"),
        ("qom-type=secret,id=s0,data=hush", "qom-type=secret,id=s0"),
        ("id=s0,qom-type=secret,data=hush", "id=s0,qom-type=secret"),
        ("secret,id=s0,file=/k,,ey", "secret,id=s0,file=/k,,ey"),
        ("memory-backend-ram,id=m,data=kept", "memory-backend-ram,id=m,data=kept"),
    ],
)
def test_a_secret_s_data_is_removed_and_nothing_else(given, kept):
    assert without_secrets(["qemu", "-object", given]) == ["qemu", "-object", kept]


def test_a_secret_s_data_is_removed_from_its_json_form():
    word = json.dumps({"qom-type": "secret", "id": "s0", "data": "hush"})

    cleaned = without_secrets(["qemu", "--object", word])

    assert json.loads(cleaned[2]) == {"qom-type": "secret", "id": "s0"}


def test_other_words_stay_as_they_are():
    argv = ["qemu", "-name", "secret,data=x", "-drive", "file=a,,b"]

    assert without_secrets(argv) == argv
