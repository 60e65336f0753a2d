"""A page's folder becomes the tiny project: job.toml, policy.toml and tiny_problem.py, solved in a second."""

import shutil

shutil.copytree(ROOT / "tests" / "support" / "tiny", ".", dirs_exist_ok=True)  # noqa: F821  # given by the page
