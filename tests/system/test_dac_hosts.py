"""Complete chains over two hosts: fetched from an enclave that lives, judged under both roots, refused under one."""
import json
import os

import jobs
import networks
import pytest
from jobs import enclave, policy, write_job, written
from test_hosts import pair, rows, trust_of  # noqa: F401 (fixture)


def there_and_back(folder, north, south):
    """rows -> A (north) -> B (south) -> C (north), which has read everything and stays."""
    for host in (north, south):
        with open(host.inception, 'rb') as f:
            written(folder, f'{host.name}.epoch', f.read())
    enclaves = []
    for name, host, peers, text in (('A', north, 'B', 'cat'), ('B', south, 'AC', 'cat'), ('C', north, 'B', 'cat > /dev/null; sleep 600')):
        written(folder, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
        one = enclave(name, f'./{name}.sh', files=['/usr/bin/cat', '/usr/bin/sleep'], host=host.name)
        one['policy'] = policy(name, list(peers), rot_ids=[south.rot if host is north else north.rot])
        enclaves.append(one)
    path = write_job(folder, enclaves, flow=[{'from': 'A', 'to': 'B', 'operation': 'rows'}, {'from': 'B', 'to': 'C', 'operation': 'rows'}],
                     inputs=[{'role': 'rows', 'to': 'A'}], outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt'}])
    with open(path) as f:
        job = json.load(f)
    job['hosts'] = [{'name': h.name, 'root': f'{h.name}.epoch'} for h in (north, south)]
    return written(folder, 'job.json', json.dumps(job))


def fetched(host, ire, child):
    """The bundle of what the enclave got last, once it has got it."""
    path = os.path.join(host.machine.home, f'chain-{ire}')

    def tried():
        assert child.poll() is None, child.communicate()
        return host.troth('dac', 'get', ire, '--output', path).code == 0
    jobs.until(tried, f'a chain of {ire}', 60)
    return path


def reasons(ran):
    return {r['oid']: r.get('reason') for r in ran.json['records']}


@pytest.mark.attack('DA-09')
def test_the_chain_of_two_hosts_needs_both_roots(home, pair):  # noqa: F811
    north, south = pair
    os.makedirs(os.path.join(home, 'job'))
    job = there_and_back(os.path.join(home, 'job'), north, south)
    join = south.join(job, '--from', north.name)
    run = north.background('run', job, '--input', f'rows={rows(home)}')
    try:
        path = fetched(north, 'C', run)
    finally:
        run.terminate()
        ends = [networks.ended(child, 60) for child in (run, join)]
    assert all(code != 0 for code, *_ in ends), ends
    troth = south.machine.troth
    both = trust_of(south, job, north, south)
    judged = troth('dac', 'verify', path, '--trust', both, '--json').ok().json
    assert judged['verdict'] == 'accepted' and judged['refused'] == 0 and judged['depth'] == 2
    assert [r['kind'] for r in judged['records']] == ['ORIGIN', 'DERIVE', 'REQUEST', 'DERIVE', 'REQUEST']
    made_by = [r['oid'] for r in judged['records']]
    # A and its records stand under north, B's under south and on A's: each root alone fails exactly what it does not vouch for.
    ran = troth('dac', 'verify', path, '--trust', trust_of(south, job, north), '--json').refused('DAC_UNTRUSTED_ROOT', 1)
    assert [reasons(ran)[oid] for oid in made_by] == [None] * 3 + ['DAC_UNTRUSTED_ROOT'] * 2
    ran = troth('dac', 'verify', path, '--trust', trust_of(south, job, south), '--json').refused('DAC_UNTRUSTED_ROOT', 1)
    assert [reasons(ran)[oid] for oid in made_by] == ['DAC_UNTRUSTED_ROOT'] * 3 + ['DAC_BROKEN_ANCESTOR'] * 2
    # Neither host keeps its history in a TPM: whoever asks for one of them is told which is missing.
    for who in ('south', north.rot):
        troth('dac', 'verify', path, '--trust', both, '--tpm-head-of', who, '--json').refused('HEAD_MISSING', 1)
