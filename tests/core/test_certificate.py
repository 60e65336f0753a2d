from expunge.core import certificate


def test_the_types_are_those_of_the_standards():
    assert certificate.STATEMENT_TYPE == "https://in-toto.io/Statement/v1"
    assert certificate.PAYLOAD_TYPE == "application/vnd.in-toto+json"
    assert certificate.PREDICATE_TYPE.startswith("https://")
    assert certificate.PREDICATE_TYPE.endswith("/v1")


def test_the_standard_limits_say_what_no_certificate_shows():
    conditional, adaptive, signature = certificate.STANDARD_LIMITS
    assert "chosen with the data in" in conditional
    assert "not to depend on models that were released" in adaptive
    assert "who stands for which bytes" in signature
