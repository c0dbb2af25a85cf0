#!/usr/bin/python3
"""Profile sealed of the queue from docs/PROTOCOL.ipq alone: greeting, keys and slots, and the page's vectors computed anew.

Run without arguments it compares every vector of the page and prints TAP.
"""
import hashlib
import os
import re
import struct
import sys

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HOST, AP = 1, 2
HEAD = bytes([1, 1, 0, 0])


def lv(data):
    return struct.pack('>I', len(data)) + data


def mac(key, data):
    h = hmac.HMAC(key, hashes.SHA256())
    h.update(data)
    return h.finalize()


def expand(key, label, size):
    out, block, count = b'', b'', 1
    while len(out) < size:
        block = mac(key, block + b'troth-q1 ' + label + b'\0' + bytes([count]))
        out += block
        count += 1
    return out[:size]


def point(key):
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def greeting(host_key, ap_key, host_nonce, ap_nonce, pairing, boot_gen, credential=b'', signed=b''):
    hello = HEAD + host_nonce + point(host_key)
    reply = HEAD + struct.pack('>Q', boot_gen) + host_nonce + ap_nonce + point(ap_key) + bytes([1 if credential else 0]) + lv(credential)
    th = hashlib.sha256(b'troth-q1 sealed' + lv(hello) + lv(reply)).digest()
    k = mac(th, host_key.exchange(ec.ECDH(), ap_key.public_key()) + pairing)
    keys = {name: expand(k, name.encode(), 32) for name in ('host', 'ap', 'confirm')}
    return hello, reply + lv(signed) + keys['confirm'], th, k, keys


def slot(key, sender, boot_gen, seq, number, ident, payload):
    head = struct.pack('<QHBBIQ', seq, number, 1, 0, len(payload) + 16, ident)
    aad = bytes([sender]) + struct.pack('>Q', boot_gen) + head
    return head + AESGCM(key).encrypt(bytes(4) + struct.pack('>Q', seq), payload, aad)


def vectors():
    scalar = [ec.derive_private_key(int.from_bytes(bytes(range(first, first + 32)), 'big'), ec.SECP256R1()) for first in (0x01, 0x21)]
    hello, reply, th, k, keys = greeting(*scalar, b'\x41' * 32, b'\x42' * 32, bytes(range(0x80, 0xa0)), 7)
    ident = 7 << 40 | 1
    return [('HELLO', hello), ('HELLO_REPLY', reply), ('th', th), ('k', k), ("key of the host's ring", keys['host']),
            ("key of the AP's ring", keys['ap']), ('confirm', keys['confirm']),
            ('host, position 3', slot(keys['host'], HOST, 7, 4, 20, ident, b'Troth')),
            ('AP, position 4', slot(keys['ap'], AP, 7, 5, 21, ident, b''))]


def page_vectors():
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'docs', 'PROTOCOL.ipq')
    with open(page, encoding='utf-8') as f:
        text = f.read()
    text = text[text.index('\nVectors.'):text.index('\n9. ')]
    found = {}
    for name, value in re.findall(r'^  (\S.*?)\s((?:\s*[0-9a-f]{2,}\n)+)', text, re.M):
        found[name] = bytes.fromhex(re.sub(r'\s', '', value))
    return found


def main():
    stated, failed = page_vectors(), False
    rows = vectors()
    print(f'1..{len(rows)}')
    for number, (name, value) in enumerate(rows, 1):
        good = [v for key, v in stated.items() if key.startswith(name) and (len(key) == len(name) or key[len(name)] == ',')] == [value]
        failed |= not good
        print(f'{"ok" if good else "not ok"} {number} - {name}')
    return failed


if __name__ == '__main__':
    sys.exit(main())
