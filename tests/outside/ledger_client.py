#!/usr/bin/python3
"""A client of a ledger's service and a verifier of what it proves, made from docs/PROTOCOL.ledger alone: nothing of Troth is used.

    ledger_client.py FOLDER follow         take the latest head, see that it continues the one kept in FOLDER.seen, keep it
    ledger_client.py FOLDER audit          walk every leaf: hashes, TAILs, root; print what is there
    ledger_client.py FOLDER leaf INDEX     a leaf with its proof
    ledger_client.py FOLDER fact KEYHEX    a fact, or that there is none, with its proof

FOLDER is a client's folder. Whatever does not fit ends it with exit code 1 and a line that says what; two heads that do not fit with 4.
"""
import base64
import hashlib
import http.client
import json
import os
import ssl
import struct
import sys
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ledger_evaluator import address_of, address_text, bstr, decode, encode


class Wrong(Exception):
    """What was given does not show what it should."""


class Forked(Exception):
    """The log signed two histories; `one` and `other` are the notes."""

    def __init__(self, one, other, why):
        super().__init__(why)
        self.one, self.other = one, other


def need(holds, why):
    if not holds:
        raise Wrong(why)


def sha256(data):
    return hashlib.sha256(data).digest()


# ---- notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature)

LOG, WITNESS = 1, 4
DASH = '\N{EM DASH} '.encode()


def number(text):
    need(text.isdigit() and text.isascii() and (text == b'0' or not text.startswith(b'0')) and int(text) < 2 ** 63, f'a number {text!r}')
    return int(text)


def b64(text, length=None):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as cause:
        raise Wrong(f'base64: {text!r}') from cause
    need(base64.b64encode(data) == text, 'base64 that is not in its one form')
    need(length is None or len(data) == length, f'{len(data)} bytes, not {length}')
    return data


class Key:
    """A verifier key: NAME+ID+base64(type ‖ public key)."""

    def __init__(self, text):
        name, identity, key = text.strip().split('+', 2)
        raw = b64(key.encode(), 33)
        self.name, self.type, self.public, self.text = name, raw[0], raw[1:], text.strip()
        self.id = sha256(name.encode() + b'\n' + raw)[:4]
        need(identity == self.id.hex(), 'the id of a verifier key')

    def verify(self, text, signature):
        if self.type == WITNESS:
            need(len(signature) == 72, 'length of a cosignature')
            stamp, signature = struct.unpack('>Q', signature[:8])[0], signature[8:]
            text = b'cosignature/v1\ntime %d\n' % stamp + text
        else:
            stamp = 0
            need(len(signature) == 64, 'length of a signature')
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature as cause:
            raise Wrong(f'bad signature of {self.name}') from cause
        return stamp


class Checkpoint:
    """A signed checkpoint under the log's key; `cosigned` tells when a witness cosigned it (None: it did not)."""

    def __init__(self, note, log):
        self.note = note
        text, empty, lines = note.rpartition(b'\n\n')
        need(empty and note.endswith(b'\n') and lines, 'a note is text, an empty line and signatures')
        self.text = text + b'\n'
        self.signatures = []
        for line in lines[:-1].split(b'\n'):
            need(line.startswith(DASH), 'a signature line')
            name, _, blob = line[len(DASH):].partition(b' ')
            blob = b64(blob)
            self.signatures.append((name.decode(), blob[:4], blob[4:]))
        need(self.stamps(log), f'not signed by {log.name}')
        rows = self.text.split(b'\n')
        need(len(rows) == 4 and rows[3] == b'', 'a checkpoint has three lines')
        need(rows[0] == log.name.encode(), f'a checkpoint of {rows[0]!r}')
        self.size, self.root = number(rows[1]), b64(rows[2], 32)

    def stamps(self, key):
        return [key.verify(self.text, signature) for name, identity, signature in self.signatures if name == key.name and identity == key.id]

    def cosigned(self, witness):
        found = self.stamps(witness)
        return found[-1] if found else None


# ---- RFC 9162

def leaf_hash(leaf):
    return sha256(b'\0' + leaf)


def node(left, right):
    return sha256(b'\1' + left + right)


def verify_inclusion(leaf, index, size, path, root):
    """2.1.3.2"""
    need(index < size, 'an index beyond the size')
    fn, sn, r = index, size - 1, leaf
    for p in path:
        need(sn != 0, 'a path that is too long')
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and r == root, 'the path does not lead to the root')


def verify_consistency(first, first_root, second, second_root, path):
    """2.1.4.2"""
    need(0 < first <= second, 'sizes of a consistency proof')
    if first == second:
        return need(not path and first_root == second_root, 'two heads of one size')
    path = list(path)
    if first & first - 1 == 0:
        path.insert(0, first_root)
    need(path, 'an empty consistency proof')
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        need(sn != 0, 'a consistency proof that is too long')
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and fr == first_root and sr == second_root, 'the newer head does not continue the older one')


class Tree:
    """Its right edge: enough for the root."""

    def __init__(self):
        self.size, self.edge = 0, []

    def append(self, leaf):
        digest, size = leaf_hash(leaf), self.size
        while size & 1:
            digest, size = node(self.edge.pop(), digest), size >> 1
        self.edge.append(digest)
        self.size += 1

    def root(self):
        digest = self.edge[-1] if self.edge else sha256(b'')
        for left in reversed(self.edge[:-1]):
            digest = node(left, digest)
        return digest


# ---- the state map

def fact_key(kind, identity):
    return sha256(b'troth smt key' + bytes([kind]) + identity)


def bit(key, depth):
    return key[depth // 8] >> 7 - depth % 8 & 1


def verify_fact(root, key, proof):
    """The value, or None: there is no such key."""
    depth = struct.unpack('>H', proof[:2])[0]
    need(depth <= 256, 'depth of a state proof')
    width = (depth + 7) // 8
    bitmap, rest = proof[2:2 + width], proof[2 + width:]
    need(len(bitmap) == width, 'a state proof cut short')
    present = [bool(bitmap[d // 8] >> 7 - d % 8 & 1) for d in range(depth)]
    need(all(not bitmap[d // 8] >> 7 - d % 8 & 1 for d in range(depth, 8 * width)), 'unused bits')
    siblings = []
    for there in present:
        siblings.append(rest[:32] if there else bytes(32))
        need(not there or len(rest) >= 32 and siblings[-1] != bytes(32), 'a sibling')
        rest = rest[32:] if there else rest
    value = None
    if rest[:1] == b'\0':
        need(len(rest) == 1, 'bytes after a state proof')
        digest = bytes(32)
    else:
        need(rest[:1] == b'\1' and len(rest) >= 37, 'the end of a state proof')
        found, length, data = rest[1:33], struct.unpack('>I', rest[33:37])[0], rest[37:]
        need(len(data) == length, 'a value cut short')
        need(all(bit(found, d) == bit(key, d) for d in range(depth)), 'a leaf that does not stand on this path')
        value = data if found == key else None
        digest = sha256(b'\0' + found + data)
    for d in reversed(range(depth)):
        digest = node(siblings[d], digest) if bit(key, d) else node(digest, siblings[d])
    need(digest == root, 'the state proof does not lead to the state root')
    return value


# ---- leaves and proof files

class Leaf:
    def __init__(self, data):
        self.data, row = data, decode(data)
        need(isinstance(row, list) and row and encode(row) == data, 'a leaf in its one form')
        self.is_tail = row[0] == 2
        if self.is_tail:
            need(len(row) == 6, 'a TAIL')
            _, self.height, self.time, self.first, self.count, self.root = row
        else:
            need(row[0] == 1 and len(row) == 4, 'a leaf')
            _, self.tx, self.code, self.events = row


class Proof:
    def __init__(self, data, log):
        lines, _, note = data.partition(b'\n\n')
        rows = lines.split(b'\n')
        need(rows[0] == b'c2sp.org/tlog-proof@v1' and rows[1].startswith(b'extra ') and rows[2].startswith(b'index '), 'a proof file')
        self.extra, self.index, self.path = b64(rows[1][6:]), number(rows[2][6:]), [b64(row, 32) for row in rows[3:]]
        self.checkpoint = Checkpoint(note, log)
        self.kind, rest = self.extra[0], self.extra[1:]
        need(self.kind in (1, 2) and len(rest) >= 4, 'what is proved')
        length = struct.unpack('>I', rest[:4])[0]
        raw, rest = rest[4:4 + length], rest[4 + length:]
        need(len(raw) == length, 'a leaf cut short')
        self.leaf = Leaf(raw)
        verify_inclusion(leaf_hash(raw), self.index, self.checkpoint.size, self.path, self.checkpoint.root)
        if self.kind == 1:
            return need(rest == b'', 'bytes after a leaf')
        need(self.leaf.is_tail and self.leaf.first + self.leaf.count == self.index == self.checkpoint.size - 1, 'the TAIL of this checkpoint')
        self.key = rest[:32]
        self.value = verify_fact(self.leaf.root, self.key, rest[32:])


# ---- transactions

class Person:
    """A P-256 key, who sends and signs."""

    def __init__(self, key=None):
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.point = self.key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        self.address = address_of(self.point)
        self.text = address_text(self.address)

    @classmethod
    def of_file(cls, path):
        with open(path, 'rb') as f:
            return cls(serialization.load_pem_private_key(f.read(), None))

    def sign(self, label, fields):
        """COSE_Sign1 and its oid."""
        payload = encode(fields)
        signed = b'\x84\x6aSignature1\x43\xa1\x01\x26' + bstr(label) + bstr(payload)
        r, s = decode_dss_signature(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return bytes.fromhex('d28443a10126a0') + bstr(payload) + b'\x58\x40' + r.to_bytes(32, 'big') + s.to_bytes(32, 'big'), sha256(signed)

    def transaction(self, chain, kind, body, valid_ms=300_000, now=None, nonce=None):
        """Bytes and txid."""
        now = int(time.time() * 1000) if now is None else now
        return self.sign(b'troth transaction', {1: 1, 2: chain, 3: self.point, 4: nonce or os.urandom(32), 5: now + valid_ms, 6: kind, 7: encode(body)})


# ---- the service

class Answer:
    def __init__(self, status, kind, data):
        self.status, self.type, self.data = status, kind, data

    @property
    def json(self):
        return json.loads(self.data)

    def ok(self):
        need(self.status == 200, f'answer {self.status}: {self.data[:300]!r}')
        return self


class Client:
    """Of one folder: ledger.conf (url, chain, writer), ca.crt, log.vkey, writer.crt and writer.key."""

    def __init__(self, folder, url=None, certificate=True, timeout=120):
        self.folder, self.timeout, self.connection = folder, timeout, None
        with open(os.path.join(folder, 'ledger.conf'), encoding='utf-8') as f:
            conf = dict(line.strip().split(': ', 1) for line in f if ': ' in line and not line.startswith('#'))
        conf = {name: value.strip('"\'') for name, value in conf.items()}
        with open(os.path.join(folder, 'log.vkey'), encoding='utf-8') as f:
            self.log = Key(f.read())
        self.url, self.chain = url or conf['url'], bytes.fromhex(conf['chain'])
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.load_verify_locations(os.path.join(folder, 'ca.crt'))
        self.tls.set_alpn_protocols(['http/1.1'])
        if certificate and os.path.exists(os.path.join(folder, 'writer.key')):
            self.tls.load_cert_chain(os.path.join(folder, 'writer.crt'), os.path.join(folder, 'writer.key'))
        self.head = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, kind='application/octet-stream'):
        """One request over a kept connection; a connection that has gone is opened once more, for what may be sent twice."""
        for again in (True, False):
            fresh = self.connection is None
            if fresh:
                at = urllib.parse.urlsplit(self.url)
                self.connection = http.client.HTTPSConnection(at.hostname, at.port, timeout=self.timeout, context=self.tls)
            try:
                self.connection.request(method, path, body, {'Content-Type': kind} if body is not None else {})
                answer = self.connection.getresponse()
                data = answer.read()
                if answer.will_close:
                    self.close()
                return Answer(answer.status, (answer.getheader('Content-Type') or '').partition(';')[0], data)
            except (OSError, http.client.HTTPException):
                self.close()
                if fresh or not again:
                    raise
        raise AssertionError

    def get(self, path):
        return self.ask('GET', path)

    # sending

    def submit(self, tx):
        """The receipt, whatever the verdict."""
        return self.ask('POST', '/v1/transactions', tx).ok().json

    # heads

    def consistency(self, first, second):
        if first == second:
            return []
        lines = self.get(f'/v1/consistency?from={first}&to={second}').ok().data
        need(not lines or lines.endswith(b'\n'), 'lines of hashes')
        return [b64(line, 32) for line in lines.split(b'\n')[:-1]]

    def judge(self, head):
        """Every signed head is compared with the latest one that was seen."""
        seen = self.head
        if seen is None:
            self.head = head
            return head
        older, newer = sorted((seen, head), key=lambda c: c.size)
        if older.size == newer.size and older.root != newer.root:
            raise Forked(seen.note, head.note, f'two heads of size {seen.size}')
        try:
            verify_consistency(older.size, older.root, newer.size, newer.root, self.consistency(older.size, newer.size))
        except Wrong as cause:
            raise Forked(seen.note, head.note, f'sizes {older.size} and {newer.size}: {cause}') from cause
        self.head = newer
        return head

    def checkpoint(self):
        head = Checkpoint(self.get('/checkpoint').ok().data, self.log)
        need(self.head is None or head.size >= self.head.size, f'the head went back from {self.head and self.head.size} to {head.size}')
        return self.judge(head)

    # reading, each with its proof

    def leaf(self, index, size=None):
        proof = Proof(self.get(f'/v1/proofs/leaf/{index}' + (f'?size={size}' if size else '')).ok().data, self.log)
        need(proof.kind == 1 and proof.index == index, 'a proof of another leaf')
        self.judge(proof.checkpoint)
        return proof.leaf

    def fact(self, key):
        """(value or None, checkpoint)"""
        proof = Proof(self.get('/v1/proofs/fact/' + key.hex()).ok().data, self.log)
        need(proof.kind == 2 and proof.key == key, 'a proof of another fact')
        self.judge(proof.checkpoint)
        return proof.value, proof.checkpoint

    def audit(self):
        """All leaves below the latest head, hashed; TAILs where they belong. Gives leaves and head."""
        head, tree, first, height, last_time, leaves = self.checkpoint(), Tree(), 0, 0, 0, []
        for index in range(head.size):
            data = self.get(f'/v1/leaves/{index}').ok().data
            leaf = Leaf(data)
            tree.append(data)
            leaves.append(leaf)
            if leaf.is_tail:
                need((leaf.first, leaf.count) == (first, index - first) and leaf.count >= 1, f'the TAIL at {index}')
                need(leaf.height == height + 1 and leaf.time >= last_time, f'height or time of the TAIL at {index}')
                first, height, last_time = index + 1, leaf.height, leaf.time
        need(first == head.size, 'the last leaf is no TAIL')
        need(tree.root() == head.root, 'the leaves do not give the root of the head')
        return leaves, head


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    client, step, kept = Client(sys.argv[1]), sys.argv[2], sys.argv[1].rstrip('/') + '.seen'
    try:
        if os.path.exists(kept):
            with open(kept, 'rb') as f:
                client.head = Checkpoint(f.read(), client.log)
        if step == 'follow':
            head = client.checkpoint()
            with open(kept, 'wb') as f:
                f.write(head.note)
            print(json.dumps({'size': head.size, 'root': head.root.hex()}))
        elif step == 'audit':
            leaves, head = client.audit()
            print(json.dumps({'size': head.size, 'batches': sum(leaf.is_tail for leaf in leaves), 'transactions': sum(not leaf.is_tail for leaf in leaves)}))
        elif step == 'leaf':
            leaf = client.leaf(int(sys.argv[3]))
            print(json.dumps({'tail': leaf.is_tail, 'leaf': leaf.data.hex()}))
        elif step == 'fact':
            value, head = client.fact(bytes.fromhex(sys.argv[3]))
            print(json.dumps({'value': value and value.hex(), 'size': head.size}))
        else:
            sys.exit(__doc__)
    except Forked as found:
        print(f'FORKED: {found}', file=sys.stderr)
        sys.exit(4)
    except Wrong as found:
        print(f'wrong: {found}', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()
