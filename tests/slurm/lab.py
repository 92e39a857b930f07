"""A private SLURM on one machine: munge, accounting, a controller and nodes, on loopback, without systemd.

    python tests/slurm/lab.py [--nodes 2] [--cpus 2] COMMAND …   # runs COMMAND (bash, say) beside it

All daemons run in the foreground as children of this process, so what is stopped is what was started. Needs
root and Debian's packages: see PACKAGES.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "mariadb-server", "munge")
INSTALL = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(PACKAGES)}"
PROGRAMS = (
    "munged",
    "mariadbd",
    "mariadb-install-db",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "sbatch",
    "sacctmgr",
)
# Where a job finds the configuration that was not handed the path: the slurm executor plugin drops
# SLURM_CONF.
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")


def missing() -> str:
    """Why this machine cannot have a SLURM of its own, and what would help; empty if it can."""
    if os.geteuid() != 0:
        return "a private SLURM needs root"
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=search)]
    if absent:
        return f"{', '.join(absent)} missing; to enable: {INSTALL}"
    if SYSTEM_CONF.exists() and not SYSTEM_CONF.is_symlink():
        return f"{SYSTEM_CONF} is there: this machine belongs to a SLURM"
    return ""


class Lab:
    """The running SLURM. ``environment`` is what a process needs to talk to it."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, memory: int = 16000):
        self.folder, self.memory, self.cpus = folder, memory, cpus
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self.daemons: dict[str, subprocess.Popen] = {}
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }

    def start(self) -> None:
        for name in ("log", "run", "state", "spool", "munge"):
            (self.folder / name).mkdir(mode=0o755)
        (self.folder / "munge").chmod(0o700)
        self._configure()
        munge = self.folder / "munge.sock"
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={self.folder}/munge/key",
            f"--socket={munge}",
            f"--pid-file={self.folder}/munge/pid",
            f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge/seed",
        )
        self._until(lambda: self._works("munge", "-S", str(munge), "-n"), "munge")
        self._start_accounting()
        self._daemon("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
        self._until(lambda: self._works("scontrol", "ping"), "slurmctld")
        for node in self.nodes:
            self.start_node(node)
        self._until(
            lambda: self.ask("sinfo", "-hNp", "main", "-o", "%T").split() == ["idle"] * len(self.nodes),
            "all nodes",
        )

    def _start_accounting(self) -> None:
        data, server = self.folder / "mysql", self.folder / "run/mysql.sock"
        data.mkdir()
        for path in (data, self.folder / "run"):
            shutil.chown(path, "mysql")
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={data}",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
        )
        self._daemon(
            "mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={data}",
            f"--socket={server}",
            "--bind-address=127.0.0.1",
            f"--port={self.ports['mysql']}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-lock-wait-timeout=900",
        )
        client = ("mariadb", "--no-defaults", "-S", str(server), "-e")
        self._until(lambda: self._works(*client, "select 1"), "mariadbd")
        for host in ("localhost", "127.0.0.1"):
            self.run(
                *client,
                "create database if not exists slurm_acct_db; "
                f"create user slurm@'{host}' identified by 'slurm'; "
                f"grant all on slurm_acct_db.* to slurm@'{host}'",
            )
        self._daemon("slurmdbd", "-D")
        self._until(lambda: self._works("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        self.run("sacctmgr", "-i", "add", "cluster", "lab")
        self.run("sacctmgr", "-i", "add", "account", "lab", "cluster=lab")
        self.run("sacctmgr", "-i", "add", "user", "root", "account=lab")

    def _configure(self) -> None:
        names = ("mysql", "dbd", "ctld", *self.nodes)
        with contextlib.ExitStack() as held:  # all at once, so that no port is given twice
            free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
            self.ports = {name: one.getsockname()[1] for name, one in zip(names, free, strict=True)}
        (self.folder / "munge/key").write_bytes(os.urandom(1024))
        (self.folder / "munge/key").chmod(0o400)
        host, folder = socket.gethostname().split(".")[0], self.folder
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[node]} "
            f"CPUs={self.cpus} RealMemory={self.memory} State=UNKNOWN"
            for node in self.nodes
        )
        (folder / "slurm.conf").write_text(f"""
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.ports["ctld"]}
SlurmUser=root
AuthType=auth/munge
# A requeued job waits until the credential of its first life has expired.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
# Listen on loopback alone.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
# No cgroups here: processes are followed by their process group, memory by looking.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Nodes may claim more processors than there are.
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=20
KillWait=10
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.ports["dbd"]}
# The socket towards slurmdbd, despite the name.
AccountingStoragePass={folder}/munge.sock
AccountingStoreFlags=job_comment
# Jobs of the partition "urgent" push others off a node: SIGTERM, KillWait, SIGKILL, and back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=0
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
""")
        (folder / "slurmdbd.conf").write_text(f"""
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.ports["dbd"]}
CommunicationParameters=NoInAddrAny
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.ports["mysql"]}
StorageUser=slurm
StoragePass=slurm
""")
        (folder / "slurmdbd.conf").chmod(0o600)
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)
        SYSTEM_CONF.symlink_to(folder / "slurm.conf")

    def start_node(self, node: str) -> None:
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._daemon(node, "-D", "-f", self.environment["SLURM_CONF"], "-N", node, program="slurmd")

    def kill_node(self, node: str) -> None:
        """The node's slurmd dies at once; its jobs' own processes live on."""
        process = self.daemons.pop(node)
        process.kill()
        process.wait()

    def run(self, *command: str) -> str:
        """What a client command says; an error with its words if it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, *query: str) -> str:
        """``run`` for a command that changes nothing. A busy machine may lose an answer, so it asks again."""
        for _ in range(4):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.run(*query)
        raise RuntimeError(f"{' '.join(query)}: no answer\n{self._logs()}")

    def jobs(self, *fields: str, states: str = "") -> list[list[str]]:
        """Jobs in the queue: fields as squeue's long format names them."""
        chosen = ("--states", states) if states else ()
        lines = self.ask(
            "squeue", "--noheader", *chosen, "--Format", ",".join(f"{f}:|" for f in fields)
        ).splitlines()
        return [line.split("|")[:-1] for line in lines]

    def accounted(self, *fields: str) -> list[dict[str, str]]:
        """Every job that ever was, from the accounting; a job that was requeued has several rows."""
        # sacct by itself leaves out what ended before today's midnight.
        lines = self.ask(
            "sacct", "-nXP", "--starttime=2000-01-01", "--duplicates", "--allusers", "-o", ",".join(fields)
        ).splitlines()
        return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]

    def stop(self) -> None:
        """In the order in which nothing waits for what is gone."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.run("scancel", "--full", "--signal=KILL", "--user=root")
            self.run("scancel", "--user=root")
            self._until(lambda: not self.jobs("JobID"), "the last job", 15, fatal=False)
        for name in (*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            if process := self.daemons.pop(name, None):
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.folder / "slurm.conf":
            SYSTEM_CONF.unlink()

    def _daemon(self, name: str, *arguments: str, program: str = "") -> None:
        path = shutil.which(program or name, path=self.environment["PATH"])
        with (self.folder / f"log/{name}.out").open("a") as log:
            self.daemons[name] = subprocess.Popen(
                [path, *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _logs(self) -> str:
        logs = sorted((self.folder / "log").iterdir())
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)

    def _works(self, *command: str) -> bool:
        try:
            return not subprocess.run(
                command, env=self.environment, capture_output=True, timeout=10
            ).returncode
        except subprocess.TimeoutExpired:
            return False

    def _until(self, reached, what: str, seconds: float = 60, fatal: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            dead = [name for name, process in self.daemons.items() if process.poll() is not None]
            if fatal and (dead or time.monotonic() > deadline):
                raise RuntimeError(f"SLURM did not start: waiting for {what}; ended: {dead}\n{self._logs()}")
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)


@contextlib.contextmanager
def running(nodes: int = 2, cpus: int = 2) -> Iterator[Lab]:
    """A SLURM for as long as the block lasts; its folder is removed after it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-lab-"))
    folder.chmod(0o755)  # the database runs as a user of its own
    lab = Lab(folder, nodes, cpus)
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    with running(arguments.nodes, arguments.cpus) as lab:
        sys.exit(subprocess.run(arguments.command or ["sinfo"], env=lab.environment).returncode)


if __name__ == "__main__":
    main()
