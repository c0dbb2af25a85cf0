#!/usr/bin/python3
"""Verifies every COSE_Sign1 of a receipt with nothing but a CBOR and a crypto library, from docs/PROTOCOL.objects,
docs/PROTOCOL.receipt and docs/PROTOCOL.certificate. It shares no code with Troth.

    verify_cose.py RECEIPT           prints one JSON row for each signature: {section, kind, signer, oid, ok}
    verify_cose.py --vectors FILE    the same for tests/vectors/objects.json

Exit 0 when there was at least one signature and each of them verifies. It says nothing about what the objects mean: that is
the work of `troth verify`.
"""
import hashlib
import io
import json
import sys

import cbor2
import follow_epochs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

SIGN1, SIGN = 18, 98
PROTECTED = bytes.fromhex('a10126')
LABELS = {1: 'troth report', 3: 'troth epoch', 6: 'troth reference set', 7: 'troth record', 11: 'troth sealed object', 12: 'troth unseal request',
          13: 'troth unseal grant', 14: 'troth rot challenge', 15: 'troth derive answer', 17: 'troth statement',
          16: 'troth queue hello', 18: 'troth receipt head', 37: 'troth backup'}
REPORT, EPOCH, RECORD, GRANT, STATEMENT, HEAD = 1, 3, 7, 13, 17, 18
GRANT_EPOCH = 6


class Wrong(Exception):
    pass


def one_item(data):
    """The one CBOR item that fills `data`."""
    stream = io.BytesIO(data)
    item = cbor2.CBORDecoder(stream).decode()
    if stream.read(1):
        raise Wrong('bytes after the end')
    return item


def point_key(point):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def check(key, message, signature):
    if len(signature) != 64:
        raise Wrong('a signature of another length than 64')
    pair = encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big'))
    try:
        key.verify(pair, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Wrong('the signature does not verify') from None


def open_sign1(data):
    item = one_item(data)
    if not isinstance(item, cbor2.CBORTag) or item.tag != SIGN1 or len(item.value) != 4:
        raise Wrong('not a COSE_Sign1')
    protected, unprotected, payload, signature = item.value
    if protected != PROTECTED or unprotected != {} or not isinstance(payload, bytes):
        raise Wrong('not the headers of docs/PROTOCOL.objects')
    return payload, signature


def sig_structure(kind, payload):
    return cbor2.dumps(['Signature1', PROTECTED, LABELS[kind].encode(), payload])


def verify_sign1(kind, data, key):
    """The decoded payload and the oid."""
    payload, signature = open_sign1(data)
    message = sig_structure(kind, payload)
    check(key, message, signature)
    return one_item(payload), hashlib.sha256(message).hexdigest()


def verify_inception(data):
    """An epoch record is a COSE_Sign under the key that it names itself."""
    item = one_item(data)
    if not isinstance(item, cbor2.CBORTag) or item.tag != SIGN:
        raise Wrong('not a COSE_Sign')
    protected, unprotected, payload, signers = item.value
    epoch = one_item(payload)
    if protected != b'' or unprotected != {} or len(signers) != 1:
        raise Wrong('not the headers of an inception record')
    signer, empty, signature = signers[0]
    if empty != {} or one_item(signer).get(1) != -7:
        raise Wrong('not the headers of a signer')
    key = point_key(epoch[7])
    check(key, cbor2.dumps(['Signature', b'', signer, LABELS[EPOCH].encode(), payload]), signature)
    return key, hashlib.sha256(cbor2.dumps(['Signature', b'', LABELS[EPOCH].encode(), payload])).hexdigest()


def epoch_keys(items):
    """The keys of a receipt's epochs by oid, from its chain, and the rows about it."""
    records = [item for item in items if item[0] != 0x30]
    follower = follow_epochs.Follower(records[0], [item for item in items if item[0] == 0x30])
    for record in records[1:]:
        follower.take(record)
    keys = {oid: point_key(record.e[follow_epochs.SIGN_PK]) for oid, record in follower.chain.items()}
    rows = [{'section': 'epochs', 'kind': EPOCH, 'signer': 'itself' if i == 0 else 'its chain', 'oid': follow_epochs.Record(r).id.hex(), 'ok': True}
            for i, r in enumerate(records)]
    return keys, rows


def is_signed_by(leaf, key):
    try:
        key.verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        return True
    except InvalidSignature:
        return False


def rows_of_receipt(data):
    receipt = one_item(data)
    if set(receipt) != {1, 2, 3} or receipt[3] != hashlib.sha256(data[:-34]).digest():
        raise Wrong('not the outer form of docs/PROTOCOL.receipt')
    sections = {number: content for number, content in receipt[2]}
    try:
        epochs, rows = epoch_keys(one_item(sections[1]))
    except follow_epochs.Refused as refused:
        raise Wrong(f'epochs: {refused}') from None
    yield from rows
    leaves = {hashlib.sha256(der).digest(): x509.load_der_x509_certificate(der) for der in one_item(sections[2])}
    for name, leaf in leaves.items():
        if not any(is_signed_by(leaf, key) for key in epochs.values()):
            raise Wrong(f'certificate {name.hex()} is not signed by an epoch')
    # Which field of the payload names the epoch or the certificate that signed.
    plan = [('head', HEAD, [receipt[1]], epochs, 7), ('reports', REPORT, one_item(sections[3]), epochs, 6),
            ('records', RECORD, one_item(sections[4]), leaves, 4), ('grants', GRANT, one_item(sections[7]), epochs, GRANT_EPOCH),
            ('statements', STATEMENT, one_item(sections[8]), leaves, 3)]
    for section, kind, objects, signers, signer_at in plan:
        for data in objects:
            row = {'section': section, 'kind': kind, 'signer': None, 'oid': None, 'ok': False}
            try:
                named = one_item(open_sign1(data)[0])[signer_at]
                row['signer'] = 'root' if signers is epochs else named.hex()
                key = signers[named] if signers is epochs else signers[named].public_key()
                row['oid'] = verify_sign1(kind, data, key)[1]
                row['ok'] = True
            except (Wrong, KeyError, ValueError) as cause:
                row['why'] = str(cause)
            yield row


def rows_of_vectors(vectors):
    keys = {name: point_key(bytes.fromhex(key['point'])) for name, key in vectors['keys'].items()}
    for entry in vectors['objects']:
        if entry['envelope'] not in ('COSE_Sign1', 'COSE_Sign'):
            continue
        row = {'section': entry['name'], 'kind': entry['kind'], 'signer': entry['signer'], 'oid': None, 'ok': False}
        try:
            data = bytes.fromhex(entry['object'])
            LABELS.setdefault(entry['kind'], entry['label'])
            if entry['kind'] == EPOCH:
                row['oid'] = verify_inception(data)[1]
            elif entry['envelope'] == 'COSE_Sign':
                signed = follow_epochs.Signed(data)
                signed.verify(LABELS[entry['kind']].encode(), keys[entry['signer']])
                row['oid'] = signed.oid(LABELS[entry['kind']].encode()).hex()
            else:
                row['oid'] = verify_sign1(entry['kind'], data, keys[entry['signer']])[1]
            row['ok'] = row['oid'] == entry['id']
        except (Wrong, follow_epochs.Refused, KeyError, ValueError) as cause:
            row['why'] = str(cause)
        yield row


def main(arguments):
    if len(arguments) == 2 and arguments[0] == '--vectors':
        with open(arguments[1], encoding='utf-8') as f:
            rows = list(rows_of_vectors(json.load(f)))
    elif len(arguments) == 1:
        with open(arguments[0], 'rb') as f:
            data = f.read()
        try:
            rows = list(rows_of_receipt(data))
        except (Wrong, KeyError, ValueError, cbor2.CBORDecodeError) as cause:
            print(json.dumps({'ok': False, 'why': str(cause)}))
            return 1
    else:
        sys.exit(__doc__)
    for row in rows:
        print(json.dumps(row))
    return 0 if rows and all(row['ok'] for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
