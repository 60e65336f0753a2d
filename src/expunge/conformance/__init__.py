"""Public contract tests: what holds for every method, check and task, ours and somebody's plug-in."""
