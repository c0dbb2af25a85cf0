"""Revocation of what is live: lists of operators, leases, and both ends of a channel that say why it was closed."""
import contextlib
import hashlib
import os
import re
import signal
import time

import cbor2
import conftest
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from jobs import Machine, written
from test_rekey import await_first_row, host_of, pipeline

CLASSES = {'measurement': 1, 'key': 2, 'certificate': 3, 'host': 4, 'epoch': 5, 'policy': 6}
DAY = 86400_000
# Seconds until everything is closed. What is promised is one, of a machine that does nothing else; with many tests beside each other it is enough that
# the list did it and not the end of a lease, which the reason tells.
WITHIN = (1 if conftest.LONG else 10) * conftest.SLOWNESS
LABEL = 'troth revocation list'


# ---- an operator, from docs/PROTOCOL.revocation alone

class Operator:
    def __init__(self, folder, name='ops'):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = self.key.public_key()
        self.point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        self.id = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).digest()
        self.pub = written(folder, f'{name}.pub', public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        self.pem = written(folder, f'{name}.pem', self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                                        serialization.NoEncryption()), 0o600)

    def payload(self, version, entries=(), time_ms=None, not_after=None, point=None):
        now = int(time.time() * 1000)
        rows = sorted([CLASSES.get(c, c), v, f, w] for c, v, f, w in entries)
        return cbor2.dumps({1: 1, 2: point or self.point, 3: version, 4: time_ms or now, 5: not_after or now + DAY, 6: rows})

    def sign(self, payload, label=LABEL):
        protected = cbor2.dumps({1: -7})
        tbs = cbor2.dumps(['Signature1', protected, label.encode(), payload])
        r, s = utils.decode_dss_signature(self.key.sign(tbs, ec.ECDSA(hashes.SHA256())))
        return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, r.to_bytes(32, 'big') + s.to_bytes(32, 'big')]))

    def list(self, version, entries=(), **more):
        return written(self.folder, f'{self.name}-{version}-{time.monotonic_ns()}.list', self.sign(self.payload(version, entries, **more)))


def revokes(what, value, since=0, why='test'):
    return (what, bytes.fromhex(value) if isinstance(value, str) else value, since, why)


def pin(machine, operator):
    machine.troth('host', 'revocation-key', 'add', operator.pub, '--label', operator.name, '--state', machine.state).ok()


def load(machine, path, *more):
    return machine.troth('revoke', 'load', path, '--state', machine.state, *more)


def status(machine):
    return machine.troth('revoke', 'list', '--state', machine.state, '--json').ok().json


def live(machine, name):
    return next(row for row in status(machine)['live'] if row['enclave'] == name)


@contextlib.contextmanager
def slow_run(home, *options, operator_name='ops'):
    """Two enclaves that pump data slowly, on a host that obeys one operator."""
    machine = Machine(home).init()
    operator = Operator(home, operator_name)
    job, rows = pipeline(machine)
    with host_of(machine, *options) as log:
        pin(machine, operator)
        with machine.fed(job, 'rows', rows) as child:
            await_first_row(machine, child)
            yield machine, operator, child, log


# ---- what is closed, seen from the kernel

def sockets_of(name):
    """
    Connected Unix sockets between runtimes, by inode: both ends of the channels that are open. Only root may look at the
    descriptors of processes that cannot be dumped: an ordinary user sees what both runtimes say.
    """
    found = set()
    for pid in conftest.descendants():
        with contextlib.suppress(OSError):
            if command_of(pid)[:1] != [name]:
                continue
            for fd in os.listdir(f'/proc/{pid}/fd'):
                with contextlib.suppress(OSError):
                    target = os.readlink(f'/proc/{pid}/fd/{fd}')
                    if target.startswith('socket:'):
                        found.add((pid, target))
    return found


def await_closed(before, within, said):
    """Both runtimes have let go of their sockets, or where they cannot be seen `said()` that they have; how long that took."""
    assert before or os.geteuid() != 0
    began = time.monotonic()
    while before & sockets_of('troth-ire') if before else not said():
        assert time.monotonic() < began + within, 'channels are still open'
        time.sleep(0.005)  # nothing tells of the end of somebody else's descriptor
    return time.monotonic() - began


def closed_lines(log):
    with open(log) as file:
        return [line for line in file if 'a channel was closed' in line]


# ---- the six things

def value_of(machine, what):
    row = live(machine, 'B')
    return row[{'host': 'rot_id'}.get(what, what)]


@pytest.mark.attack('BI-07')
@pytest.mark.parametrize('what', CLASSES)
def test_what_is_revoked_is_closed_within_a_second_on_both_sides(home, what):
    with slow_run(home) as (machine, operator, child, log):
        path = operator.list(1, [revokes(what, value_of(machine, what), why='stolen laptop')])
        dry = load(machine, path, '--dry-run', '--json').ok().json
        assert dry['dry_run'] and dry['hit_total'] >= 1 and 'B' in {hit['enclave'] for hit in dry['hits']}
        assert child.poll() is None and status(machine)['lists'][0]['version'] == 0
        open_before = sockets_of('troth-ire')
        begun = time.monotonic()
        load(machine, path).ok()
        await_closed(open_before, WITHIN, lambda: len(closed_lines(log)) >= 2)
        took = time.monotonic() - begun
        _, error = child.communicate(timeout=30 * conftest.SLOWNESS)
        told = open(log).read()
    print(f'{what}: closed after {took * 1000:.0f} ms with the command that loads the list')
    assert child.returncode != 0 and b'REVOKED' in error and (b'stolen laptop' in error or b'heard of it first' in error), error
    assert 'stolen laptop' in told
    assert not os.path.exists(os.path.join(machine.out, 'receipt.troth'))
    assert 'a revocation list was taken' in told and 'REVOKED' in told
    # Each end says so in its own log, and in the host's: of whoever ended the run at the latest.
    for side in 'BC':
        assert re.search(f'troth-ire.*a channel was closed enclave={side} reason=REVOKED', told), (side, told)
    assert re.search('trothd host.*an enclave was ended enclave=[BC] reason=REVOKED', told), told


def test_what_is_not_revoked_goes_on(home):
    with slow_run(home) as (machine, operator, child, log):
        load(machine, operator.list(1, [revokes('measurement', os.urandom(48)), revokes('key', os.urandom(32))])).ok()
        future = int(time.time() * 1000) + DAY
        load(machine, operator.list(2, [revokes('measurement', live(machine, 'B')['measurement'], since=future)])).ok()
        child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode == 0
        assert not closed_lines(log)
    assert os.path.exists(os.path.join(machine.out, 'receipt.troth'))


def test_an_entry_that_begins_later_closes_then(home):
    with slow_run(home) as (machine, operator, child, log):
        since = int(time.time() * 1000) + 2000
        load(machine, operator.list(1, [revokes('measurement', live(machine, 'B')['measurement'], since=since)])).ok()
        _, error = child.communicate(timeout=30 * conftest.SLOWNESS)
        late = time.time() * 1000 - since
    assert child.returncode != 0 and b'REVOKED' in error, error
    assert 0 <= late < 2000 + 1000 * WITHIN


# ---- the lease

@pytest.mark.attack('BI-07')
def test_a_feed_that_is_cut_ends_channels_with_the_lease(home):
    with slow_run(home) as (machine, operator, child, log):
        load(machine, operator.list(1)).ok()
        open_before = sockets_of('troth-ire')
        host = next(pid for pid in conftest.descendants() if ' '.join(command_of(pid)).count('trothd host'))
        os.kill(host, signal.SIGSTOP)
        try:
            began = time.monotonic()
            while len(closed_lines(log)) < 2:
                assert time.monotonic() < began + 5 + WITHIN, open(log).read()
                time.sleep(0.02)
            took = time.monotonic() - began
        finally:
            os.kill(host, signal.SIGCONT)
        _, error = child.communicate(timeout=30 * conftest.SLOWNESS)
        lines = closed_lines(log)
    print(f'both ends closed {took:.2f} s after the feed was cut')
    assert open_before or os.geteuid() != 0
    assert all('LEASE_ENDED' in line for line in lines), lines
    assert {re.search(r'enclave[=:]"?(\w)', line).group(1) for line in lines} >= {'B', 'C'}, lines
    assert child.returncode != 0 and b'LEASE_ENDED' in error, error


def command_of(pid):
    with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline', 'rb') as file:
        return [word.decode(errors='replace') for word in file.read().split(b'\0')]
    return []


def test_without_an_operator_there_is_no_lease(home):
    machine = Machine(home).init()
    job, rows = pipeline(machine)
    with host_of(machine) as log:
        with machine.running(job, inputs={'rows': rows}) as child:
            await_first_row(machine, child)
            host = next(pid for pid in conftest.descendants() if ' '.join(command_of(pid)).count('trothd host'))
            os.kill(host, signal.SIGSTOP)
            time.sleep(6.5)  # longer than a lease would be: nothing may happen, and nothing tells of that
            os.kill(host, signal.SIGCONT)
            child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode == 0 and not closed_lines(log)
        assert status(machine)['head_seq'] == 0


def test_a_lease_begins_and_ends_with_the_keys(home):
    machine = Machine(home).init()
    operator = Operator(home)
    job, rows = pipeline(machine)
    with host_of(machine) as log:
        with machine.running(job, inputs={'rows': rows}) as child:
            await_first_row(machine, child)
            pin(machine, operator)
            load(machine, operator.list(1, [revokes('key', os.urandom(32))])).ok()
            machine.troth('host', 'revocation-key', 'remove', operator.id.hex(), '--state', machine.state).ok()
            time.sleep(6)  # longer than a lease: the last head has ended it
            child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode == 0, open(log).read()
        assert not closed_lines(log)


# ---- launches and secrets

def test_what_is_revoked_is_not_launched(home):
    machine = Machine(home).init()
    operator = Operator(home)
    job, rows = pipeline(machine)
    measured = machine.troth('ire', 'measure', job, '--json').ok().json
    text = str(measured)
    value = re.findall(r'\b[0-9a-f]{96}\b', text)
    assert value
    with host_of(machine):
        pin(machine, operator)
        load(machine, operator.list(1, [revokes('measurement', v, why='CVE-1') for v in sorted(set(value))])).ok()
        ran = machine.run(job, inputs={'rows': rows})
        ran.refused('REVOKED')
        assert 'CVE-1' in ran.stderr


# ---- lists that are refused

def test_lists_that_are_refused(home):
    machine = Machine(home).init()
    operator, other = Operator(home), Operator(home, 'other')
    entry = revokes('key', os.urandom(32))
    with host_of(machine):
        load(machine, operator.list(1)).refused('REVOCATION_KEY_UNKNOWN')
        pin(machine, operator)
        load(machine, other.list(1)).refused('REVOCATION_KEY_UNKNOWN')
        forged = written(home, 'forged.list', other.sign(operator.payload(1, [entry])))
        load(machine, forged).refused('BAD_SIGNATURE')
        load(machine, written(home, 'kind.list', operator.sign(operator.payload(1), 'troth reference set'))).refused('BAD_SIGNATURE')
        now = int(time.time() * 1000)
        load(machine, operator.list(1, time_ms=now - 2 * DAY, not_after=now - DAY)).refused('REVOCATION_EXPIRED')
        load(machine, operator.list(1, time_ms=now + DAY, not_after=now + 2 * DAY)).refused('REVOCATION_EXPIRED')
        load(machine, operator.list(1, [(7, os.urandom(32), 0, '')])).refused('REVOCATION_CLASS_UNKNOWN')
        load(machine, operator.list(1, [('key', os.urandom(31), 0, '')])).refused('BAD_VALUE')
        load(machine, operator.list(1, [entry, (*entry[:2], 5, 'again')])).refused('NOT_DETERMINISTIC')
        load(machine, written(home, 'cut.list', operator.sign(operator.payload(1))[:-9])).refused('TRUNCATED')
        load(machine, written(home, 'none.list', b'')).refused('')
        assert status(machine)['lists'][0]['version'] == 0
        load(machine, operator.list(3, [entry])).ok()
        load(machine, operator.list(2)).refused('REVOCATION_OLD')
        load(machine, operator.list(2), '--dry-run').refused('REVOCATION_OLD')
        load(machine, operator.list(3)).refused('REVOCATION_CONFLICT')
        assert status(machine)['conflicts'] == 2 and status(machine)['lists'][0]['entries'] == 1
        machine.troth('host', 'revocation-key', 'add', operator.pub, '--state', machine.state).refused('ALREADY_EXISTS')
        machine.troth('host', 'revocation-key', 'remove', other.id.hex(), '--state', machine.state).refused('NOT_FOUND')


def test_no_rollback_after_a_kill(home):
    machine = Machine(home).init()
    operator = Operator(home)
    with host_of(machine):
        pin(machine, operator)
        load(machine, operator.list(5, [revokes('key', os.urandom(32))])).ok()
        host = next(pid for pid in conftest.descendants() if ' '.join(command_of(pid)).count('trothd host'))
        os.kill(host, signal.SIGKILL)
    with host_of(machine):
        assert status(machine)['lists'][0]['version'] == 5
        load(machine, operator.list(4)).refused('REVOCATION_OLD')
        # Taking the key out and pinning it again is no way back either.
        machine.troth('host', 'revocation-key', 'remove', operator.pub, '--state', machine.state).ok()
        load(machine, operator.list(6)).refused('REVOCATION_KEY_UNKNOWN')
        pin(machine, operator)
        load(machine, operator.list(4)).refused('REVOCATION_OLD')
        load(machine, operator.list(6)).ok()


def test_a_folder_that_was_altered(home):
    machine = Machine(home).init()
    operator = Operator(home)
    folder = os.path.join(machine.state, 'revocations')
    with host_of(machine):
        pin(machine, operator)
        load(machine, operator.list(1, [revokes('key', os.urandom(32))])).ok()
    name = next(n for n in os.listdir(folder) if n.endswith('.list'))
    with open(os.path.join(folder, name), 'rb') as file:
        whole = file.read()
    written(folder, name, operator.sign(operator.payload(1)), 0o600)
    machine.troth('revoke', 'list', '--state', machine.state).refused('REVOCATIONS_DAMAGED')
    written(folder, name, whole, 0o600)
    machine.troth('revoke', 'list', '--state', machine.state).ok()
    with open(os.path.join(folder, 'operators'), 'r+b') as file:
        file.seek(10)
        byte = file.read(1)
        file.seek(10)
        file.write(bytes([byte[0] ^ 1]))
    machine.troth('revoke', 'list', '--state', machine.state).refused('REVOCATIONS_DAMAGED')


def test_a_million_entries(home):
    """As many as may be: taken, obeyed by live enclaves, looked up; one more is refused."""
    # While a list is taken in, no head is signed: on a slow machine that is longer than a usual lease.
    with slow_run(home, '--revocation-lease', '600000') as (machine, operator, child, log):
        target = bytes.fromhex(live(machine, 'B')['certificate'])
        keys = sorted(hashlib.sha256(i.to_bytes(4, 'big')).digest() for i in range(999_999))
        body = b''.join(b'\x84\x02\x58\x20' + key + b'\x00\x60' for key in keys)
        now = int(time.time() * 1000)

        def big(extra, count):
            head = cbor2.dumps({1: 1, 2: operator.point, 3: 1, 4: now, 5: now + DAY})
            payload = b'\xa6' + head[1:] + b'\x06\x9a' + count.to_bytes(4, 'big') + body + extra
            return written(home, f'big-{count}.list', operator.sign(payload))
        entry = b'\x84\x03\x58\x20' + target + b'\x00\x60'
        later = b'\x84\x03\x58\x20' + b'\xff' * 32 + b'\x00\x60'
        load(machine, big(entry + later, 1_000_001)).refused('TOO_LARGE')
        began = time.monotonic()
        load(machine, big(entry, 1_000_000)).ok()
        print(f'a list of a million entries was taken in {time.monotonic() - began:.2f} s')
        _, error = child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode != 0 and b'REVOKED' in error, error


# ---- the verbs

def test_a_list_from_the_command_line(home):
    machine = Machine(home).init()
    operator = Operator(home)
    source, signed = os.path.join(home, 'list.json'), os.path.join(home, 'one.list')
    machine.troth('revoke', 'new', '--key', operator.pub, '--measurement', 'ab' * 48, '--why', 'lost', '--output', source).ok()
    machine.troth('revoke', 'sign', source, '--key', operator.pem, '--output', signed).ok()
    shown = machine.troth('revoke', 'show', signed, '--json').ok().json
    assert shown['version'] == 1 and shown['operator'] == operator.id.hex()
    assert [(e['class'], e['value'], e['why']) for e in shown['entries']] == [('measurement', 'ab' * 48, 'lost'), ('key', operator.id.hex(), 'lost')]
    machine.troth('revoke', 'new', '--base', signed, '--lift', 'ab' * 48, '--host', 'cd' * 32, '--from', '2026-01-01T00:00:00Z',
                  '--output', source).ok()
    machine.troth('revoke', 'sign', source, '--key', operator.pem, '--output', signed).ok()
    shown = machine.troth('revoke', 'show', signed, '--json').ok().json
    assert shown['version'] == 2 and [e['class'] for e in shown['entries']] == ['key', 'host']
    machine.troth('revoke', 'new', '--base', signed, '--lift', 'ee' * 32).refused('NOT_FOUND')
    machine.troth('revoke', 'new', '--measurement', 'ab').refused('USAGE')
    written(home, 'bad.yaml', 'version: 1\nnot_after: 2030-01-01T00:00:00Z\nentries:\n  - kee: "00"\n')
    machine.troth('revoke', 'sign', os.path.join(home, 'bad.yaml'), '--key', operator.pem, '--output', signed).refused('UNKNOWN_FIELD')
    with host_of(machine):
        pin(machine, operator)
        assert 'would be taken' in load(machine, signed, '--dry-run').ok().stdout
        assert 'in force' in load(machine, signed).ok().stdout
        assert 'already' in load(machine, signed).ok().stdout
        assert 'version 2' in machine.troth('host', 'revocation-key', 'list', '--state', machine.state).ok().stdout


# ---- receipts, afterwards

@pytest.mark.attack('DA-12')
def test_receipts_are_judged_by_lists(home):
    machine = Machine(home).init()
    operator, other = Operator(home), Operator(home, 'other')
    job, rows = pipeline(machine)
    before = int(time.time() * 1000)
    machine.run(job, inputs={'rows': written(machine.work, 'few.csv', '1,2\n3,4\n')}).ok()
    after = int(time.time() * 1000) + 1
    trust = os.path.join(home, 'trust.json')
    machine.troth('trust', 'new', '--root', os.path.join(machine.state, 'inception.epoch'), '--reference', job, '--revocation-key', operator.pub,
                  '--output', trust).ok()
    receipt = os.path.join(machine.out, 'receipt.troth')

    def verify(path):
        return machine.troth('verify', receipt, '--trust', trust, '--revocations', path)
    machine.troth('verify', receipt, '--trust', trust).ok()
    verify(operator.list(1)).ok()
    verify(other.list(1)).refused('REVOCATION_KEY_UNKNOWN')
    host = machine.troth('host', 'status', '--state', machine.state, '--json').ok().json['health']['rot_id']
    cores = sorted(set(re.findall(r'\b[0-9a-f]{96}\b', str(machine.troth('ire', 'measure', job, '--json').ok().json))))
    for what, value in [('host', host)] + [('measurement', value) for value in cores]:
        verify(operator.list(2, [revokes(what, value, since=after)])).ok()
    hits = 0
    for value in cores:
        ran = verify(operator.list(3, [revokes('measurement', value, since=before - 60_000)]))
        if ran.code:
            ran.refused('REVOKED')
            hits += 1
    assert hits >= 3  # one per enclave at least
    verify(operator.list(4, [revokes('host', host, since=before)])).refused('REVOKED')
    both = machine.troth('verify', receipt, '--trust', trust, '--revocations', operator.list(5), '--revocations', operator.list(6))
    both.refused('REVOCATION_CONFLICT')
