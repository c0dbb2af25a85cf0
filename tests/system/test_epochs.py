"""`troth root verify-history` and what the other offline verbs make of epochs, on the recorded life of a root and its forgeries."""
import json
import os

import cbor2
import conftest
import pytest
from cryptography.hazmat.primitives import serialization

VECTORS = os.path.join(conftest.ROOT, 'tests', 'vectors', 'objects.json')
GOLDEN = os.path.join(conftest.ROOT, 'tests', 'golden', 'rotated')
with open(VECTORS, encoding='utf-8') as f:
    EPOCHS = json.load(f)['epochs']
OBJECTS = [bytes.fromhex(row['object']) for row in EPOCHS['objects']]
KEYS = [bytes.fromhex(key) for key in EPOCHS['recovery_keys']]


@pytest.fixture
def history(home):
    def write(objects, keys=KEYS):
        path = os.path.join(home, 'history')
        with open(path, 'wb') as f:
            f.write(cbor2.dumps({1: 1, 2: objects, 3: keys}))
        return path
    return write


def test_follows_the_life_of_a_root(troth, history):
    path = history(OBJECTS)
    told = troth('root', 'verify-history', path, '--json').ok().json
    assert (told['state'], told['era'], told['epoch'], told['proof']) == ('live', 1, 6, [])
    assert told['head'] == EPOCHS['objects'][-1]['id'] and told['rot_id'] == EPOCHS['objects'][0]['id']
    kinds = [record['kind'] for record in told['records']]
    assert kinds == ['inception', 'scheduled', 'set-recovery', 'recovery', 'operator', 'scheduled']
    assert [r['counter_value'] for r in told['records']] == [0, 0, 0, 0, 7, 8]
    people = troth('root', 'verify-history', path).ok().stdout
    assert told['fingerprint'] in people and '1.6' in people and 'set-recovery' in people
    troth('root', 'verify-history', path, '--fingerprint', told['fingerprint']).ok()
    troth('root', 'verify-history', path, '--fingerprint', told['fingerprint'][:-1]).refused('EPOCH_FOREIGN', code=1)


@pytest.mark.parametrize('forged', EPOCHS['forged'], ids=lambda row: row['name'])
def test_refuses_each_forgery(troth, history, forged):
    path = history(OBJECTS[:forged['after']] + [bytes.fromhex(forged['object'])])
    if forged['reason'] == 'EPOCH_VOID':
        # Genuine, and of an era that has ended: a history may hold it, and it counts for nothing.
        told = troth('root', 'verify-history', path, '--json').ok().json
        assert told['head'] == EPOCHS['objects'][forged['after'] - 1]['id']
        assert forged['id'] not in [record['oid'] for record in told['records']]
        return
    troth('root', 'verify-history', path).refused(forged['reason'], code=1)
    # Without it, the same history is good: it is the object that was refused.
    before = troth('root', 'verify-history', history(OBJECTS[:forged['after']]), '--json')
    assert before.code == (1 if before.json['state'] == 'halted' else 0), str(before)


def test_a_fork_is_shown_with_both_records(troth, history):
    forged = bytes.fromhex(EPOCHS['forged'][0]['object'])
    ran = troth('root', 'verify-history', history(OBJECTS[:2] + [forged]), '--json')
    ran.refused('EPOCH_FORKED', code=1)
    told = json.loads(ran.stdout.splitlines()[0])
    assert told['state'] == 'frozen' and told['proof'] == [OBJECTS[1].hex(), forged.hex()]
    # Nothing but a recovery goes on from there.
    assert troth('root', 'verify-history', history(OBJECTS[:2] + [forged] + OBJECTS[2:3])).code == 1
    told = troth('root', 'verify-history', history(OBJECTS[:3] + [forged] + OBJECTS[3:]), '--json').ok().json
    assert told['state'] == 'live' and told['era'] == 1


def test_recovery_keys_may_come_from_elsewhere(troth, history, home):
    path = history(OBJECTS, [])
    troth('root', 'verify-history', path).refused('RECOVERY_QUORUM', code=1)
    options = []
    for i, der in enumerate(KEYS):
        pem = os.path.join(home, f'{i}.pem')
        with open(pem, 'wb') as f:
            f.write(serialization.load_der_public_key(der).public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        options += ['--key', pem]
    troth('root', 'verify-history', path, *options).ok()
    troth('root', 'verify-history', path, '--key', path).refused('BAD_KEY')


def test_other_files_are_told_apart(troth, history, home):
    inception = os.path.join(home, 'E_1')
    with open(inception, 'wb') as f:
        f.write(OBJECTS[0])
    assert troth('root', 'verify-history', inception, '--json').ok().json['epoch'] == 1
    troth('root', 'verify-history', os.path.join(GOLDEN, 'receipt.troth')).refused('no epoch history')
    troth('root', 'verify-history', os.path.join(home, 'nothing')).refused('NOT_FOUND')
    halt = os.path.join(home, 'halt')
    with open(halt, 'wb') as f:
        f.write(OBJECTS[3])
    assert troth('inspect', halt, '--json').ok().json['file'] == 'HALT'
    assert troth('inspect', inception, '--json').ok().json['file'] == 'epoch record'
    told = troth('inspect', history(OBJECTS), '--json').ok().json
    assert told['file'] == 'epoch history' and [o['oid'] for o in told['content']['objects']] == [row['id'] for row in EPOCHS['objects']]


def test_show_and_inspect_tell_the_epochs_of_a_receipt(troth):
    receipt = os.path.join(GOLDEN, 'receipt.troth')
    told = troth('show', receipt).ok().stdout
    assert 'Epochs of the root' in told and 'signed the receipt' in told
    epochs = troth('inspect', receipt, '--section', 'epochs', '--json').ok().json['content']
    assert [e['content']['epoch'] for e in epochs] == list(range(1, len(epochs) + 1))


def test_the_trust_file_carries_what_is_known(troth, home):
    """A HALT in the trust file itself, as in --epochs FILE."""
    with open(os.path.join(GOLDEN, 'trust.json'), encoding='utf-8') as f:
        trust = json.load(f)
    with open(os.path.join(GOLDEN, 'history.halted'), 'rb') as f:
        known = cbor2.loads(f.read())
    path = os.path.join(home, 'trust.json')

    def verify(**more):
        with open(path, 'w', encoding='utf-8') as f:
            json.dump({**trust, **more}, f)
        return troth('verify', os.path.join(GOLDEN, 'receipt.troth'), '--trust', path)

    keys = [key.hex() for key in known[3]]
    verify(recovery_spki=keys).ok()
    verify(recovery_spki=keys, epochs=[o.hex() for o in known[2][:-1]]).ok()
    verify(recovery_spki=keys, epochs=[o.hex() for o in known[2]]).refused('RECEIPT_UNJUDGED', code=4)
    verify(recovery_spki=keys, epochs=[OBJECTS[1].hex()]).refused('EPOCH_FOREIGN')
    verify(epochs=['00']).refused('trust.json:')
    verify(recovery_spki=[keys[0][:-2]]).refused('BAD_KEY')
