"""Starts several processes as a launcher does, and leaves none behind."""

import os
import subprocess
import sys

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")


def launch(folder, *words):
    """Run ``python WORDS`` in ``folder``; return (exit code, stdout, stderr). Whatever it started ends with it."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "huggingface"),
    }  # no one's own settings
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        try:
            out, err = process.communicate()
        finally:
            process.terminate()  # a launcher then ends what it has started; killed, it would not
    return process.returncode, out, err
