"""Backup and restore on real binaries, with recovery keys made by openssl alone."""
import contextlib
import os
import shutil
import signal
import subprocess

import cbor2
import conftest
import jobs
import pytest

HOLDERS, QUORUM = 3, 2
SECRET = b'what must survive the machine'
READER = 'cat <&3'


class Lost:
    """A host with a recovery set, a secret sealed on it and a backup; then it is gone."""

    def __init__(self, home):
        self.home = home
        self.machine = jobs.Machine(os.path.join(home, 'old'))
        self.holders = [self.key(f'holder{i}') for i in range(HOLDERS)]
        self.machine.troth('host', 'init', '--state', self.machine.state, '--recovery', QUORUM, *map(self.public, self.holders)).ok()
        jobs.written(self.machine.work, 'p.sh', f'#!/bin/sh\n{READER}\n', 0o755)
        self.job = jobs.write_job(self.machine.work, [jobs.enclave('P', './p.sh', files=['/usr/bin/cat'], secrets=[{'name': 'k', 'fd': 3}])],
                                  inputs=[{'role': 'key', 'to': 'P', 'secret': 'k'}], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}])
        self.sealed, self.backup, self.history = self.path('key.sealed'), self.path('backup'), self.path('history')
        self.machine.troth('seal', '--job', self.job, '--enclave', 'P', '--as', 'k', '--root', self.inception(), '--state',
                           self.machine.state, '--output', self.sealed, input=SECRET).ok()
        self.write_history(self.history, [self.inception()])

    def path(self, name):
        return os.path.join(self.home, name)

    def inception(self):
        return os.path.join(self.machine.state, 'inception.epoch')

    def key(self, name):
        path = self.path(name + '.pem')
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
        subprocess.run(['openssl', 'ec', '-in', path, '-pubout', '-out', self.path(name + '.pub')], check=True, stderr=subprocess.DEVNULL)
        return path

    @staticmethod
    def public(key):
        return key.removesuffix('.pem') + '.pub'

    def write_history(self, path, records):
        """Written from docs/PROTOCOL.epochs: {1: 1, 2: [records], 3: [public keys]}."""
        spkis = [subprocess.run(['openssl', 'ec', '-pubin', '-in', self.public(k), '-outform', 'DER'], check=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL).stdout for k in self.holders]
        content = {1: 1, 2: [open(r, 'rb').read() for r in records], 3: spkis}
        with open(path, 'wb') as f:
            f.write(cbor2.dumps(content))

    def back_up(self, keys=None, to=None):
        return self.machine.troth('host', 'backup', '--state', self.machine.state, '--recovery', *map(self.public, keys or self.holders),
                                  '--output', to or self.backup)

    def on(self, name):
        return jobs.Machine(os.path.join(self.home, name))

    def files(self, **other):
        given = {'backup': self.backup, 'history': self.history, **other}
        return [a for option, path in given.items() for a in ('--' + option, path)]

    def begin(self, machine, candidate, **other):
        return machine.troth('host', 'restore', 'begin', *self.files(**other), '--candidate', candidate, '--state', machine.state)

    def share(self, machine, candidate, key, to, **other):
        return machine.troth('host', 'restore', 'share', *self.files(**other), '--candidate', candidate, '--key', key, '--output', to)

    def finish(self, machine, candidate, shares, **other):
        return machine.troth('host', 'restore', 'finish', *self.files(**other), '--candidate', candidate, '--share', *shares, '--state',
                             machine.state)

    def shares_for(self, machine, name, who=range(HOLDERS)):
        """Begin on a new machine and what the holders answer."""
        candidate = self.path(name + '.candidate')
        self.begin(machine, candidate).ok()
        shares = []
        for i in who:
            shares.append(self.path(f'{name}.share{i}'))
            self.share(machine, candidate, self.holders[i], shares[-1]).ok()
        return candidate, shares


@pytest.fixture
def lost(home):
    yield Lost(home)


def head_of(machine):
    return machine.troth('host', 'status', '--state', machine.state, '--json').ok().json['health']


def test_a_lost_host_comes_back_as_a_new_era(lost):
    lost.back_up().ok()
    before = head_of(lost.machine)
    shutil.rmtree(lost.machine.state)
    new = lost.on('new')
    candidate, shares = lost.shares_for(new, 'new')
    lost.finish(new, candidate, shares[1:]).ok()
    after = head_of(new)
    assert after['rot_id'] == before['rot_id'] and (after['era'], after['epoch']) == (1, 2)
    assert after['epoch_record'] != before['epoch_record'] and after['state'] == 4
    new.run(lost.job, sealed={'key': lost.sealed}).ok()
    assert new.text().encode() == SECRET
    # Once more: the folder has a root now. What was finished stays finished.
    lost.begin(new, lost.path('again')).refused('ROOT_EXISTS')
    lost.finish(new, candidate, shares[1:]).ok()
    assert head_of(new)['epoch_record'] == after['epoch_record']


def test_a_backup_tells_nobody_anything_alone(lost):
    lost.back_up().ok()
    content = open(lost.backup, 'rb').read()
    assert SECRET not in content and os.stat(lost.backup).st_mode & 0o777 == 0o600
    lost.back_up().refused('ALREADY_EXISTS')
    lost.back_up(lost.holders[:2], lost.path('b2')).refused('HOLDER_FOREIGN')
    lost.back_up([*lost.holders[:2], lost.key('stranger')], lost.path('b2')).refused('HOLDER_FOREIGN')
    lost.back_up([lost.holders[0]] * 3, lost.path('b2')).refused('HOLDER_FOREIGN')
    assert not os.path.exists(lost.path('b2'))


def test_other_code_opens_a_backup_as_the_page_says(lost):
    """Any quorum of the holders gets the same storage key; fewer, or a stranger, get nothing."""
    lost.back_up().ok()
    program = os.path.join(conftest.ROOT, 'tests', 'outside', 'open_backup.py')
    found = set()
    for keys in ((0, 1), (0, 2), (1, 2), (2, 1, 0)):
        done = conftest.run(['/usr/bin/python3', program, lost.backup, *(lost.holders[i] for i in keys)]).ok()
        assert [line.split()[0] for line in done.stdout.splitlines()] == ['1']
        found.add(done.stdout)
    assert len(found) == 1
    assert conftest.run(['/usr/bin/python3', program, lost.backup, lost.holders[0]]).code == 1
    assert conftest.run(['/usr/bin/python3', program, lost.backup, lost.holders[0], lost.key('stranger')]).code == 1


def test_a_host_without_recovery_keys_cannot_be_backed_up(lost):
    alone = lost.on('alone').init()
    alone.troth('host', 'backup', '--state', alone.state, '--recovery', lost.public(lost.holders[0]), '--output',
                lost.path('b')).refused('NO_RECOVERY_SET')


@pytest.mark.attack('RO-06')
def test_wrong_quorums_are_refused(lost):
    lost.back_up().ok()
    new = lost.on('new')
    candidate, shares = lost.shares_for(new, 'new')
    lost.finish(new, candidate, shares[:1]).refused('SHARES_TOO_FEW')
    lost.finish(new, candidate, [shares[0], shares[0]]).refused('SHARE_DUPLICATE')
    lost.share(new, candidate, lost.key('stranger'), lost.path('s')).refused('HOLDER_FOREIGN')
    assert not os.path.exists(lost.path('s'))
    # A share whose signature is another's: the record is not adopted, and nothing is restored.
    forged = cbor2.loads(open(shares[1], 'rb').read())
    forged[7] = cbor2.loads(open(shares[0], 'rb').read())[7]
    with open(lost.path('forged'), 'wb') as f:
        f.write(cbor2.dumps(forged))
    refused = lost.finish(new, candidate, [shares[0], lost.path('forged')])
    jobs.assert_typed(refused.code, refused.stderr)
    lost.finish(new, candidate, shares[:2]).ok()


def test_damaged_files_are_refused(lost):
    lost.back_up().ok()
    new = lost.on('new')
    content = open(lost.backup, 'rb').read()
    damaged = lost.path('damaged')
    for at in range(0, len(content), max(1, len(content) // 24)):
        changed = bytearray(content)
        changed[at] ^= 0x10
        with open(damaged, 'wb') as f:
            f.write(changed)
        refused = lost.begin(new, lost.path('c'), backup=damaged)
        assert refused.code == 1 and ('BACKUP_DAMAGED' in refused.stderr or 'BACKUP_FOREIGN' in refused.stderr), (at, str(refused))
    for length in (0, 1, len(content) // 2, len(content) - 1):
        with open(damaged, 'wb') as f:
            f.write(content[:length])
        lost.begin(new, lost.path('c'), backup=damaged).refused('BACKUP_DAMAGED')
    assert not os.path.exists(lost.path('c')) and not os.path.exists(os.path.join(new.state, 'pins'))


def test_backups_and_histories_of_other_hosts_are_refused(lost):
    lost.back_up().ok()
    os.makedirs(lost.path('second'))
    other = Lost(lost.path('second'))
    other.back_up().ok()
    new = lost.on('new')
    lost.begin(new, lost.path('c'), backup=other.backup).refused('BACKUP_FOREIGN')
    lost.begin(new, lost.path('c'), history=other.history).refused('BACKUP_FOREIGN')
    candidate, shares = lost.shares_for(new, 'new')
    other_new = other.on('new')
    other_candidate, other_shares = other.shares_for(other_new, 'new')
    lost.share(new, other_candidate, lost.holders[0], lost.path('s')).refused('EPOCH_FOREIGN')
    lost.finish(new, candidate, [shares[0], other_shares[1]]).refused('SHARES_MIXED')
    lost.begin(other.machine, lost.path('c')).refused('ROOT_EXISTS')


@pytest.mark.attack('RO-13')
def test_two_hosts_from_one_backup_are_two_records_for_one_epoch(lost):
    """Both restores are signed by the holders, so both are valid: whoever sees both has the proof of a fork."""
    lost.back_up().ok()
    heads = []
    for name in ('one', 'two'):
        machine = lost.on(name)
        candidate, shares = lost.shares_for(machine, name)
        lost.finish(machine, candidate, shares[:2]).ok()
        head = head_of(machine)
        assert (head['era'], head['epoch']) == (1, 2)
        heads.append(head)
    assert heads[0]['rot_id'] == heads[1]['rot_id'] and heads[0]['epoch_record'] != heads[1]['epoch_record']


def end_all(names):
    for name in names:
        for pid in jobs.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize('after', [0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2])
def test_a_killed_restore_is_finished_later(lost, after):
    """kill -9 of everything at some moment of the last step: it can be done again, and there is one record."""
    lost.back_up().ok()
    new = lost.on('new')
    candidate, shares = lost.shares_for(new, 'new', who=(0, 2))
    arguments = ['host', 'restore', 'finish', *lost.files(), '--candidate', candidate, '--share', *shares, '--state', new.state]
    with subprocess.Popen(new.command(*arguments), env=new.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as child:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(after)
        child.kill()
        end_all(['trothd', 'troth-ap'])
    lost.finish(new, candidate, shares).ok()
    head = head_of(new)
    assert (head['era'], head['epoch']) == (1, 2)
    record = cbor2.loads(bytes.fromhex(head['epoch_record']))
    with open(candidate, 'rb') as f:
        assert record.value[2] == f.read()
    new.run(lost.job, sealed={'key': lost.sealed}).ok()


def test_a_share_is_for_one_candidate_only(lost):
    lost.back_up().ok()
    one, two = lost.on('one'), lost.on('two')
    first, shares = lost.shares_for(one, 'one')
    second, others = lost.shares_for(two, 'two')
    lost.finish(one, first, [shares[0], others[1]]).refused('SHARES_MIXED')
    lost.finish(two, second, shares[:2]).refused('SHARES_MIXED')
    lost.finish(one, first, shares[:2]).ok()
