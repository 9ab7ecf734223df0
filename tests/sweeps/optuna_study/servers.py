"""Real servers for tests: a PostgreSQL of its own on a free port, and Optuna's gRPC proxy before a database."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROXY = """
import sys, warnings
warnings.simplefilter("ignore")
import optuna
storage = optuna.storages.get_storage(sys.argv[1])
optuna.storages.run_grpc_proxy_server(storage, host="localhost", port=int(sys.argv[2]))
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def postgres_binaries():
    """Return the folder of PostgreSQL's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def until(is_done, process):
    """Wait until a server answers."""
    deadline = time.monotonic() + 120
    while not is_done():
        assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def accepts(port):
    """Return whether PostgreSQL is past its start."""
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(host="127.0.0.1", port=port, user="studies", dbname="postgres", connect_timeout=5).close()
        return True
    return False


@contextlib.contextmanager
def proxy(url):
    """Give the URL of a proxy before a database."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", PROXY, url, str(port)])
    try:
        until(lambda: answers(port), process)
        yield f"grpc://localhost:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres():
    """Give the URL of a new database; PostgreSQL refuses to run as root, and then runs as another user."""
    binaries, port = postgres_binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    who = {}
    if os.geteuid() == 0:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = known.get("postgres") or known["nobody"]
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, "-A", "trust", "-U", "studies", "--no-sync", "-E", "UTF8", "--locale=C"],
        check=True, capture_output=True, cwd=folder, **who,
    )  # fmt: skip
    settings = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", "fsync=off"]
    words = [word for one in settings for word in ("-c", one)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *words], stdout=log, stderr=log, cwd=folder, **who
        )
    try:
        until(lambda: accepts(port), process)
        yield f"postgresql+psycopg://studies@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # its fast way to end
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
