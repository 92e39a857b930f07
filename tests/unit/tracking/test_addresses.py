"""The tracking URI: where it comes from, and what is shown of it."""

import pytest

from gradleak.tracking import addresses


def test_the_config_comes_before_the_environment_and_that_before_the_default():
    environment = {"MLFLOW_TRACKING_URI": "http://team:5000"}
    assert addresses.chosen({"tracking": {"uri": "http://mine:1"}}, environment) == "http://mine:1"
    assert addresses.chosen({"tracking": {"enabled": True}}, environment) == "http://team:5000"
    assert addresses.chosen({"tracking": None}, environment) == "http://team:5000"
    assert addresses.chosen({}, {}) == addresses.DEFAULT


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:pass@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("https://me:pass%40@host/mlflow", "https://me:***@host/mlflow"),
        ("postgresql://host/db?user=me&password=pass", "postgresql://host/db?user=me&password=***"),
        ("https://host/?api_token=pass", "https://host/?api_token=***"),
    ],
)
def test_passwords_are_masked_and_a_digest_shows_a_change(uri, shown):
    found = addresses.masked(uri)
    assert found.startswith(f"{shown} (")
    assert "pass" not in found.replace("password", "")
    assert found != addresses.masked(uri.replace("pass", "word"))


@pytest.mark.parametrize(
    "uri", [addresses.DEFAULT, "http://host:5000", "postgresql://me@host/db", "postgresql:///db?host=/tmp/x"]
)
def test_addresses_without_passwords_stay_as_they_are(uri):
    assert addresses.masked(uri) == uri
