"""Hosts in network namespaces of their own, joined by a bridge; for root and, through a user namespace, for everybody else.

Nothing of it touches the machine's network, and all of it goes with the processes that hold the namespaces.
"""
import contextlib
import os
import select
import subprocess
import sys
import time

import conftest
import hosts
import jobs
import pytest

LINK_UP = 2
PREFIX = '10.77.0.'
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'outside'))
import follow_epochs  # noqa: E402


class Networks:
    """A bridge in a namespace of its own; `place()` adds one more namespace that is plugged into it."""

    def __init__(self):
        self.held, self.count = [], 0
        self.as_user = [] if os.geteuid() == 0 else ['-U', '--preserve-credentials']
        unshare = ['unshare', '-n'] if os.geteuid() == 0 else ['unshare', '-Urn']
        self.middle = self.hold([*unshare, 'sh', '-c', 'ip link set lo up && ip link add br0 type bridge && ip link set br0 up && '
                                 f'ip addr add {PREFIX}254/24 dev br0 && echo up && exec sleep infinity'])

    def hold(self, command):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.held.append(child)
        if child.stdout.readline() != b'up\n':
            reason = child.stderr.read().decode()
            self.close()
            pytest.fail(f'no network namespace on this machine: {reason}')
        return child.pid

    def inside(self, pid):
        return ['nsenter', '-t', str(pid), *self.as_user, '-n', '--']

    def in_middle(self, *command):
        return [*self.inside(self.middle), *map(str, command)]

    def place(self):
        """(words to put before a command that runs there, its address)."""
        self.count += 1
        pid = self.hold([*self.inside(self.middle), 'unshare', '-n', 'sh', '-c', 'ip link set lo up && echo up && exec sleep infinity'])
        address = f'{PREFIX}{self.count}'
        subprocess.run(self.in_middle('sh', '-c', f'ip link add v{self.count} type veth peer name eth0 netns {pid} && '
                                      f'ip link set v{self.count} master br0 && ip link set v{self.count} up'), check=True)
        subprocess.run([*self.inside(pid), 'sh', '-c', f'ip addr add {address}/24 dev eth0 && ip link set eth0 up'], check=True)
        return self.inside(pid), address

    def cut(self, number, state='down'):
        """Pulls the plug of the place that was made as the number-th, or puts it in again."""
        subprocess.run(self.in_middle('ip', 'link', 'set', f'v{number}', state), check=True)

    def close(self):
        for child in self.held:
            child.kill()
            child.communicate()


class Host:
    """A machine with a network of its own and `trothd host --listen`."""

    def __init__(self, folder, name, network, port=7400, init=('--no-recovery',)):
        self.name, self.network = name, network
        self.machine = jobs.Machine(os.path.join(folder, name))
        self.machine.troth('host', 'init', '--state', self.machine.state, *init).ok()
        self.inception = os.path.join(self.machine.state, 'inception.epoch')
        with open(self.inception, 'rb') as f:
            self.rot = follow_epochs.Signed(f.read()).oid(follow_epochs.EPOCH).hex()
        self.wrap, address = network.place()
        self.number = network.count
        self.address = f'{address}:{port}'
        self.service = None

    def start(self, *options):
        self.service = hosts.Service(self.machine, '--listen', self.address, *options, wrap=self.wrap)
        assert self.service.refused is None, self.service.error

    def stop(self):
        if self.service:
            self.service.stop()

    def kill(self):
        """As a power cut: no process of it says anything more."""
        self.service.child.kill()
        self.service.child.wait()

    def troth(self, *args, **more):
        return self.machine.troth(*args, '--state', self.machine.state, **more)

    def link(self, other):
        """What is told of the standing link with another host."""
        return next(row for row in self.troth('host', 'peers', '--json').ok().json['links'] if row['name'] == other.name)

    def await_link(self, other, up=True):
        jobs.until(lambda: (self.link(other)['state'] == LINK_UP) == up, f'the link of {self.name} with {other.name}', 60)

    def enrol(self, other, address=None, name=None, **more):
        return self.troth('host', 'enrol', name or other.name, '--inception', other.inception, '--address', address or other.address,
                          '--fingerprint', other.rot, **more)

    def join(self, job, *args, **more):
        """`troth join` in the background, once it waits for a run: the host knows of it."""
        child = self.background('join', job, *args, **more)
        told = b''
        while b'waiting for a run' not in told:
            ready, _, _ = select.select([child.stderr], [], [], 60 * conftest.SLOWNESS)
            more_told = os.read(child.stderr.fileno(), 4096) if ready else b''
            told += more_told
            if not more_told:
                child.kill()
                pytest.fail(f'troth join does not wait: {told.decode()} {child.communicate()}')
        return child

    def background(self, verb, job, *args, out=None, stdin=subprocess.DEVNULL):
        command = self.machine.command(verb, job, '--state', self.machine.state, '--out', out or self.machine.out, *args)
        return subprocess.Popen(command, env=self.machine.env(), cwd=self.machine.home, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True)


@contextlib.contextmanager
def enrolled(folder, *names, options=(), make=None):
    """Hosts that run (with these options) and are enrolled with each other, by name."""
    network = Networks()
    made = []
    try:
        for name in names:
            os.makedirs(os.path.join(folder, name), exist_ok=True)
            made.append((make or Host)(folder, name, network))
        for host in made:
            host.start(*options)
        for host in made:
            for other in made:
                if other is not host:
                    host.enrol(other).ok()
        yield made
    finally:
        for host in made:
            host.stop()
        network.close()


def ended(child, seconds):
    """(exit code, its words) of a program that must end by itself by then."""
    began = time.monotonic()
    try:
        out, err = child.communicate(timeout=seconds * conftest.SLOWNESS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        out, err = child.communicate()
        pytest.fail(f'did not end within {seconds} s: {out.decode()} {err.decode()}')
    return child.returncode, (out + err).decode(errors='replace'), time.monotonic() - began
