"""A ledger and its service for system tests: folder, process, clients (tests/outside/ledger_client.py) and raw connections."""
import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import conftest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'outside'))
import ledger_client as outside  # noqa: E402

PATIENCE = 60 * conftest.SLOWNESS


def until(holds, what, patience=PATIENCE):
    """Polls a state; out of time is a failure that says what was waited for."""
    deadline = time.monotonic() + patience
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f'not within {patience} s: {what}'
        time.sleep(0.02)


class Daemon:
    """A trothd that says on a descriptor where it serves."""

    def __init__(self, home, arguments, wrap=(), env=None, ready=True):
        self.log_path = os.path.join(home, f'daemon-{time.monotonic_ns()}.log')
        reading, writing = os.pipe()
        with open(self.log_path, 'wb') as log:
            self.child = subprocess.Popen([*map(str, wrap), conftest.program('trothd'), *map(str, arguments), '--ready-fd', str(writing)],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], start_new_session=True,
                                          env={**conftest.environment(home), **(env or {})})
        os.close(writing)
        self.address = None
        try:
            if ready:
                self.address = self.read_address(reading)
        finally:
            os.close(reading)

    def read_address(self, reading):
        poller, data = select.poll(), b''
        poller.register(reading, select.POLLIN)
        while not data.endswith(b'\n'):
            assert poller.poll(PATIENCE * 1000), f'it does not begin to serve\n{self.log}'
            more = os.read(reading, 400)
            if not more:
                break
            data += more
        return data.decode().strip() or None

    @property
    def log(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as f:
            return f.read()[-4000:]

    @property
    def url(self):
        return 'https://' + self.address

    @property
    def pid(self):
        return self.child.pid

    @property
    def where(self):
        host, _, port = self.address.rpartition(':')
        return host, int(port)

    def ended(self):
        self.child.wait(timeout=PATIENCE)
        return self.child.returncode

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        code = self.ended()
        assert code == 0, f'exit {code}\n{self.log}'

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait(timeout=PATIENCE)

    def resident(self):
        """KiB of memory."""
        with open(f'/proc/{self.pid}/status', encoding='utf-8') as f:
            return int(next(line for line in f if line.startswith('VmRSS')).split()[1])

    def descriptors(self):
        """How many; 0 for who may not look: only root sees those of a process that cannot be dumped."""
        return len(os.listdir(f'/proc/{self.pid}/fd')) if os.geteuid() == 0 else 0


class House:
    """One ledger's folder, the service on it, and what a stranger or a writer can do to it."""

    def __init__(self, home, name='ledger'):
        self.home, self.dir = home, os.path.join(home, name)
        self.client_dir = os.path.join(self.dir, 'client')
        self.daemon, self.founder, self.number = None, None, 0

    def troth(self, *args, **more):
        return conftest.run([conftest.program('troth'), *args], env=conftest.environment(self.home), cwd=self.home, **more)

    def init(self, *more):
        self.troth('ledger', 'init', self.dir, *more).ok()
        self.founder = outside.Person.of_file(os.path.join(self.dir, 'founder.key'))
        return self

    def copy(self, name):
        """The folder as it stands, under another name: what a thief or a liar has."""
        other = House(self.home, name)
        shutil.copytree(self.dir, other.dir, symlinks=True)
        other.founder = self.founder
        return other

    def start(self, *more, wrap=(), env=None, ready=True):
        self.daemon = Daemon(self.home, ['ledger', '--dir', self.dir, '--listen', '127.0.0.1:0', '--log-level', 'warning', '--rate', '0', *more], wrap, env, ready)
        if ready:
            assert self.daemon.address, f'it does not serve\n{self.daemon.log}'
        return self.daemon

    def stop(self):
        daemon, self.daemon = self.daemon, None
        daemon.stop()

    def kill(self):
        daemon, self.daemon = self.daemon, None
        daemon.kill()

    def client(self, certificate=True, folder=None):
        return outside.Client(folder or self.client_dir, url=self.daemon.url, certificate=certificate, timeout=PATIENCE)

    @property
    def chain(self):
        with open(os.path.join(self.client_dir, 'ledger.conf'), encoding='utf-8') as f:
            return bytes.fromhex(next(line for line in f if line.startswith('chain')).split(':')[1].strip().strip('"\''))

    def event(self, chain=None, subject=None, **more):
        """A transaction that is OK: an event reported by the founder. Bytes and txid."""
        self.number += 1
        now = int(time.time() * 1000)
        return self.founder.transaction(chain or self.chain, 9, {1: 1, 2: subject or f'event {self.number}', 3: os.urandom(32), 4: now}, **more)

    # raw connections

    def plain(self):
        raw = socket.create_connection(self.daemon.where, timeout=PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw

    def context(self, certificate=True):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_verify_locations(os.path.join(self.client_dir, 'ca.crt'))
        tls.set_alpn_protocols(['http/1.1'])
        if certificate:
            tls.load_cert_chain(os.path.join(self.client_dir, 'writer.crt'), os.path.join(self.client_dir, 'writer.key'))
        return tls

    def tls(self, certificate=True, context=None):
        return (context or self.context(certificate)).wrap_socket(self.plain(), server_hostname='127.0.0.1')

    def said(self, data, certificate=True, patience=None):
        """What the service answers to these bytes until it closes, until nothing more comes after a whole answer, or for `patience` seconds."""
        with self.tls(certificate) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return listen(connection, patience=patience)


def listen(connection, quiet=0.3, patience=None):
    """All bytes until the other side closes; or, once whole answers are there, until `quiet` seconds bring no more."""
    data, deadline = b'', time.monotonic() + (patience or PATIENCE)
    while True:
        connection.settimeout(quiet if answers(data) and not leftover(data) else max(0.1, deadline - time.monotonic()))
        try:
            more = connection.recv(65536)
        except TimeoutError:
            assert answers(data) or patience or time.monotonic() < deadline, 'neither an answer nor an end'
            return data
        except (OSError, ssl.SSLError):
            return data
        if not more:
            return data
        data += more


def split(data):
    """[(status, body)], what is left."""
    found = []
    while True:
        head, empty, rest = data.partition(b'\r\n\r\n')
        if not empty or not head.startswith(b'HTTP/1.'):
            return found, data
        length = next((int(line.split(b':')[1]) for line in head.split(b'\r\n')[1:] if line.lower().startswith(b'content-length:')), 0)
        if len(rest) < length:
            return found, data
        found.append((int(head.split(b' ')[1]), rest[:length]))
        data = rest[length:]


def answers(data):
    return split(data)[0]


def leftover(data):
    return split(data)[1]


@contextlib.contextmanager
def house(home, *more):
    """A ledger that is served, and ends with the test whatever becomes of it."""
    made = House(home).init()
    try:
        made.start(*more)
        yield made
        if made.daemon:
            made.stop()
    finally:
        if made.daemon:
            made.kill()
