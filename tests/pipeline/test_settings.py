"""Settings that only make sense together are refused together, before anything is connected to."""

from pathlib import Path

import pytest

from pipeline.settings import SettingsError, load_settings


def refusal(**given: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(_env_file=None, **given)
    return str(caught.value)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_wants_a_mechanism_and_who_it_is(protocol: str) -> None:
    said = refusal(kafka_security_protocol=protocol, kafka_sasl_username="pipeline")
    assert f"PIPELINE_KAFKA_SASL_MECHANISM, PIPELINE_KAFKA_SASL_PASSWORD must be set with {protocol}" in said


def test_an_authority_is_a_file_that_is_there(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    said = refusal(kafka_security_protocol="SSL", kafka_ssl_ca_location=str(missing))
    assert f"PIPELINE_KAFKA_SSL_CA_LOCATION: {missing} is no file" in said
    missing.touch()
    assert load_settings(_env_file=None, kafka_security_protocol="SSL", kafka_ssl_ca_location=str(missing))


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    assert "PIPELINE_HOME: a folder is wanted, this is a file" in refusal(home=tmp_path / "home")
    assert load_settings(_env_file=None, home=tmp_path / "not there yet")
