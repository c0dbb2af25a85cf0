#!/usr/bin/python3
"""Follows a root of trust through its epochs with nothing but a CBOR and a crypto library, from docs/PROTOCOL.epochs and
docs/PROTOCOL.objects. It shares no code with Troth.

    follow_epochs.py HISTORY [--key SPKI.der]...   follows a history (or one inception record) to its end
    follow_epochs.py --vectors FILE                "epochs" of tests/vectors/objects.json: the history, and each forgery where it comes

Prints one JSON row for each object: {name, taken: ok or the reason of the refusal}; for a history last {state, era, epoch, head, void}.
Exit 0 when a history is good to its end; for vectors, when everything is judged as it is recorded.
"""
import hashlib
import io
import json
import sys

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

SIGN, EPOCH, HALT = 98, b'troth epoch', b'troth halt'
NOTHING = bytes(32)
SCHEDULED, SET_RECOVERY, RECOVERY = (1, 2, 3), 4, 5
(V, ROT_ID, ERA, NUMBER, PREV, SUITE, SIGN_PK, KEM_PK, SALT, NEXT, RECOVERY_SET, NOT_BEFORE, NOT_AFTER, GRACE, COUNTER, MEASUREMENT, STATE,
 REASON) = range(1, 19)
SIZES = {ROT_ID: 32, PREV: 32, SIGN_PK: 65, KEM_PK: 65, SALT: 32, NEXT: 32, MEASUREMENT: 48}


class Refused(Exception):
    pass


class Kept(Refused):
    """Valid, and remembered for what may stand on it; it does not count now."""


def need(holds, reason):
    if not holds:
        raise Refused(reason)


def one_item(data):
    """The one item that fills `data`, in the one encoding that docs/PROTOCOL.objects allows."""
    stream = io.BytesIO(data)
    try:
        item = cbor2.CBORDecoder(stream).decode()
    except (cbor2.CBORDecodeError, ValueError, EOFError):
        raise Refused('BAD_ENCODING') from None
    need(not stream.read(1) and cbor2.dumps(item, canonical=True) == data, 'NOT_DETERMINISTIC')
    return item


def point_key(point):
    try:
        need(isinstance(point, bytes) and len(point) == 65 and point[0] == 4, 'BAD_POINT')
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise Refused('BAD_POINT') from None


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_digest(key):
    return hashlib.sha256(spki(key)).digest()


class Signed:
    """A COSE_Sign: payload, signatures by kid."""

    def __init__(self, data):
        self.bytes = data
        item = one_item(data)
        need(isinstance(item, cbor2.CBORTag) and item.tag == SIGN and len(item.value) == 4, 'WRONG_TAG')
        protected, unprotected, self.payload, signers = item.value
        need(protected == b'' and unprotected == {} and isinstance(self.payload, bytes) and 1 <= len(signers) <= 32, 'BAD_VALUE')
        self.signers = {}
        last = b''
        for header, empty, signature in signers:
            decoded = one_item(header)
            need(empty == {} and set(decoded) == {1, 4} and decoded[1] == -7 and len(decoded[4]) == 32, 'BAD_VALUE')
            need(last < decoded[4], 'NOT_DETERMINISTIC')
            need(len(signature) == 64, 'BAD_SIGNATURE')
            last = decoded[4]
            self.signers[last] = (header, signature)
        self.fields = one_item(self.payload)

    def oid(self, label):
        return hashlib.sha256(cbor2.dumps(['Signature', b'', label, self.payload])).digest()

    def verify(self, label, key):
        need(key_digest(key) in self.signers, 'BAD_SIGNATURE')
        header, signature = self.signers[key_digest(key)]
        pair = encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big'))
        try:
            key.verify(pair, cbor2.dumps(['Signature', b'', header, label, self.payload]), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Refused('BAD_SIGNATURE') from None


class Record(Signed):
    def __init__(self, data):
        need(len(data) <= 16384, 'TOO_LARGE')
        super().__init__(data)
        e = self.e = self.fields
        need(isinstance(e, dict) and list(e) == list(range(1, 19)), 'MISSING_FIELD')
        need(e[V] == 1, 'UNKNOWN_VERSION')
        for field, size in SIZES.items():
            need(isinstance(e[field], bytes) and len(e[field]) == size, 'BAD_TYPE')
        for field in (ERA, NUMBER, NOT_BEFORE, NOT_AFTER, GRACE):
            need(isinstance(e[field], int) and 0 <= e[field] < 2 ** 64, 'BAD_TYPE')
        need(e[REASON] in range(6), 'BAD_VALUE')
        need(e[SUITE] == 1, 'UNSUPPORTED_ALGORITHM')
        need(e[STATE] == 1 and e[NOT_BEFORE] < e[NOT_AFTER], 'BAD_VALUE')
        need(set(e[COUNTER]) == {1, 2} and e[COUNTER][1] in (0, 1), 'BAD_VALUE')
        need(e[COUNTER][1] == 1 or e[COUNTER][2] == 0, 'EPOCH_COUNTER_WRONG')
        if e[RECOVERY_SET] is not None:
            k, n, keys = (e[RECOVERY_SET][i] for i in (1, 2, 3))
            need(1 <= k <= n == len(keys) <= 32 and keys == sorted(set(keys)) and all(len(d) == 32 for d in keys), 'BAD_VALUE')
        self.id = self.oid(EPOCH)
        self.order = (e[ERA], e[NUMBER])
        self.before = None
        self.void_era = None
        self.late = False


class Follower:
    def __init__(self, inception, keys=()):
        first = Record(inception)
        e = first.e
        need((e[REASON], e[ERA], e[NUMBER], e[ROT_ID], e[PREV]) == (0, 0, 1, NOTHING, NOTHING), 'BAD_VALUE')
        need(len(first.signers) == 1, 'BAD_VALUE')
        point_key(e[KEM_PK])
        first.verify(EPOCH, point_key(e[SIGN_PK]))
        self.rot_id = first.id
        self.head = self.era_first = first
        self.chain = {first.id: first}  # accepted and not void
        self.void, self.aside = {}, {}
        self.halts = []
        self.halted = self.frozen = self.disputed = False
        self.keys = {}
        for der in keys:
            self.add_key(der)

    def add_key(self, der):
        try:
            key = serialization.load_der_public_key(der)
        except ValueError:
            raise Refused('BAD_VALUE') from None
        need(isinstance(key, ec.EllipticCurvePublicKey) and spki(key) == der, 'BAD_VALUE')
        self.keys[key_digest(key)] = key

    @property
    def state(self):
        return 'frozen' if self.frozen else 'halted' if self.halted else 'live'

    def take(self, data):
        """Takes in one object; raises Refused. EPOCH_FORKED and EPOCH_HALTED may leave it kept aside."""
        signed = Signed(data)
        return self.take_halt(signed) if len(signed.fields) == 4 else self.take_record(Record(data))

    def votes(self, signed, label, before, others=()):
        rule = before.e[RECOVERY_SET]
        need(rule is not None, 'NO_RECOVERY_SET')
        voters = [kid for kid in signed.signers if kid not in others]
        for kid in voters:
            need(kid in rule[3] and kid in self.keys, 'RECOVERY_QUORUM')
            signed.verify(label, self.keys[kid])
        need(len(voters) >= rule[1], 'RECOVERY_QUORUM')

    def may_stand(self, record, before):
        e, p = record.e, before.e
        need(e[ROT_ID] == self.rot_id, 'EPOCH_FOREIGN')
        need(e[NUMBER] <= p[NUMBER] + 1, 'EPOCH_SKIPPED')
        need(e[NUMBER] == p[NUMBER] + 1, 'BAD_VALUE')
        recovery = e[REASON] == RECOVERY
        need(e[REASON] != 0 and (e[ERA] > p[ERA] if recovery else e[ERA] == p[ERA]), 'BAD_VALUE')
        if not recovery:
            need(e[SIGN_PK] != p[SIGN_PK], 'BAD_VALUE')
            opened = hashlib.sha256(b'troth rot next' + e[SIGN_PK] + e[KEM_PK] + e[SALT]).digest()
            need(opened == p[NEXT], 'EPOCH_UNCOMMITTED')
        if recovery or e[REASON] == SET_RECOVERY:
            need(p[RECOVERY_SET] is not None, 'NO_RECOVERY_SET')
        if e[REASON] != SET_RECOVERY:
            need(e[RECOVERY_SET] == p[RECOVERY_SET], 'EPOCH_CHANGED_RECOVERY')
        if p[COUNTER][1] == 1:
            need(e[COUNTER][1] == 1 or recovery, 'EPOCH_COUNTER_WRONG')
            need(e[COUNTER][1] == 0 or e[COUNTER][2] > p[COUNTER][2], 'EPOCH_COUNTER_WRONG')
        point_key(e[KEM_PK])
        new, old = point_key(e[SIGN_PK]), point_key(p[SIGN_PK])
        own = [key_digest(new)] if recovery else [key_digest(new), key_digest(old)]
        record.verify(EPOCH, new)
        if not recovery:
            record.verify(EPOCH, old)
        if e[REASON] in SCHEDULED:
            need(set(record.signers) == set(own), 'BAD_SIGNATURE')
        else:
            self.votes(record, EPOCH, before, own)

    def take_record(self, record):
        e = record.e
        for known in (self.chain, self.void, self.aside):
            if record.id in known:
                return self.again(record, known[record.id])
        need(e[ROT_ID] == self.rot_id, 'EPOCH_FOREIGN')
        head_era = self.head.e[ERA]
        if e[ERA] < head_era:
            before = self.chain.get(e[PREV]) or self.void.get(e[PREV])
            need(before and before.void_era in (None, head_era), 'EPOCH_VOID')
            self.may_stand(record, before)
            record.before, record.void_era, record.late = before, head_era, True
            self.void[record.id] = record
            raise Kept('EPOCH_VOID')
        need(e[ERA] <= head_era + 1, 'EPOCH_SKIPPED')
        recovery = e[REASON] == RECOVERY
        again = recovery and e[ERA] == head_era
        before = self.chain.get(e[PREV]) or self.aside.get(e[PREV])
        if before is None and e[PREV] in self.void:
            before = self.void[e[PREV]]
            need((again or (recovery and self.disputed)) and before.void_era == head_era, 'EPOCH_VOID')
        if before is None:
            need(e[NUMBER] <= self.head.e[NUMBER] + 1, 'EPOCH_SKIPPED')
            raise Refused('EPOCH_FOREIGN')
        self.may_stand(record, before)
        record.before = before
        if recovery and not again:
            return self.begin_era(record)
        beside = any(r.before is before and r.e[REASON] != RECOVERY for r in self.aside.values())
        if again or beside or (before.id in self.chain and before is not self.head):
            self.aside[record.id] = record
            self.disputed |= again and not self.frozen
            self.frozen = True
        elif self.state != 'live':
            self.aside[record.id] = record
        else:
            self.chain[record.id] = self.head = record
            return
        raise Kept('EPOCH_FORKED' if self.frozen else 'EPOCH_HALTED')

    def again(self, record, known):
        if record.bytes != known.bytes:
            if known.before:
                self.may_stand(record, known.before)
            else:
                record.verify(EPOCH, point_key(record.e[SIGN_PK]))
        if known.id in self.aside:
            raise Kept('EPOCH_FORKED' if self.frozen else 'EPOCH_HALTED')
        if known.late and known.id in self.void:
            raise Kept('EPOCH_VOID')

    def begin_era(self, record):
        everything = {**self.void, **self.chain, **self.aside}
        standing, at = {}, record
        while at:
            at.void_era = None
            standing[at.id] = at
            at = at.before
        for gone in [r for r in everything.values() if r.id not in standing]:
            if gone.void_era is None:
                gone.void_era = record.e[ERA]
        self.void = {i: r for i, r in everything.items() if i not in standing}
        self.chain, self.aside = standing, {}
        self.head = self.era_first = record
        self.frozen = self.halted = self.disputed = False

    def take_halt(self, halt):
        f = halt.fields
        need(list(f) == [1, 2, 3, 4] and f[1] == 1, 'BAD_VALUE')
        if halt.bytes in self.halts:
            return
        need(f[2] == self.rot_id, 'EPOCH_FOREIGN')
        need(f[3] >= self.head.e[ERA], 'EPOCH_VOID')
        need(f[3] == self.head.e[ERA] and f[4] <= self.head.e[NUMBER], 'EPOCH_SKIPPED')
        need(f[4] >= self.era_first.e[NUMBER], 'EPOCH_FOREIGN')
        self.votes(halt, HALT, next(r for r in self.chain.values() if r.order == (f[3], f[4])))
        self.halts.append(halt.bytes)
        self.halted = True


def of_history(data):
    """The follower, and the objects that it is to be given."""
    item = one_item(data)
    if isinstance(item, cbor2.CBORTag):
        return Follower(data), []
    need(isinstance(item, dict) and list(item) == [1, 2, 3] and item[1] == 1 and item[2], 'BAD_VALUE')
    return Follower(item[2][0], item[3]), item[2][1:]


def replay(follower, objects):
    """For each object what became of it, and whether a history may hold it."""
    for data in objects:
        try:
            follower.take(data)
            yield 'ok', True
        except Refused as refused:
            yield str(refused), isinstance(refused, Kept)


def judge_history(data, keys):
    try:
        follower, objects = of_history(data)
        for der in keys:
            follower.add_key(der)
    except Refused as refused:
        print(json.dumps({'name': 'object 1', 'taken': str(refused)}))
        return 1
    print(json.dumps({'name': 'object 1', 'taken': 'ok'}))
    good = True
    for number, (taken, fits) in enumerate(replay(follower, objects), 2):
        print(json.dumps({'name': f'object {number}', 'taken': taken}))
        good &= fits
    print(json.dumps({'state': follower.state, 'era': follower.head.e[ERA], 'epoch': follower.head.e[NUMBER], 'head': follower.head.id.hex(),
                      'void': len(follower.void)}))
    return 0 if good else 1


def judge_vectors(vectors):
    epochs = vectors['epochs']
    keys = [bytes.fromhex(key) for key in epochs['recovery_keys']]
    objects = [bytes.fromhex(row['object']) for row in epochs['objects']]
    code = judge_history(bytes.fromhex(epochs['history']), [])
    for row in epochs['objects']:
        label = row['label'].encode()
        if Signed(bytes.fromhex(row['object'])).oid(label).hex() != row['id']:
            print(json.dumps({'name': row['name'], 'taken': 'another id'}))
            code = 1
    for row in epochs['forged']:
        follower = Follower(objects[0], keys)
        if any(taken != 'ok' for taken, _ in replay(follower, objects[1:row['after']])):
            code = 1
        taken, _ = next(replay(follower, [bytes.fromhex(row['object'])]))
        print(json.dumps({'name': row['name'], 'taken': taken}))
        code |= taken != row['reason']
    return code


def main(arguments):
    if len(arguments) == 2 and arguments[0] == '--vectors':
        with open(arguments[1], encoding='utf-8') as f:
            return judge_vectors(json.load(f))
    if not arguments or len(arguments) % 2 == 0 or any(a != '--key' for a in arguments[1::2]):
        sys.exit(__doc__)
    keys = []
    for path in arguments[2::2]:
        with open(path, 'rb') as f:
            keys.append(f.read())
    with open(arguments[0], 'rb') as f:
        return judge_history(f.read(), keys)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
