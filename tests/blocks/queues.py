"""A queue that takes itself for Slurm: three commands that run job scripts on this machine."""

import os
import signal
from pathlib import Path

_SBATCH = """#!/usr/bin/env bash
cd {folder}
if [[ -s refusal ]]; then cat refusal >&2; exit 1; fi
number=101
until mkdir $number 2>/dev/null; do number=$((number + 1)); done
cp "$1" $number/script
output=$(sed -n 's/^#SBATCH --output=//p' $number/script | tail -n 1)
if [[ -e is-full ]]; then touch $number/waits; else
    set -m  # a process group of its own
    (eval "exec bash $number/script > ${{output//%j/$number}} 2>&1" < /dev/null) &
    echo $! > $number/pid
fi
echo "Submitted batch job $number"
"""

_SCANCEL = """#!/usr/bin/env bash
cd {folder}
touch $1/cancelled
if [[ -s $1/pid ]]; then kill -TERM -- -$(cat $1/pid); fi
"""

_SQUEUE = """#!/usr/bin/env bash
cd {folder}
for job in [0-9]*; do
    if [[ -e $job/cancelled ]]; then continue; fi
    state=$(ps -o stat= -p "$(cat $job/pid 2>/dev/null || echo 0)")
    if [[ -e $job/waits || ( -n $state && $state != Z* ) ]]; then echo $job; fi
done
"""


class Queue:
    """What was submitted, and what became of it."""

    def __init__(self, folder):
        self.folder = folder / "queue"
        self.bin = folder / "bin"
        for made in (self.folder, self.bin):
            made.mkdir()
        for name, text in (("sbatch", _SBATCH), ("scancel", _SCANCEL), ("squeue", _SQUEUE)):
            (self.bin / name).write_text(text.format(folder=self.folder))
            (self.bin / name).chmod(0o755)

    @property
    def path(self):
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    @property
    def jobs(self):
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def script(self, job):
        return (self.folder / job / "script").read_text()

    def refuse(self, reason):
        (self.folder / "refusal").write_text(reason)

    def fill(self):
        """Let whatever is submitted wait for ever."""
        (self.folder / "is-full").touch()

    def is_cancelled(self, job):
        return (self.folder / job / "cancelled").exists()

    def is_running(self, job):
        """Whether any process of a job is there."""
        pid = self.folder / job / "pid"
        if not pid.exists():
            return False
        try:
            os.killpg(int(pid.read_text()), 0)
        except ProcessLookupError:
            return False
        return bool(_alive(int(pid.read_text())))

    def end(self, job):
        """Do what Slurm does when the time is up, or a node goes."""
        os.killpg(int((self.folder / job / "pid").read_text()), signal.SIGKILL)


def _alive(group):
    """Processes of a group that are no mere remains."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
