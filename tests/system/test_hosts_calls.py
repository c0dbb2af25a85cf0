"""Calls between enclaves of different hosts: a chain there and back, deaths, policies that change while it goes on, rates."""
import hashlib
import json
import os
import re
import shutil
import subprocess

import jobs
import networks
import pytest
import test_calls
from jobs import policy, written
from test_hosts import DEADLINE, nothing_published, pair, trust_of  # noqa: F401 (a fixture)

WAITS = 'import time\nwhile not os.path.exists("/tmp/never"):\n    time.sleep(1)\n'


def spread(folder, programs, calls, places, **policies):
    """test_calls.job over hosts: `places` says on which host an enclave runs."""
    os.makedirs(folder, exist_ok=True)
    names = {n: set() for n in programs}
    for one, other in calls:
        names[one].add(other)
        names[other].add(one)
    rules = {}
    for name in programs:
        roots = sorted({places[n].rot for n in names[name] if places[n] is not places[name]})
        own = [places[name].rot] if any(places[n] is places[name] for n in names[name]) and roots else []
        rules[name] = {**({'rot_ids': sorted(roots + own)} if roots else {}), **policies.get(name, {})}
    peers = {n: rules[n].pop('allowed_communicators', sorted(names[n])) for n in programs}
    path = test_calls.job(folder, programs, calls, peers=peers, extra={n: {'host': places[n].name} for n in programs}, **rules)
    with open(path) as f:
        job = json.load(f)
    hosts = {h.name: h for h in places.values()}.values()
    for host in hosts:
        shutil.copy(host.inception, os.path.join(folder, f'{host.name}.epoch'))
    job['hosts'] = [{'name': h.name, 'root': f'{h.name}.epoch'} for h in hosts]
    return written(folder, 'job.json', json.dumps(job))


def run_spread(north, south, job, seconds=DEADLINE):
    """South coordinates and has the output."""
    join = north.join(job)
    run = south.background('run', job)
    return networks.ended(run, seconds)[:2], networks.ended(join, seconds)[:2]


def test_a_chain_of_calls_there_and_back_leaves_one_receipt(home, pair):  # noqa: F811
    """B (south) asks A (north), which asks C (south), which asks D (north): either side serves and calls."""
    north, south = pair
    job = spread(os.path.join(home, 'job'), {'B': test_calls.ASK, 'A': test_calls.FORWARD.format('C'), 'C': test_calls.FORWARD.format('D'), 'D': test_calls.ECHO},
                 [('B', 'A'), ('A', 'C'), ('C', 'D')], {'B': south, 'A': north, 'C': south, 'D': north})
    (code, text), (joined, words) = run_spread(north, south, job)
    assert (code, joined) == (0, 0), text + words
    assert south.machine.text() == '<<hello>>'
    for host in pair:
        receipt = os.path.join(host.machine.out, 'receipt.troth')
        host.machine.troth('verify', receipt, '--trust', trust_of(host, job, north, south)).ok()
        host.machine.troth('verify', receipt, '--trust', trust_of(host, job, south)).refused('TRUST_ROOT_MISSING', 1)
    shown = north.machine.troth('show', os.path.join(north.machine.out, 'receipt.troth')).ok().stdout
    for line in ("A answered B for 'ask'", "C answered A for 'ask'", "D answered C for 'ask'", "B sent to A for 'ask'"):
        assert line in shown, shown


def test_many_calls_at_once_and_large_answers(home, pair):  # noqa: F811
    north, south = pair
    asks = '''
handles = [x.open("A", data=b"%d" % i, last=True) for i in range(200)]
for i in reversed(range(200)):
    assert x.read_all(handles[i]) == b"%d!" % i
    x.close(handles[i])
big = os.urandom(8 << 20)
assert x.call("A", big) == big + b"!"
print("all")
'''
    job = spread(os.path.join(home, 'job'), {'B': asks, 'A': 'x.serve(lambda call, data: data + b"!")\n'}, [('B', 'A')], {'B': south, 'A': north})
    (code, text), (joined, words) = run_spread(north, south, job)
    assert (code, joined) == (0, 0), text + words
    assert south.machine.text() == 'all\n'


@pytest.mark.parametrize('who', ['caller', 'callee'])
def test_a_host_that_dies_in_a_call_ends_it_for_the_other(home, pair, who):  # noqa: F811
    """The answer never comes: a typed error that names the host or its stage, and no half result."""
    north, south = pair
    job = spread(os.path.join(home, 'job'), {'B': test_calls.ASK, 'A': 'call = x.accept()\n' + WAITS}, [('B', 'A')], {'B': south, 'A': north})
    join = north.join(job)
    run = south.background('run', job)
    jobs.until(lambda: run.poll() is not None or len(jobs.processes('python3')) == 2, 'both programs run', DEADLINE)
    dead, left = (south, join) if who == 'caller' else (north, run)
    dead.kill()
    code, text, _ = networks.ended(left, DEADLINE)
    assert code in (1, 3) and re.search('HOST_FAILED|STAGE_FAILED', text), text
    networks.ended(run if left is join else join, DEADLINE)
    nothing_published(north, south)


# ---- policies that change

ASKS_ON = '''
import time
n = 0
while True:
    assert x.call("A", b"%d" % n) == b"%d" % n
    n += 1
    time.sleep(0.05)
'''


class Author:
    def __init__(self, home):
        self.path = os.path.join(home, 'author.pem')
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', self.path], check=True)
        der = subprocess.run(['openssl', 'pkey', '-in', self.path, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
        self.id = hashlib.sha256(der).hexdigest()

    def push(self, host, name, version, **rules):
        source = written(host.machine.home, f'{name}-{version}.json', json.dumps(policy(name, author=self.id, version=version, **rules)))
        path = os.path.join(host.machine.home, f'{name}-{version}.policy')
        host.machine.troth('policy', 'sign', source, '--key', self.path, '--output', path).ok()
        rows = host.troth('policy', 'push', path, '--json').ok().json['rows']
        assert len(rows) == 1, rows
        return rows[0]


@pytest.mark.attack('PO-09')
def test_a_policy_is_swapped_on_a_call_channel_between_hosts(home, pair):  # noqa: F811
    """North pushes to A: a version that changes nothing lets calls go on; one that names another operation refuses the next call, on the open channel."""
    north, south = pair
    author = Author(home)
    job = spread(os.path.join(home, 'job'), {'B': ASKS_ON, 'A': test_calls.ECHO}, [('B', 'A')], {'B': south, 'A': north}, A={'author': author.id})
    join = north.join(job)
    run = south.background('run', job)
    jobs.until(lambda: run.poll() is not None or len(jobs.processes('python3')) == 2, 'both programs run', DEADLINE)
    same = {'rot_ids': [south.rot]}
    row = author.push(north, 'A', 2, peers=['B'], **same)
    assert (row['reason'], row['version'], row['closed']) == ('OK', 2, 0), row
    assert run.poll() is None
    row = author.push(north, 'A', 3, peers=[{'id': 'B', 'operations': ['other']}], **same)
    assert (row['reason'], row['version']) == ('OK', 3), row
    for child in (run, join):
        code, text, _ = networks.ended(child, DEADLINE)
        assert code == 1 and re.search('OPERATION_NOT_ALLOWED|CALL_ABORTED|CALL_REFUSED', text), text
    nothing_published(north, south)


def test_a_rate_is_kept_across_hosts(home, pair):  # noqa: F811
    """A answers three of B's calls within the hour; the fourth is refused by name, and the run goes on to its receipt."""
    north, south = pair
    asks = '''
told = ""
for i in range(5):
    try:
        assert x.call("A", b"%d" % i) == b"%d" % i
    except f.Refused as e:
        told = str(e.text)
        break
print(i, told)
'''
    job = spread(os.path.join(home, 'job'), {'B': asks, 'A': test_calls.ECHO}, [('B', 'A')], {'B': south, 'A': north},
                 A={'allowed_communicators': [{'id': 'B', 'rate': {'operations': 3, 'per_s': 3600}}]})
    (code, text), (joined, words) = run_spread(north, south, job)
    assert (code, joined) == (0, 0), text + words
    assert re.match(r'3 .*RATE', south.machine.text()), south.machine.text()
