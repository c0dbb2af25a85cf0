"""Jobs on several hosts, each host in a network namespace of its own (docs/HOSTS.md)."""
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import jobs
import networks
import pytest
import test_revocation
from jobs import enclave, policy, write_job, written

HERE = os.path.dirname(os.path.abspath(__file__))
CANARY = b'CANARY-7c31f0-of-hosts'
DEADLINE = 60  # seconds by which every run has ended, whatever happened


def two_host_job(folder, north, south, first='cat', second='wc -c', roots=True, **more):
    """rows -> A (north) -> B (south) -> out.txt"""
    os.makedirs(folder, exist_ok=True)
    for host in (north, south):
        with open(host.inception, 'rb') as f:
            written(folder, f'{host.name}.epoch', f.read())
    for name, text in (('A', first), ('B', second)):
        written(folder, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
    files = ['/usr/bin/cat', '/usr/bin/wc', '/usr/bin/sleep', '/usr/bin/tr', '/usr/bin/head']
    a = enclave('A', './A.sh', files=files, host=north.name)
    b = enclave('B', './B.sh', files=files, host=south.name)
    a['policy'] = policy('A', ['B'], **more, **({'rot_ids': [south.rot]} if roots else {}))
    b['policy'] = policy('B', ['A'], **more, **({'rot_ids': [north.rot]} if roots else {}))
    path = write_job(folder, [a, b], flow=[{'from': 'A', 'to': 'B', 'operation': 'rows'}], inputs=[{'role': 'rows', 'to': 'A'}],
                     outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt', 'statement': True}])
    import json
    with open(path) as f:
        job = json.load(f)
    job['hosts'] = [{'name': h.name, 'root': f'{h.name}.epoch'} for h in (north, south)]
    written(folder, 'job.json', json.dumps(job))
    return path


@pytest.fixture
def pair(home):
    with networks.enrolled(home, 'north', 'south') as made:
        yield made


@pytest.fixture
def quiet_pair(home):
    """Without standing links: the only connections are those of a run."""
    with networks.enrolled(home, 'north', 'south', options=['--no-standing']) as made:
        yield made


def rows(folder, text=b'one\ntwo\nthree\n'):
    return written(folder, 'rows.txt', text)


def nothing_published(*hosts):
    for host in hosts:
        assert not os.path.exists(host.machine.out), f'{host.name}: {os.listdir(host.machine.out)}'


def run_both(north, south, job, data, seconds=DEADLINE):
    """South coordinates, north takes part; ((code, text) of run, of join)."""
    join = north.join(job, '--from', south.name, '--input', f'rows={data}')
    run = south.background('run', job)
    ran, joined = networks.ended(run, seconds), networks.ended(join, seconds)
    return ran[:2], joined[:2]


def trust_of(host, job, *roots):
    path = os.path.join(host.machine.home, 'trust-' + '-'.join(r.name for r in roots) + '.json')
    words = [w for other in roots for w in ('--root', other.inception)]
    host.machine.troth('trust', 'new', *words, '--reference', job, '--output', path).ok()
    return path


# ---- what it is for

def test_a_job_of_two_hosts_leaves_one_receipt_that_convinces_both(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (0, 0), text + words + north.service.error + south.service.error
    assert south.machine.text() == '14\n'
    assert os.listdir(north.machine.out) == ['receipt.troth'], 'results stay on the host that makes them'
    receipts = [open(os.path.join(h.machine.out, 'receipt.troth'), 'rb').read() for h in pair]
    assert receipts[0] == receipts[1]
    for host in pair:
        receipt = os.path.join(host.machine.out, 'receipt.troth')
        assert host.machine.troth('verify', receipt, '--trust', trust_of(host, job, north, south), '--json').ok().json['verdict'] == 'accepted'
        host.machine.troth('verify', receipt, '--trust', trust_of(host, job, south)).refused('TRUST_ROOT_MISSING', 1)
        host.machine.troth('verify', receipt, '--trust', trust_of(host, job, north)).refused('TRUST_ROOT_MISSING', 1)


def test_the_network_sees_no_plaintext(home, pair):
    """Everything that passes the bridge is recorded; the data are in none of it, nor is the job's name or a result."""
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south, second='tr a-z A-Z')
    record = os.path.join(home, 'traffic')
    sniffer = subprocess.Popen(north.network.in_middle(sys.executable, '-c', f'''
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
out = open({record!r}, 'wb', buffering=0)
print('up', flush=True)
while True:
    out.write(s.recv(1 << 17))
'''), stdout=subprocess.PIPE)
    try:
        assert sniffer.stdout.readline() == b'up\n'
        (code, text), (joined, words) = run_both(north, south, job, rows(home, CANARY * 1000))
        assert (code, joined) == (0, 0), text + words
    finally:
        sniffer.kill()
        sniffer.communicate()
    assert CANARY.decode().upper() in south.machine.text()
    with open(record, 'rb') as f:
        traffic = f.read()
    assert len(traffic) > 1000 * len(CANARY), 'the capture saw the traffic'
    for secret in (CANARY, CANARY.upper(), CANARY.lower(), CANARY[4:16]):
        assert secret not in traffic


def test_a_root_may_be_rotated_on_either_side_while_the_job_runs(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    join = north.join(job, '--input', 'rows=-', stdin=subprocess.PIPE)
    run = south.background('run', job)
    join.stdin.write(b'begin\n')
    join.stdin.flush()
    await_programs(run)
    for host in pair:
        host.troth('root', 'rotate').ok()
    for host, other in (pair, reversed(pair)):
        jobs.until(lambda: known_epoch(host, other) == 2, 'the new epoch is known there', DEADLINE)
    join.stdin.write(b'x' * 200000)
    join.stdin.close()
    join.stdin = None
    ran, joined = networks.ended(run, DEADLINE), networks.ended(join, DEADLINE)
    assert (ran[0], joined[0]) == (0, 0), ran[1] + joined[1] + north.service.error + south.service.error
    assert south.machine.text() == '200006\n'
    receipt = os.path.join(south.machine.out, 'receipt.troth')
    south.machine.troth('verify', receipt, '--trust', trust_of(south, job, north, south)).ok()


# ---- who is not let in

def test_nothing_runs_where_nobody_has_joined(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    south.troth('run', job, '--out', south.machine.out).refused('NOT_JOINED', 1)
    nothing_published(north, south)
    assert 'runtime' not in north.service.error


def test_a_join_is_for_one_coordinator_and_ends_with_who_asked(home):
    with networks.enrolled(home, 'north', 'south', 'west') as (north, south, west):
        job = two_host_job(os.path.join(home, 'job'), north, south)
        join = north.join(job, '--from', 'west', '--input', f'rows={rows(home)}')
        refused = south.troth('run', job, '--out', south.machine.out).refused('NOT_JOINED', 1)
        assert 'another coordinator' in refused.stderr
        join.send_signal(signal.SIGINT)
        networks.ended(join, DEADLINE)
        join = north.join(job, '--from', 'south', '--input', f'rows={rows(home)}')
        join.send_signal(signal.SIGINT)
        networks.ended(join, DEADLINE)
        south.troth('run', job, '--out', south.machine.out).refused('NOT_JOINED', 1)
        nothing_published(north, south)
        north.troth('join', job, '--from', 'nobody', '--input', f'rows={rows(home)}', '--out', north.machine.out).refused('PEER_UNKNOWN')
        west.troth('join', job, '--out', west.machine.out).refused('HOST_NOT_IN_JOB')


def test_hosts_that_are_not_enrolled_are_refused_on_either_side(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    join = north.join(job, '--input', f'rows={rows(home)}')
    north.troth('host', 'remove-peer', 'south').ok()
    south.troth('run', job, '--out', south.machine.out).refused('PEER_UNKNOWN', 1)
    north.enrol(south).ok()
    south.troth('host', 'remove-peer', 'north').ok()
    south.troth('run', job, '--out', south.machine.out).refused('PEER_UNKNOWN', 1)
    south.enrol(north, address=f'{networks.PREFIX}99:7400').ok()
    south.troth('run', job, '--out', south.machine.out).refused('PEER_UNREACHABLE', 3)
    join.send_signal(signal.SIGINT)
    networks.ended(join, DEADLINE)
    nothing_published(north, south)


@pytest.mark.attack('BI-01')
def test_a_host_cannot_answer_for_another(home):
    """West sits at north's address, first as itself, then passing every byte on to north: neither makes it north."""
    with networks.enrolled(home, 'north', 'south', 'west') as (north, south, west):
        job = two_host_job(os.path.join(home, 'job'), north, south)
        south.troth('host', 'remove-peer', 'north').ok()
        south.enrol(north, address=west.address).ok()
        south.troth('run', job, '--out', south.machine.out).refused('TRANSPORT_KEY_WRONG', 1)
        nothing_published(north, south)


def test_a_policy_that_does_not_name_the_other_root_refuses(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south, roots=False)
    south.troth('run', job, '--out', south.machine.out).refused('POLICY_CONTRADICTS_HOSTS')
    nothing_published(north, south)


def test_both_sides_must_mean_the_same_job(home, pair):
    north, south = pair
    here = two_host_job(os.path.join(home, 'here'), north, south)
    there = two_host_job(os.path.join(home, 'there'), north, south, first='cat; echo more')
    join = north.join(there, '--input', f'rows={rows(home)}')
    south.troth('run', here, '--out', south.machine.out).refused('NOT_JOINED', 1)
    join.send_signal(signal.SIGINT)
    networks.ended(join, DEADLINE)


def test_inputs_are_given_where_their_enclave_runs(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    south.troth('run', job, '--out', south.machine.out, '--input', f'rows={rows(home)}').refused('UNKNOWN_ROLE')
    north.troth('join', job, '--out', north.machine.out).refused('MISSING_INPUT')


# ---- what fails

def test_a_stage_that_fails_is_named_on_both_sides(home, pair):
    north, south = pair
    for first, second, stage in (('exit 3', 'cat', 'A'), ('cat', 'cat >/dev/null; exit 4', 'B')):
        job = two_host_job(os.path.join(home, f'job-{stage}'), north, south, first=first, second=second)
        (code, text), (joined, words) = run_both(north, south, job, rows(home))
        for told in (text, words):
            assert 'STAGE_FAILED' in told and f'stage {stage}' in told and 'PROGRAM_FAILED' in told, (stage, text, words)
        assert (code, joined) == (1, 1)
        nothing_published(north, south)


def known_epoch(host, other):
    """The epoch that a host knows another one to be in."""
    return next(p['epoch'] for p in host.troth('host', 'peers', '--json').ok().json['peers'] if p['name'] == other.name)


def await_programs(run, *programs):
    """The enclaves of two_host_job run, on both hosts."""
    jobs.until(lambda: run.poll() is not None or all(jobs.processes(p) for p in programs or ('cat', 'wc')), 'both enclaves run', DEADLINE)
    assert run.poll() is None, run.communicate()


def under_way(north, south, job, delay=None):
    """A run that cannot end, because its input stays open; once both enclaves run, or `delay` seconds after it began, wherever it is then."""
    join = north.join(job, '--input', 'rows=-', stdin=subprocess.PIPE)
    run = south.background('run', job)
    if delay is None:
        await_programs(run)
    else:
        time.sleep(delay)
    return run, join


@pytest.mark.parametrize('delay', [0.05, 0.15, 0.25, 0.4, 0.7, 1.2, None])
def test_a_host_that_dies_ends_the_run_everywhere(home, pair, delay):
    """Whoever takes part is killed at some moment: the coordinator says so by the deadline, and nothing is published."""
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job, delay)
    north.kill()
    code, text, seconds = networks.ended(run, DEADLINE)
    assert code in (1, 3) and any(reason in text for reason in ('HOST_FAILED', 'PEER_UNREACHABLE', 'TLS_FAILED', 'STAGE_FAILED', 'TIMED_OUT')), text
    assert 'north' in text or 'A' in text, text
    join.stdin.close()
    join.stdin = None
    assert networks.ended(join, DEADLINE)[0] != 0
    nothing_published(north, south)
    assert south.troth('host', 'status', '--json').ok().json['health']['live_launches'] == 0


@pytest.mark.parametrize('delay', [0.1, 0.3, 0.6, None])
def test_a_coordinator_that_dies_ends_it_for_all(home, pair, delay):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job, delay)
    south.kill()
    networks.ended(run, DEADLINE)
    if delay is not None and join.poll() is None:
        join.send_signal(signal.SIGINT)  # it may have been killed before it had offered the run
    code, text, seconds = networks.ended(join, DEADLINE)
    assert code != 0, text
    if delay is None:
        assert 'HOST_FAILED' in text and 'south' in text, text
    nothing_published(north, south)
    # An interrupted client leaves at once; its host ends what it had launched just after.
    jobs.until(lambda: north.troth('host', 'status', '--json').ok().json['health']['live_launches'] == 0, 'the end of its launches')


def test_a_host_that_vanishes_is_noticed(home, pair):
    """Its plug is pulled: nobody says goodbye, and no packet comes any more."""
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    north.network.cut(north.number)
    code, text, seconds = networks.ended(run, DEADLINE)
    assert code in (1, 3) and ('HOST_FAILED' in text or 'STAGE_FAILED' in text), text
    code, text, seconds = networks.ended(join, DEADLINE)
    assert code in (1, 3) and ('HOST_FAILED' in text or 'STAGE_FAILED' in text), text
    nothing_published(north, south)


def test_whoever_gives_up_ends_it_for_all(home, pair):
    north, south = pair
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    run.send_signal(signal.SIGINT)
    code, text, seconds = networks.ended(join, DEADLINE)
    assert code == 1 and 'HOST_FAILED' in text and 'RUN_ABORTED' in text, text
    networks.ended(run, DEADLINE)
    run, join = under_way(north, south, job)
    join.send_signal(signal.SIGINT)
    code, text, seconds = networks.ended(run, DEADLINE)
    assert code == 1 and 'HOST_FAILED' in text, text
    networks.ended(join, DEADLINE)
    nothing_published(north, south)
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (0, 0), 'and the next run is as good as any: ' + text + words


def test_a_list_that_one_host_has_closes_channels_of_both(home, pair):
    """The operator's key is pinned on both; the list is loaded on south alone and comes to north over the link."""
    north, south = pair
    operator = test_revocation.Operator(home)
    for host in pair:
        test_revocation.pin(host.machine, operator)
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    value = bytes.fromhex(test_revocation.live(south.machine, 'B')['measurement'])
    test_revocation.load(south.machine, operator.list(1, [test_revocation.revokes('measurement', value)])).ok()
    code, text, seconds = networks.ended(run, DEADLINE)
    joined, words, _ = networks.ended(join, DEADLINE)
    assert (code, joined) == (1, 1), text + words
    nothing_published(north, south)
    # A run tells the lists when it begins; north refuses B's code from then on, whatever south would say.
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert code == 1 and 'REVOKED' in text, text
    assert test_revocation.status(north.machine)['lists'][0]['version'] == 1, 'north has it too'


# ---- who harms the wire

HARM = [('flip', 0, 'out', 3), ('flip', 0, 'out', 300), ('flip', 0, 'in', 90), ('flip', 0, 'in', 2000), ('flip', 0, 'out', 3000), ('cut', 0, 'out', 2500),
        ('cut', 0, 'in', 2500), ('double', 0, 'out', 2600), ('hold', 0, 'in', 1900)]


@pytest.mark.parametrize('how, which, way, offset', HARM)
def test_a_harmed_link_ends_the_run(home, quiet_pair, how, which, way, offset):
    north, south = quiet_pair
    with proxied(north, south, how, which, way, offset):
        job = two_host_job(os.path.join(home, 'job'), north, south)
        join = north.join(job, '--input', f'rows={rows(home)}')
        code, text, seconds = networks.ended(south.background('run', job), DEADLINE)
        join.send_signal(signal.SIGINT) if code != 0 and join.poll() is None else None
        networks.ended(join, DEADLINE)
        assert code in (1, 3), text
        assert any(r in text for r in ('TLS_FAILED', 'HOST_FAILED', 'TIMED_OUT', 'TRUNCATED', 'LINK_BROKEN')), text
        nothing_published(north, south)


EDGE_HARM = [('flip', 0, 'out', 5), ('flip', 0, 'out', 20), ('flip', 0, 'out', 60), ('flip', 0, 'in', 40), ('flip', 0, 'out', 3500), ('cut', 0, 'out', 30),
             ('cut', 0, 'out', 3600), ('double', 0, 'out', 3600)]


@pytest.mark.parametrize('how, which, way, offset', EDGE_HARM)
def test_a_harmed_edge_ends_the_run(home, quiet_pair, how, which, way, offset):
    """The connection from north to south carries the edge alone: its preamble, the handshake of the enclaves, their records."""
    north, south = quiet_pair
    with proxied(south, north, how, which, way, offset):
        job = two_host_job(os.path.join(home, 'job'), north, south)
        (code, text), (joined, words) = run_both(north, south, job, rows(home, b'x' * 100000))
        assert code in (1, 3) and joined in (1, 3), text + words
        assert '_' in text and '_' in words
        nothing_published(north, south)


class proxied:
    """`caller` reaches `called` through a proxy in the middle of the network."""

    def __init__(self, called, caller, *how):
        self.called, self.caller, self.how = called, caller, how

    def __enter__(self):
        to, port = self.called.address.split(':')
        at = f'{networks.PREFIX}254'
        self.child = subprocess.Popen(self.called.network.in_middle(sys.executable, os.path.join(HERE, 'wire_proxy.py'), at, 7500, to, port, *self.how),
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.child.stdout.readline() == b'up\n'
        self.caller.troth('host', 'remove-peer', self.called.name).ok()
        self.caller.enrol(self.called, address=f'{at}:7500').ok()

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()


# ---- strangers at the port

STRANGER = '''
import socket, ssl, sys, time
host, port, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def connect():
    return socket.create_connection((host, port), timeout=20)
def closed(s):
    try:
        while s.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True
if how == 'idle':
    held = []
    for i in range(int(sys.argv[4])):
        held.append(connect())
    print('held', flush=True)
    assert all(closed(s) for s in held)
elif how == 'tls':
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if sys.argv[4] == '1.2':
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if sys.argv[4] == 'h2':
        context.set_alpn_protocols(['h2'])
    else:
        context.set_alpn_protocols(['troth-link/1'])
    try:
        with context.wrap_socket(connect()) as s:
            s.sendall(b'GET / HTTP/1.1' + bytes(2))
            assert closed(s)
    except (ssl.SSLError, ConnectionError):
        pass
else:
    s = connect()
    what = {'http': b'GET / HTTP/1.1' + bytes([13, 10, 13, 10]), 'garbage': bytes(range(256)) * 16, 'hello': bytes([0x16, 3, 1, 0xff, 0xff]) + bytes(70000),
            'edge': b'troth-edge-1' + bytes(32), 'slow': bytes([0x16]), 'short': b'troth-ed'}[how]
    try:
        s.sendall(what)
        assert closed(s)
    except ConnectionError:
        pass
print('closed')
'''


@pytest.mark.attack('SV-01', 'SV-02', 'SV-04', 'SV-06')
def test_strangers_are_shown_out_in_time(home, pair):
    """HTTP, TLS 1.2, TLS without a certificate, another protocol, noise, a hello that never ends, a token nobody awaits: closed, and the host serves on."""
    north, south = pair
    host, port = north.address.split(':')
    ways = [('http',), ('garbage',), ('hello',), ('short',), ('slow',), ('edge',), ('tls', '1.2'), ('tls', '1.3'), ('tls', 'h2')]
    tries = [subprocess.Popen([*south.wrap, sys.executable, '-c', STRANGER, host, port, *way], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for way in ways]
    for way, child in zip(ways, tries):
        code, text, _ = networks.ended(child, 30)
        assert code == 0 and 'closed' in text, (way, text)
    log = north.service.error
    assert 'TLS_FAILED' in log and 'LINK_BROKEN' in log, log
    job = two_host_job(os.path.join(home, 'job'), north, south)
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (0, 0), text + words


@pytest.mark.attack('SV-05')
def test_idle_connections_are_bounded_in_number_and_time(home, pair, amount):
    north, south = pair
    host, port = north.address.split(':')
    child = subprocess.Popen([*south.wrap, 'sh', '-c', 'ulimit -n 20000 2>/dev/null || ulimit -n $(ulimit -Hn); exec "$@"', 'sh', sys.executable, '-c', STRANGER,
                              host, port, 'idle', str(amount(900, 10000))], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == b'held\n'
    assert north.troth('host', 'status', '--json').ok().json['health']['state'], 'its own people are served meanwhile'
    code, text, _ = networks.ended(child, 60)
    assert code == 0, text
    assert 'LINK_LIMITED' in north.service.error
    job = two_host_job(os.path.join(home, 'job'), north, south)
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (0, 0), text + words


# ---- enrolment

def test_enrolment_compares_and_keeps(home, pair):
    north, south = pair
    listed = north.troth('host', 'peers', '--json').ok().json
    assert listed['listen'] == north.address and [p['name'] for p in listed['peers']] == ['south']
    north.enrol(south, name='again').refused('PEER_EXISTS')
    north.troth('host', 'enrol', 'self', '--inception', north.inception, '--fingerprint', north.rot).refused('PEER_EXISTS')
    north.troth('host', 'remove-peer', 'south').ok()
    north.troth('host', 'remove-peer', 'south').refused('PEER_UNKNOWN')
    wrong = 'f' + south.rot[1:] if south.rot[0] != 'f' else '0' + south.rot[1:]
    north.troth('host', 'enrol', 'south', '--inception', south.inception, '--fingerprint', wrong).refused('FINGERPRINT_MISMATCH')
    north.troth('host', 'enrol', 'south', '--inception', south.inception).refused('USAGE', 2)
    north.troth('host', 'enrol', '../x', '--inception', south.inception, '--fingerprint', south.rot).refused('BAD_NAME')
    north.troth('host', 'enrol', 'south', '--inception', south.inception, '--fingerprint', south.rot, '--address', 'nowhere').refused('BAD_VALUE')
    junk = written(home, 'junk', b'junk')
    north.troth('host', 'enrol', 'south', '--inception', junk, '--fingerprint', south.rot).refused('inception')
    north.enrol(south).ok()
    north.stop()
    north.start()
    assert [p['name'] for p in north.troth('host', 'peers', '--json').ok().json['peers']] == ['south'], 'it outlives the host'


def test_officers_of_a_host_sign_enrolments(home, pair):
    """Two of three, offline, one of them with openssl alone."""
    north, south = pair
    keys = []
    for i in range(4):
        key, public = os.path.join(home, f'k{i}.pem'), os.path.join(home, f'k{i}.pub')
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key], check=True, capture_output=True)
        subprocess.run(['openssl', 'pkey', '-in', key, '-pubout', '-out', public], check=True)
        keys.append((key, public))
    north.troth('host', 'remove-peer', 'south').ok()
    north.troth('host', 'officers', '2', *[public for _, public in keys[:3]]).ok()
    north.troth('host', 'officers', '1', keys[3][1]).refused('PEER_EXISTS')
    north.enrol(south).refused('ENROLMENT_QUORUM')
    candidate = os.path.join(home, 'candidate')
    words = ['host', 'enrol', 'south', '--inception', south.inception, '--address', south.address, '--fingerprint', south.rot, '--candidate', candidate]
    told = north.troth(*words).ok().stdout
    assert 'waits for signatures' in told and not north.troth('host', 'peers', '--json').ok().json['peers']
    north.machine.troth('host', 'approve', candidate, '--key', keys[0][0], '--output', os.path.join(home, 's0')).ok()
    north.machine.troth('host', 'approve', candidate, '--key', keys[3][0], '--output', os.path.join(home, 's3')).ok()
    one = ['--signature', os.path.join(home, 's0')]
    north.troth(*words, *one).refused('ENROLMENT_QUORUM')
    north.troth(*words, *one, '--signature', os.path.join(home, 's3')).refused('ENROLMENT_QUORUM')
    tbs = [line.split()[-1] for line in told.splitlines() if 'openssl dgst' in line]
    import hashlib
    der = subprocess.run(['openssl', 'pkey', '-in', keys[1][0], '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
    mine = next(t for t in tbs if hashlib.sha256(der).hexdigest()[:16] in t)
    subprocess.run(['openssl', 'dgst', '-sha256', '-sign', keys[1][0], '-out', os.path.join(home, 's1'), mine], check=True)
    other = [w if w != south.address else f'{networks.PREFIX}9:1' for w in words]
    both = [*one, '--signature', os.path.join(home, 's1'), '--key', keys[1][1]]
    north.troth(*other, *both).refused('ENROLMENT_QUORUM')
    north.troth(*words, *both).ok()
    assert [p['name'] for p in north.troth('host', 'peers', '--json').ok().json['peers']] == ['south']
