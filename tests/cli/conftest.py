"""A certificate to verify, and the command line as a person calls it."""

import pytest

from tests.support import certificates, running

call = running.call
project = running.project
in_process = running.in_process


@pytest.fixture
def made(tmp_path):
    """A good certificate with its model, key and report."""
    return certificates.certify(tmp_path)
