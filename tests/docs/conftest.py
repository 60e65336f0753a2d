"""What the tests of the documentation say at the end: how many blocks there are, and which are only shown."""

from collections import Counter

from tests.docs.blocks import blocks, written_pages


def kind(block):
    """Return what becomes of a block."""
    shell = block.language in ("bash", "console", "sh")
    if "shown" in block.directives:
        return "shown"
    if "checked by" in block.directives or block.language == "toml":
        return "checked"
    return "run" if not shell or "run" in block.directives or block.text.startswith("$ ") else "checked"


def pytest_terminal_summary(terminalreporter):
    """List the blocks that are neither run nor checked, with their reasons."""
    found = [block for page in written_pages() for block in blocks(page)]
    count = Counter(kind(block) for block in found)
    terminalreporter.write_line(f"documentation: {len(found)} blocks, {count['run']} run, {count['checked']} checked")
    for block in found:
        if kind(block) == "shown":
            terminalreporter.write_line(f"  only shown: {block.place}: {block.directives['shown']}")
