#!/usr/bin/python3
"""Judges platform evidence of docs/PROTOCOL.evidence with no code of Troth: Python, cbor2 and cryptography alone.

    platform_evidence.py EVIDENCE ROOT.pem...      prints what it says, or what is wrong with it (exit 1)

As a module: judge(bytes, roots, at) -> dict; raises Wrong.
"""
import datetime
import hashlib
import struct
import sys

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TYPE = 'application/vnd.troth.tpm-quote.v1+cbor'
RESTRICTED, DECRYPT, SIGN, FIXED_TPM, FIXED_PARENT, ORIGIN = 1 << 16, 1 << 17, 1 << 18, 1 << 1, 1 << 4, 1 << 5


class Wrong(Exception):
    pass


def need(holds, text):
    if not holds:
        raise Wrong(text)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), 'truncated')
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), 'big')

    def sized(self):
        return self.take(self.number(2))

    def end(self):
        need(self.at == len(self.data), 'trailing bytes')


def h(data):
    return hashlib.sha256(data).digest()


def public_area(data):
    r = Reader(data)
    area = {'type': r.number(2), 'name_alg': r.number(2), 'attributes': r.number(4)}
    r.sized()
    if r.number(2) != 0x10:
        r.take(4)
    area['scheme'] = r.number(2)
    if area['scheme'] not in (0x10, 0x15):
        area['scheme_hash'] = r.number(2)
    if area['type'] == 1:
        r.number(2)
        exponent = r.number(4) or 65537
        area['key'] = rsa.RSAPublicNumbers(exponent, int.from_bytes(r.sized(), 'big')).public_key()
    else:
        curve = {3: ec.SECP256R1(), 4: ec.SECP384R1()}[r.number(2)]
        if r.number(2) != 0x10:
            r.take(2)
        x, y = (int.from_bytes(r.sized(), 'big') for _ in 'xy')
        area['key'] = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    r.end()
    digest = {0xb: hashlib.sha256, 0xc: hashlib.sha384}[area['name_alg']]
    area['name'] = data[2:4] + digest(data).digest()
    area['qualified'] = data[2:4] + digest(struct.pack('>I', 0x4000000b) + area['name']).digest()
    return area


def quote(data):
    r = Reader(data)
    need(r.number(4) == 0xff544347 and r.number(2) == 0x8018, 'not a quote')
    q = {'signer': r.sized(), 'extra': r.sized()}
    r.take(17 + 8)
    need(r.number(4) == 1, 'one PCR selection')
    q['bank'] = r.number(2)
    bits = r.take(r.number(1))
    q['pcrs'] = [i for i in range(8 * len(bits)) if bits[i // 8] >> i % 8 & 1]
    q['digest'] = r.sized()
    r.end()
    return q


def check_signature(area, signature, message):
    r = Reader(signature)
    scheme, algorithm = r.number(2), {0xb: hashes.SHA256(), 0xc: hashes.SHA384()}[r.number(2)]
    if scheme == 0x18:
        first, second = (int.from_bytes(r.sized(), 'big') for _ in 'rs')
        area['key'].verify(encode_dss_signature(first, second), message, ec.ECDSA(algorithm))
    else:
        how = padding.PKCS1v15() if scheme == 0x14 else padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
        area['key'].verify(r.sized(), message, how, algorithm)
    r.end()


def check_chain(chain, roots, at):
    """Each certificate is signed by the next, the last by a root; one link is enough here."""
    for certificate in chain:
        need(certificate.not_valid_before <= at <= certificate.not_valid_after, 'a certificate is not valid then')
    last = chain[-1]
    for root in roots:
        if last.issuer != root.subject:
            continue
        key = root.public_key()
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(last.signature, last.tbs_certificate_bytes, padding.PKCS1v15(), last.signature_hash_algorithm)
            else:
                key.verify(last.signature, last.tbs_certificate_bytes, ec.ECDSA(last.signature_hash_algorithm))
            return
        except InvalidSignature:
            continue
    raise Wrong('the endorsement certificate leads to none of the roots')


def check_log(records, body):
    registers, mirror = [bytes(48)] * 8, bytes(32)
    for number, record in enumerate(records):
        event = cbor2.loads(record)
        need(list(event) == [0, 1, 3, 16] and event[0] == number and event[1] < 4, 'an event of another form')
        digest = hashlib.sha384(event[16]).digest()
        need(event[3] == {12: digest}, 'an event whose digest is not that of its content')
        registers[event[1]] = hashlib.sha384(registers[event[1]] + digest).digest()
        mirror = h(mirror + h(event[16]))
    values = dict(body[8])
    need(23 not in values or body[7] != 0xb or values[23] == mirror, 'the log does not lead to PCR 23')
    return registers


def judge(data, roots, at):
    envelope = cbor2.loads(data)
    need(list(envelope) == [1, 2, 3, 4, 5] and envelope[1] == TYPE and envelope[3] == [], 'another envelope')
    body = cbor2.loads(envelope[2])
    need(list(body) == list(range(1, 14)) and body[1] == 1, 'another body')
    ak, ek, q = public_area(body[4]), public_area(body[3]), quote(body[5])
    need(ak['attributes'] & (RESTRICTED | SIGN | DECRYPT | FIXED_TPM | FIXED_PARENT | ORIGIN) ==
         RESTRICTED | SIGN | FIXED_TPM | FIXED_PARENT | ORIGIN, 'not an attestation key')
    need(ek['attributes'] & (RESTRICTED | SIGN | DECRYPT | FIXED_TPM) == RESTRICTED | DECRYPT | FIXED_TPM, 'not an endorsement key')
    try:
        check_signature(ak, body[6], body[5])
    except InvalidSignature:
        raise Wrong('the quote is not signed by this key') from None
    binding = {1: body[10], 2: body[11], 3: body[12], 4: body[13], 5: envelope[4], 6: envelope[5],
               7: h(b''.join(struct.pack('>I', len(r)) + r for r in body[9]))}
    need(q['extra'] == h(b'troth tpm quote1' + cbor2.dumps(binding)), 'the quote is about something else')
    need(q['bank'] == body[7] and q['pcrs'] == [i for i, _ in body[8]], 'other PCRs than the quoted')
    need(q['digest'] == h(b''.join(v for _, v in body[8])), 'other values than the quoted')
    need(q['signer'] == ak['qualified'], 'another signer')
    chain = [x509.load_der_x509_certificate(c) for c in body[2]]
    need(chain, 'no endorsement certificate')
    check_chain(chain, roots, at)
    spki = ek['key'].public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    need(chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki, 'the certificate is of another key')
    return {'ak': h(ak['name']).hex(), 'ek': h(spki).hex(), 'epoch': body[10].hex(), 'boot_gen': body[11], 'time': body[12],
            'pcrs': {i: v.hex() for i, v in body[8]}, 'registers': [r.hex() for r in check_log(body[9], body)[:2]], 'nonce': body[13].hex()}


def main():
    with open(sys.argv[1], 'rb') as f:
        data = f.read()
    roots = []
    for path in sys.argv[2:]:
        with open(path, 'rb') as f:
            roots.append(x509.load_pem_x509_certificate(f.read()))
    try:
        print(judge(data, roots, datetime.datetime.utcnow()))
    except (Wrong, KeyError, ValueError) as why:
        sys.exit(f'refused: {why}')


if __name__ == '__main__':
    main()
