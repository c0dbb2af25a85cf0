"""Programs of tests/outside, which share no code with Troth, judge what Troth made."""
import hashlib
import json
import os

import cbor2
import conftest
import jobs
import pytest
from jobs import box  # noqa: F401 (fixture)

OUTSIDE = os.path.join(conftest.ROOT, 'tests', 'outside')
VECTORS = os.path.join(conftest.ROOT, 'tests', 'vectors', 'objects.json')


def outside(name, *args):
    return conftest.run(['/usr/bin/python3', os.path.join(OUTSIDE, name), *args])


def rows(ran):
    return [json.loads(line) for line in ran.stdout.splitlines()]


def load_vectors():
    with open(VECTORS, encoding='utf-8') as f:
        return json.load(f)


def test_every_vector_verifies_with_other_code():
    found = rows(outside('verify_cose.py', '--vectors', VECTORS).ok())
    signed = [o for o in load_vectors()['objects'] if o['envelope'].startswith('COSE')]
    assert [r['oid'] for r in found] == [o['id'] for o in signed]


def test_other_code_refuses_an_altered_vector(tmp_path):
    vectors = load_vectors()
    for entry in vectors['objects']:
        if entry['envelope'].startswith('COSE'):
            data = bytearray.fromhex(entry['object'])
            data[-1] ^= 1
            entry['object'] = data.hex()
    altered = jobs.written(str(tmp_path), 'altered.json', json.dumps(vectors))
    ran = outside('verify_cose.py', '--vectors', altered)
    assert ran.code == 1 and not any(r['ok'] for r in rows(ran)), str(ran)


def test_the_sealed_queue_of_the_page_is_that_of_other_code():
    """The page's vectors, which the unit tests take too, computed from its words alone."""
    ran = outside('ipq_sealed.py').ok()
    assert ran.stdout.count('\nok ') == 9, str(ran)


def test_other_code_follows_the_life_of_a_root(tmp_path):
    """Rotations, a set-recovery, a HALT and a recovery, judged from docs/PROTOCOL.epochs alone, and each forgery refused for what it is."""
    epochs = load_vectors()['epochs']
    found = rows(outside('follow_epochs.py', '--vectors', VECTORS).ok())
    forged = {r['name']: r['taken'] for r in found if r.get('name') in {f['name'] for f in epochs['forged']}}
    assert forged == {f['name']: f['reason'] for f in epochs['forged']} and len(forged) >= 20
    history = jobs.written(str(tmp_path), 'history', bytes.fromhex(epochs['history']))
    end = rows(outside('follow_epochs.py', history).ok())[-1]
    assert end['state'] == 'live' and (end['era'], end['epoch']) == (1, 6) and end['head'] == epochs['objects'][-1]['id']


def test_other_code_refuses_an_altered_history(tmp_path):
    """One bit of any object; without its recovery keys; with an object left out."""
    history = cbor2.loads(bytes.fromhex(load_vectors()['epochs']['history']))

    def taken(objects, keys):
        path = jobs.written(str(tmp_path), 'altered', cbor2.dumps({1: 1, 2: objects, 3: keys}))
        ran = outside('follow_epochs.py', path)
        return ran.code, [r['taken'] for r in rows(ran) if 'taken' in r]

    assert taken(history[2], history[3]) == (0, ['ok'] * 7)
    for i, data in enumerate(history[2]):
        altered = data[:-1] + bytes([data[-1] ^ 1])
        code, told = taken(history[2][:i] + [altered] + history[2][i + 1:], history[3])
        assert code == 1 and told[i] == 'BAD_SIGNATURE', (i, told)
    code, told = taken(history[2], [])
    assert code == 1 and told[2] == 'RECOVERY_QUORUM'
    code, told = taken(history[2][:1] + history[2][2:], history[3])
    assert code == 1 and told[1] == 'EPOCH_SKIPPED'


@pytest.fixture
def ran_job(box):
    """A finished run of a shell script and its receipt."""
    jobs.written(box.work, 'P.sh', '#!/bin/sh\necho hello\n', 0o755)
    job = jobs.write_job(box.work, [jobs.enclave('P', './P.sh')], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt', 'statement': True}])
    box.run(job).ok()
    return box


def test_every_signature_of_a_receipt_verifies_with_other_code(ran_job):
    path = os.path.join(ran_job.out, 'receipt.troth')
    found = rows(outside('verify_cose.py', path).ok())
    assert {r['section'] for r in found} == {'epochs', 'head', 'reports', 'records', 'statements'}
    receipt = jobs.receipt(ran_job.out)
    assert len([r for r in found if r['section'] == 'records']) == len(cbor2.loads(receipt.sections['records']))
    # Its judgement depends on the bytes: one bit of a record's signature, and the checksum made right again.
    raw = bytearray(receipt.raw)
    record = cbor2.loads(receipt.sections['records'])[-1]
    raw[raw.index(record) + len(record) - 1] ^= 1
    raw[-32:] = hashlib.sha256(raw[:-34]).digest()
    altered = jobs.written(ran_job.work, 'altered.troth', bytes(raw))
    ran = outside('verify_cose.py', altered)
    assert ran.code == 1 and [r['section'] for r in rows(ran) if not r['ok']] == ['records'], str(ran)


def test_a_measurement_is_recomputed_from_files(ran_job):
    receipt = jobs.receipt(ran_job.out)
    encoding = cbor2.loads(receipt.sections['manifests'])[0]
    manifest = jobs.written(ran_job.work, 'manifest.cbor', encoding)
    told = outside('measure_manifest.py', manifest, '--map', f'/job={ran_job.work}').ok().json
    job = cbor2.loads(receipt.sections['job'])
    assert told['measurement'] == job[3][0][3].hex() and told['core'] == job[3][0][2].hex()
    assert told['name'] == 'P' and told['differing'] == []
    # The program's own file is what decides.
    jobs.written(ran_job.work, 'P.sh', '#!/bin/sh\necho other\n', 0o755)
    changed = outside('measure_manifest.py', manifest, '--map', f'/job={ran_job.work}')
    assert changed.code == 1 and changed.json['differing'] == ['/job/P.sh'], str(changed)
    assert changed.json['measurement'] != told['measurement'] and changed.json['core'] != told['core']
