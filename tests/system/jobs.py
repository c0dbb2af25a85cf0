"""What tests of whole runs share: a machine (programs, a state folder, a user), jobs as files, the hostile probe, receipts.

Command lines of Troth stand here once; tests say what they want to happen.
"""
import base64
import collections
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time

import cbor2
import conftest
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAMS = ('troth', 'trothd', 'troth-ap', 'troth-ire', 'troth-token')
SECTIONS = {1: 'epochs', 2: 'certificates', 3: 'reports', 4: 'records', 5: 'manifests', 6: 'policies', 7: 'grants', 8: 'statements', 9: 'salts',
            10: 'job', 11: 'platform', 12: 'references', 13: 'roots', 14: 'policy_versions'}
FILE_FILE = 1


# ---- hostile and helping programs, compiled once for each worker

def compiled(folder, source, *options):
    """A program built from C with nothing of Troth's build."""
    out = os.path.join(folder, os.path.basename(source).removesuffix('.c') + ('.so' if '-shared' in options else ''))
    subprocess.run(['cc', '-D_GNU_SOURCE', '-O1', '-w', *options, '-o', out, source], check=True, stdin=subprocess.DEVNULL)
    return out


def written(folder, name, text, mode=0o644):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb' if isinstance(text, bytes) else 'w') as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def compile_text(folder, name, text, *options):
    return compiled(folder, written(folder, name + '.c', text), *options)


# ---- jobs

def policy(name, peers=(), **more):
    rules = {'enclave_id': name, 'max_dac_depth': 8, 'required_attestation_level': 'Level-1', **more}
    if peers:
        rules['allowed_communicators'] = list(peers)
    return rules


def enclave(name, program, args=(), peers=(), **more):
    return {'name': name, 'program': program, 'args': [str(a) for a in args], 'policy': policy(name, peers), **more}


def write_job(folder, enclaves, flow=(), inputs=(), outputs=(), externals=(), name='test'):
    """A job as a file; policies stand beside it, each in a file of its own."""
    enclaves = [dict(e) for e in enclaves]
    for one in enclaves:
        if isinstance(one['policy'], dict):
            written(folder, f'policies/{one["name"]}.json', json.dumps(one['policy']))
            one['policy'] = f'policies/{one["name"]}.json'
    job = {'job': name, 'enclaves': enclaves, 'flow': list(flow), 'inputs': list(inputs), 'outputs': list(outputs), 'externals': list(externals)}
    return written(folder, 'job.json', json.dumps({k: v for k, v in job.items() if v}))


def single(folder, program, args=(), output=True, **more):
    """A job of one enclave P whose standard output becomes out.txt."""
    return write_job(folder, [enclave('P', program, args, **more)], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}])


PIPE = [{'from': 'A', 'to': 'B', 'operation': 'rows'}, {'from': 'B', 'to': 'C', 'operation': 'rows'}]


def pipeline(folder, first='cat', second='cat', third='cat', **more):
    """rows -> A -> B -> C -> out.txt; programs are texts of shell scripts."""
    peers = {'A': ['B'], 'B': ['A', 'C'], 'C': ['B']}
    for name, text in zip('ABC', (first, second, third)):
        written(folder, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
    return write_job(folder, [enclave(n, f'./{n}.sh', peers=peers[n], files=['/usr/bin/cat'], **more) for n in 'ABC'], flow=PIPE,
                     inputs=[{'role': 'rows', 'to': 'A'}], outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])


# ---- a machine

class Machine:
    """Programs, a state folder and a user. `user` None: whoever runs the tests; else a uid that owns nothing."""

    def __init__(self, home, user=None, programs=None):
        self.home, self.user = home, user
        self.state = os.path.join(home, 'state')
        self.work = os.path.join(home, 'work')
        self.out = os.path.join(home, 'out')
        self.bin = programs or conftest.BIN
        os.makedirs(self.work, exist_ok=True)
        self.prefix = []
        if user is not None:
            self.own_programs()
            self.prefix = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups', '--no-new-privs', '--']
            self.give_away()

    def own_programs(self):
        """Copies of the programs in the home: a user may not be able to see the checkout, and tests alter them."""
        target = os.path.join(self.home, 'bin')
        if not os.path.isdir(target):
            os.mkdir(target)
            for name in PROGRAMS:
                shutil.copy2(os.path.join(self.bin, name), os.path.join(target, name))
        self.bin = target

    def give_away(self):
        """Everything in the home belongs to the user. Call after writing files as root."""
        if self.user is not None:
            for folder, folders, files in os.walk(self.home):
                for name in ['.', *folders, *files]:
                    os.lchown(os.path.join(folder, name), self.user, self.user)

    def command(self, *args, program='troth'):
        return [*self.prefix, os.path.join(self.bin, program), *map(str, args)]

    def env(self, more=None):
        return {**conftest.environment(self.home), **(more or {})}

    def troth(self, *args, timeout=60, env=None, wrap=(), **more):
        return conftest.run([*wrap, *self.command(*args)], timeout=timeout, env=self.env(env), cwd=more.pop('cwd', self.home), **more)

    def init(self, **more):
        self.give_away()
        self.troth('host', 'init', '--state', self.state, '--no-recovery', **more).ok()
        assert os.path.getsize(os.path.join(self.state, 'inception.epoch')) > 100
        return self

    def root_label(self):
        """The root's part of the names that it endorses."""
        rot_id = self.troth('host', 'status', '--state', self.state, '--json').ok().json['health']['rot_id']
        return base64.b32encode(bytes.fromhex(rot_id)).decode().rstrip('=').lower()

    def run_arguments(self, job, inputs=None, sealed=None, out=None, more=()):
        given = [a for role, path in (inputs or {}).items() for a in ('--input', f'{role}={path}')]
        given += [a for role, path in (sealed or {}).items() for a in ('--sealed', f'{role}={path}')]
        return ['run', job, '--state', self.state, *given, '--out', out or self.out, *more]

    def run(self, job, inputs=None, sealed=None, out=None, more=(), **rest):
        self.give_away()
        return self.troth(*self.run_arguments(job, inputs, sealed, out, more), **rest)

    def exec(self, *command, more=(), **rest):
        self.give_away()
        return self.troth('exec', '--state', self.state, '--output', self.out, *more, '--', *command, **rest)

    @contextlib.contextmanager
    def running(self, job, inputs=None, out=None, env=None, wrap=(), more=(), program='troth', **rest):
        """A run that goes on while the test does something to it; ended at the latest when the block ends."""
        self.give_away()
        child = subprocess.Popen([*wrap, *self.command(*self.run_arguments(job, inputs, out=out, more=more))], env=self.env(env), cwd=self.home,
                                 stdin=rest.pop('stdin', subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **rest)
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.communicate()

    @contextlib.contextmanager
    def fed(self, job, role, path, **more):
        """A run that has had all of this file as its input, and waits for more until communicate() is called: however slow the machine is, it is not over before."""
        with self.running(job, {role: '-'}, stdin=subprocess.PIPE, **more) as child, open(path, 'rb') as f:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(f.read())
                child.stdin.flush()
            yield child

    def trust(self, job, out='trust.json'):
        """The auditor's file, from the inception record and the job alone."""
        path = os.path.join(self.home, out)
        self.troth('trust', 'new', '--root', os.path.join(self.state, 'inception.epoch'), '--reference', job, '--output', path).ok()
        return path

    def verify(self, trust, out=None, files=('out.txt',), more=()):
        out = out or self.out
        outputs = [a for f in files for a in ('--output', os.path.join(out, f))]
        return self.troth('verify', os.path.join(out, 'receipt.troth'), '--trust', trust, *outputs, '--json', *more)

    def text(self, name='out.txt', out=None):
        with open(os.path.join(out or self.out, name)) as f:
            return f.read()


def ordinary_user():
    """A uid that nobody has, different for each worker."""
    worker = os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw')
    return 62000 + os.getpid() % 1000 + 1000 * int(worker or 0)


def machines():
    """For tests of confinement: as whoever runs the tests, and (by root) as an ordinary user too."""
    return ['self', 'user'] if os.geteuid() == 0 else ['self']


# ---- processes

def processes(name):
    """Living processes below the test that were started as this program (its first argument: some are executed through a descriptor), oldest first."""
    found = []
    for pid in conftest.descendants():
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if os.path.basename(f.read().split(b'\0')[0]).decode(errors='replace') == name and not ended(pid):
                    with open(f'/proc/{pid}/stat') as stat:  # numbers of processes begin again; times do not
                        found.append((int(stat.read().rpartition(')')[2].split()[19]), pid))
        except OSError:
            pass
    return [pid for _, pid in sorted(found)]


def ended(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] in 'ZX'
    except OSError:
        return True


def until(condition, what, seconds=20):
    """Looks again and again, bounded in time; returns what the condition gives once that is true. `what` may be a call that tells more."""
    deadline = time.monotonic() + seconds * conftest.SLOWNESS
    waiting = select.poll()
    while not (found := condition()):
        assert time.monotonic() < deadline, f'{what() if callable(what) else what}: not within {seconds} s'
        waiting.poll(5)
    return found


# ---- receipts, read without Troth

Receipt = collections.namedtuple('Receipt', 'head sections manifests raw')


def receipt(folder):
    with open(os.path.join(folder, 'receipt.troth'), 'rb') as f:
        raw = f.read()
    outer = cbor2.loads(raw)
    sections = {SECTIONS[number]: data for number, data in outer[2]}
    head = cbor2.loads(cbor2.loads(outer[1]).value[2])
    return Receipt(head, sections, [cbor2.loads(m) for m in cbor2.loads(sections['manifests'])], raw)


def measured_digest(manifest, path):
    """SHA-384 of a file as the manifest states it."""
    for entry in manifest[6]:
        if entry[0] == path:
            return entry[4]
    raise AssertionError(f'{path} is not in the manifest of {manifest[2]}')


def sha384(data):
    return hashlib.sha384(data).digest()


# ---- judgements

def tree_of(folder):
    """Names below a folder; an output folder is compared before and after with it."""
    return sorted(os.path.relpath(os.path.join(place, name), folder) for place, folders, files in os.walk(folder) for name in folders + files)


REASONS = set(re.findall(r'^REASON\(\d+, (\w+)', open(os.path.join(conftest.ROOT, 'src/base/reason.def')).read(), re.M)) if os.path.exists(
    os.path.join(conftest.ROOT, 'src/base/reason.def')) else set()


def assert_typed(code, text):
    """A failure with a reason of the table, not a crash, and not the confession of a bug."""
    assert 0 < code < 128, f'exit {code}: {text[-2000:]}'
    named = set(re.findall(r'[A-Z][A-Z_]{3,}', text))
    assert named & (REASONS or named), f'no reason of the table: {text[-2000:]}'
    assert 'INTERNAL' not in named, text[-2000:]


def assert_untouched(machine, out=None):
    out = out or machine.out
    assert not os.path.exists(out), f'{out} exists: {tree_of(out)}'
    beside = [n for n in os.listdir(os.path.dirname(out)) if n.startswith('.' + os.path.basename(out))]
    assert not beside, f'left beside the output: {beside}'


def assert_complete(machine, trust, expected, out=None):
    """The output is there, whole, and its receipt verifies."""
    assert sorted(os.listdir(out or machine.out)) == ['out.txt', 'receipt.troth']
    assert machine.text(out=out) == expected
    assert machine.verify(trust, out).ok().json['verdict'] == 'accepted'


@pytest.fixture(params=machines())
def machine(request, home):
    """A machine with a root of trust, as root and as an ordinary user."""
    yield Machine(home, ordinary_user() if request.param == 'user' else None).init()


@pytest.fixture
def box(home):
    """A machine with a root of trust, as whoever runs the tests."""
    yield Machine(home).init()


@pytest.fixture(scope='session')
def probe(tmp_path_factory):
    """The hostile program, compiled where it is used."""
    return compiled(str(tmp_path_factory.mktemp('probe')), os.path.join(HERE, 'probe', 'probe.c'), '-static')
