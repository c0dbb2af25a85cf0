"""The TPM holds the head of a host's history: what was signed cannot be left out, altered or put in another order afterwards."""
import json
import os
import shutil

import cbor2
import conftest
import hosts
import jobs
import pytest
from jobs import Machine
from test_dac import Chains
from test_tpm import Tpm, enrol, pytestmark, tpm  # noqa: F401 (fixtures)

PROOFS, STATEMENT, BIRTH, LOG, OPENED = 10, 2, 3, 4, 5


@pytest.fixture
def machine(home, tpm):  # noqa: F811
    one = Machine(home)
    one.troth('host', 'init', '--state', one.state, '--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{tpm.socket}', '--tpm-head').ok()
    one.enrolment = os.path.join(home, 'enrolment')
    return one


def run_one(machine, out):
    machine.out = os.path.join(machine.home, out)
    return machine.run(jobs.pipeline(machine.work), {'rows': jobs.written(machine.work, 'rows.txt', 'a\nb\n')})


def fetched(machine, nonce, name='chain'):
    """A bundle with a proof, and a trust file for it."""
    machine.out = os.path.join(machine.home, f'out-{name}')
    with Chains(machine) as chains:
        _, path = chains.fetch('B', '--nonce', nonce, '--tpm-head', out=name)
        machine.job = chains.job
        trust = os.path.join(machine.home, f'trust-{name}.json')
        believe(machine, trust)
    return path, trust


def believe(machine, path, *more):
    machine.troth('trust', 'new', '--root', os.path.join(machine.state, 'inception.epoch'), '--reference', machine.job, '--output', path, *more).ok()
    return path


def verify(machine, path, trust, *more):
    return machine.troth('dac', 'verify', path, '--trust', trust, '--json', *more)


def changed(machine, path, change):
    """The bundle with its proof as `change` leaves it."""
    with open(path, 'rb') as f:
        bundle = cbor2.load(f)
    proof = cbor2.loads(bundle[PROOFS][0])
    change(proof)
    bundle[PROOFS] = [cbor2.dumps(proof, canonical=True)]
    return jobs.written(machine.home, 'changed', cbor2.dumps(bundle, canonical=True))


def proof_of(path):
    with open(path, 'rb') as f:
        return cbor2.loads(cbor2.load(f)[PROOFS][0])


def refused(machine, path, trust, reason, *more):
    done = verify(machine, path, trust, *more)
    done.refused('DAC_REFUSED', code=1)
    failed = [c['reason'] for c in done.json['checks'] if not c['ok']]
    assert failed == [reason], done.json['checks']


@pytest.mark.attack('DA-13')
def test_a_history_cut_rewritten_or_reordered(machine):
    with hosts.service(machine):
        run_one(machine, 'one').ok()
        path, trust = fetched(machine, 'c0ffee')
    told = verify(machine, path, trust, '--nonce', 'c0ffee', '--require-tpm-head').ok().json['histories']
    assert len(told) == 1 and told[0]['entries'] == 4 and not told[0]['enrolled'], told
    with open(path, 'rb') as f:
        bundle = cbor2.load(f)
    proof = proof_of(path)
    assert len(proof[LOG]) == 5 and [at for at, _ in proof[OPENED]] == [4]

    def swap(p):
        p[LOG][1], p[LOG][2] = p[LOG][2], p[LOG][1]

    def rewrite(p):
        p[LOG][2] = bytes(32)

    def reorder_records(p):
        p[OPENED][0][1].reverse()

    def later_birth(p):
        p[BIRTH][4] += 1

    for change in (lambda p: p[LOG].pop(), lambda p: p[LOG].pop(1), lambda p: p[LOG].append(bytes(32)), swap, rewrite, reorder_records, later_birth,
                   lambda p: p[OPENED][0][1].pop()):
        refused(machine, changed(machine, path, change), trust, 'HEAD_MISMATCH', '--nonce', 'c0ffee')
    refused(machine, changed(machine, path, lambda p: p.update({OPENED: []})), trust, 'HEAD_RECORD_MISSING', '--nonce', 'c0ffee')
    statement = bytearray(proof[STATEMENT])
    statement[-1] ^= 1
    refused(machine, changed(machine, path, lambda p: p.update({STATEMENT: bytes(statement)})), trust, 'BAD_SIGNATURE', '--nonce', 'c0ffee')
    refused(machine, path, trust, 'TPM_NONCE_MISMATCH', '--nonce', 'c0ff')
    refused(machine, path, trust, 'HEAD_NONCE_NEEDED')
    # Without one: only where nobody asks for it.
    bundle[PROOFS] = []
    bare = jobs.written(machine.home, 'bare', cbor2.dumps(bundle, canonical=True))
    verify(machine, bare, trust).ok()
    refused(machine, bare, trust, 'HEAD_MISSING', '--require-tpm-head')
    # Of exactly the hosts that are named; and with the proof out of another host's bundle of the same chain.
    rot_id = bundle[7][0][0].hex()
    for name in rot_id, told[0]['root']:
        verify(machine, path, trust, '--nonce', 'c0ffee', '--tpm-head-of', name).ok()
        refused(machine, bare, trust, 'HEAD_MISSING', '--tpm-head-of', name)
    refused(machine, path, trust, 'HEAD_MISSING', '--nonce', 'c0ffee', '--tpm-head-of', 'north')
    verify(machine, bare, trust, '--nonce', 'c0ffee', '--require-tpm-head', '--beside', path).ok()
    verify(machine, path, trust, '--nonce', 'c0ffee', '--require-tpm-head', '--beside', path).ok()
    refused(machine, bare, trust, 'TPM_NONCE_MISMATCH', '--nonce', 'c0ff', '--beside', path)
    refused(machine, path, trust, 'HEAD_MISSING', '--nonce', 'c0ffee', '--beside', bare)
    with open(trust) as f:
        strict = {**json.load(f), 'require_tpm_head': True}
    strict = jobs.written(machine.home, 'strict.json', json.dumps(strict))
    refused(machine, bare, strict, 'HEAD_MISSING')
    verify(machine, path, strict, '--nonce', 'c0ffee').ok()


@pytest.mark.attack('DA-13')
def test_a_history_goes_on_from_the_one_shown_before(machine, tpm):  # noqa: F811
    """Also across a rotation and a restart; one that was begun anew, or from a copy, does not."""
    told = enrol(machine, tpm, '--allow-synthetic').ok().json
    assert told['synthetic']
    with hosts.service(machine):
        earlier, trust = fetched(machine, '01', 'earlier')
        machine.troth('root', 'rotate', '--state', machine.state).ok()
    with hosts.service(machine):
        run_one(machine, 'two').ok()
        later, trust = fetched(machine, '02', 'later')
    verify(machine, later, trust, '--nonce', '02', '--since', earlier).ok()
    refused(machine, earlier, trust, 'HEAD_REWRITTEN', '--nonce', '01', '--since', later)
    # The TPM is one that the trust file names, or is not.
    believed = believe(machine, os.path.join(machine.home, 'believed.json'), '--tpm', machine.enrolment, '--allow-synthetic', '--require-tpm-head')
    assert verify(machine, later, believed, '--nonce', '02').ok().json['histories'][0]['enrolled']
    # Begun anew.
    journal = os.path.join(machine.state, 'journal')
    kept = os.path.join(machine.home, 'kept')
    shutil.copytree(journal, kept)
    for name in os.listdir(journal):
        if name.startswith('heads'):
            os.unlink(os.path.join(journal, name))
    with hosts.service(machine):
        anew, trust = fetched(machine, '03', 'anew')
    verify(machine, anew, trust, '--nonce', '03').ok()
    refused(machine, anew, trust, 'HEAD_REMADE', '--nonce', '03', '--since', later)


def heads(machine):
    folder = os.path.join(machine.state, 'journal')
    return {n: open(os.path.join(folder, n), 'rb').read() for n in os.listdir(folder) if n.startswith('heads')}  # noqa: SIM115


@pytest.mark.attack('DA-13')
def test_the_host_refuses_to_go_on_from_another_history(machine):
    """Its journal put back: what comes next would not lead to the head, so nothing is published."""
    run_one(machine, 'one').ok()
    former = heads(machine)
    assert former
    run_one(machine, 'two').ok()
    for name, content in former.items():
        jobs.written(os.path.join(machine.state, 'journal'), name, content)
    done = run_one(machine, 'three')
    done.refused('HEAD_MISMATCH', code=1)
    assert not os.path.exists(os.path.join(machine.home, 'three'))


def test_it_is_asked_for_and_needs_a_tpm(home, troth, tpm):  # noqa: F811
    plain = Machine(home)
    plain.troth('host', 'init', '--state', plain.state, '--no-recovery', '--tpm-head').refused('USAGE', code=2)
    plain.troth('host', 'init', '--state', plain.state, '--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{tpm.socket}').ok()
    with Chains(plain) as chains:
        _, path = chains.fetch('B')
        done, _ = chains.get('B', '--nonce', '00', '--tpm-head')
        done.refused('HEAD_NOT_KEPT', code=3)
        chains.get('B', '--nonce', '00')[0].refused('USAGE', code=2)
        chains.get('B', '--tpm-head')[0].refused('USAGE', code=2)
        chains.get('B', '--nonce', '0', '--tpm-head')[0].refused('USAGE', code=2)
        trust = plain.trust(chains.job)
    verify(plain, path, trust).ok()


def test_a_tpm_that_is_gone_publishes_nothing(machine, tpm):  # noqa: F811
    with hosts.service(machine):
        run_one(machine, 'one').ok()
        tpm.stop()
        run_one(machine, 'two').refused('TPM_UNAVAILABLE', code=3)
        assert not os.path.exists(os.path.join(machine.home, 'two'))


def test_a_tpm_of_the_verifiers_own_checks_signatures(machine, tpm, home, troth):  # noqa: F811
    """Beside the library: both must accept. One that does not answer has judged nothing."""
    place = os.path.join(conftest.ROOT, 'tests', 'golden', 'tpm-head')
    command = ['dac', 'verify', os.path.join(place, 'chain'), '--trust', os.path.join(place, 'trust.json'), '--at', '2026-11-22T12:00:00Z', '--nonce',
               '02', '--json']
    assert troth(*command).ok().json['tpm_verified'] == 0
    own = ('--tpm-verify', f'unix:{tpm.socket}')
    assert troth(*command, *own).ok().json['tpm_verified'] >= 8
    with open(command[2], 'rb') as f:
        bundle = cbor2.load(f)
    record = bytearray(bundle[3][0])
    record[-1] ^= 1
    bundle[3][0] = bytes(record)
    command[2] = jobs.written(home, 'forged', cbor2.dumps(bundle, canonical=True))
    troth(*command, *own).refused('DAC_REFUSED', code=1)
    tpm.stop()
    troth(*command, *own).refused('TPM_UNAVAILABLE', code=3)
    troth(*command, '--tpm-verify', '/dev/null').refused('TPM_UNAVAILABLE', code=3)
