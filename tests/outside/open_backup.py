#!/usr/bin/python3
"""Opens a backup with the private keys of a quorum of its holders, from docs/BACKUP.md and docs/PROTOCOL.root alone: no code of Troth.

    open_backup.py BACKUP KEY.pem...

Prints the version of each storage key and its SHA-256, never a key. Exits 1 when something does not fit.
"""
import hashlib
import struct
import sys

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


def lv(data):
    return struct.pack('>I', len(data)) + data


def extract(salt, ikm):
    mac = hmac.HMAC(salt, hashes.SHA256())
    mac.update(ikm)
    return mac.finalize()


def expand(key, protocol, label, context):
    return HKDFExpand(hashes.SHA256(), 32, b'troth-' + protocol + b' ' + label + b'\0' + context).derive(key)


def opened(key, aad, ciphertext):
    """AE of the constructions: AES-256-GCM under a key that seals once, nonce zero."""
    return AESGCM(key).decrypt(bytes(12), ciphertext, aad)


def point(public):
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def open_box(private, label, aad, box):
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), box[:65])
    shared = private.exchange(ec.ECDH(), ephemeral)
    key = expand(extract(b'troth-box1', shared), b'box1', label, lv(box[:65]) + lv(point(private.public_key())))
    return opened(key, aad, box[65:])


def spki_hash(private):
    return hashlib.sha256(private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).digest()


# GF(2^8) of AES by logarithms to the base 3.
EXP, LOG = [0] * 510, [0] * 256
value = 1
for power in range(255):
    EXP[power] = EXP[power + 255] = value
    LOG[value] = power
    value ^= (value << 1) ^ (0x11b if value & 0x80 else 0)


def times(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def over(a, b):
    return EXP[LOG[a] + 255 - LOG[b]] if a else 0


def combine(shares):
    """Lagrange's interpolation at 0."""
    out = bytearray(32)
    for x, y in shares.items():
        factor = 1
        for other in shares:
            if other != x:
                factor = times(factor, over(other, other ^ x))
        for at, byte in enumerate(y):
            out[at] ^= times(factor, byte)
    return bytes(out)


def main(path, key_files):
    with open(path, 'rb') as f:
        envelope = cbor2.loads(f.read())
    if envelope.tag != 18:
        return 'no COSE_Sign1'
    backup = cbor2.loads(envelope.value[2])
    root, ident, k, holders = backup[3], backup[2], backup[9], backup[10]
    shares = {}
    for file in key_files:
        with open(file, 'rb') as f:
            private = serialization.load_pem_private_key(f.read(), None)
        mine = [h for h in holders if h[1] == spki_hash(private)]
        if not mine:
            return f'{file} holds no share'
        number, _, box = mine[0]
        shares[number] = open_box(private, b'backup-share', root + ident + bytes([number]), box)
    if len(shares) < k:
        return f'{len(shares)} shares, {k} are needed'
    shares = dict(sorted(shares.items())[:k])
    keys = opened(expand(combine(shares), b'backup1', b'keys', root + ident), root + ident, backup[11])
    if len(keys) % 36:
        return 'content of a wrong size'
    for at in range(0, len(keys), 36):
        print(struct.unpack('>I', keys[at:at + 4])[0], hashlib.sha256(keys[at + 4:at + 36]).hexdigest())
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except (InvalidTag, ValueError, KeyError, IndexError) as cause:
        sys.exit(f'does not open: {cause!r}')
