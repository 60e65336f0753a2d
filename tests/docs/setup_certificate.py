"""A certificate with its model, the signer's public key and the report, as a stranger gets them."""

import shutil
from pathlib import Path

from tests.support import certificates

made = certificates.certify(Path())
shutil.move(made.key, "signer.pub")
