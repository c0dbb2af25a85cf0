"""Level-2 between hosts: policies on either side ask for the evidence of the other's TPM, and operators say whose they believe."""
import json
import os
import shutil

import jobs
import networks
import pytest
import test_tpm
from test_hosts import DEADLINE, known_epoch, nothing_published, rows, run_both, two_host_job, under_way

pytestmark = pytest.mark.skipif(not shutil.which('swtpm_setup'), reason='swtpm is not installed')


class TpmHost(networks.Host):
    """A host whose root of trust lies in a TPM of its own."""

    def __init__(self, folder, name, network):
        self.tpm = test_tpm.Tpm(os.path.join(folder, name, 'tpm'))
        super().__init__(folder, name, network, init=('--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{self.tpm.socket}'))
        self.enrolment = os.path.join(folder, f'{name}.enrolment')

    def enrol_tpm(self, *more):
        return self.troth('tpm', 'enrol', '--tpm-root', self.tpm.issuer, '--output', self.enrolment, '--allow-synthetic', *more)


@pytest.fixture
def tpm_pair(home):
    made = []

    def host(folder, name, network):
        made.append(TpmHost(folder, name, network))
        return made[-1]
    try:
        with networks.enrolled(home, 'north', 'south', make=host) as both:
            yield both
    finally:
        for one in made:
            one.tpm.stop()


def level_2(folder, north, south):
    path = two_host_job(folder, north, south)
    for name in 'AB':
        file = os.path.join(folder, 'policies', f'{name}.json')
        with open(file) as f:
            rules = json.load(f)
        jobs.written(folder, f'policies/{name}.json', json.dumps({**rules, 'required_attestation_level': 'Level-2'}))
    return path


@pytest.mark.attack('EV-44')
def test_level_2_is_asked_of_the_other_host_and_believed_by_name(home, tpm_pair):
    north, south = tpm_pair
    job = level_2(os.path.join(home, 'job'), north, south)
    for host in tpm_pair:
        host.enrol_tpm('--local').ok()
    # Each believes its own TPM alone.
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (1, 1) and 'LEVEL_TOO_LOW' in text + words, text + words
    nothing_published(north, south)
    # One side believes the other: the other still asks.
    south.troth('tpm', 'believe', north.enrolment).ok()
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (1, 1) and 'LEVEL_TOO_LOW' in text + words, text + words
    north.troth('tpm', 'believe', south.enrolment).ok()
    (code, text), (joined, words) = run_both(north, south, job, rows(home))
    assert (code, joined) == (0, 0), text + words
    for host in tpm_pair:
        trust = os.path.join(host.machine.home, 'trust.json')
        roots = [w for h in tpm_pair for w in ('--root', h.inception, '--tpm', h.enrolment)]
        host.machine.troth('trust', 'new', *roots, '--allow-synthetic', '--reference', job, '--output', trust).ok()
        receipt = os.path.join(host.machine.out, 'receipt.troth')
        assert host.machine.troth('verify', receipt, '--trust', trust, '--json').ok().json['level'] == 2
    # Who knows the TPM of one host alone has Level-1 of the other's part, which the policies do not allow.
    one = os.path.join(home, 'one.json')
    south.machine.troth('trust', 'new', *[w for h in tpm_pair for w in ('--root', h.inception)], '--tpm', south.enrolment, '--allow-synthetic',
                        '--reference', job, '--output', one).ok()
    south.machine.troth('verify', os.path.join(south.machine.out, 'receipt.troth'), '--trust', one).refused('LEVEL_TOO_LOW', 1)


def test_it_outlives_rotations_on_either_side(home, tpm_pair):
    """Launches of both hosts are endorsed anew while the job runs: the receipt has evidence of all epochs, and stays at Level-2."""
    north, south = tpm_pair
    for host in tpm_pair:
        host.enrol_tpm('--local').ok()
    south.troth('tpm', 'believe', north.enrolment).ok()
    north.troth('tpm', 'believe', south.enrolment).ok()
    job = level_2(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    for host, other in (tpm_pair, reversed(tpm_pair)):
        host.troth('root', 'rotate').ok()
        jobs.until(lambda: known_epoch(other, host) == 2, 'the new epoch is known there', DEADLINE)
    join.stdin.write(b'x' * 100000)
    join.stdin.close()
    join.stdin = None
    ran, joined = networks.ended(run, DEADLINE), networks.ended(join, DEADLINE)
    assert (ran[0], joined[0]) == (0, 0), ran[1] + joined[1]
    assert south.machine.text() == '100000\n'


def test_what_is_believed_is_listed_and_taken_back(home, tpm_pair):
    north, south = tpm_pair
    assert 'believe no TPM' in north.troth('tpm', 'believe').ok().stdout
    for host in tpm_pair:
        host.enrol_tpm().ok()
    listed = north.troth('tpm', 'believe', south.enrolment, '--json').ok().json
    assert len(listed['enrolled']) == 1 and not listed['allow_synthetic'], 'whether test platforms count is said here, not by the file'
    north.troth('tpm', 'believe', south.enrolment, north.enrolment).ok()
    listed = north.troth('tpm', 'believe', '--json').ok().json
    assert len(listed['enrolled']) == 2 and len(listed['roots']) == 2
    north.troth('tpm', 'believe', '--remove', listed['enrolled'][0]['ak'] if isinstance(listed['enrolled'][0], dict) else listed['enrolled'][0][0]).ok()
    assert len(north.troth('tpm', 'believe', '--json').ok().json['enrolled']) == 1
    north.troth('tpm', 'believe', '--remove', 'ab' * 32).refused('NOT_FOUND')
    north.troth('tpm', 'believe', '--remove', 'ab').refused('USAGE', 2)
    north.troth('tpm', 'believe', jobs.written(home, 'junk', b'junk')).refused('no enrolment')
