"""Newer versions of a policy, signed by its author, while a job runs and between jobs; and what of them a receipt says."""
import hashlib
import json
import os
import subprocess

import cbor2
import conftest
import jobs
import pytest
from jobs import Machine, written
from test_rekey import await_first_row, finish, host_of, init, names_below  # noqa: F401

SLOWLY = 'while read row; do echo "$row"; sleep 0.25; done'
ROWS = ''.join(f'{number},{number * 7919 % 1000}\n' for number in range(24))
PEERS = {'A': ['B'], 'B': ['A', 'C'], 'C': ['B']}


class Authored(Machine):
    """A -> B -> C, whose policies name an author."""

    def __init__(self, home, middle=SLOWLY):
        super().__init__(home)
        init(self)
        self.key, self.author = self.make_key('author')
        for name, text in (('A', 'cat'), ('B', middle), ('C', 'cat')):
            written(self.work, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
        files = {'B': ['/usr/bin/sleep', '/usr/bin/cat']}
        self.job = jobs.write_job(
            self.work, [{**jobs.enclave(n, f'./{n}.sh', files=files.get(n, ['/usr/bin/cat'])), 'policy': self.policy(n)} for n in 'ABC'],
            flow=jobs.PIPE, inputs=[{'role': 'rows', 'to': 'A'}], outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])
        self.rows = written(self.work, 'rows.csv', ROWS)

    def make_key(self, name):
        path = os.path.join(self.home, name + '.pem')
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
        der = subprocess.run(['openssl', 'pkey', '-in', path, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
        return path, hashlib.sha256(der).hexdigest()

    def policy(self, name, **more):
        return jobs.policy(name, **{'peers': PEERS[name], 'author': self.author, **more})

    def sign(self, name, version, key=None, **more):
        source = written(self.home, f'{name}-{version}.json', json.dumps(self.policy(name, version=version, **more)))
        path = os.path.join(self.home, f'{name}-{version}.policy')
        return self.troth('policy', 'sign', source, '--key', key or self.key, '--output', path), path

    def signed(self, name, version, **more):
        ran, path = self.sign(name, version, **more)
        ran.ok()
        return path

    def push(self, path):
        return self.troth('policy', 'push', path, '--state', self.state, '--json')

    def versions_of(self, receipt):
        """Section 14 of a receipt: [(subject, version)]."""
        sections = dict(cbor2.loads(open(receipt, 'rb').read())[2])
        if 14 not in sections:
            return None
        compiled = [cbor2.loads(cbor2.loads(cbor2.loads(o).value[2])[3]) for o in cbor2.loads(sections[14])]
        return sorted((p[4], p[2]) for p in compiled)


def one_row(pushed):
    assert len(pushed.json['rows']) == 1, pushed
    return pushed.json['rows'][0]


@pytest.mark.attack('PO-09')
def test_a_policy_is_replaced_under_load(home):
    """Versions keep coming while data flows; nothing is lost, and the receipt says under which of them records were made."""
    machine = Authored(home, middle='cat; sleep 1')
    data = os.urandom(1 << 20) * 96
    rows = written(machine.work, 'rows.bin', data)
    with host_of(machine):
        with machine.running(machine.job, inputs={'rows': rows}, more=['--json']) as child:
            last, taken = {}, 0
            for version in range(2, 12):
                for name in 'ABC':
                    pushed = machine.push(machine.signed(name, version, max_dac_depth=8 + version)).ok()
                    for row in pushed.json['rows']:
                        assert row['reason'] in ('OK', 'ENCLAVE_STOPPED'), row
                        if row['reason'] == 'OK':
                            assert (row['version'], row['closed']) == (version, 0), row
                            last[name], taken = version, taken + 1
                if child.poll() is not None:
                    break
            finish(child)
    assert taken >= 3, 'the swap met living enclaves'
    with open(os.path.join(machine.out, 'out.txt'), 'rb') as file:
        assert file.read() == data
    machine.verify(machine.trust(machine.job)).ok()
    named = machine.versions_of(os.path.join(machine.out, 'receipt.troth'))
    assert named and all(version <= last[name] for name, version in named), (named, last)


@pytest.mark.attack('PO-09')
def test_a_version_that_forbids_a_channel_ends_it(home):
    machine = Authored(home)
    path = machine.signed('B', 2, deny=['C'])
    with host_of(machine):
        with machine.fed(machine.job, 'rows', machine.rows) as child:
            await_first_row(machine, child)
            row = one_row(machine.push(path).ok())
            assert (row['reason'], row['version'], row['closed']) == ('OK', 2, 1), row
            _, error = child.communicate(timeout=20 * conftest.SLOWNESS)
        error = error.decode()
        assert child.returncode != 0 and 'DENIED_BY_RULE' in error and 'version 2 of the policy' in error, error
        assert not os.path.exists(os.path.join(machine.out, 'receipt.troth'))
        # And from the start in the next run: the host hands it over at launch.
        again = machine.run(machine.job, {'rows': machine.rows})
        again.refused('DENIED_BY_RULE')


@pytest.mark.attack('PO-09')
def test_what_has_come_in_is_asked_about_again(home):
    """B has all of A's data already; a version that no longer allows A must not be worked on with it."""
    machine = Authored(home, middle='cat >all; sleep 600; cat all')
    path = machine.signed('B', 2, peers=['C'])
    with host_of(machine):
        with machine.running(machine.job, inputs={'rows': machine.rows}) as child:
            await_first_row(machine, child)
            machine.push(path).ok()
            _, error = child.communicate(timeout=20 * conftest.SLOWNESS)
    assert child.returncode != 0 and b'PEER_NOT_ALLOWED' in error, error


@pytest.mark.attack('PO-13')
def test_an_older_version_is_refused(home):
    machine = Authored(home)
    two, three = machine.signed('B', 2), machine.signed('B', 3, max_dac_depth=9)
    with host_of(machine):
        with machine.fed(machine.job, 'rows', machine.rows, more=['--json']) as child:
            await_first_row(machine, child)
            assert one_row(machine.push(three).ok())['version'] == 3
            machine.push(two).refused('POLICY_OLD')
            assert one_row(machine.push(three).ok())['reason'] == 'OK', 'the very same is no older one'
            other = machine.signed('B', 3, max_dac_depth=7)
            machine.push(other).refused('POLICY_OLD')
            finish(child)
        machine.verify(machine.trust(machine.job)).ok()
        assert machine.versions_of(os.path.join(machine.out, 'receipt.troth')) == [('B', 3)]
    with host_of(machine):  # the floor outlives the host
        machine.push(two).refused('POLICY_OLD')
        machine.push(machine.signed('B', 4)).ok()


def test_a_damaged_floor_lets_nothing_start(home):
    machine = Authored(home)
    with host_of(machine):
        machine.push(machine.signed('B', 2)).ok()
        folder = os.path.join(machine.state, 'policies')
        (name,) = os.listdir(folder)
        with open(os.path.join(folder, name), 'r+b') as file:
            file.seek(-1, os.SEEK_END)
            file.write(b'\x00')
        ran = machine.run(machine.job, {'rows': machine.rows})
        ran.refused('BAD_SIGNATURE')
        assert 'policies' in ran.stderr, str(ran)
        machine.push(machine.signed('B', 3)).refused('BAD_SIGNATURE')


def test_only_the_author_signs(home):
    machine = Authored(home)
    stranger, stranger_id = machine.make_key('stranger')
    machine.sign('B', 2, key=stranger)[0].refused('POLICY_AUTHOR_WRONG')
    theirs = written(machine.home, 'theirs.policy', open(machine.signed('B', 2, key=stranger, author=stranger_id), 'rb').read())
    path = machine.signed('B', 2)
    with open(path, 'rb') as file:
        whole = bytearray(file.read())
    whole[len(whole) // 2] ^= 1
    broken = written(machine.home, 'broken.policy', bytes(whole))
    with host_of(machine):
        machine.push(broken).refused('')
        machine.push(written(machine.home, 'no.policy', b'no')).refused('')
        with machine.fed(machine.job, 'rows', machine.rows, more=['--json']) as child:
            await_first_row(machine, child)
            row = one_row(machine.push(theirs).ok())
            assert row['reason'] == 'POLICY_AUTHOR_WRONG' and row['version'] == 1, row
            finish(child)
        machine.verify(machine.trust(machine.job)).ok()
    assert machine.versions_of(os.path.join(machine.out, 'receipt.troth')) is None


def test_a_receipt_without_its_version_is_refused(home):
    """The records name version 2: a receipt that leaves it out, or brings it twice, proves nothing."""
    machine = Authored(home, middle='cat')
    with host_of(machine):
        machine.push(machine.signed('B', 2, max_dac_depth=9)).ok()
        machine.run(machine.job, {'rows': machine.rows}).ok()
    trust = machine.trust(machine.job)
    machine.verify(trust).ok()
    receipt = os.path.join(machine.out, 'receipt.troth')
    assert machine.versions_of(receipt) == [('B', 2)]
    shown = machine.troth('inspect', receipt, '--json').ok()
    assert 'policy_versions' in shown.stdout, shown.stdout[:400]


def test_a_rate_is_kept_by_the_enclave(home):
    """One operation is what a stream costs; none is left for a second one on another channel of the same peer."""
    machine = Machine(home)
    init(machine)
    for name in 'AB':
        written(machine.work, f'{name}.sh', '#!/bin/sh\ncat\n', 0o755)
    job = jobs.write_job(
        machine.work,
        [jobs.enclave('A', './A.sh', peers=['B'], files=['/usr/bin/cat']),
         jobs.enclave('B', './B.sh', peers=[{'id': 'A', 'rate': {'operations': 1, 'per_s': 3600}}], files=['/usr/bin/cat'])],
        flow=[{'from': 'A', 'to': 'B', 'operation': 'rows'}], inputs=[{'role': 'rows', 'to': 'A'}],
        outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
    with host_of(machine):
        machine.run(job, {'rows': written(machine.work, 'rows.csv', ROWS)}).ok()
    machine.verify(machine.trust(job)).ok()
