"""A job that runs across rotations of its host's root: it goes on, its channels get new keys in place, its receipt verifies."""
import contextlib
import json
import os
import select
import time

import cbor2
import conftest
import hosts
import jobs
import partner
import pytest
from jobs import Machine, written
from partner import Partner, iecp

GRACE_S = 3
SLOWLY = 'while read row; do echo "$row"; sleep 0.25; done'
ROWS = ''.join(f'{number},{number * 7919 % 1000}\n' for number in range(72))


@contextlib.contextmanager
def host_of(machine, *options):
    """`trothd host` with what it and its runtimes log in host.log."""
    with hosts.service(machine, *options) as service:
        yield service.log


def init(machine):
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--grace', GRACE_S).ok()


def rotate(machine):
    """The next epoch, as soon as the one before is drained."""
    until = time.monotonic() + 60 * conftest.SLOWNESS
    while True:
        ran = machine.troth('root', 'rotate', '--state', machine.state)
        if ran.code == 0:
            return
        assert 'DRAIN_PENDING' in ran.stderr or 'ROTATION_RUNNING' in ran.stderr, str(ran)
        assert time.monotonic() < until, str(ran)
        time.sleep(0.1)  # a grace is a matter of time, and nothing tells of its end


def pipeline(machine):
    """rows -> A -> B -> C, in which B hands on four rows a second."""
    for name, text in (('A', 'cat'), ('B', SLOWLY), ('C', 'cat')):
        written(machine.work, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
    peers = {'A': ['B'], 'B': ['A', 'C'], 'C': ['B']}
    files = {'B': ['/usr/bin/sleep']}
    job = jobs.write_job(machine.work, [jobs.enclave(n, f'./{n}.sh', peers=peers[n], files=files.get(n, ['/usr/bin/cat'])) for n in 'ABC'],
                         flow=jobs.PIPE, inputs=[{'role': 'rows', 'to': 'A'}], outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])
    return job, written(machine.work, 'rows.csv', ROWS)


def await_first_row(machine, child):
    """B waits between two rows: it has had the first."""
    until = time.monotonic() + 30 * conftest.SLOWNESS
    while not any(name == 'sleep' for name in names_below()):
        assert child.poll() is None and time.monotonic() < until, child.communicate()
        time.sleep(0.02)


def names_below():
    for pid in conftest.descendants():
        with contextlib.suppress(OSError), open(f'/proc/{pid}/comm') as file:
            yield file.read().strip()


def finish(child):
    out, err = child.communicate(timeout=60 * conftest.SLOWNESS)
    assert child.returncode == 0, err.decode()
    return json.loads(out)


def test_a_job_across_three_rotations(home):
    machine = Machine(home)
    init(machine)
    job, rows = pipeline(machine)
    with host_of(machine) as log:
        with machine.fed(job, 'rows', rows, more=['--json']) as child:
            await_first_row(machine, child)
            for _ in range(3):
                rotate(machine)
            ran = finish(child)
        with open(log) as file:
            told = file.read()
    machine.verify(machine.trust(job)).ok()
    assert machine.text() == ROWS
    stages = {stage['name']: stage for stage in ran['stages']}
    # B and C lived through all of it; the last grace may have been longer than they.
    assert [stages[name]['reissues'] for name in 'BC'] == [3, 3], stages
    assert stages['C']['rekeys'] >= 2 and stages['B']['rekeys'] >= stages['C']['rekeys'], stages
    assert told.count('the root of trust was rotated') == 3, told


def test_an_emergency_ends_the_run(home):
    machine = Machine(home)
    init(machine)
    job, rows = pipeline(machine)
    with host_of(machine):
        with machine.fed(job, 'rows', rows) as child:
            await_first_row(machine, child)
            machine.troth('root', 'rotate', '--state', machine.state, '--emergency').ok()
            _, error = child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode != 0, error
        assert b'ROTATED_EMERGENCY' in error, error
    assert not os.path.exists(os.path.join(machine.out, 'receipt.troth'))


# ---- a peer outside Troth: it pins the key of an epoch, and a rotation shows it the key of the next

def head_key(machine):
    path = os.path.join(machine.home, 'head.epoch')
    machine.troth('root', 'export', '--head', '--state', machine.state, '--output', path).ok()
    with open(path, 'rb') as file:
        return iecp.read_point(cbor2.loads(cbor2.loads(file.read()).value[2])[7])


DATA = b''.join(b'%d,row\n' % n for n in range(30000))


def test_an_outside_peer_gets_new_keys_in_place(home):
    machine, who = Machine(home), partner.identity()
    init(machine)
    before = []

    def talk(sock):
        channel = iecp.initiate(sock, who, partner.root_key(machine))
        whole = partner.stream(DATA)
        channel.send(whole[:100000])
        before.append((channel.id, channel.peer.spki, channel.peer.epoch))
        rotate(machine)
        channel.pinned.append(head_key(machine))
        assert channel.receive_until(1) == b''
        channel.send(whole[100000:])
        channel.close()
        assert channel.receive_all() == b''
        return channel

    job = partner.receiving_job(machine, key=who.sign_key)
    with host_of(machine), Partner(machine.work, talk) as peer:
        ran = machine.run(job, more=['--json']).ok().json
    assert peer.failure is None, peer.failure
    assert machine.text().encode() == DATA
    channel, (old_id, spki, epoch) = peer.result, before[0]
    assert channel.id != old_id and channel.peer.spki == spki and channel.peer.epoch[32:44] > epoch[32:44]
    assert ran['stages'][0]['rekeys'] == 1 and ran['stages'][0]['reissues'] == 1
    machine.verify(machine.trust(job)).ok()


@pytest.mark.parametrize('knows', ['nothing of re-handshakes', 'only the key of the first epoch'])
def test_an_outside_peer_that_cannot_follow(home, knows):
    """It ends the channel when the re-handshake begins, and with it the run; nothing that came before counts."""
    machine, who = Machine(home), partner.identity()
    init(machine)

    def refuse(piece):
        raise iecp.Refused('type 4')

    def talk(sock):
        channel = iecp.initiate(sock, who, partner.root_key(machine))
        if knows == 'nothing of re-handshakes':
            channel.take_piece = refuse
        channel.send(partner.stream(DATA)[:100000])
        rotate(machine)
        return channel.receive_until(1)

    with host_of(machine), Partner(machine.work, talk) as peer:
        ran = machine.run(partner.receiving_job(machine, key=who.sign_key))
    ran.refused('STAGE_FAILED', 1)
    assert isinstance(peer.failure, iecp.Refused), peer.failure
    assert not os.path.exists(os.path.join(machine.out, 'receipt.troth'))
