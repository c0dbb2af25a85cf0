#!/usr/bin/python3
"""Judges transactions of the ledger as docs/PROTOCOL.ledger says. Written from that page, docs/PROTOCOL.objects and docs/PROTOCOL.epochs; it shares no code with Troth.

    ledger_evaluator.py < STREAM        prints what `troth ledger apply --stdin < STREAM` must print, line by line
"""
import hashlib
import json
import struct
import sys
from bisect import bisect_left, insort

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

CODES = {'OK': 0, 'BAD_SIGNATURE': 201, 'TX_MALFORMED': 1003, 'CHAIN_FOREIGN': 1004, 'TX_EXPIRED': 1005, 'TX_TOO_FAR': 1006, 'TX_REPLAYED': 1007,
         'SENDER_NOT_ALLOWED': 1008, 'SCOPE_NOT_OWNED': 1009, 'ACCESS_DENIED': 1010, 'ACCESS_NOT_GRANTED': 1011, 'GRANT_BROKEN': 1012,
         'GRANT_WIDENED': 1013, 'GRANT_TOO_DEEP': 1014, 'GRANT_EXPIRED': 1015, 'GRANT_REVOKED': 1016, 'GRANT_EXHAUSTED': 1017,
         'GRANT_NOT_FOR_THIS': 1018, 'NOT_REGISTERED': 1019, 'NOT_AUTHORISED': 1020, 'PROCESSOR_UNKNOWN': 1021, 'RECORD_TIME': 1022,
         'REQUEST_MISMATCH': 1023, 'VERSION_BELOW_FLOOR': 1024, 'ALREADY_THERE': 1025, 'CONFIG_INVALID': 1026, 'CONFIG_QUORUM': 1027}
# What type 10 and the processors of roots of trust add (docs/PROTOCOL.epochs).
EPOCH_CODES = {'BAD_VALUE': 107, 'BAD_POINT': 203, 'EPOCH_EXPIRED': 436, 'EPOCH_SKIPPED': 460, 'EPOCH_UNCOMMITTED': 461, 'EPOCH_CHANGED_RECOVERY': 462,
               'EPOCH_FORKED': 463, 'EPOCH_HALTED': 464, 'EPOCH_VOID': 465, 'EPOCH_FOREIGN': 466, 'RECOVERY_QUORUM': 467, 'EPOCH_COUNTER_WRONG': 468,
               'EPOCH_TOO_OLD': 469, 'NO_RECOVERY_SET': 470, 'TOO_LARGE': 106}
TX_MAX, WINDOW, ZERO = 57344, 600000, bytes(32)
U64 = 2 ** 64 - 1
SPKI_HEAD = bytes.fromhex('3059301306072a8648ce3d020106082a8648ce3d030107034200')
(CONFIG, NONCE, GRANT, REGISTRATION, ACCESS, REVOCATION, EPOCH, ROOT, EPOCH_AT, FLOOR, PROCESSOR, SECURE_MODE) = range(1, 13)
(USED, GRANTED, REVOKED, REGISTERED, UNREGISTERED, ALLOWED, EPOCHS, FROZEN, HALTED, FLOORS, CONFIGURED, RULES, MODE, REPORTED) = range(1, 15)


class Refused(Exception):
    pass


def need(holds, reason):
    if not holds:
        raise Refused(reason)


def sha256(data):
    return hashlib.sha256(data).digest()


def encode(item):
    return cbor2.dumps(item, canonical=True)


def lv(data):
    return struct.pack('>I', len(data)) + data


# ---- Decoding: each structure as its row in the CDDL

def form(holds):
    if not holds:
        raise Refused('TX_MALFORMED')


def decode(data):
    try:
        item = cbor2.loads(data)
        same = encode(item) == data
    except Exception:  # whatever the library does not read is not in the one form
        raise Refused('TX_MALFORMED') from None
    form(same)
    return item


def uint(most):
    return lambda x: form(type(x) is int and 0 <= x <= most)


def raw(low, high=None):
    return lambda x: form(type(x) is bytes and low <= len(x) <= (high or low))


def text(low, high):
    def check(x):
        form(type(x) is str and '\0' not in x and low <= len(x.encode()) <= high)
    return check


def boolean(x):
    form(type(x) is bool)


def optional(check):
    return lambda x: x is None or check(x)


def many(low, high, check, ascending=False):
    def judge(x):
        form(type(x) is list and low <= len(x) <= high)
        for item in x:
            check(item)
        if ascending:
            encoded = [encode(item) for item in x]
            form(all(a < b for a, b in zip(encoded, encoded[1:])))
    return judge


def table(*checks):
    keys = list(range(1, len(checks) + 1))

    def judge(x):
        form(type(x) is dict and list(x) == keys)
        for key, check in zip(keys, checks):
            check(x[key])
    return judge


one = lambda x: form(type(x) is int and x == 1)  # noqa: E731
time_ms, number, chain32, point, address = uint(U64), uint(U64), raw(32), raw(65), raw(20)
measurements = optional(many(1, 256, raw(48), True))
some_bytes = raw(1, 1 << 24)
scope_text = text(1, 255)

transaction_form = table(one, chain32, point, raw(32), time_ms, uint(255), raw(1, 49152))
grant_form = table(one, chain32, point, address, scope_text, number, measurements, time_ms, time_ms, optional(number), uint(7), optional(raw(32)),
                   raw(32))
request_form = table(one, chain32, point, uint(63), scope_text, optional(raw(48)), raw(32), time_ms)
operation_form = table(one, chain32, point, raw(48), raw(32), raw(1, 20480), raw(32), time_ms, raw(48), optional(raw(32)))
endorsement_form = table(one, chain32, point, uint(4), raw(48), text(0, 120), time_ms, time_ms)
config_form = table(one, chain32, number, many(1, 32, point, True), uint(32), many(0, 32, point, True), uint(32), many(0, 256, point, True),
                    text(1, 120), raw(32), many(0, 32, table(text(1, 120), raw(32), uint(2)), True), number, number)
rule_form = table(uint(2), optional(many(1, 256, address, True)), number, scope_text, measurements)
recovery_form = table(uint(32), uint(32), many(1, 32, raw(32), True))
epoch_form = table(one, raw(32), uint(2 ** 32 - 1), number, raw(32), uint(65535), point, point, raw(32), raw(32), optional(recovery_form), time_ms, time_ms,
                   uint(2 ** 32 - 1), table(uint(1), number), raw(48), uint(255), uint(5))
halt_form = table(one, raw(32), uint(2 ** 32 - 1), number)
BODIES = {
    1: table(uint(4), raw(48), text(0, 120), time_ms, time_ms, many(0, 32, some_bytes)),
    2: table(uint(4), raw(48), text(0, 120)),
    3: table(scope_text, number, many(0, 256, rule_form)),
    4: table(many(1, 8, some_bytes)),
    5: table(many(0, 8, some_bytes), raw(32)),
    6: table(raw(1, 49152), many(0, 8, some_bytes)),
    7: table(raw(1, 49152), many(0, 8, some_bytes)),
    8: table(raw(48), raw(16), boolean, time_ms),
    9: table(uint(3), text(1, 255), raw(32), time_ms),
    10: table(raw(1, 20480), many(0, 32, some_bytes)),
    11: table(uint(3), text(1, 120), raw(32), number),
    12: table(raw(1, 49152)),
}


# ---- Envelopes and keys

HEAD = bytes.fromhex('d28443a10126a0')


def bstr(data):
    n = len(data)
    if n < 24:
        return bytes([0x40 + n]) + data
    if n < 256:
        return b'\x58' + bytes([n]) + data
    return (b'\x59' + struct.pack('>H', n) if n < 65536 else b'\x5a' + struct.pack('>I', n)) + data


def tstr(data):
    return bytes([bstr(data)[0] + 0x20]) + bstr(data)[1:]


def sign1(data, label):
    """payload, signature, signed bytes"""
    form(data[:7] == HEAD and len(data) > 7)
    size = {0x58: 1, 0x59: 2, 0x5a: 4}.get(data[7], 0)
    at = 8 + size
    length = int.from_bytes(data[8:at], 'big') if size else data[7] - 0x40
    form(0 <= length <= 1 << 24)
    payload, rest = data[at:at + length], data[at + length:]
    form(data[7:at + length] == bstr(payload) and len(rest) == 66 and rest[:2] == b'\x58\x40')
    return payload, rest[2:], b'\x84\x6aSignature1\x43\xa1\x01\x26' + bstr(label) + bstr(payload)


KEYS = {}


def key_of(raw_point):
    if raw_point not in KEYS:
        try:
            KEYS[raw_point] = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw_point) if raw_point[0] == 4 else None
        except ValueError:
            KEYS[raw_point] = None
    return KEYS[raw_point]


ES256 = ec.ECDSA(hashes.SHA256())
VERIFIED = {}


def verify(raw_point, signature, signed):
    if (raw_point, signature, signed) in VERIFIED:
        return need(VERIFIED[raw_point, signature, signed], 'BAD_SIGNATURE')
    key, good = key_of(raw_point), False
    if key:
        try:
            key.verify(encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big')), signed, ES256)
            good = True
        except InvalidSignature:
            pass
    if len(VERIFIED) > 100000:
        VERIFIED.clear()
    VERIFIED[raw_point, signature, signed] = good
    need(good, 'BAD_SIGNATURE')


ADDRESSES = {}


def address_of(raw_point):
    if raw_point not in ADDRESSES:
        ADDRESSES[raw_point] = sha256(SPKI_HEAD + raw_point)[:20]
    return ADDRESSES[raw_point]


# ---- Names

DIGITS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
PART = set('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-')


def checksum(values):
    check = 1
    for value in values:
        top, check = check >> 25, (check & 0x1ffffff) << 5 ^ value
        for i, generator in enumerate((0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3)):
            check ^= generator if top >> i & 1 else 0
    return check


PREFIX = [ord(c) >> 5 for c in 'troth'] + [0] + [ord(c) & 31 for c in 'troth']


def address_text(raw_address):
    bits = int.from_bytes(raw_address, 'big')
    digits = [bits >> 155 - 5 * i & 31 for i in range(32)]
    check = checksum(PREFIX + digits + [0] * 6) ^ 0x2bc830a3
    return 'troth1' + ''.join(DIGITS[d] for d in digits + [check >> 5 * (5 - i) & 31 for i in range(6)])


OWNERS = {}


def owner_of(scope):
    """The owner's address; TX_MALFORMED when the scope is none."""
    if scope not in OWNERS:
        OWNERS[scope] = find_owner(scope)
    form(OWNERS[scope] is not None)
    return OWNERS[scope]


def find_owner(scope):
    head, *parts = scope.split('/')
    if len(scope.encode()) > 255 or len(parts) > 16 or not all(1 <= len(p) <= 63 and set(p) <= PART and p[0] not in '.-' for p in parts):
        return None
    if len(head) != 44 or head[:6] != 'troth1' or any(c not in DIGITS for c in head[6:]):
        return None
    bits = 0
    for c in head[6:38]:
        bits = bits << 5 | DIGITS.index(c)
    raw_address = bits.to_bytes(20, 'big')
    return raw_address if address_text(raw_address) == head else None


def covers(outer, inner):
    return inner == outer or inner.startswith(outer + '/')


def within(inner, outer):
    """A set of measurements within another; null is every one."""
    return outer is None or (inner is not None and set(inner) <= set(outer))


# ---- The state map

def leaf_hash(key, value):
    return sha256(b'\0' + key + value)


class StateMap:
    """Values by key, and the root over them; only what changed is hashed again."""

    def __init__(self):
        self.values, self.top, self.old = {}, None, None

    def get(self, kind, name):
        return self.values.get(sha256(b'troth smt key' + bytes([kind]) + name))

    def begin(self):
        self.old = {}

    def rollback(self):
        old, self.old = self.old, None
        for key, value in old.items():
            self.set(key, value)

    def set(self, key, value):
        if self.old is not None:
            self.old.setdefault(key, self.values.get(key))
        if value is None:
            if self.values.pop(key, None) is not None:
                self.top = self.without(self.top, key, 0)
        else:
            self.values[key] = value
            self.top = self.put(self.top, key, 0)

    # A node is None, a key (a subtree with that key alone) or [left, right, hash or None].
    @staticmethod
    def bit(key, depth):
        return key[depth >> 3] >> 7 - (depth & 7) & 1

    def put(self, node, key, depth):
        if node is None or node == key:
            return key
        if isinstance(node, bytes):
            fork = [None, None, None]
            fork[self.bit(node, depth)] = node
            node = fork
        side = self.bit(key, depth)
        node[side] = self.put(node[side], key, depth + 1)
        node[2] = None
        return node

    def without(self, node, key, depth):
        if isinstance(node, bytes):
            return None
        side = self.bit(key, depth)
        node[side] = self.without(node[side], key, depth + 1)
        node[2] = None
        left, right = node[0], node[1]
        if left is None and (right is None or isinstance(right, bytes)):
            return right
        if right is None and isinstance(left, bytes):
            return left
        return node

    def hash(self, node):
        if node is None:
            return ZERO
        if isinstance(node, bytes):
            return leaf_hash(node, self.values[node])
        if node[2] is None:
            node[2] = sha256(b'\1' + self.hash(node[0]) + self.hash(node[1]))
        return node[2]

    def root(self):
        return self.hash(self.top)


# ---- The contract

class Ledger:
    def __init__(self):
        self.map = StateMap()
        self.chain = self.config = None
        self.nonces = []  # (valid until, key), ascending
        self.height, self.size, self.time = 0, 0, 0

    def fact(self, kind, name):
        value = self.map.get(kind, name)
        return None if value is None else cbor2.loads(value)

    def put(self, kind, name, fact):
        self.changes.append((sha256(b'troth smt key' + bytes([kind]) + name), encode(fact)))

    def add_nonce(self, raw_address, nonce, until):
        key = sha256(b'troth smt key' + bytes([NONCE]) + raw_address + nonce)
        self.map.set(key, encode(until))
        insort(self.nonces, (until, key))

    # A batch

    def batch(self, now, transactions):
        """Verdicts, then the line of the batch."""
        form(now >= self.time)
        before = (self.nonces[:], self.chain, self.config)
        self.now = now
        self.map.begin()
        old = bisect_left(self.nonces, (now, b''))
        for _, key in self.nonces[:old]:
            self.map.set(key, None)
        del self.nonces[:old]
        first, rows = self.size, []
        for tx in transactions:
            rows.append(self.apply(tx))
        count = self.size - first
        if count:
            self.map.old = None
            self.height, self.time, self.size = self.height + 1, now, self.size + 1
        else:
            self.map.rollback()
            self.nonces, self.chain, self.config = before
        rows.append({'height': self.height, 'time': now, 'first': first, 'count': count, 'size': self.size, 'root': self.map.root().hex()})
        return rows

    def apply(self, tx):
        self.changes, self.events, self.later = [], [], []
        txid, index, code = ZERO, None, 'OK'
        try:
            body, kind, txid = self.admit(tx)
            index = self.size
            try:
                fields = decode(body)
                BODIES[kind](fields)
                getattr(self, f'type_{kind}')(fields)
            except Refused as refused:
                code, self.changes, self.events, self.later = str(refused), [], [], []
            for key, value in self.changes:
                self.map.set(key, value)
            for nonce in self.later:
                self.add_nonce(*nonce)
            if self.config_next and code == 'OK':
                self.config, self.chain = self.config_next
            self.size += 1
        except Refused as refused:
            code = str(refused)
            txid = self.txid
        return {'reason': code, 'index': index, 'txid': txid.hex(), 'events': encode(self.events).hex()}

    def admit(self, tx):
        """Checks 1 to 7: whether it counts."""
        self.config_next, self.txid = None, ZERO
        form(len(tx) <= TX_MAX)
        payload, signature, signed = sign1(tx, b'troth transaction')
        t = decode(payload)
        transaction_form(t)
        self.txid = sha256(signed)
        form(1 <= t[6] <= 12)
        if self.config is None:
            need(t[6] == 12, 'CHAIN_FOREIGN')
            need(t[2] == self.chain_made_by(t[7]), 'CHAIN_FOREIGN')
        else:
            need(t[2] == self.chain, 'CHAIN_FOREIGN')
        need(t[5] > self.now, 'TX_EXPIRED')
        need(t[5] - self.now <= WINDOW, 'TX_TOO_FAR')
        self.sender = address_of(t[3])
        need(self.map.get(NONCE, self.sender + t[4]) is None, 'TX_REPLAYED')
        verify(t[3], signature, signed)
        self.sender_point = t[3]
        self.add_nonce(self.sender, t[4], t[5])
        return t[7], t[6], self.txid

    def chain_made_by(self, body):
        fields = decode(body)
        BODIES[12](fields)
        return sha256(b'troth chain1' + lv(many_signed(fields[1])[0]))

    def opened(self, data, label, check, signer):
        payload, signature, signed = sign1(data, label)
        fields = decode(payload)
        check(fields)
        need(fields[2] == self.chain, 'CHAIN_FOREIGN')
        verify(fields[signer], signature, signed)
        return fields, sha256(signed)

    def is_member(self, raw_point):
        return raw_point in self.config[4]

    def is_registrar(self, raw_point):
        return raw_point in self.config[6]

    def interval(self):
        return [self.size, None]

    # Access

    def access(self, actor, bit, scope, measurement, links):
        """(1 owner, 2 rule, 3 grant; the links that decided)"""
        owner = owner_of(scope)
        form(0 <= bit <= 63)
        allowed = False
        parts = scope.split('/')
        for n in range(1, len(parts) + 1):
            fact = self.fact(ACCESS, '/'.join(parts[:n]).encode())
            for effect, actors, mask, rule_scope, codes in (r.values() for r in (fact[2][3] if fact else [])):
                if not mask >> bit & 1 or not covers(rule_scope, scope) or (actors is not None and actor not in actors):
                    continue
                if codes is not None and (effect == 1 if measurement is None else measurement not in codes):
                    continue
                need(effect != 2, 'ACCESS_DENIED')
                allowed = True
        if actor == owner:
            return 1, []
        if allowed:
            return 2, []
        need(links, 'ACCESS_NOT_GRANTED')
        grants = self.chain_of_grants(links, True)
        need(grants[-1][0][4] == actor, 'GRANT_NOT_FOR_THIS')
        for grant, oid in grants:
            need(grant[6] >> bit & 1 and covers(grant[5], scope) and (grant[7] is None or measurement in grant[7]), 'GRANT_NOT_FOR_THIS')
            need(grant[8] <= self.now <= grant[9], 'GRANT_EXPIRED')
            need(grant[10] is None or self.uses(oid) < grant[10], 'GRANT_EXHAUSTED')
        return 3, grants

    def uses(self, oid):
        fact = self.fact(GRANT, oid)
        return fact[5] if fact else 0

    def chain_of_grants(self, links, living):
        need(1 <= len(links) <= 8, 'GRANT_TOO_DEEP')
        grants = []
        for data in links:
            grant, oid = self.opened(data, b'troth grant', grant_form, 3)
            owner = owner_of(grant[5])
            form(grant[6] != 0 and grant[8] < grant[9] and grant[10] != 0)
            issuer = address_of(grant[3])
            if not grants:
                need(issuer == owner and grant[12] is None, 'GRANT_BROKEN')
            else:
                up, up_oid = grants[-1]
                need(grant[12] == up_oid and issuer == up[4], 'GRANT_BROKEN')
                need(covers(up[5], grant[5]) and grant[6] & ~up[6] == 0 and within(grant[7], up[7]), 'GRANT_WIDENED')
                need(grant[8] >= up[8] and grant[9] <= up[9], 'GRANT_WIDENED')
                need(up[10] is None or (grant[10] is not None and grant[10] <= up[10]), 'GRANT_WIDENED')
                need(up[11] != 0, 'GRANT_TOO_DEEP')
                need(grant[11] < up[11], 'GRANT_WIDENED')
            need(not living or self.map.get(REVOCATION, oid) is None, 'GRANT_REVOKED')
            grants.append((grant, oid))
        return grants

    def grant_fact(self, grant, uses, interval=None):
        return {1: interval or self.interval(), 2: address_of(grant[3]), 3: grant[4], 4: grant[12], 5: uses}

    # Types

    def type_1(self, b):
        form(b[1] >= 1 and b[4] < b[5])
        seen = set()
        for data in b[6]:
            e, _ = self.opened(data, b'troth registration', endorsement_form, 3)
            need(self.is_registrar(e[3]), 'SENDER_NOT_ALLOWED')
            need((e[4], e[5], e[6], e[7], e[8]) == (b[1], b[2], b[3], b[4], b[5]), 'REQUEST_MISMATCH')
            form(e[3] not in seen)
            seen.add(e[3])
        status = 2 if self.config[6] and len(seen) >= self.config[7] else 1
        name = bytes([b[1]]) + b[2]
        old = self.fact(REGISTRATION, name)
        if old and (old[2] == 2 or old[1][1] is not None):
            need(status == 2, 'NOT_AUTHORISED')
        self.put(REGISTRATION, name, {1: self.interval(), 2: status, 3: self.sender, 4: b[3], 5: b[4], 6: b[5]})
        self.events.append([REGISTERED, b[2], status])

    def type_2(self, b):
        name = bytes([b[1]]) + b[2]
        old = self.fact(REGISTRATION, name)
        need(old and old[1][1] is None, 'NOT_REGISTERED')
        need(self.privileged() or (old[2] == 1 and old[3] == self.sender), 'SENDER_NOT_ALLOWED')
        old[1][1] = self.size
        self.put(REGISTRATION, name, old)
        self.events.append([UNREGISTERED, b[2], b[1]])

    def privileged(self):
        return self.is_registrar(self.sender_point) or self.is_member(self.sender_point)

    def type_3(self, b):
        need(owner_of(b[1]) == self.sender, 'SCOPE_NOT_OWNED')
        for rule in b[3]:
            form(rule[1] in (1, 2) and rule[3] != 0)
            owner_of(rule[4])
            form(covers(b[1], rule[4]))
        old = self.fact(ACCESS, b[1].encode())
        need(b[2] == (old[2][2] if old else 0) + 1, 'VERSION_BELOW_FLOOR')
        self.put(ACCESS, b[1].encode(), {1: self.size, 2: b})
        self.events.append([RULES, b[1].encode(), b[2]])

    def type_4(self, b):
        grants = self.chain_of_grants(b[1], True)
        last = grants[-1][0]
        need(self.sender in (address_of(last[3]), last[4]), 'SENDER_NOT_ALLOWED')
        for grant, oid in grants:
            if self.map.get(GRANT, oid) is None:
                self.put(GRANT, oid, self.grant_fact(grant, 0))
                self.events.append([GRANTED, oid, 0])

    def type_5(self, b):
        target, last = b[2], None
        if b[1]:
            grants = self.chain_of_grants(b[1], False)
            last = grants[-1][0]
            need(grants[-1][1] == target, 'GRANT_BROKEN')
            need(self.sender in [address_of(grant[3]) for grant, _ in grants], 'SENDER_NOT_ALLOWED')
            fact = self.fact(GRANT, target)
        else:
            fact = self.fact(GRANT, target)
            need(fact, 'GRANT_BROKEN')
            need(fact[2] == self.sender, 'SENDER_NOT_ALLOWED')
        need(self.map.get(REVOCATION, target) is None, 'GRANT_REVOKED')
        self.put(REVOCATION, target, {1: self.size, 2: self.sender})
        if fact:
            fact[1][1] = self.size
            self.put(GRANT, target, fact)
        self.events.append([REVOKED, target, self.size])

    def type_6(self, b):
        self.operate(b, self.config[12], WINDOW)

    def type_7(self, b):
        self.operate(b, self.config[13], self.config[13] + WINDOW)

    def operate(self, b, back, reach):
        op, oid = self.opened(b[1], b'troth operation', operation_form, 3)
        need(self.now - back <= op[8] <= self.now + self.config[12], 'RECORD_TIME')
        if op[3] not in self.config[8]:
            self.processor_of_root(op[3])
        self.registered(1, op[4])
        enclave = self.registered(3, op[9])
        need(not self.config[6] or enclave[2] == 2, 'NOT_AUTHORISED')
        request, _ = self.opened(op[6], b'troth access request', request_form, 3)
        need((request[6] is None or request[6] == op[9]) and op[8] <= request[8], 'REQUEST_MISMATCH')
        need(request[8] <= self.now + reach, 'TX_TOO_FAR')
        actor = address_of(request[3])
        need(self.map.get(NONCE, actor + request[7]) is None, 'TX_REPLAYED')
        basis, grants = self.access(actor, request[4], request[5], op[9], b[2])
        for grant, name in grants:
            fact = self.fact(GRANT, name) or self.grant_fact(grant, 0)
            fact[5] += 1
            self.put(GRANT, name, fact)
            self.events.append([USED, name, fact[5]])
        self.events.append([ALLOWED, oid, basis])
        self.later.append((actor, request[7], min(U64, request[8] + max(self.config[12], self.config[13]) + 1)))

    def registered(self, subject, digest):
        fact = self.fact(REGISTRATION, bytes([subject]) + digest)
        need(fact and fact[1][1] is None and fact[5] <= self.now <= fact[6], 'NOT_REGISTERED')
        return fact

    def reporter(self, when):
        known = self.sender_point in self.config[8] or self.map.get(PROCESSOR, self.sender) is not None
        need(known or self.privileged(), 'SENDER_NOT_ALLOWED')
        need(abs(when - self.now) <= self.config[12], 'RECORD_TIME')

    def type_8(self, b):
        self.reporter(b[4])
        name = b[1] + b[2]
        old = self.fact(SECURE_MODE, name)
        inside = old is not None and old[1][1] is None
        need(inside != b[3], 'ALREADY_THERE')
        self.put(SECURE_MODE, name, {1: self.interval() if b[3] else [old[1][0], self.size]})
        self.events.append([MODE, b[2], int(b[3])])

    def type_9(self, b):
        form(b[1] >= 1)
        self.reporter(b[4])
        self.events.append([REPORTED, b[3], b[1]])

    # Roots of trust: LIVE, HALTED, FROZEN

    def type_10(self, b):
        keys = {}
        for der in b[2]:
            form(len(der) == 91 and der.startswith(SPKI_HEAD))
            point_key(der[len(SPKI_HEAD):], 'TX_MALFORMED')
            keys[sha256(der)] = der[len(SPKI_HEAD):]
        payload, signers = many_signed(b[1])
        fields = decode(payload)
        form(type(fields) is dict)
        if len(fields) == 4:
            halt_form(fields)
            return self.halt(fields, payload, signers, keys)
        record = Record(b[1])
        if record[3] == 0 and record[4] == 1:
            return self.inception(record)
        return self.successor(record, keys)

    def known(self, oid):
        fact = self.fact(EPOCH, oid)
        need(fact, 'EPOCH_FOREIGN')
        return Record(fact[5]), fact

    def end(self, oid, void):
        fact = self.fact(EPOCH, oid)
        if fact[1][1] is None:
            fact[1][1], fact[3] = self.size, self.now
        fact[4] = fact[4] or void
        self.put(EPOCH, oid, fact)

    def begin(self, rot_id, record):
        self.put(EPOCH, record.oid, {1: self.interval(), 2: rot_id, 3: self.now, 4: False, 5: record.data})
        self.put(EPOCH_AT, rot_id + struct.pack('>IQ', record[3], record[4]), record.oid)
        self.put(PROCESSOR, address_of(record[7]), record.oid)
        self.put(ROOT, rot_id, {1: self.size, 2: record.oid, 3: 1})
        self.events.append([EPOCHS, record.oid, 1])

    def inception(self, record):
        need(self.privileged(), 'SENDER_NOT_ALLOWED')
        need(self.map.get(ROOT, record.oid) is None, 'ALREADY_THERE')
        need(record[18] == 0 and record[2] == ZERO and record[5] == ZERO and len(record.signers) == 1, 'BAD_VALUE')
        point_key(record[8], 'BAD_POINT')
        record.signed_by(record[7])
        self.begin(record.oid, record)

    def successor(self, record, keys):
        rot_id = record[2]
        root = self.fact(ROOT, rot_id)
        need(root, 'EPOCH_FOREIGN')
        need(self.map.get(EPOCH, record.oid) is None, 'ALREADY_THERE')
        before, before_fact = self.known(record[5])
        head, _ = self.known(root[2])
        need(before_fact[2] == rot_id, 'EPOCH_FOREIGN')
        record.may_follow(before)
        record.check_signatures(before, keys)
        if record[18] == 5:
            need(not before_fact[4], 'EPOCH_VOID')
            need(record[3] == head[3] + 1, 'EPOCH_SKIPPED')
            voided = 0
            while head.oid != before.oid:
                need(voided < 32, 'TOO_LARGE')
                voided += 1
                need((head[3], head[4]) != (0, 1), 'EPOCH_FOREIGN')
                self.end(head.oid, True)
                head, _ = self.known(head[5])
        elif root[3] != 1:
            raise Refused('EPOCH_FORKED' if root[3] == 3 else 'EPOCH_HALTED')
        elif before.oid != root[2]:
            need(not before_fact[4], 'EPOCH_VOID')
            self.put(ROOT, rot_id, {1: self.size, 2: root[2], 3: 3})
            self.events.append([FROZEN, record.oid, record[4]])
            return
        self.end(before.oid, False)
        self.begin(rot_id, record)

    def halt(self, fields, payload, signers, keys):
        root = self.fact(ROOT, fields[2])
        need(root, 'EPOCH_FOREIGN')
        place = self.map.get(EPOCH_AT, fields[2] + struct.pack('>IQ', fields[3], fields[4]))
        need(place is not None, 'EPOCH_FOREIGN')
        base, _ = self.known(cbor2.loads(place))
        need(base[11], 'NO_RECOVERY_SET')
        for kid, header, signature in signers:
            vote(base, keys, kid, header, signature, b'troth halt', payload)
        need(len(signers) >= base[11][1], 'RECOVERY_QUORUM')
        need(root[3] == 1, 'ALREADY_THERE')
        self.put(ROOT, fields[2], {1: self.size, 2: root[2], 3: 2})
        self.events.append([HALTED, fields[2], fields[4]])

    def processor_of_root(self, raw_point):
        name = self.map.get(PROCESSOR, address_of(raw_point))
        need(name is not None, 'PROCESSOR_UNKNOWN')
        record, fact = self.known(cbor2.loads(name))
        need(not fact[4], 'EPOCH_VOID')
        state = self.fact(ROOT, fact[2])[3]
        need(state == 1, 'EPOCH_FORKED' if state == 3 else 'EPOCH_HALTED')
        need(record[12] <= self.now <= record[13], 'EPOCH_EXPIRED')
        need(fact[1][1] is None or self.now <= fact[3] + record[14] * 1000, 'EPOCH_TOO_OLD')

    def type_11(self, b):
        form(b[1] >= 1)
        need(self.privileged(), 'SENDER_NOT_ALLOWED')
        name = bytes([b[1]]) + b[2].encode()
        old = self.fact(FLOOR, name)
        need(old is None or b[4] > old[2], 'VERSION_BELOW_FLOOR')
        self.put(FLOOR, name, {1: self.size, 2: b[4], 3: b[3]})
        self.events.append([FLOORS, b[2].encode(), b[4]])

    def type_12(self, b):
        payload, signers = many_signed(b[1])
        c = decode(payload)
        config_form(c)
        need(1 <= c[5] <= len(c[4]) and c[7] <= len(c[6]) and (c[7] > 0 or not c[6]) and all(s[3] for s in c[11]), 'CONFIG_INVALID')
        need(c[2] == (self.chain if self.config else ZERO), 'CHAIN_FOREIGN')
        need(c[3] == (self.config[3] + 1 if self.config else 0), 'VERSION_BELOW_FLOOR')
        before = self.config or c
        members = {sha256(SPKI_HEAD + m): m for m in before[4]}
        for kid, header, signature in signers:
            need(kid in members, 'CONFIG_QUORUM')
            try:
                verify(members[kid], signature, b'\x85\x69Signature\x40' + bstr(header) + bstr(b'troth ledger config') + bstr(payload))
            except Refused:
                raise Refused('CONFIG_QUORUM') from None
        need(len(signers) >= before[5], 'CONFIG_QUORUM')
        self.put(CONFIG, b'', {1: self.size, 2: payload})
        self.events.append([CONFIGURED, b'', c[3]])
        self.config_next = (c, self.chain or sha256(b'troth chain1' + lv(payload)))


def many_signed(data):
    """COSE_Sign: payload, [(kid, protected header, signature)]"""
    item = decode(data)
    form(isinstance(item, cbor2.CBORTag) and item.tag == 98 and type(item.value) is list and len(item.value) == 4)
    protected, empty, payload, signers = item.value
    form(protected == b'' and type(protected) is bytes and empty == {} and type(empty) is dict and type(payload) is bytes)
    form(type(signers) is list and 1 <= len(signers) <= 32)
    found, last = [], b''
    for signer in signers:
        form(type(signer) is list and len(signer) == 3)
        header, none, signature = signer
        form(type(header) is bytes and len(header) == 38 and header[:6] == bytes.fromhex('a20126045820'))
        form(type(none) is dict and none == {} and type(signature) is bytes and len(signature) == 64)
        kid = header[-32:]
        form(last < kid)
        last = kid
        found.append((kid, header, signature))
    return payload, found


# ---- Epoch records (docs/PROTOCOL.epochs)

def point_key(raw_point, reason):
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw_point) if raw_point[0] == 4 else need(False, reason)
    except ValueError:
        raise Refused(reason) from None


def to_be_signed(header, label, payload):
    return b'\x85\x69Signature\x40' + bstr(header) + bstr(label) + bstr(payload)


def vote(before, keys, kid, header, signature, label, payload):
    """A signature by a key of the recovery set of the record before."""
    need(before[11] and kid in before[11][3] and kid in keys, 'RECOVERY_QUORUM')
    verify(keys[kid], signature, to_be_signed(header, label, payload))


class Record:
    LABEL = b'troth epoch'

    def __init__(self, data):
        form(len(data) <= 16384)
        self.data = data
        self.payload, self.signers = many_signed(data)
        self.fields = decode(self.payload)
        epoch_form(self.fields)
        recovery, counter = self[11], self[15]
        form(self[6] == 1 and self[17] == 1 and self[12] < self[13] and (counter[1] or not counter[2]))
        form(recovery is None or (recovery[2] == len(recovery[3]) and 1 <= recovery[1] <= recovery[2]))
        self.oid = sha256(b'\x84\x69Signature\x40' + bstr(self.LABEL) + bstr(self.payload))

    def __getitem__(self, field):
        return self.fields[field]

    def signed_by(self, raw_point):
        point_key(raw_point, 'BAD_POINT')
        kid = sha256(SPKI_HEAD + raw_point)
        for other, header, signature in self.signers:
            if other == kid:
                return verify(raw_point, signature, to_be_signed(header, self.LABEL, self.payload))
        raise Refused('BAD_SIGNATURE')

    def may_follow(self, before):
        recovery = self[18] == 5
        need(self[4] <= before[4] + 1, 'EPOCH_SKIPPED')
        need(self[4] == before[4] + 1 and self[18] != 0, 'BAD_VALUE')
        need(self[3] > before[3] if recovery else self[3] == before[3], 'BAD_VALUE')
        if not recovery:
            need(self[7] != before[7], 'BAD_VALUE')
            need(sha256(b'troth rot next' + self[7] + self[8] + self[9]) == before[10], 'EPOCH_UNCOMMITTED')
        need(self[18] not in (4, 5) or before[11], 'NO_RECOVERY_SET')
        need(self[18] == 4 or self[11] == before[11], 'EPOCH_CHANGED_RECOVERY')
        if self[15][1] == 0:
            need(before[15][1] == 0 or recovery, 'EPOCH_COUNTER_WRONG')
        else:
            need(before[15][1] == 0 or self[15][2] > before[15][2], 'EPOCH_COUNTER_WRONG')

    def check_signatures(self, before, keys):
        own = [self[7]] if self[18] == 5 else [self[7], before[7]]
        for raw_point in own:
            self.signed_by(raw_point)
        names, votes = [sha256(SPKI_HEAD + raw_point) for raw_point in own], 0
        for kid, header, signature in self.signers:
            if kid in names:
                continue
            need(self[18] in (4, 5), 'BAD_SIGNATURE')
            vote(before, keys, kid, header, signature, self.LABEL, self.payload)
            votes += 1
        need(self[18] not in (4, 5) or votes >= before[11][1], 'RECOVERY_QUORUM')


# ---- Streams

def batches(stream):
    while True:
        head = stream.read(12)
        if not head:
            return
        now, count = struct.unpack('>QI', head)
        yield now, [stream.read(struct.unpack('>I', stream.read(4))[0]) for _ in range(count)]


def line(row):
    if 'reason' in row:
        row = {'code': CODES.get(row['reason'], EPOCH_CODES.get(row['reason'])), 'reason': row['reason'], 'index': row['index'], 'txid': row['txid'],
               'events': sha256(bytes.fromhex(row['events'])).hex()}
    return json.dumps(row, separators=(',', ':'))


def main():
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    ledger = Ledger()
    for now, transactions in batches(sys.stdin.buffer):
        for row in ledger.batch(now, transactions):
            print(line(row))


if __name__ == '__main__':
    main()
