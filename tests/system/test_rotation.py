"""A root of trust that rotates while it is used, is killed, put back, cloned, flooded, halted and recovered."""
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import conftest
import hosts
import jobs
import pytest
from jobs import Machine, box  # noqa: F401

OFTEN = ('--rotate-every', '0', '--rotate-burst', '0')


@pytest.fixture
def quick(home):
    """A machine whose root drains at once, so that it may rotate as often as one likes."""
    machine = Machine(home)
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--grace', '0').ok()
    return machine


def openssl_keys(folder, count):
    """Recovery keys made by openssl alone: private and public files."""
    os.makedirs(folder, exist_ok=True)
    keys = []
    for i in range(count):
        private, public = os.path.join(folder, f'{i}.pem'), os.path.join(folder, f'{i}.pub')
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', private], check=True,
                       capture_output=True)
        subprocess.run(['openssl', 'pkey', '-in', private, '-pubout', '-out', public], check=True)
        keys.append((private, public))
    return keys


@pytest.fixture
def recoverable(home):
    """A machine with 2 of 3 recovery keys that openssl made; its root drains at once."""
    machine = Machine(home)
    machine.keys = openssl_keys(os.path.join(home, 'keys'), 3)
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '2', *[public for _, public in machine.keys], '--grace', '0').ok()
    return machine


def root(machine, *words, **more):
    return machine.troth('root', *words, '--state', machine.state, **more)


def head(machine):
    status = root(machine, 'status', '--json').ok().json
    return status['era'], status['epoch']


def rotate_to(machine, epoch):
    with hosts.service(machine, *OFTEN) as host:
        client = host.client()
        while client.root()[3] < epoch:
            client.rotate_on()
        client.close()


def history(machine):
    path = os.path.join(machine.home, 'history')
    root(machine, 'history', '--output', path).ok()
    with open(path, 'rb') as f:
        return f.read()


def sign_with_openssl(machine, candidate, number):
    """One holder signs with openssl alone; finds what is theirs by the id of their key."""
    private, public = machine.keys[number]
    der = subprocess.run(['openssl', 'pkey', '-in', private, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
    name = hashlib.sha256(der).hexdigest()[:16]
    signature = f'{candidate}.{number}.sig'
    subprocess.run(['openssl', 'dgst', '-sha256', '-sign', private, '-out', signature, f'{candidate}.{name}.tbs'], check=True)
    return signature


def recover(machine, *more, numbers=(0, 2)):
    candidate = os.path.join(machine.home, 'candidate')
    root(machine, 'recover', 'prepare', '--output', candidate, *more).ok()
    signatures = [sign_with_openssl(machine, candidate, n) for n in numbers]
    keys = [a for n in numbers for a in ('--key', machine.keys[n][1])]
    return root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', *signatures, *keys)


# ---- in use

@pytest.mark.slow
def test_attestations_while_it_rotates(quick, amount):
    """Nobody who attests notices a rotation: no error, and each answer is one of the epochs that are exported."""
    wanted = int(os.environ.get('TROTH_ATTESTATIONS', amount(3000, 1000000)))
    rotations = int(os.environ.get('TROTH_ROTATIONS', amount(60, 1000)))
    answers, errors, latencies = [], [], []
    done = threading.Event()
    with hosts.service(quick, *OFTEN) as host:
        def rotate():
            client = host.client()
            try:
                while done_rotations[0] < rotations:
                    try:
                        client.rotate()
                        done_rotations[0] += 1
                    except hosts.Refused as refused:
                        # The host itself was at it, with the drain of the one before: its answer is to ask again.
                        if refused.args[0] != 'ROTATION_RUNNING':
                            raise
            except Exception as error:  # noqa: BLE001
                errors.append(error)
            finally:
                done.set()
        done_rotations = [0]
        thread = threading.Thread(target=rotate)
        thread.start()
        client = host.client()
        number = 0
        while number < wanted or not done.is_set():
            challenge = number.to_bytes(32, 'big')
            began = time.monotonic()
            answers.append((challenge, client.attest(challenge)))
            latencies.append(time.monotonic() - began)
            number += 1
        thread.join()
        assert not errors, errors
        exported = client.history()
        client.close()
    follower = hosts.followed(exported)
    assert follower.state == 'live' and follower.head.order == (0, rotations + 1)
    keys = hosts.keys_of(follower)
    epochs = {hosts.check_answer(answer, challenge, keys) for challenge, answer in answers}
    assert len(epochs) > rotations / 2, 'the attestations met few of the epochs'
    latencies.sort()
    print(json.dumps({'attestations': len(answers), 'rotations': rotations, 'errors': 0, 'p50_ms': 1000 * latencies[len(latencies) // 2],
                      'p99_ms': 1000 * latencies[len(latencies) * 99 // 100]}))


def test_a_run_across_rotations(home):
    """A pipeline that runs while the root rotates three times: its receipt verifies from the inception record alone."""
    machine = Machine(home)
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--grace', '1').ok()
    jobs.written(machine.work, 'slow.sh', '#!/bin/sh\nwhile read -r x; do echo "$x"; sleep 0.4; done\n', 0o755)
    job = jobs.write_job(machine.work, [
        jobs.enclave('A', './slow.sh', peers=['B'], files=['/usr/bin/sleep']),
        jobs.enclave('B', '/usr/bin/cat', peers=['A', 'C']),
        jobs.enclave('C', '/usr/bin/cat', peers=['B'])], flow=jobs.PIPE, inputs=[{'role': 'rows', 'to': 'A'}],
        outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])
    trust = machine.trust(job)
    with hosts.service(machine, *OFTEN) as host:
        with machine.running(job, {'rows': '-'}, stdin=subprocess.PIPE) as child:
            client = host.client()
            child.stdin.write(b''.join(b'%d\n' % i for i in range(15)))
            child.stdin.flush()
            jobs.until(lambda: len(jobs.processes('sleep')) > 0 or child.poll() is not None, 'the pipeline runs')
            for _ in range(3):
                jobs.until(lambda: not client.root()[6], 'the epoch before is drained')
                client.rotate()
            out, error = child.communicate(b'15\n', timeout=120)
            assert child.returncode == 0, error.decode()
            client.close()
    assert machine.verify(trust).ok().json['verdict'] == 'accepted'
    assert len(hosts.cbor2.loads(jobs.receipt(machine.out).sections['epochs'])) == 4
    assert machine.text() == ''.join(f'{i}\n' for i in range(16))


@pytest.mark.sanitize
def test_it_rotates_by_itself(home):
    """The period, and an expiry that is near."""
    machine = Machine(home)
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--grace', '0').ok()
    with hosts.service(machine, '--rotate-every', '2', '--rotate-burst', '0') as host:
        client = host.client()
        jobs.until(lambda: client.root()[3] >= 3, 'two rotations by time')
        notes = client.root()[15]
        client.close()
    assert all(note[4] == 1 and 'period' in note[6] for note in notes), notes


def test_a_violation_is_an_event(box):  # noqa: F811
    """An enclave that does what its policy forbids makes the root leave its epoch; the history says why."""
    job = jobs.pipeline(box.work)
    forbidden = json.loads(open(os.path.join(box.work, 'policies/B.json')).read())
    forbidden['allowed_communicators'] = ['C']
    jobs.written(box.work, 'policies/B.json', json.dumps(forbidden))
    rows = jobs.written(box.work, 'rows', 'x\n')
    box.run(job, {'rows': rows}).refused('STAGE_FAILED')
    status = root(box, 'status', '--json').ok().json
    assert status['epoch'] == 2 and status['notes'][0]['reason'] == 'event' and 'policy violation' in status['notes'][0]['text'], status


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may attach to a process that cannot be dumped')
def test_a_debugger_is_an_event(quick):
    """One that attaches to the secure processor while something runs."""
    job = jobs.single(quick.work, '/usr/bin/sleep', ['600'])
    with hosts.service(quick, *OFTEN) as host, quick.running(job) as child:
        client = host.client()
        jobs.until(lambda: len(jobs.processes('sleep')) > 0 or child.poll() is not None, 'it runs')
        tracer = subprocess.Popen(['/usr/bin/python3', '-c', (
            'import ctypes, sys, time; libc = ctypes.CDLL(None, use_errno=True); '
            'assert libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0, ctypes.get_errno(); print("attached", flush=True); time.sleep(30)'),
            str(host.ap()[-1])], stdout=subprocess.PIPE, text=True)
        try:
            assert tracer.stdout.readline() == 'attached\n'
            jobs.until(lambda: client.root()[3] >= 2, 'the root was rotated')
        finally:
            tracer.kill()
            tracer.communicate()
        note = client.root()[15][0]
        assert note[4] == 2 and 'debugger' in note[6] and 'troth-ap' in note[6], note
        client.close()
        child.kill()


# ---- asked for too much

@pytest.mark.sanitize
def test_asked_for_a_thousand_times_a_second(home):
    """Each request is answered, with a reason; a few rotations are done; attestations go on."""
    machine = Machine(home)
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--grace', '0').ok()
    told, lock = {}, threading.Lock()
    with hosts.service(machine, '--rotate-every', '0') as host:
        end, attested = time.monotonic() + 50, 0

        def enough():
            return time.monotonic() > end or sum(told.values()) > 300 and attested > 20 and told.get('ROTATION_LIMITED', 0) > 0

        def flood():
            while not enough():
                client = host.client()
                try:
                    client.rotate()
                    what = 'done'
                except hosts.Refused as refused:
                    what = refused.args[0]
                client.close()
                with lock:
                    told[what] = told.get(what, 0) + 1
        threads = [threading.Thread(target=flood) for _ in range(8)]
        for thread in threads:
            thread.start()
        client = host.client()
        while not enough():
            client.attest(os.urandom(32))
            attested += 1
        for thread in threads:
            thread.join()
        records = client.root()[3]
        client.close()
    assert set(told) <= {'done', 'ROTATION_LIMITED', 'ROTATION_RUNNING', 'DRAIN_PENDING'}, told
    assert 1 <= told['done'] == records - 1 <= 9 and told['ROTATION_LIMITED'] > 0, (told, records)
    assert sum(told.values()) > 300 and attested > 20, (told, attested)


@pytest.mark.sanitize
def test_another_waits_for_the_drain(box):  # noqa: F811
    with hosts.service(box, *OFTEN):
        root(box, 'rotate').ok()
        root(box, 'rotate').refused('DRAIN_PENDING')
        root(box, 'rotate', '--emergency').ok()
        assert head(box) == (0, 3)
        note = root(box, 'status', '--json').ok().json['notes'][0]
        assert note['emergency'] is True


# ---- killed

@pytest.mark.slow
@pytest.mark.attack('RO-05')
@pytest.mark.attack('RO-02')
def test_killed_while_it_rotates(quick, amount):
    """Host or secure processor, at any moment: it comes back, and of all that was ever exported no epoch has two records."""
    rng = random.Random(f'rotation {conftest.LONG}')
    seen, epochs, during = {}, [], 0
    for turn in range(int(os.environ.get('TROTH_KILLS', amount(30, 500)))):
        host = hosts.Service(quick, *OFTEN)
        assert host.refused is None, host.error
        client = host.client()
        exported = client.history()
        for order, oids in hosts.records_of(exported).items():
            seen.setdefault(order, set()).update(oids)
            assert len(seen[order]) == 1, f'two records of {order}'
        epochs.append(max(order[1] for order in hosts.records_of(exported)))
        victim = ('trothd', 'troth-ap')[turn % 2]
        pids = host.ap() if victim == 'troth-ap' else [host.child.pid]
        timer = threading.Timer(rng.uniform(0.0, 0.06), lambda: [os.kill(p, signal.SIGKILL) for p in pids if os.path.exists(f'/proc/{p}')])
        timer.start()
        try:
            while True:
                client.rotate_on()
        except hosts.Refused as refused:
            assert refused.args[0] == 'AP_STOPPED', refused.args
            during += 1
        except (ConnectionError, OSError):
            during += 1
        timer.join()
        client.close()
        host.stop()
        assert not conftest.gone(conftest.descendants(), 20)
        conftest.reap()
    follower = hosts.followed(history(quick))
    assert follower.state == 'live' and epochs[-1] > 5, epochs
    assert root(quick, 'rotate').ok()


# ---- put back, cloned, lost

@pytest.mark.sanitize
@pytest.mark.attack('RO-14')
@pytest.mark.attack('RO-01')
def test_a_state_put_back_is_refused(recoverable):
    """The secure processor's folder of epoch 5 at epoch 9; then the recovery keys, made by openssl alone, begin a new era."""
    machine = recoverable
    rotate_to(machine, 5)
    old = os.path.join(machine.home, 'old')
    shutil.copytree(os.path.join(machine.state, 'ap'), os.path.join(old, 'ap'))
    for name in ('pins', 'epochs'):
        source = os.path.join(machine.state, name)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(old, name))
    rotate_to(machine, 9)
    shutil.rmtree(os.path.join(machine.state, 'ap'))
    shutil.copytree(os.path.join(old, 'ap'), os.path.join(machine.state, 'ap'))
    refused = machine.troth('host', 'status', '--state', machine.state).refused('STALE_STATE')
    assert 'epoch 9' in refused.stderr and 'epoch 5' in refused.stderr
    root(machine, 'rotate').refused('STALE_STATE')
    status = root(machine, 'status', '--json').ok().json
    assert status['refusal']['reason'] == 'STALE_STATE' and status['epoch'] == 9
    recover(machine).ok()
    assert head(machine) == (1, 10)
    root(machine, 'attest', '--verify').ok()
    follower = hosts.followed(history(machine))
    assert follower.state == 'live' and follower.head.order == (1, 10)


@pytest.mark.sanitize
@pytest.mark.attack('RO-14')
def test_a_pin_store_put_back_is_named(quick):
    old = os.path.join(quick.home, 'old')
    rotate_to(quick, 3)
    os.mkdir(old)
    shutil.copy(os.path.join(quick.state, 'pins'), old)
    shutil.copytree(os.path.join(quick.state, 'epochs'), os.path.join(old, 'epochs'))
    rotate_to(quick, 6)
    kept = {name: os.path.join(quick.home, 'kept-' + name) for name in ('pins', 'epochs')}
    for name, path in kept.items():
        os.rename(os.path.join(quick.state, name), path)
    shutil.copy(os.path.join(old, 'pins'), quick.state)
    shutil.copytree(os.path.join(old, 'epochs'), os.path.join(quick.state, 'epochs'))
    assert 'old copy of the pin store' in root(quick, 'attest').refused('PIN_DAMAGED').stderr
    # The history alone: it is not what was pinned.
    os.unlink(os.path.join(quick.state, 'pins'))
    shutil.copy(kept['pins'], os.path.join(quick.state, 'pins'))
    root(quick, 'attest').refused('HISTORY_DAMAGED')
    shutil.rmtree(os.path.join(quick.state, 'epochs'))
    root(quick, 'attest').refused('HISTORY_DAMAGED')
    os.rename(kept['epochs'], os.path.join(quick.state, 'epochs'))
    assert head(quick) == (0, 6)
    root(quick, 'rotate').ok()


def test_one_changed_byte_of_the_history_is_noticed(quick):
    rotate_to(quick, 4)
    path = os.path.join(quick.state, 'epochs', 'epochs-00000001.log')
    with open(path, 'rb') as f:
        good = f.read()
    length = len(good.rstrip(b'\0'))
    rng = random.Random(1)
    for at in sorted(rng.sample(range(length), 12)):
        jobs.written(os.path.dirname(path), os.path.basename(path), good[:at] + bytes([good[at] ^ 1]) + good[at + 1:], 0o600)
        told = root(quick, 'attest')
        if told.code:
            assert re.search('HISTORY_DAMAGED', told.stderr), f'{at}: {told}'
        jobs.written(os.path.dirname(path), os.path.basename(path), good, 0o600)
    root(quick, 'attest').ok()


@pytest.mark.sanitize
@pytest.mark.attack('RO-13')
@pytest.mark.attack('RO-15')
def test_two_clones_freeze_who_sees_both(recoverable):
    """Both go on from epoch 5: whoever sees both records of epoch 6 freezes and keeps both; a new era thaws it."""
    machine = recoverable
    rotate_to(machine, 5)
    clone = Machine(os.path.join(machine.home, 'clone'))
    shutil.copytree(machine.state, clone.state, ignore=shutil.ignore_patterns('socket'))
    rotate_to(machine, 8)
    rotate_to(clone, 6)
    ours, theirs = history(machine), history(clone)
    path = os.path.join(clone.home, 'history')
    # Other code than Troth's, which heard of ours first.
    follower = hosts.followed(ours)
    assert follower.state == 'live'
    for item in hosts.cbor2.loads(theirs)[2]:
        list(hosts.follow_epochs.replay(follower, [item]))
    assert follower.state == 'frozen'
    root(machine, 'halt', 'apply', '--history', path).ok()
    root(machine, 'attest').refused('EPOCH_FORKED')
    machine.troth('host', 'status', '--state', machine.state).refused('EPOCH_FORKED')
    frozen = history(machine)
    assert len(hosts.records_of(frozen)[(0, 6)]) == 2 and hosts.followed(frozen).state == 'frozen'
    machine.troth('root', 'verify-history', os.path.join(machine.home, 'history')).refused('EPOCH_FORKED')
    recover(machine, '--from', '5').ok()
    assert head(machine) == (1, 6)
    thawed = hosts.followed(history(machine))
    assert thawed.state == 'live' and thawed.head.order == (1, 6)
    root(machine, 'attest', '--verify').ok()


@pytest.mark.sanitize
def test_lost_and_taken_over_from_a_history(recoverable):
    """The secure processor's state is gone; then the whole folder is, and a new one takes the root over."""
    machine = recoverable
    rotate_to(machine, 4)
    shutil.rmtree(os.path.join(machine.state, 'ap'))
    root(machine, 'attest').refused('STALE_STATE')
    recover(machine).ok()
    assert head(machine) == (1, 5)
    exported = history(machine)
    other = Machine(os.path.join(machine.home, 'other'))
    other.keys = machine.keys
    path = jobs.written(other.work, 'exported', exported)
    recover(other, '--history', path).ok()
    assert head(other) == (2, 6)
    root(other, 'attest', '--verify').ok()
    root(other, 'rotate').ok()
    assert hosts.followed(history(other)).rot_id == hosts.followed(exported).rot_id


@pytest.mark.sanitize
@pytest.mark.attack('RO-06')
def test_the_wrong_quorum(recoverable):
    machine = recoverable
    strangers = openssl_keys(os.path.join(machine.home, 'strangers'), 2)
    candidate = os.path.join(machine.home, 'candidate')
    root(machine, 'recover', 'prepare', '--output', candidate).ok()
    mine = sign_with_openssl(machine, candidate, 0)
    root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', mine, '--key', machine.keys[0][1]).refused('RECOVERY_QUORUM')
    root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', mine, mine, '--key', machine.keys[0][1]).refused('DUPLICATE_KEY')
    root(machine, 'recover', 'sign', '--candidate', candidate, '--key', strangers[0][0], '--output', candidate + '.s').refused('RECOVERY_QUORUM')
    tbs = [n for n in os.listdir(machine.home) if n.endswith('.tbs')][0]
    foreign = candidate + '.foreign'
    subprocess.run(['openssl', 'dgst', '-sha256', '-sign', strangers[0][0], '-out', foreign, os.path.join(machine.home, tbs)], check=True)
    root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', mine, foreign, '--key', machine.keys[0][1], '--key',
         strangers[0][1]).refused('BAD_SIGNATURE')
    assert head(machine) == (0, 1)
    # A candidate that was overtaken by another is not adopted.
    root(machine, 'recover', 'prepare', '--output', candidate + '.new').ok()
    signatures = [mine, sign_with_openssl(machine, candidate, 1)]
    root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', *signatures, '--key', machine.keys[0][1], '--key',
         machine.keys[1][1]).refused('NO_CANDIDATE')
    assert head(machine) == (0, 1)


@pytest.mark.sanitize
def test_halted_and_begun_again(recoverable):
    """HALT needs no host; one that is told of it endorses nothing any more, also after a restart."""
    machine = recoverable
    rotate_to(machine, 3)
    history(machine)
    exported, candidate, halted = (os.path.join(machine.home, n) for n in ('history', 'halt', 'halted'))
    machine.troth('root', 'halt', 'prepare', '--history', exported, '--output', candidate).ok()
    signatures = []
    for number in (1, 2):
        signatures.append(f'{candidate}.{number}')
        machine.troth('root', 'halt', 'sign', '--candidate', candidate, '--key', machine.keys[number][0], '--output', signatures[-1]).ok()
    machine.troth('root', 'halt', 'assemble', '--candidate', candidate, '--history', exported, '--signature', *signatures, '--output', halted).ok()
    with hosts.service(machine, *OFTEN) as host:
        client = host.client()
        client.attest(bytes(32))
        root(machine, 'halt', 'apply', '--history', halted).ok()
        with pytest.raises(hosts.Refused, match='EPOCH_HALTED'):
            client.attest(bytes(32))
    root(machine, 'rotate').refused('EPOCH_HALTED')
    machine.exec('/usr/bin/true').refused('EPOCH_HALTED')
    with open(halted, 'rb') as f:
        assert hosts.followed(f.read()).state == 'halted'
    recover(machine).ok()
    assert head(machine) == (1, 4)
    root(machine, 'attest').ok()


@pytest.mark.sanitize
def test_other_recovery_keys(recoverable):
    machine = recoverable
    ceremony = os.path.join(machine.home, 'ceremony')
    made = machine.troth('root', 'ceremony', '--k', '1', '--n', '2', '--out', ceremony, '--json').ok().json
    assert all(os.stat(row['private']).st_mode & 0o777 == 0o600 for row in made['keys'])
    machine.troth('root', 'ceremony', '--k', '1', '--n', '2', '--out', ceremony).refused('ALREADY_EXISTS')
    candidate = os.path.join(machine.home, 'candidate')
    root(machine, 'set-recovery', 'prepare', '--recovery', '1', *[row['public'] for row in made['keys']], '--output', candidate).ok()
    signatures = [sign_with_openssl(machine, candidate, n) for n in (0, 1)]
    root(machine, 'set-recovery', 'finish', '--candidate', candidate, '--signature', *signatures, '--key', machine.keys[0][1], '--key',
         machine.keys[1][1]).ok()
    assert head(machine) == (0, 2)
    # The keys before count no more, the new ones do.
    root(machine, 'recover', 'prepare', '--output', candidate).ok()
    root(machine, 'recover', 'sign', '--candidate', candidate, '--key', machine.keys[0][0], '--output', candidate + '.s').refused('RECOVERY_QUORUM')
    root(machine, 'recover', 'sign', '--candidate', candidate, '--key', made['keys'][0]['private'], '--output', candidate + '.s').ok()
    root(machine, 'recover', 'finish', '--candidate', candidate, '--signature', candidate + '.s').ok()
    assert head(machine) == (1, 3)
    assert hosts.followed(history(machine)).head.order == (1, 3)


# ---- a full disk

@pytest.mark.attack('RO-16')
def test_a_full_disk_while_it_rotates(home):
    """Refused before anything has changed, or finished when there is room again; nothing is lost, nothing is forked."""
    machine = Machine(home)
    script = ('mount -t tmpfs -o size=2m,mode=0700 none "$1"; "$2" host init --no-recovery --grace 0 --state "$1" >&2; '
              '"$3" host --state "$1" --rotate-every 0 --rotate-burst 0 & '
              'until [ -S "$1/socket" ]; do :; done; "$2" root rotate --state "$1" --reason ready >&2; '
              'codes=""; for left in 300 200 100 60 30 16 8 4 0; do '
              '  head -c 4m /dev/zero > "$1/fill" 2>/dev/null || true; '
              '  size=$(stat -c %s "$1/fill"); truncate -s $((size > left * 1024 ? size - left * 1024 : 0)) "$1/fill"; '
              '  if "$2" root rotate --state "$1" 2>>"$4" >&2; then codes="$codes done"; else codes="$codes refused"; fi; '
              '  "$2" root attest --state "$1" >/dev/null; rm "$1/fill"; '
              'done; "$2" root rotate --state "$1" >&2; "$2" root history --state "$1" --output "$5" >&2; echo "$codes"; '
              '"$2" host stop --state "$1" >&2; wait; "$2" root status --state "$1" --json > "$6"')
    os.mkdir(machine.state, 0o700)
    told, exported, status = (os.path.join(home, n) for n in ('told', 'history', 'status'))
    mounts = ['unshare', '--mount', '--propagation', 'private'] if os.geteuid() == 0 else [
        'unshare', '--user', '--map-current-user', '--keep-caps', '--mount']
    ran = machine.troth(wrap=[*mounts, 'sh', '-ec', script, 'sh', machine.state, machine.command()[0], machine.command(program='trothd')[0], told,
                              exported, status], timeout=120)
    assert ran.code == 0, str(ran)
    codes = ran.stdout.split()
    assert 'refused' in codes, codes
    reasons = set(re.findall(r'troth: ([A-Z_]+):', open(told).read()))
    assert reasons <= {'DISK_FULL', 'JOURNAL_POISONED', 'IO_ERROR'} and reasons, reasons
    with open(exported, 'rb') as f:
        follower = hosts.followed(f.read())
    assert follower.state == 'live' and json.load(open(status))['epoch'] == follower.head.order[1] >= 2 + codes.count('done') + 1
