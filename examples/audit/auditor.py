#!/usr/bin/env python3
"""Audits one decision of a ledger, offline and without Troth: Python's standard library and the program `openssl` are all it needs.

    auditor.py BUNDLE --log log.vkey [--earlier CHECKPOINT] [--json]

BUNDLE is a folder that `troth ledger prove --decision` made. Its files are C2SP tlog-proofs (docs/PROTOCOL.ledger, "Proof files"):

    decision.proof        the leaf with the transaction and the verdict              tail.proof          the TAIL of its batch: when that was
    grant-1.proof …       what the state has of each grant shown, root first         revocation-1.proof …  of its revocation: usually nothing
    access-0.proof …      of the rules of the owner's scope and of each below        config.proof          the configuration in force
    vmm.proof, enclave.proof   of the two measurements
tail-SIZE.proof       where a fact came with an older TAIL: that this one is in the log, too
    earlier.consistency   that the log continues the checkpoint that the auditor had

--log is the log's verifier key, which the auditor has from elsewhere: everything rests on it. --earlier is a checkpoint that the auditor kept from
before: the log that is shown now must continue it. Exit 0: accepted; 1: refused, and the last line says why; 2: it could not be judged.

Every signature is verified: the log's (Ed25519), and those of the sender, the co-processor, the actor and each issuer (ECDSA P-256). Then: the leaf and the TAIL
are in the log; each fact, or its absence, is in the state that the last TAIL vouches for; each grant was alive when it was used, was not revoked before, is no wider
than the one above it, and covers what was done. What the bundle cannot show is said as a note, never passed over.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

GRANT, REGISTRATION, ACCESS, REVOCATION, CONFIG = 3, 4, 5, 6, 1
REVOKED_CODE = 1016
CODES = {0: 'OK', 201: 'BAD_SIGNATURE', 1003: 'TX_MALFORMED', 1004: 'CHAIN_FOREIGN', 1006: 'TX_TOO_FAR', 1007: 'TX_REPLAYED', 1010: 'ACCESS_DENIED', 1011: 'ACCESS_NOT_GRANTED',
         1012: 'GRANT_BROKEN', 1013: 'GRANT_WIDENED', 1014: 'GRANT_TOO_DEEP', 1015: 'GRANT_EXPIRED', 1016: 'GRANT_REVOKED', 1017: 'GRANT_EXHAUSTED', 1018: 'GRANT_NOT_FOR_THIS',
         1019: 'NOT_REGISTERED', 1020: 'NOT_AUTHORISED', 1021: 'PROCESSOR_UNKNOWN', 1022: 'RECORD_TIME', 1023: 'REQUEST_MISMATCH'}
OPERATIONS = ['read', 'compute', 'aggregate', 'export', 'delegate', 'delete', 'release', 'train']
ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
P256_HEAD = bytes.fromhex('3059301306072a8648ce3d020106082a8648ce3d030107034200')
ED25519_HEAD = bytes.fromhex('302a300506032b6570032100')


class Refused(Exception):
    pass


def need(holds, why):
    if not holds:
        raise Refused(why)


def sha256(data):
    return hashlib.sha256(data).digest()


def lv(data):
    return len(data).to_bytes(4, 'big') + data


# ---- Bytes: big-endian fields, and CBOR in its one deterministic form (RFC 8949, 4.2.1)

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), 'something ends too early')
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), 'big')

    def lv(self):
        return self.take(self.number(4))

    def end(self):
        need(self.at == len(self.data), 'bytes are left over')


def cbor_item(r, depth=0):
    need(depth < 16, 'CBOR is nested too deep')
    first = r.number(1)
    major, low = first >> 5, first & 31
    if major == 7:
        need(low in (20, 21, 22), 'CBOR has a value that is never used here')
        return {20: False, 21: True, 22: None}[low]
    need(low < 28, 'CBOR has no definite length')
    value = low if low < 24 else r.number(1 << low - 24)
    need(low < 24 or value >= (24, 1 << 8, 1 << 16, 1 << 32)[low - 24], 'CBOR has a number in a longer form')
    if major == 0:
        return value
    if major == 1:
        return -1 - value
    if major == 2:
        return r.take(value)
    if major == 3:
        return r.take(value).decode('utf-8')
    need(value <= len(r.data), 'CBOR promises more than is there')
    if major == 4:
        return [cbor_item(r, depth + 1) for _ in range(value)]
    if major == 6:
        return ('tag', value, cbor_item(r, depth + 1))
    found, last = {}, b''
    for _ in range(value):
        at = r.at
        key = cbor_item(r, depth + 1)
        need(isinstance(key, (int, str, bytes)) and r.data[at:r.at] > last, 'CBOR has keys out of order')
        last = r.data[at:r.at]
        found[key] = cbor_item(r, depth + 1)
    return found


def cbor(data):
    r = Reader(data)
    try:
        item = cbor_item(r)
    except UnicodeDecodeError:
        raise Refused('a text is not UTF-8') from None
    r.end()
    return item


def cbor_bytes(data):
    head = bytes([0x40 + len(data)]) if len(data) < 24 else bytes([0x58, len(data)]) if len(data) < 256 else b'\x59' + len(data).to_bytes(2, 'big')
    need(len(data) < 1 << 16, 'a byte string is too long')
    return head + data


def shape(item, *kinds):
    """A map with the keys 1..n, whose values have these kinds."""
    need(isinstance(item, dict) and list(item) == list(range(1, len(kinds) + 1)), 'an object has other fields than it should')
    for key, kind in enumerate(kinds, 1):
        value = item[key]
        good = (type(value) is int and 0 <= value < 1 << 64 if kind is int else type(value) is kind if isinstance(kind, type) else
                type(value) is bytes and len(value) == kind if type(kind) is int else kind(value))
        need(good, f'field {key} of an object is not what it should be')
    return item


def maybe(kind):
    return lambda value: value is None or (type(value) is kind if isinstance(kind, type) else type(value) is bytes and len(value) == kind)


# ---- Signatures: the one thing for which another program is asked

def openssl(*words, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(content)
        try:
            return subprocess.run(['openssl', *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
        except FileNotFoundError:
            print('auditor: openssl is not installed', file=sys.stderr)
            sys.exit(2)


def ed25519(key, message, signature):
    return openssl('pkeyutl', '-verify', '-pubin', '-keyform', 'DER', '-inkey', 'key', '-rawin', '-in', 'message', '-sigfile', 'signature',
                   files={'key': ED25519_HEAD + key, 'message': message, 'signature': signature})


def der_integer(number):
    data = number.to_bytes(33, 'big').lstrip(b'\0')
    data = b'\0' + data if data[0] & 0x80 else data
    return bytes([2, len(data)]) + data


def ecdsa(point, message, signature):
    r, s = int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big')
    if len(signature) != 64 or not (0 < r < ORDER and 0 < s < ORDER) or point[:1] != b'\4':
        return False
    pair = der_integer(r) + der_integer(s)
    return openssl('dgst', '-sha256', '-keyform', 'DER', '-verify', 'key', '-signature', 'signature', 'message',
                   files={'key': P256_HEAD + point, 'message': message, 'signature': bytes([0x30, len(pair)]) + pair})


def signed(data, label, *kinds):
    """Fields and name of a COSE_Sign1 object (docs/PROTOCOL.objects), verified under the key that it carries in field 3."""
    prefix = b'\xd2\x84\x43\xa1\x01\x26\xa0'
    need(data.startswith(prefix) and data[-66:-64] == b'\x58\x40', f'a {label} is not in the one form of signed objects')
    payload = cbor(data[len(prefix):-66])
    need(type(payload) is bytes, f'a {label} has no payload')
    message = b'\x84\x6aSignature1\x43\xa1\x01\x26' + cbor_bytes(label.encode()) + cbor_bytes(payload)
    fields = shape(cbor(payload), *kinds)
    need(fields[1] == 1, f'a {label} of another version')
    need(ecdsa(fields[3], message, data[-64:]), f'a {label} is not signed by the key that it names')
    return fields, sha256(message)


# ---- Names for people

def address_of(point):
    return sha256(P256_HEAD + point)[:20]


def address_text(address):
    """bech32m (BIP-350) with the prefix "troth"."""
    letters = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
    bits = int.from_bytes(address, 'big')
    digits = [bits >> 5 * n & 31 for n in reversed(range(32))]
    values, check = [ord(c) >> 5 for c in 'troth'] + [0] + [ord(c) & 31 for c in 'troth'] + digits + [0] * 6, 1
    for value in values:
        top, check = check >> 25, (check & 0x1ffffff) << 5 ^ value
        for n, row in enumerate((0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3)):
            check ^= row if top >> n & 1 else 0
    check ^= 0x2bc830a3
    return 'troth1' + ''.join(letters[d] for d in digits + [check >> 5 * (5 - n) & 31 for n in range(6)])


def operation_text(bit):
    return OPERATIONS[bit] if bit < len(OPERATIONS) else f'op{bit}'


def time_text(ms):
    return time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(ms // 1000))


# ---- The log: notes, RFC 9162, the state map (docs/PROTOCOL.ledger)

def base64_strict(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused('base64 is damaged') from None
    need(base64.b64encode(data) == text, 'base64 is not in its one form')
    return data


def decimal(text):
    need(re.fullmatch(rb'0|[1-9][0-9]{0,18}', text), 'a number is not in its one form')
    return int(text)


class Log:
    def __init__(self, vkey):
        name, _, rest = vkey.strip().partition(b'+')
        number, _, key = rest.partition(b'+')
        key = base64_strict(key)
        need(name and len(key) == 33 and key[0] == 1, 'the verifier key is none of a log')
        self.name, self.key, self.number = name, key[1:], sha256(name + b'\n' + key)[:4]
        need(number == self.number.hex().encode(), 'the verifier key has a slip of the pen in it')
        self.seen = {}

    def checkpoint(self, note):
        """(size, root) of a signed checkpoint."""
        if note in self.seen:
            return self.seen[note]
        text, gap, signatures = note.partition(b'\n\n')
        lines = text.split(b'\n')
        need(gap and len(lines) == 3 and signatures.endswith(b'\n'), 'a checkpoint is not a note of three lines')
        need(lines[0] == self.name, f'a checkpoint of another log: {lines[0][:100]!r}')
        size, root, good = decimal(lines[1]), base64_strict(lines[2]), 0
        need(len(root) == 32, 'a checkpoint has a root of another length')
        for line in signatures[:-1].split(b'\n'):
            form = re.fullmatch(rb'\xe2\x80\x94 ([^ +]+) ([A-Za-z0-9+/=]+)', line)
            need(form, 'a checkpoint has a line that is no signature')
            data = base64_strict(form[2])
            if form[1] == self.name and data[:4] == self.number:
                need(ed25519(self.key, text + b'\n', data[4:]), 'the signature of a checkpoint does not verify under the key of the log')
                good += 1
        need(good == 1, 'a checkpoint is not signed by the log')
        self.seen[note] = size, root
        return size, root


def node(left, right):
    return sha256(b'\1' + left + right)


def check_inclusion(leaf, index, size, path, root):
    """RFC 9162, 2.1.3.2"""
    need(index < size, 'an index lies outside the log')
    here, last, value = index, size - 1, leaf
    for sibling in path:
        need(last > 0, 'a path is too long')
        if here & 1 or here == last:
            value = node(sibling, value)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            value = node(value, sibling)
        here, last = here >> 1, last >> 1
    need(last == 0 and value == root, f'leaf {index} is not in the log of this checkpoint')


def check_consistency(first, first_root, second, second_root, path):
    """RFC 9162, 2.1.4.2"""
    need(0 < first <= second, 'a consistency proof between sizes that do not fit')
    if first == second:
        need(not path and first_root == second_root, 'two checkpoints of one size have two roots: the log was forked')
        return
    path = [first_root] + path if first & first - 1 == 0 else list(path)
    need(path, 'a consistency proof is empty')
    here, last = first - 1, second - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        need(last > 0, 'a consistency proof is too long')
        if here & 1 or here == last:
            old, new = node(sibling, old), node(sibling, new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            new = node(new, sibling)
        here, last = here >> 1, last >> 1
    need(last == 0 and old == first_root and new == second_root, f'the log of size {second} does not continue the one of size {first}')


def state_value(data, key, root):
    """The value of `key` in the state map with this root; None: proved to have none."""
    r = Reader(data)
    depth = r.number(2)
    need(depth <= 256, 'a path in the state map is too long')
    bitmap = r.take((depth + 7) // 8)
    bit = lambda run, n: run[n // 8] >> 7 - n % 8 & 1  # noqa: E731
    need(not any(bit(bitmap, n) for n in range(depth, 8 * len(bitmap))), 'a path in the state map is not in its one form')
    siblings = [r.take(32) if bit(bitmap, n) else bytes(32) for n in range(depth)]
    need(all(siblings[n] != bytes(32) or not bit(bitmap, n) for n in range(depth)), 'a path in the state map is not in its one form')
    here, value = bytes(32), None
    end = r.number(1)
    need(end < 2, 'a path in the state map ends in nothing known')
    if end:
        found, content = r.take(32), r.lv()
        need(all(bit(found, n) == bit(key, n) for n in range(depth)), 'a path in the state map is one of another key')
        here, value = sha256(b'\0' + found + content), content if found == key else None
    r.end()
    for n in reversed(range(depth)):
        here = node(siblings[n], here) if bit(key, n) else node(here, siblings[n])
    need(here == root, 'a path in the state map does not lead to its root')
    return value


def tail_of(leaf):
    item = cbor(leaf)
    need(isinstance(item, list) and len(item) == 6 and item[0] == 2 and all(type(x) is int for x in item[:5]) and type(item[5]) is bytes and len(item[5]) == 32,
         'a leaf that should be a TAIL is none')
    return dict(zip(('height', 'time', 'first', 'count', 'root'), item[1:]))


def state_key(kind, identity):
    return sha256(b'troth smt key' + bytes([kind]) + identity)


# ---- The bundle

class Bundle:
    def __init__(self, folder, log):
        self.folder, self.log, self.heads, self.tails, self.read = folder, log, {}, {}, set()

    def file(self, name):
        try:
            with open(os.path.join(self.folder, name), 'rb') as f:
                data = f.read(1 << 20)
        except FileNotFoundError:
            raise Refused(f'{name} is not in the bundle') from None
        self.read.add(name)
        return data

    def proof(self, name):
        """(kind, reader of what follows, index, leaf) once the leaf was found in the log."""
        try:
            return self.open(self.file(name))
        except Refused as why:
            raise Refused(f'{name}: {why}') from None

    def open(self, data):
        head, gap, note = data.partition(b'\n\n')
        lines = head.split(b'\n')
        need(gap and len(lines) >= 3 and lines[0] == b'c2sp.org/tlog-proof@v1' and lines[1].startswith(b'extra ') and lines[2].startswith(b'index '), 'it is no proof file')
        extra, index, path = Reader(base64_strict(lines[1][6:])), decimal(lines[2][6:]), [base64_strict(line) for line in lines[3:]]
        need(all(len(step) == 32 for step in path), 'a step of the path has another length')
        size, root = self.log.checkpoint(note)
        kind, leaf = extra.number(1), extra.lv()
        need(kind in (1, 2), 'it proves nothing known')
        check_inclusion(sha256(b'\0' + leaf), index, size, path, root)
        need(self.heads.setdefault(size, root) == root, f'two checkpoints of size {size} have two roots: the log was forked')
        return kind, extra, index, leaf, size

    def leaf(self, name, under=None):
        kind, extra, index, leaf, size = self.proof(name)
        need(kind == 1 and under in (None, size), f'{name} does not prove a leaf under the checkpoint of the bundle')
        extra.end()
        return index, leaf

    def fact(self, name, kind, identity):
        """The fact of this identity as of the proof's checkpoint; None: there is none."""
        try:
            found, extra, index, leaf, size = self.open(self.file(name))
            need(found == 2, 'it does not prove a fact')
            tail, key = tail_of(leaf), extra.take(32)
            need(tail['first'] + tail['count'] == index == size - 1, 'its leaf is not the last TAIL of its checkpoint')
            need(key == state_key(kind, identity), 'it is about something else')
            need(self.tails.setdefault(size, leaf) == leaf, f'two logs of size {size}')
            value = state_value(extra.data[extra.at:], key, tail['root'])
            return None if value is None else cbor(value)
        except Refused as why:
            raise Refused(f'{name}: {why}') from None

    def newest(self):
        """Decision and time are shown under one checkpoint: the one that everything is tied to."""
        return max(self.heads)

    def tie(self, earlier):
        """Whatever TAIL vouches for a fact is the last leaf of the newest checkpoint, or in its log; and that log continues the earlier checkpoint."""
        newest = self.newest()
        for size, tail in sorted(self.tails.items()):
            if size != newest:
                index, leaf = self.leaf(f'tail-{size}.proof', newest)
                need(index == size - 1 and leaf == tail, f'tail-{size}.proof: it is another leaf than the one that vouches for a fact')
        if not earlier:
            return
        size, root = self.log.checkpoint(earlier)
        need(size <= newest, f'the earlier checkpoint has {size} leaves, more than the bundle: ask for a new one')
        need(self.heads.get(size, root) == root, f'the log was forked: it has signed another root of size {size} than the earlier checkpoint has')
        if size == newest:
            return
        head, gap, note = self.file('earlier.consistency').partition(b'\n\n')
        lines = head.split(b'\n')
        need(gap and lines[0] == b'old %d' % size, 'earlier.consistency: it is no proof from the size of the earlier checkpoint')
        path = [base64_strict(line) for line in lines[1:]]
        second, second_root = self.log.checkpoint(note)
        need(second == newest and second_root == self.heads[newest], 'earlier.consistency: it leads to another checkpoint than that of the bundle')
        check_consistency(size, root, second, second_root, path)


# ---- What was decided

class Audit:
    def __init__(self, bundle):
        self.bundle, self.rows, self.revoked = bundle, [], False

    def say(self, kind, text):
        self.rows.append((kind, text))

    def ok(self, text):
        self.say('ok', text)

    def note(self, text):
        self.say('note', text)

    def decision(self):
        index, leaf = self.bundle.leaf('decision.proof')
        self.size = self.bundle.newest()
        item = cbor(leaf)
        need(isinstance(item, list) and len(item) == 4 and item[0] == 1 and type(item[1]) is bytes and type(item[2]) is int, 'decision.proof: the leaf is no transaction')
        tx, self.txid = signed(item[1], 'troth transaction', int, 32, 65, 32, int, int, bytes)
        need(tx[6] in (6, 7), 'decision.proof: the transaction is no operation')
        body = shape(cbor(tx[7]), bytes, list)
        op, self.oid = signed(body[1], 'troth operation', int, 32, 65, 48, 32, bytes, 32, int, 48, maybe(32))
        request, _ = signed(op[6], 'troth access request', int, 32, 65, int, str, maybe(48), 32, int)
        need(tx[2] == op[2] == request[2], 'transaction, operation and request are of different ledgers')
        self.chain, self.index, self.code, self.op, self.request, self.links = tx[2], index, item[2], op, request, body[2]
        self.actor = address_of(request[3])
        self.ok(f'leaf {index} is in the log: transaction {self.txid.hex()}')
        self.ok(f'signed by who sent it, {address_text(address_of(tx[3]))}, by the co-processor {address_text(address_of(op[3]))}, and by the actor')
        need(op[8] <= request[8], 'the operation came after the end of the request')
        need(request[6] in (None, op[9]), 'the request was for other code than ran')

    def when(self):
        index, leaf = self.bundle.leaf('tail.proof', self.size)
        tail = tail_of(leaf)
        need(tail['first'] + tail['count'] == index and tail['first'] <= self.index < index, 'tail.proof: it is the TAIL of another batch')
        self.time = tail['time']
        self.ok(f'the TAIL of its batch, leaf {index}, says when: {time_text(self.time)}, batch {tail["height"]}')

    def interval(self, fact, what):
        """Whether a fact with an interval held when the decision was made."""
        need(fact is not None, f'{what}: the state has no such fact')
        since, until = fact[1]
        need(until is None or until > self.index, f'{what}: it had ended at leaf {until}, before the decision')
        return since, until

    def grants(self):
        parent, names = None, []
        for number, link in enumerate(self.links, 1):
            grant, oid = signed(link, 'troth grant', int, 32, 65, 20, str, int, maybe(list), int, int, maybe(int), int, maybe(32), 32)
            what = f'grant {number}'
            need(grant[2] == self.chain, f'{what}: of another ledger')
            issuer = address_of(grant[3])
            if self.code != 0:  # what is wrong with them may be why
                pass
            elif parent is None:
                need(grant[12] is None and grant[5].split('/')[0] == address_text(issuer), f'{what}: not by the owner of the data')
            else:
                up, up_oid = parent
                need(grant[12] == up_oid and issuer == up[4], f'{what}: not by the audience of the grant above it')
                narrower(what, up, grant)
            self.live(what, number, grant, oid, issuer)
            parent, names = (grant, oid), names + [oid.hex()]
        need(not self.links or self.code != 0 or grant[4] == self.actor, 'the last grant is for another actor')
        need(self.code != REVOKED_CODE or self.revoked, 'the ledger said that a grant was revoked, and none was')
        return names

    def live(self, what, number, grant, oid, issuer):
        fact = self.bundle.fact(f'grant-{number}.proof', GRANT, oid)
        revoked = self.bundle.fact(f'revocation-{number}.proof', REVOCATION, oid)
        fact and shape(fact, lambda x: type(x) is list and len(x) == 2, 20, 20, maybe(32), int)
        revoked and shape(revoked, int, 20)
        if self.code != 0:  # why it was refused is not for this script to find; only what it says of grants must not contradict itself
            if revoked and revoked[1] < self.index:
                self.revoked = True
                self.ok(f'{what} ({oid.hex()[:16]}…) had been revoked at leaf {revoked[1]} by {address_text(revoked[2])}')
            return
        since, until = self.interval(fact, what)
        need(since <= self.index, f'{what}: it begins after the decision')
        need(fact[2] == issuer and fact[3] == grant[4] and fact[4] == grant[12], f'{what}: the state knows it otherwise')
        need(not revoked or revoked[1] > self.index, f'{what}: revoked before the decision')
        need((until is None) == (revoked is None) and (until is None or until == revoked[1]), f'{what}: the state contradicts itself')
        need(grant[8] <= self.time <= grant[9], f'{what}: not valid at the time of the decision')
        need(grant[6] >> self.request[4] & 1 and covers(grant[5], self.request[5]), f'{what}: not for this operation or scope')
        need(grant[7] is None or self.op[9] in grant[7], f'{what}: not for this code')
        need(grant[10] is None or fact[5] <= grant[10], f'{what}: used more often than it may be')
        uses = f'{fact[5]} of {grant[10]} uses' if grant[10] is not None else f'used {fact[5]} times so far, no limit'
        end = 'not revoked' if until is None else f'revoked later, at leaf {until}, by {address_text(revoked[2])}'
        self.ok(f'{what} ({oid.hex()[:16]}…) from {address_text(issuer)} to {address_text(grant[4])} on {grant[5]}')
        self.ok(f'{what} was alive at the decision: known since leaf {since}, {end}; {uses}')

    def rules(self):
        """The owner's rules: whether one denies, or allows without a grant. None: they have changed since, so who knows."""
        scope, allowed, known = self.request[5], self.request[5].split('/')[0] == address_text(self.actor), True
        parts = scope.split('/')
        for depth in range(len(parts)):
            at = '/'.join(parts[:depth + 1])
            fact = self.bundle.fact(f'access-{depth}.proof', ACCESS, at.encode())
            if fact is None:
                continue
            shape(fact, int, dict)
            if fact[1] > self.index:
                self.note(f'the rules of {at} were changed at leaf {fact[1]}, after the decision; what they said then is not in this bundle')
                known = False
                continue
            for effect, actors, mask, below, measurements in (list(shape(rule, int, maybe(list), int, str, maybe(list)).values()) for rule in fact[2][3]):
                if mask >> self.request[4] & 1 and covers(below, scope) and (actors is None or self.actor in actors) and (
                        measurements is None or self.op[9] in measurements):
                    need(effect == 1 or self.code != 0, f'a rule of {at} denies it, and deny wins')
                    allowed = allowed or effect == 1
        if known and self.code == 0:
            self.ok('no rule of the owner on this scope, or above it, denies it' + (', and one allows it, or the owner acts' if allowed else ''))
        return allowed, known

    def measurements(self):
        config = self.bundle.fact('config.proof', CONFIG, b'')
        found = [(name, subject, what, self.bundle.fact(name, REGISTRATION, bytes([subject]) + digest)) for name, subject, digest, what in (
            ('vmm.proof', 1, self.op[4], 'what the co-processor ran on'), ('enclave.proof', 3, self.op[9], 'the code that ran'))]
        if self.code != 0:
            return
        need(config is not None, 'config.proof: no configuration')
        settings = cbor(config[2])
        current = config[1] <= self.index
        if not current:
            self.note(f'the configuration was changed at leaf {config[1]}, after the decision')
        elif self.op[3] in settings[8]:
            self.ok('the co-processor is one of the configuration')
        else:
            self.note('the co-processor is none of the configuration: the ledger took it for one of a root of trust, which this script does not follow')
        for name, subject, what, fact in found:
            since, _ = self.interval(fact, name)
            if since > self.index:
                self.note(f'{what} was registered anew at leaf {since}, after the decision; how it was before is not in this bundle')
                continue
            need(fact[5] <= self.time <= fact[6], f'{name}: not valid at the time of the decision')
            need(subject == 1 or not current or not settings[6] or fact[2] == 2, f'{name}: not endorsed by registrars')
            self.ok(f'{what} was registered as "{fact[4]}" at leaf {since}' + (', authorised' if fact[2] == 2 else ''))

    def judge(self):
        """Grants are looked at by the ledger when no rule, and not ownership, allows it by itself."""
        allowed, known = self.rules()
        if self.code == 0 and known and allowed:
            return []
        try:
            names = self.grants()
        except Refused as why:
            if self.code != 0 or known:
                raise
            self.note(f'the grants that were shown do not allow it ({why}); rules that were changed since may have')
            return []
        need(self.code != 0 or names or not known, 'the ledger said OK, and nothing in the bundle allows it')
        return names

    def run(self, earlier):
        self.decision()
        self.when()
        self.measurements()
        names = self.judge()
        self.bundle.tie(earlier)
        newest = self.bundle.newest()
        need(newest == self.size, 'a fact is from after the checkpoint of the bundle')
        need(min(self.bundle.tails) > self.index, 'a fact is from before the decision')
        self.ok(f'all of it is in one log, {self.bundle.log.name.decode()}, as of {newest} leaves, signed by its key')
        if earlier:
            self.ok('which continues the earlier checkpoint')
        return {'accepted': True, 'decision': CODES.get(self.code, f'refused with code {self.code}'), 'code': self.code, 'index': self.index, 'time': self.time,
                'txid': self.txid.hex(), 'operation': operation_text(self.request[4]), 'scope': self.request[5], 'actor': address_text(self.actor),
                'grants': names, 'size': newest}


def covers(outer, inner):
    return inner == outer or inner.startswith(outer + '/')


def narrower(what, up, grant):
    need(covers(up[5], grant[5]), f'{what}: its scope is wider than that of the grant above it')
    need(grant[6] & ~up[6] == 0, f'{what}: it allows operations that the grant above it does not')
    need(up[7] is None or grant[7] is not None and set(grant[7]) <= set(up[7]), f'{what}: it allows code that the grant above it does not')
    need(grant[8] >= up[8] and grant[9] <= up[9], f'{what}: it is valid for longer than the grant above it')
    need(up[10] is None or grant[10] is not None and grant[10] <= up[10], f'{what}: it has more uses than the grant above it')
    need(up[11] > 0 and grant[11] < up[11], f'{what}: it may be delegated further than the grant above it allows')


def audit(args):
    with open(args.log, 'rb') as f:
        log = Log(f.read(1 << 12))
    earlier = None
    if args.earlier:
        with open(args.earlier, 'rb') as f:
            earlier = f.read(1 << 16)
    found = Audit(Bundle(args.bundle, log))
    try:
        return found, found.run(earlier)
    except Refused as why:
        return found, {'accepted': False, 'why': str(why)}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as why:  # bytes that nobody would have signed
        return found, {'accepted': False, 'why': f'something in it has another form than it should ({type(why).__name__})'}


def main():
    parser = argparse.ArgumentParser(description='Audits one decision of a ledger, offline, with openssl and nothing of Troth.')
    parser.add_argument('bundle', help='folder that `troth ledger prove --decision` made')
    parser.add_argument('--log', required=True, help="the log's verifier key (log.vkey), from a source of your own")
    parser.add_argument('--earlier', help='a checkpoint of this log that you kept from before')
    parser.add_argument('--json', action='store_true', help='one JSON object instead of lines')
    args = parser.parse_args()
    try:
        found, result = audit(args)
    except (OSError, Refused) as why:
        print(f'{parser.prog}: {args.log + ": " if isinstance(why, Refused) else ""}{why}', file=sys.stderr)
        sys.exit(2)
    if args.json:
        print(json.dumps({**result, 'checks': [{'kind': kind, 'text': text} for kind, text in found.rows]}, indent=1))
    else:
        for kind, text in found.rows:
            print(f'{kind:5} {text}')
        if result['accepted']:
            print(f'\nACCEPTED: {result["actor"]} asked for "{result["operation"]}" on {result["scope"]}; the ledger said {result["decision"]} at leaf {result["index"]}')
        else:
            print(f'\nREFUSED: {result["why"]}')
    sys.exit(0 if result['accepted'] else 1)


if __name__ == '__main__':
    main()
