"""What system tests share. Programs are those of $TROTH_BIN (without it: build/), always the real binaries.

troth   runs `troth ARGS...` and returns code, output and parsed JSON; bounded in time
state   a state folder of the test's own; at the end nothing may be left running or mounted, and the folder goes
work    a folder for the test's files, beside the state folder
amount  amount(short, long): how many times to repeat; the larger number in ./check --long
"""
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get('TROTH_BIN', os.path.join(ROOT, 'build'))
LONG = bool(os.environ.get('TROTH_LONG'))
# Instrumented programs are slower; a limit that is generous for a release build must not fail them.
SLOWNESS = 1 if os.path.realpath(BIN) == os.path.realpath(os.path.join(ROOT, 'build')) else 6

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

# A shell starts what runs in the background with SIGINT ignored, and programs inherit that; a person's Ctrl-C is not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    kept, left = [], []
    for item in items:
        for mark in item.iter_markers('attack'):
            for identity in mark.args:
                item.user_properties.append(('attack', identity))
        (left if item.get_closest_marker('long') and not LONG else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@dataclass
class Ran:
    """One finished program. `json` parses its standard output and fails the test where that is not JSON."""
    command: list
    code: int
    stdout: str
    stderr: str
    raw: bytes
    seconds: float

    @property
    def json(self):
        try:
            return json.loads(self.stdout)
        except ValueError as cause:
            raise AssertionError(f'{self} printed no JSON') from cause

    def ok(self):
        """Asserts success and returns itself."""
        assert self.code == 0, str(self)
        return self

    def refused(self, reason, code=None):
        """Asserts a typed refusal: not success, no crash, the reason named, a sentence for a person beside it."""
        assert 0 < self.code < 128, str(self)
        assert code is None or self.code == code, str(self)
        assert reason in self.stdout + self.stderr, f'{reason} expected: {self}'
        assert len((self.stdout + self.stderr).split()) >= 4, f'no sentence for a person: {self}'
        return self

    def __str__(self):
        return f'{" ".join(map(str, self.command))}\nexit {self.code} after {self.seconds:.1f} s\n{self.stdout[-3000:]}\n{self.stderr[-3000:]}'


def environment(home):
    """What a program may see: no variable of the person who runs the tests but those that steer sanitizers."""
    kept = {k: v for k, v in os.environ.items() if k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS', 'GCOV_PREFIX', 'TMPDIR')}
    return {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': home, 'LANG': 'C.UTF-8', **kept}


def run(command, timeout=60, input=None, env=None, cwd=None, **more):
    """Runs a program to its end in a process group of its own. Out of time is a failure of the test."""
    began = time.monotonic()
    command = [str(c) for c in command]
    if isinstance(input, str):
        input = input.encode()
    child = subprocess.Popen(command, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=env, cwd=cwd, start_new_session=True, **more)
    try:
        out, err = child.communicate(input, timeout=timeout * SLOWNESS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        pytest.fail(f'{" ".join(command)} did not end within {timeout * SLOWNESS} s\n{out[-2000:]!r}\n{err[-2000:]!r}')
    return Ran(command, child.returncode, out.decode(errors='replace'), err.decode(errors='replace'), out, time.monotonic() - began)


def program(name):
    return os.path.join(BIN, name)


# ---- nothing may be left

def parents():
    """pid -> parent's pid of every process."""
    found = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open(f'/proc/{name}/stat') as f:
                    found[int(name)] = int(f.read().rpartition(')')[2].split()[1])
            except OSError:
                pass
    return found


def descendants():
    """Living processes below this one. Orphans come to it (subreaper), so nothing that a test started can hide."""
    tree = parents()
    below, more = {os.getpid()}, True
    while more:
        more = {p for p, parent in tree.items() if parent in below and p not in below}
        below |= more
    return below - {os.getpid()}


def users_of(folder):
    """Processes that name the folder in their arguments or stand in it."""
    found = set()
    for pid in parents():
        if pid == os.getpid():
            continue
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                named = folder.encode() in f.read()
            if named or os.readlink(f'/proc/{pid}/cwd').startswith(folder):
                found.add(pid)
        except OSError:
            pass
    return found


def describe(pid):
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as f:
            return f'{pid} {f.read().replace(bytes(1), b" ").decode(errors="replace")}'
    except OSError:
        return str(pid)


def reap():
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def gone(pids, seconds):
    """Waits, by descriptor and not by the clock, until the processes have ended. Returns those that have not."""
    deadline = time.monotonic() + seconds
    left = set()
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        if not poller.poll(max(0, deadline - time.monotonic()) * 1000):
            left.add(pid)
        os.close(handle)
    return left


def mounts_below(folder):
    with open('/proc/self/mountinfo') as f:
        return [line.split()[4] for line in f if line.split()[4].startswith(folder)]


def assert_nothing_left(folder, patience=3):
    """Ends what is left and fails the test for it."""
    left = gone(descendants() | users_of(folder), patience)
    names = [describe(p) for p in left]
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    gone(left, 5)
    reap()
    mounted = mounts_below(folder)
    for place in sorted(mounted, reverse=True):
        subprocess.run(['umount', '-l', place], check=False)
    shared = [n for n in os.listdir('/dev/shm') if 'troth' in n and os.stat(f'/dev/shm/{n}').st_uid == os.getuid()]
    assert not names, f'left running: {names}'
    assert not mounted, f'left mounted: {mounted}'
    assert not shared, f'left in /dev/shm: {shared}'


@pytest.fixture
def home():
    """A short private folder (socket paths have 108 bytes) that holds all that a test writes."""
    folder = tempfile.mkdtemp(prefix='troth-')
    try:
        yield folder
        assert_nothing_left(folder)
    finally:
        for place, folders, _ in os.walk(folder):
            for name in folders:  # a test may have made a folder unwritable
                if not os.path.islink(os.path.join(place, name)):
                    os.chmod(os.path.join(place, name), 0o700)
        shutil.rmtree(folder)


@pytest.fixture
def state(home):
    """Path of a state folder that does not exist yet: `troth host init` makes it."""
    return os.path.join(home, 'state')


@pytest.fixture
def work(home):
    folder = os.path.join(home, 'work')
    os.mkdir(folder)
    return folder


@pytest.fixture
def troth(home):
    """troth('verify', receipt, '--trust', trust) -> Ran. Keywords: timeout, input, env (added), cwd, program."""
    def call(*args, timeout=60, input=None, env=None, cwd=None, program='troth', **more):
        return run([os.path.join(BIN, program), *args], timeout=timeout, input=input, env={**environment(home), **(env or {})}, cwd=cwd or home, **more)
    return call


@pytest.fixture
def amount():
    return lambda short, long: long if LONG else short


@pytest.fixture(scope='session')
def deny(tmp_path_factory):
    """deny(OPTION...) -> words to put before a command, which then runs on a machine that has less (tests/tools/deny.c)."""
    folder = tmp_path_factory.mktemp('deny')
    os.chmod(folder.parent, 0o755)  # other users run it too
    os.chmod(folder, 0o755)
    tool = str(folder / 'deny')
    subprocess.run(['cc', '-O1', '-D_GNU_SOURCE', '-o', tool, os.path.join(ROOT, 'tests/tools/deny.c'), '-lseccomp'], check=True, stdin=subprocess.DEVNULL)
    return lambda *options: [tool, *options, '--']
