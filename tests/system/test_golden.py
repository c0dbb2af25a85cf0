"""Receipts of earlier builds: each folder of tests/golden is one that every later build must verify unchanged.

A folder holds receipt.troth, trust.json, the outputs under their names and inputs as role.*; nothing in it is ever rewritten. A new
format gets a new folder. rotated and recovered (tests/tools/make_golden.py) are runs during which the root rotated, with what was
known of the root at the end (history) and the same with a HALT (history.halted). two-hosts is the same of two roots, each of which
rotated while the job ran; history.other is that of the host that did not coordinate. level-2 was left by a run on a simulated TPM, calls by a
chain of calls through four enclaves. tpm-head is no receipt: a chain whose host proves its history by a simulated TPM, and one of before.
"""
import json
import os

import cbor2
import conftest
import pytest

GOLDEN = os.path.join(conftest.ROOT, 'tests', 'golden')
FOLDERS = sorted(name for name in os.listdir(GOLDEN) if os.path.exists(os.path.join(GOLDEN, name, 'receipt.troth')))
WITH_HISTORY = [name for name in FOLDERS if os.path.exists(os.path.join(GOLDEN, name, 'history'))]


def test_there_are_some():
    assert FOLDERS


@pytest.mark.parametrize('folder', FOLDERS)
def test_verifies_unchanged(folder, troth, home):
    place = os.path.join(GOLDEN, folder)
    with open(os.path.join(place, 'trust.json')) as f:
        job = json.load(f)['job']
    outputs = [a for o in job['outputs'] for a in ('--output', f'{o["name"]}={os.path.join(place, o["file"])}')]
    inputs = [a for i in job['inputs'] if not i['secret'] for n in os.listdir(place) if n.split('.')[0] == i['role']
              for a in ('--input', f'{i["role"]}={os.path.join(place, n)}')]
    command = ['verify', os.path.join(place, 'receipt.troth'), '--trust', os.path.join(place, 'trust.json'), '--json']
    answer = troth(*command, *outputs, *inputs).ok()
    assert answer.json['verdict'] == 'accepted' and answer.json['job'] == job['name']
    names = [check['name'] for check in answer.json['checks']]
    assert names.count('output.file') == len(job['outputs']) and 'input.file' in names
    with open(os.path.join(place, job['outputs'][0]['file']), 'rb') as f:
        changed = f.read() + b'\n'
    with open(os.path.join(home, 'changed'), 'wb') as f:
        f.write(changed)
    troth(*command, '--output', f'{job["outputs"][0]["name"]}={home}/changed').refused('DIGEST_MISMATCH', code=1)


def test_some_have_a_history():
    assert {'rotated', 'recovered'} <= set(WITH_HISTORY)


@pytest.mark.parametrize('folder', WITH_HISTORY)
def test_is_judged_by_what_is_known_of_the_root(folder, troth, home):
    """A later scheduled epoch changes nothing; a HALT leaves it unjudged; the epochs of another root, or a forged HALT, refuse it."""
    place = os.path.join(GOLDEN, folder)
    history, halted = os.path.join(place, 'history'), os.path.join(place, 'history.halted')
    command = ['verify', os.path.join(place, 'receipt.troth'), '--trust', os.path.join(place, 'trust.json'), '--json']
    answer = troth(*command, '--epochs', history).ok().json
    told = troth('root', 'verify-history', history, '--json').ok().json
    assert told['state'] == 'live' and told['fingerprint'] == answer['root']
    known = [record['oid'] for record in told['records']]
    assert [e['oid'] for e in answer['epochs']] == known[:-1]
    assert len(answer['epochs']) > 1 and answer['epochs'][-1]['used'] and sum(e['used'] for e in answer['epochs']) > 1
    unjudged = troth(*command, '--epochs', halted)
    unjudged.refused('RECEIPT_UNJUDGED', code=4)
    assert [c['name'] for c in unjudged.json['checks'] if not c['ok']] == ['epochs.standing']
    troth('root', 'verify-history', halted).refused('EPOCH_HALTED', code=1)
    with open(halted, 'rb') as f:
        content = cbor2.loads(f.read())
    other = next(os.path.join(GOLDEN, name, 'history') for name in WITH_HISTORY if name != folder)
    troth(*command, '--epochs', other).refused('EPOCH_FOREIGN', code=1)
    forged = os.path.join(home, 'forged')
    content[2][-1] = content[2][-1][:-1] + bytes([content[2][-1][-1] ^ 1])
    with open(forged, 'wb') as f:
        f.write(cbor2.dumps(content))
    troth(*command, '--epochs', forged).refused('BAD_SIGNATURE', code=1)
    troth('root', 'verify-history', forged).refused('BAD_SIGNATURE', code=1)


def test_two_hosts_count_each_for_itself(troth, home):
    """What is known of the other host's root is worth as much as what is known of the coordinator's."""
    place = os.path.join(GOLDEN, 'two-hosts')
    command = ['verify', os.path.join(place, 'receipt.troth'), '--trust', os.path.join(place, 'trust.json'), '--json']
    other = os.path.join(place, 'history.other')
    answer = troth(*command, '--epochs', other, '--epochs', os.path.join(place, 'history')).ok().json
    assert [(h['name'], h['coordinator'], h['enclaves'], h['level']) for h in answer['hosts']] == [('south', True, 1, 1), ('north', False, 1, 1)]
    assert troth('root', 'verify-history', other, '--json').ok().json['fingerprint'] == answer['hosts'][1]['root']
    unjudged = troth(*command, '--epochs', f'{other}.halted').refused('RECEIPT_UNJUDGED', code=4)
    failed = [c for c in unjudged.json['checks'] if not c['ok']]
    assert [(c['name'], c['object']) for c in failed] == [('epochs.standing', 'north')]
    with open(f'{other}.halted', 'rb') as f:
        content = cbor2.loads(f.read())
    forged = os.path.join(home, 'forged')
    content[2][-1] = content[2][-1][:-1] + bytes([content[2][-1][-1] ^ 1])
    with open(forged, 'wb') as f:
        f.write(cbor2.dumps(content))
    troth(*command, '--epochs', forged).refused('BAD_SIGNATURE', code=1)
    shown = troth('show', os.path.join(place, 'receipt.troth')).ok().stdout
    assert 'ran on north' in shown and 'ran on south' in shown and answer['hosts'][1]['root'] in shown


def test_level_2_is_what_the_trust_file_makes_of_it(troth, home):
    """The same receipt with its TPM named, named without allow_synthetic, and not named."""
    place = os.path.join(GOLDEN, 'level-2')
    with open(os.path.join(place, 'trust.json')) as f:
        trust = json.load(f)
    receipt = os.path.join(place, 'receipt.troth')
    answer = troth('verify', receipt, '--trust', os.path.join(place, 'trust.json'), '--json').ok().json
    assert answer['level'] == 2 and answer['platform']['synthetic'] and 'TPM' in ' '.join(answer['limits'])
    other = {'roots': trust['tpm']['roots'], 'enrolled': [{'ak': '00' * 32, 'ek': trust['tpm']['enrolled'][0]['ek']}]}
    for changed, why in (({'allow_synthetic': False}, 'EVIDENCE_SYNTHETIC'), ({'tpm': {'roots': [], 'enrolled': []}}, 'EK_UNTRUSTED'),
                         ({'tpm': other}, 'AK_NOT_ENROLLED'), ({'tpm': {**trust['tpm'], 'pcrs': [{'pcr': 7, 'value': '11' * 32}]}}, 'TPM_PCR_MISMATCH')):
        path = os.path.join(home, 'trust.json')
        with open(path, 'w') as f:
            json.dump({**trust, **changed}, f)
        refused = troth('verify', receipt, '--trust', path, '--json').refused('LEVEL_TOO_LOW', code=1)
        assert refused.json['platform']['refused'] == why
    for changed, why in (({'tpm': {**trust['tpm'], 'enroled': []}}, 'UNKNOWN_FIELD'), ({'tpm': {'roots': []}}, 'MISSING_FIELD'),
                         ({'tpm': {**trust['tpm'], 'roots': ['00']}}, 'BAD_CERTIFICATE'), ({'tpm': {**trust['tpm'], 'roots': ['xy']}}, ''),
                         ({'tpm': {**trust['tpm'], 'pcrs': [{'pcr': 24, 'value': '11' * 32}]}}, '')):
        with open(path, 'w') as f:
            json.dump({**trust, **changed}, f)
        answer = troth('verify', receipt, '--trust', path, '--json')
        assert answer.code in (1, 2) and why in answer.stdout + answer.stderr, str(answer)


def test_the_history_of_a_host_in_its_tpm(troth, home):
    """The proof that a TPM made then is judged as it was, goes on from the earlier one, and answers no other nonce."""
    place = os.path.join(GOLDEN, 'tpm-head')
    at, trust = ('--at', '2026-11-22T12:00:00Z'), os.path.join(place, 'trust.json')
    command = ['dac', 'verify', os.path.join(place, 'chain'), '--trust', trust, '--json', *at]
    answer = troth(*command, '--nonce', '02', '--since', os.path.join(place, 'chain.earlier')).ok().json
    assert answer['verdict'] == 'accepted' and len(answer['histories']) == 1
    assert answer['histories'][0]['enrolled'] and answer['histories'][0]['entries'] == 2
    old = troth('dac', 'verify', os.path.join(place, 'chain.earlier'), '--trust', trust, *at, '--nonce', '02', '--json')
    old.refused('DAC_REFUSED', code=1)
    assert 'TPM_NONCE_MISMATCH' in [c['reason'] for c in old.json['checks']]
    with open(os.path.join(place, 'chain'), 'rb') as f:
        bundle = cbor2.load(f)
    proof = cbor2.loads(bundle[10][0])
    del proof[4][1]
    bundle[10] = [cbor2.dumps(proof, canonical=True)]
    cut = os.path.join(home, 'cut')
    with open(cut, 'wb') as f:
        f.write(cbor2.dumps(bundle, canonical=True))
    command[2] = cut
    short = troth(*command, '--nonce', '02')
    short.refused('DAC_REFUSED', code=1)
    assert [c['reason'] for c in short.json['checks'] if not c['ok']] == ['HEAD_MISMATCH', 'HEAD_MISSING']
