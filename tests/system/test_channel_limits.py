"""What a policy says of its channels, in whole jobs: new keys by volume, by time and by the age of evidence under full load over each
carrier, so many sessions and no more, and a peer that takes nothing."""
import contextlib
import json
import os
import socket

import conftest
import jobs
import networks
import partner
import pytest
import test_hosts
from jobs import Machine, box  # noqa: F401 (box: fixture)
from partner import Partner, iecp

VOLUME = 256 * 1024
PIECES = 6
PIECE = 4 * 1024 * 1024
DATA = os.urandom(64 * 1024) * (PIECES * PIECE // (64 * 1024))
# Takes its input in bursts, at full speed: what is before it waits with full buffers meanwhile, and new keys must pass.
BURSTS = f'for n in {" ".join(map(str, range(PIECES)))}; do head -c {PIECE}; sleep 0.5; done; cat'
PATIENCE = 120 * conftest.SLOWNESS


def often_keyed(ran, senders):
    """Everybody saw new keys by time; who sent the data, by volume too: one KEYUPDATE for each VOLUME at least."""
    for stage in ran['stages']:
        assert stage['rekeys'] >= 1, ran['stages']
        assert stage['name'] not in senders or stage['keyupdates'] >= len(DATA) // VOLUME - 1, ran['stages']


# ---- new keys, in place and under load

def test_new_keys_by_volume_and_time_under_load_over_the_ring(home):
    """Three enclaves of one host: their channels go through shared memory."""
    machine = Machine(home)
    machine.init()
    rules = {'channels': {'keyupdate_bytes': VOLUME, 'rekey_s': 1}}
    enclaves = []
    for name, text, peers in (('A', 'cat', ['B']), ('B', BURSTS, ['A', 'C']), ('C', 'cat', ['B'])):
        jobs.written(machine.work, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
        one = jobs.enclave(name, f'./{name}.sh', files=['/usr/bin/cat', '/usr/bin/head', '/usr/bin/sleep'])
        enclaves.append({**one, 'policy': jobs.policy(name, peers, **rules)})
    job = jobs.write_job(machine.work, enclaves, flow=jobs.PIPE, inputs=[{'role': 'rows', 'to': 'A'}],
                         outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])
    ran = machine.run(job, inputs={'rows': jobs.written(machine.work, 'rows', DATA)}, more=['--json'], timeout=PATIENCE).ok().json
    with open(os.path.join(machine.out, 'out.txt'), 'rb') as file:
        assert file.read() == DATA
    often_keyed(ran, 'AB')
    machine.verify(machine.trust(job)).ok()


@pytest.mark.long
def test_new_keys_by_the_age_of_evidence_under_load(home):
    """The policy takes evidence of 20 s at most, so new evidence is fetched in place after ten."""
    machine = Machine(home)
    machine.init()
    enclaves = []
    for name, text, peers in (('A', 'cat', ['B']), ('B', BURSTS.replace('0.5', '6'), ['A'])):
        jobs.written(machine.work, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
        one = jobs.enclave(name, f'./{name}.sh', files=['/usr/bin/cat', '/usr/bin/head', '/usr/bin/sleep'])
        enclaves.append({**one, 'policy': jobs.policy(name, peers, max_evidence_age_s=20)})
    job = jobs.write_job(machine.work, enclaves, flow=jobs.PIPE[:1], inputs=[{'role': 'rows', 'to': 'A'}],
                         outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
    ran = machine.run(job, inputs={'rows': jobs.written(machine.work, 'rows', DATA)}, more=['--json'], timeout=2 * PATIENCE).ok().json
    with open(os.path.join(machine.out, 'out.txt'), 'rb') as file:
        assert file.read() == DATA
    assert all(stage['rekeys'] >= 2 for stage in ran['stages']), ran


def test_new_keys_by_volume_and_time_under_load_over_tcp(home):
    """Two hosts, each with a network of its own."""
    with networks.enrolled(home, 'north', 'south') as (north, south):
        job = test_hosts.two_host_job(os.path.join(home, 'job'), north, south, second=BURSTS,
                                      channels={'keyupdate_bytes': VOLUME, 'rekey_s': 1})
        join = north.background('join', job, '--from', south.name, '--input', f'rows={test_hosts.rows(home, DATA)}')
        run = south.background('run', job, '--json')
        out, error = run.communicate(timeout=PATIENCE)
        joined, words, _ = networks.ended(join, PATIENCE)
        assert (run.returncode, joined) == (0, 0), error.decode() + words + north.service.error + south.service.error
        with open(os.path.join(south.machine.out, 'out.txt'), 'rb') as file:
            assert file.read() == DATA
        often_keyed(json.loads(out), 'A')


def test_new_keys_by_volume_and_time_under_load_over_a_unix_socket(box):
    """An enclave that sends to a peer outside, which follows."""
    who = partner.identity()
    seen = []

    def talk(sock):
        channel = iecp.respond(sock, who, partner.root_key(box))
        data = channel.receive_all()
        seen.append((channel.into.gen, channel.rekeys))
        channel.close()
        return data

    job = partner.sending_job(box, program=f'for n in 1 2 3 4; do head -c {PIECE // 2} /dev/zero; sleep 0.8; done', key=who.sign_key,
                              files=['/usr/bin/head', '/usr/bin/sleep'], channels={'keyupdate_bytes': VOLUME, 'rekey_s': 1})
    with Partner(box.work, talk) as peer:
        box.run(job).ok()
    assert peer.failure is None, peer.failure
    assert partner.read_stream(peer.result)[1] == bytes(2 * PIECE)
    generations, rekeys = seen[0]
    assert rekeys >= 1 and generations - rekeys >= 2 * PIECE // VOLUME - 1, seen


# ---- sessions

def fan(machine, limit):
    """P sends to A, B and C; its policy lets it have `limit` channels."""
    jobs.written(machine.work, 'p.sh', '#!/bin/sh\necho row\n', 0o755)
    jobs.written(machine.work, 'q.sh', '#!/bin/sh\ncat\n', 0o755)
    enclaves = [{**jobs.enclave('P', './p.sh'), 'policy': jobs.policy('P', list('ABC'), channels={'sessions': limit})}]
    enclaves += [jobs.enclave(name, './q.sh', peers=['P'], files=['/usr/bin/cat']) for name in 'ABC']
    return jobs.write_job(machine.work, enclaves, flow=[{'from': 'P', 'to': name, 'operation': 'rows'} for name in 'ABC'],
                          outputs=[{'name': name, 'from': name, 'file': f'{name}.txt'} for name in 'ABC'])


def test_as_many_sessions_as_the_policy_allows(box):
    box.run(fan(box, 3)).ok()
    assert [box.text(f'{name}.txt') for name in 'ABC'] == ['row\n'] * 3


def test_one_session_too_many_is_told_on_both_sides(box):
    ran = box.run(fan(box, 2))
    ran.refused('STAGE_FAILED', 1)
    assert 'TOO_MANY_SESSIONS' in ran.stderr and 'the policy allows 2' in ran.stderr, str(ran)
    jobs.assert_untouched(box)


def test_a_peer_outside_is_told_that_there_is_no_room(box):
    """Authentic, inside the channel that it is about."""
    who = partner.identity()

    def talk(sock):
        channel = iecp.initiate(sock, who, partner.root_key(box))
        return channel.receive_all()

    job = partner.receiving_job(box, key=who.sign_key, second='other', channels={'sessions': 1})
    with Partner(box.work, talk) as peer, Partner(box.work, talk, 'q.sock') as other:
        ran = box.run(job)
    ran.refused('STAGE_FAILED', 1)
    assert 'TOO_MANY_SESSIONS' in ran.stderr, str(ran)
    told = [str(one.failure) for one in (peer, other)]
    assert any('566' in text for text in told), told


# ---- a peer that stops taking

def test_a_peer_that_takes_nothing_ends_with_a_reason_and_costs_little(box):
    """It shakes hands and reads no more. The channel ends after the policy's time, and what waits for it meanwhile is bounded."""
    who = partner.identity()
    largest = []

    def talk(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        iecp.respond(sock, who, partner.root_key(box))
        with contextlib.suppress(OSError):
            while not over.is_set():
                largest.append(max((resident(pid) for pid in jobs.processes('troth-ire')), default=0))
                over.wait(0.05)
        return 'left'

    over = partner.threading.Event()
    job = partner.sending_job(box, program='exec cat /dev/zero', key=who.sign_key, files=['/usr/bin/cat'], channels={'stall_s': 2})
    with Partner(box.work, talk) as peer:
        ran = box.run(job)
        over.set()
    assert peer.failure is None, peer.failure
    ran.refused('STAGE_FAILED', 1)
    assert 'PEER_STALLED' in ran.stderr and "'partner' has taken nothing" in ran.stderr, str(ran)
    assert 0 < max(largest) < (64 << 20) * conftest.SLOWNESS, largest
    jobs.assert_untouched(box)


def resident(pid):
    with contextlib.suppress(OSError, ValueError):
        with open(f'/proc/{pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGESIZE')
    return 0


def test_a_peer_that_takes_nothing_holds_up_no_other(box):
    """Of two peers outside, one takes nothing of what it is sent; all that goes to the other arrives while it waits."""
    who, arrived = partner.identity(), []

    def idle(sock):
        iecp.respond(sock, who, partner.root_key(box))
        assert both.wait(PATIENCE)

    def takes(sock):
        """All the data; what vouches for them comes only when everybody has taken everything."""
        channel, got = iecp.respond(sock, who, partner.root_key(box)), b''
        while len(got) < PIECE:
            got += channel.receive()
        arrived.append(partner.read_stream(got)[1])
        both.set()

    both = partner.threading.Event()
    rules = jobs.policy('P', ['partner', 'other'], allow_level0=['partner', 'other'], channels={'stall_s': 600})
    jobs.written(box.work, 'p.sh', f'#!/bin/sh\nhead -c {2 * PIECE} /dev/zero >/tmp/much\nhead -c {PIECE} /dev/zero >/tmp/note\necho done\n', 0o755)
    jobs.written(box.work, 'partner.pem', partner.pem_of(who.sign_key))
    one = jobs.enclave('P', './p.sh', files=['/usr/bin/head'], outputs=[{'name': n, 'path': n} for n in ('much', 'note')])
    job = jobs.write_job(box.work, [{**one, 'policy': rules}],
                         flow=[{'from': 'P', 'output': 'much', 'to': 'partner', 'operation': 'rows'},
                               {'from': 'P', 'output': 'note', 'to': 'other', 'operation': 'rows'}],
                         outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}],
                         externals=[{'name': 'partner', 'socket': './p.sock', 'key': 'partner.pem'},
                                    {'name': 'other', 'socket': './q.sock', 'key': 'partner.pem'}])
    with Partner(box.work, idle) as first, Partner(box.work, takes, 'q.sock') as second:
        ran = box.run(job)
        both.set()
    # The last frame is on its way, whole or not.
    assert len(arrived) == 1 and arrived[0] == bytes(len(arrived[0])) and len(arrived[0]) > PIECE - 70000, (first.failure, second.failure, str(ran))
    assert ran.code == 1, str(ran)
