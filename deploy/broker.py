"""A real Kafka broker for development, the demo and tests: one node, no Docker, on loopback.

``python -m deploy.broker`` (``make kafka``) runs one until Ctrl-C. Maven downloads the jars once, into ``.kafka`` in the repository.
"""

import argparse
import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType

from storage.errors import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent
LIBS = ROOT / ".kafka" / "libs"
# C1 compiler only: with C2 as well, the broker took 0.34 instead of 0.24 of a core in its first minutes under light traffic.
JVM = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
POM = Path(__file__).with_name("kafka") / "pom.xml"
PROPERTIES = Path(__file__).with_name("kafka") / "server.properties"
PORT = 9092
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 15.0  # seconds


def missing() -> str | None:
    """What this machine lacks to run a broker, as a sentence; None if nothing is missing."""
    lacking = [name for name in ("java", *(() if LIBS.exists() else ("mvn",))) if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not found: install a JDK 17 and Maven" if lacking else None


def fetch() -> None:
    """Download the broker's jars with Maven, once (54 MB)."""
    if LIBS.exists():
        return
    if (lacking := missing()) is not None:
        raise ConfigurationError(lacking)
    scratch = LIBS.with_name(f"libs-{os.getpid()}")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={scratch}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError(f"Maven could not fetch Kafka: {(done.stdout + done.stderr).strip()[-500:]}")
    with contextlib.suppress(OSError):  # another process was faster
        scratch.rename(LIBS)
    shutil.rmtree(scratch, ignore_errors=True)


class Broker:
    """One broker with its data under ``folder``.

    ``sasl`` asks clients for that user and password (SCRAM-SHA-512); ``tls`` is the broker's key with its certificate and the authority
    that signed it, two PEM files.

    Use it as a context manager, or ``start``, ``kill`` and ``start`` again: the data stays.
    """

    def __init__(self, folder: Path, port: int = 0, *, sasl: tuple[str, str] | None = None, tls: tuple[Path, Path] | None = None) -> None:
        self.folder, self._sasl, self._tls = folder, sasl, tls
        self.port = port or _free_port()
        self._controller = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.servers}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the broker; return when it accepts connections."""
        fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(self._properties(), encoding="utf-8")
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(properties)
        with (self.folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                ["java", *JVM, "-cp", f"{LIBS}/*", "kafka.Kafka", str(properties)],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_until_up()

    def stop(self) -> None:
        """Stop it with SIGTERM, then SIGKILL after ``STOP_TIMEOUT``."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill it without notice, like a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _properties(self) -> str:
        protocol = ("SASL_" if self._sasl else "") + ("SSL" if self._tls else "PLAINTEXT")
        lines = [
            PROPERTIES.read_text(encoding="utf-8").rstrip(),
            f"controller.quorum.voters=1@127.0.0.1:{self._controller}",
            f"listeners=CLIENTS://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller}",
            f"advertised.listeners=CLIENTS://127.0.0.1:{self.port}",
            f"listener.security.protocol.map=CONTROLLER:PLAINTEXT,CLIENTS:{protocol}",
            f"log.dirs={self.folder / 'data'}",
        ]
        if self._sasl:
            lines += [
                "sasl.enabled.mechanisms=SCRAM-SHA-512",
                "sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512",
                "listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required"
                f' username="{self._sasl[0]}" password="{self._sasl[1]}";',
            ]
        if self._tls:
            lines += [
                "ssl.keystore.type=PEM",
                f"ssl.keystore.location={self._tls[0]}",
                "ssl.truststore.type=PEM",
                f"ssl.truststore.location={self._tls[1]}",
            ]
        return "\n".join(lines) + "\n"

    def _format(self, properties: Path) -> None:
        cluster = "-"
        while cluster.startswith("-"):  # it would be parsed as an option
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = ["java", "-cp", f"{LIBS}/*", "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        if self._sasl:
            command += ["--add-scram", f"SCRAM-SHA-512=[name={self._sasl[0]},password={self._sasl[1]}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigurationError(
                f"Kafka's storage in {self.folder} could not be prepared: {(done.stdout + done.stderr).strip()[-500:]}"
            )

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        self.kill()
        raise ConfigurationError(f"the Kafka broker did not start; see {self.folder / 'broker.log'}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=ROOT / ".kafka" / "broker", help="where the log is stored")
    parser.add_argument("--port", type=int, default=PORT)
    arguments = parser.parse_args()
    with Broker(arguments.folder, arguments.port) as broker:
        print(f'bus = "{broker.url}"  (Ctrl-C stops it; the log stays in {arguments.folder})', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            signal.pause()


if __name__ == "__main__":
    main()
