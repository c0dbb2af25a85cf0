#!/usr/bin/python3
"""An IECP client written from docs/PROTOCOL.iecp alone, with nothing of Troth in it.

It knows its peer by a pinned SPKI: the key that signed the peer's certificate. As a command it connects to, or accepts
on, a Unix socket, sends its standard input as DATA, CLOSEs, and prints what comes back until the peer's CLOSE:

    iecp_client.py {initiator|responder} SOCKET --identity FOLDER --pin PEER-ISSUER.pem [--pin NEXT-ISSUER.pem] [--suites 2,1]
        [--rekeys COUNT] [--start] [--update]
    iecp_client.py identity FOLDER --uri spiffe://host/ire/name

In the middle of its input it says KEYUPDATE (--update), starts a re-handshake (--start), and does not CLOSE before COUNT
re-handshakes, whoever started them, are finished. The second form makes a folder with sign.pem, kem.pem, a self-signed leaf.der and issuer.pem, the key that others pin.
"""
import argparse
import datetime
import hashlib
import hmac
import os
import socket
import struct
import sys

import cbor2
import mlkem
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

VERSION, SUITE, HYBRID = 1, 1, 2
I, R = 1, 2
MAX_M1, MAX_BOX = 16384, 65536
MAX_M2, MAX_M3 = 66780, 65540
DATA, CLOSE, KEYUPDATE, HS, SWITCH, ALERT = 1, 2, 3, 4, 5, 6
MAX_PLAIN = 65536
NO_EPOCH = bytes(76)
CURVE = ec.SECP256R1()
ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551


class Refused(Exception):
    """The peer did something that docs/PROTOCOL.iecp does not allow."""


def need(condition, what):
    if not condition:
        raise Refused(what)


# ---- section 1: notation ----

def lv(data):
    return struct.pack('>I', len(data)) + data


def H(data):
    return hashlib.sha256(data).digest()


def HMAC(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


HX = HMAC


def EX(key, label, context, length):
    info = b'troth-iecp1 ' + label + b'\0' + context
    return HKDFExpand(hashes.SHA256(), length, info).derive(key)


def AE(key, aad, message):
    return AESGCM(key).encrypt(bytes(12), message, aad)


def AD(key, aad, sealed, what):
    try:
        return AESGCM(key).decrypt(bytes(12), sealed, aad)
    except InvalidTag:
        raise Refused(f'{what} does not open') from None


def ES256(key, message):
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, 'big') + s.to_bytes(32, 'big')


def verify_ES256(key, message, signature, what):
    r, s = int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big')
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(f'{what} does not verify') from None


def point_of(key):
    public = key.public_key() if hasattr(key, 'public_key') else key
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def spki_of(key):
    public = key.public_key() if hasattr(key, 'public_key') else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_point(data):
    need(len(data) == 65 and data[0] == 4, 'a point is not uncompressed')
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, data)
    except ValueError:
        raise Refused('a point is not on the curve') from None


def ECDH(key, point):
    return key.exchange(ec.ECDH(), read_point(point))


class Reader:
    """Takes bytes from the front; finish() refuses what is left."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(len(self.data) - self.at >= count, 'a message ends too early')
        self.at += count
        return self.data[self.at - count:self.at]

    def uint(self, size):
        return int.from_bytes(self.take(size), 'big')

    def lv(self, most):
        length = self.uint(4)
        need(length <= most, 'a length is larger than allowed')
        return self.take(length)

    def finish(self):
        need(self.at == len(self.data), 'bytes follow the end of a message')


# ---- section 3: who is who ----

class Identity:
    """Own keys and certificate. `draw` and `sign` are replaced by the maker of vectors."""

    def __init__(self, sign_key, kem_key, leaf, epoch=NO_EPOCH, evidence=lambda bind: b''):
        self.sign_key, self.kem_key, self.leaf, self.epoch, self.evidence = sign_key, kem_key, leaf, epoch, evidence
        self.draw = os.urandom
        self.sign = lambda message: ES256(self.sign_key, message)
        self.ephemeral = lambda: ec.generate_private_key(CURVE)

    @classmethod
    def load(cls, folder):
        def key(name):
            with open(os.path.join(folder, name), 'rb') as file:
                return serialization.load_pem_private_key(file.read(), None)
        with open(os.path.join(folder, 'leaf.der'), 'rb') as file:
            return cls(key('sign.pem'), key('kem.pem'), file.read())


# Certificates are handled as DER, so that each byte of the profile stands here.

def der(tag, *parts):
    body = b''.join(parts)
    size = len(body)
    head = bytes([size]) if size < 128 else b'\x81' + bytes([size]) if size < 256 else b'\x82' + struct.pack('>H', size)
    return bytes([tag]) + head + body


SEQUENCE, SET, OCTETS, BITS, OID, UTF8, BOOLEAN, INTEGER, UTC, URI = (
    0x30, 0x31, 0x04, 0x03, 0x06, 0x0c, 0x01, 0x02, 0x17, 0x86)
OID_KEM = bytes.fromhex('69 d1918e1c aafcb046 83adbe6a c588843183 db64 01')
ECDSA_SHA256 = der(SEQUENCE, der(OID, bytes.fromhex('2a8648ce3d040302')))


def extension(oid, value, critical=True):
    return der(SEQUENCE, der(OID, oid), der(BOOLEAN, b'\xff') if critical else b'', der(OCTETS, value))


def make_leaf(sign_key, kem_key, issuer_key, uri, not_before, not_after, serial):
    """A certificate of the profile in section 3; times are UTC datetimes before 2050."""
    name = der(SEQUENCE, der(SET, der(SEQUENCE, der(OID, bytes.fromhex('550403')), der(UTF8, b'outside'))))
    times = [der(UTC, time.strftime('%y%m%d%H%M%SZ').encode()) for time in (not_before, not_after)]
    usages = [der(OID, bytes.fromhex('2b06010505070301')), der(OID, bytes.fromhex('2b06010505070302'))]
    extensions = der(SEQUENCE,
        extension(bytes.fromhex('551d11'), der(SEQUENCE, der(URI, uri.encode()))),
        extension(bytes.fromhex('551d0f'), bytes.fromhex('03020780')),
        extension(bytes.fromhex('551d13'), bytes.fromhex('3000')),
        extension(bytes.fromhex('551d25'), der(SEQUENCE, *usages), critical=False),
        extension(OID_KEM, der(OCTETS, point_of(kem_key))))
    signed = der(SEQUENCE, der(0xa0, der(INTEGER, b'\x02')), der(INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, 'big')), ECDSA_SHA256, name,
        der(SEQUENCE, *times), name, spki_of(sign_key), der(0xa3, extensions))
    signature = issuer_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return der(SEQUENCE, signed, ECDSA_SHA256, der(BITS, b'\0', signature))


class Der(Reader):
    """A reader of DER: each take gives the content of the next element, which must have that tag."""

    def element(self, tag=None):
        found = self.take(1)[0]
        size = self.uint(1)
        if size & 0x80:
            need(1 <= size & 0x7f <= 2, 'a length in a certificate')
            size = self.uint(size & 0x7f)
        need(tag is None or tag == found, 'the shape of a certificate')
        return self.take(size)

    def whole(self, tag):
        """The next element with its head."""
        start = self.at
        self.element(tag)
        return self.data[start:self.at]

    def has(self, tag):
        return self.at < len(self.data) and self.data[self.at] == tag


def extensions_of(body):
    """{oid: value} of the extensions; refuses a second one of a kind."""
    found, listed = {}, Der(Der(body).element(SEQUENCE))
    while listed.at < len(listed.data):
        one = Der(listed.element(SEQUENCE))
        oid = one.element(OID)
        critical = one.has(BOOLEAN) and one.element(BOOLEAN) == b'\xff'
        need(oid not in found, 'an extension stands twice')
        found[oid] = (one.element(OCTETS), critical)
        one.finish()
    return found


def utc_time(text):
    try:
        return datetime.datetime.strptime(text.decode('ascii'), '%y%m%d%H%M%SZ')
    except ValueError:
        raise Refused('a time of a certificate') from None


def signed_by(key, signature, data):
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        return True
    except InvalidSignature:
        return False


def parts_of(der_certificate):
    """(what is signed, signature) of a certificate."""
    outer = Der(der_certificate)
    certificate = Der(outer.element(SEQUENCE))
    outer.finish()
    signed = certificate.whole(SEQUENCE)
    need(certificate.whole(SEQUENCE) == ECDSA_SHA256, 'the algorithm of a certificate')
    signature = certificate.element(BITS)
    certificate.finish()
    return signed, signature


class Issuer:
    """A certificate above the leaf, or of the leaf what both have (docs/PROTOCOL.certificate, "Authorities")."""

    def __init__(self, der_certificate, now, is_leaf=False):
        self.signed, self.signature = parts_of(der_certificate)
        r = Der(Der(self.signed).element(SEQUENCE))
        r.element(0xa0)
        r.element(INTEGER)
        r.whole(SEQUENCE)
        self.issuer = r.whole(SEQUENCE)
        validity = Der(r.element(SEQUENCE))
        start, end = (utc_time(validity.element(UTC)) for _ in range(2))
        need(start <= now <= end, 'a certificate of the path is not valid now')
        self.subject = r.whole(SEQUENCE)
        self.key = read_point(r.whole(SEQUENCE)[-65:])
        if not is_leaf:
            self.read_extensions(extensions_of(r.element(0xa3)))

    def read_extensions(self, found):
        basic, usage = (found.get(bytes.fromhex(oid), (b'', False)) for oid in ('551d13', '551d0f'))
        need(basic[1] and basic[0][:-1] == bytes.fromhex('30060101ff0201') and basic[0][-1] <= 3, 'a certificate of the path is of no authority')
        need(usage[1] and usage[0] in (bytes.fromhex('03020204'), bytes.fromhex('03020106')), 'what a key of the path may be used for')
        self.path_length, self.permitted = basic[0][-1], []
        names, critical = found.get(bytes.fromhex('551d1e'), (None, True))
        need(critical, 'a name constraint is not critical')
        listed = Der(Der(Der(names).element(SEQUENCE)).element(0xa0)) if names else Der(b'')
        while listed.at < len(listed.data):
            self.permitted.append(Der(listed.element(SEQUENCE)).element(URI).decode('ascii', 'replace'))


class Authority:
    """Stands among the pinned keys: a certification authority, and the one name that it may vouch for here."""

    def __init__(self, key, uri):
        self.key, self.uri = key, uri

    def verify(self, signature, data, algorithm):
        raise InvalidSignature  # it signs no leaf itself

    def judge(self, path, now):
        """(leaf, key of the certificate that issued it)."""
        r, shown = Reader(path), []
        while r.at < len(path):
            shown.append(r.lv(MAX_M1))
        need(2 <= len(shown) <= 3, 'a path of another length')
        chain = [Issuer(shown[0], now, True)] + [Issuer(one, now) for one in shown[1:]]
        host = self.uri.removeprefix('spiffe://').split('/')[0]
        for at, above in enumerate(chain[1:], 1):
            need(chain[at - 1].issuer == above.subject, 'the names of a path do not join')
            need(above.path_length == 0 if at == 1 else above.path_length >= at - 1, 'the length of a path')
            fits = any(host == one or one.startswith('.') and host.endswith(one) for one in above.permitted)
            need(fits or at > 1 and not above.permitted, 'the authority may not vouch for this name')
        for below, key in zip(chain, [one.key for one in chain[1:]] + [self.key]):
            need(signed_by(key, below.signature[1:], below.signed), 'a signature of the path')
        return shown[0], chain[1].key


class Peer:
    """What a pinned key vouches for: the peer's signing key and static KEM point. `same`: who it must still be."""

    def __init__(self, leaf, own, pinned, now, epoch, same=None):
        need(leaf != own.leaf, 'the peer shows our own certificate')
        authorities = [one for one in pinned if isinstance(one, Authority)]
        by = authorities[0] if authorities and leaf[:1] == b'\0' else None
        if by:
            leaf, issuer = by.judge(leaf, now)
            pinned = [issuer]
        signed, signature = parts_of(leaf)
        need(any(signed_by(key, signature[1:], signed) for key in pinned), 'the certificate was not signed by a pinned key')
        self.read_signed(Der(Der(signed).element(SEQUENCE)), now)
        need(not by or self.uri == by.uri, 'the name is not the one that is expected')
        need(self.spki != spki_of(own.sign_key), 'the peer has our own key')
        self.epoch = epoch
        if same:
            need(self.spki == same.spki and self.kem == same.kem, 'the peer has other keys than before')
            need(epoch[:32] == same.epoch[:32], 'the peer has another root than before')
            need(epoch[32:44] >= same.epoch[32:44], 'the peer went back to an older epoch')

    def read_signed(self, r, now):
        r.element(0xa0)
        r.element(INTEGER)
        need(r.whole(SEQUENCE) == ECDSA_SHA256, 'the algorithm of a certificate')
        r.element(SEQUENCE)
        validity = Der(r.element(SEQUENCE))
        start, end = (utc_time(validity.element(UTC)) for _ in range(2))
        need(start <= now <= end, 'the certificate is not valid now')
        r.element(SEQUENCE)
        self.spki = r.whole(SEQUENCE)
        self.key = read_point(self.spki[-65:])
        need(self.spki == spki_of(self.key), 'the key of a certificate is not a P-256 key')
        found = extensions_of(r.element(0xa3))
        r.finish()
        need(OID_KEM in found and found[OID_KEM][1], 'the certificate has no critical KEM point')
        self.kem = Der(found[OID_KEM][0]).element(OCTETS)
        read_point(self.kem)
        names = Der(found.get(bytes.fromhex('551d11'), (b'', False))[0])
        self.uri = Der(names.element(SEQUENCE)).element(URI).decode('ascii', 'replace')


# ---- section 6: keys and transcript ----

class Schedule:
    """Transcript hashes th[1..9] and every key by its name. Feed the steps in order."""

    def __init__(self, m1, m2_head, ss, psk=bytes(32), psk_id=b''):
        self.th = {1: H(b'troth-iecp1 hs' + lv(psk_id) + lv(m1) + lv(m2_head))}
        self.ss, self.psk = ss, psk
        self.P = HX(self.th[1], ss + psk)
        self.kek = EX(self.P, b'kek', self.th[1], 32)

    def session(self, wrap, drawn):
        self.th[2] = H(self.th[1] + wrap)
        self.S = HX(self.P, drawn)
        self.kR, self.kI, self.fR, self.fI = (
            EX(self.S, label, self.th[2], 32) for label in (b'box r', b'box i', b'fin r', b'fin i'))

    def certificate_r(self, epoch, leaf, spki):
        self.th[3] = H(self.th[2] + lv(epoch) + lv(leaf))
        self.bindR = hashlib.sha512(b'troth-iecp1 ev\x02' + self.th[3] + H(spki)).digest()

    def evidence(self, role, evidence):
        step = 4 if role == R else 7
        self.th[step] = H(self.th[step - 1] + lv(evidence))
        return b'troth-iecp1 sig\0' + bytes([role]) + self.th[step]

    def signature(self, role, signature):
        step = 5 if role == R else 8
        self.th[step] = H(self.th[step - 1] + signature)
        return HMAC(self.fR if role == R else self.fI, self.th[step])

    def finished(self, role, finished, spki_i=None):
        step = 6 if role == R else 9
        self.th[step] = H(self.th[step - 1] + finished)
        if role == R:
            self.bindI = hashlib.sha512(b'troth-iecp1 ev\x01' + self.th[6] + H(spki_i)).digest()
            return
        self.master = EX(self.S, b'app', self.th[9], 32)
        self.tsI, self.tsR, self.channel_id, self.psk_next, self.exporter = (
            EX(self.master, label, b'', 32) for label in (b'traffic i', b'traffic r', b'id', b'psk', b'exp'))


# ---- section 5 and 7: messages and checks ----

def build_m1(identity, nonce, ephemeral, suites, hybrid_key):
    return (bytes([VERSION, len(suites)]) + b''.join(struct.pack('>H', s) for s in suites) + nonce + identity.epoch +
        lv(identity.leaf) + point_of(ephemeral) + lv(hybrid_key))


class Side:
    """`old`: the channel that is re-handshaked; its psk_next, channel_id and peer."""

    def __init__(self, identity, pinned, now, suites=(SUITE,), old=None, psk=bytes(32), psk_id=b''):
        self.own, self.pinned, self.now, self.suites, self.same = identity, as_list(pinned), now, suites, old and old.peer
        if old:  # never a lower one than the channel's
            self.suites = (HYBRID,) if old.suite == HYBRID else old.suites
        self.psk, self.psk_id = (old.psk_next, old.id) if old else (psk or bytes(32), psk_id)


class Initiator(Side):

    def m1(self):
        self.e = self.own.ephemeral()
        nonce = self.own.draw(32)
        hybrid_key = b''
        if HYBRID in self.suites:
            hybrid_key, self.decapsulation = mlkem.keygen(self.own.draw(32), self.own.draw(32))
        self.message1 = build_m1(self.own, nonce, self.e, self.suites, hybrid_key)
        return self.message1

    def m3(self, m2):
        r = Reader(m2)
        need(r.uint(1) == VERSION, 'the version of M2')
        suite = r.uint(2)
        need(suite in self.suites, 'the suite of M2')
        r.take(32)
        ER = r.take(65)
        ct = r.lv(1088)
        need(len(ct) == (1088 if suite == HYBRID else 0), 'the hybrid ciphertext of M2')
        self.suite = suite
        hybrid_secret = mlkem.decaps(self.decapsulation, ct) if suite == HYBRID else b''
        head = m2[:r.at]
        wrap, box = r.take(48), r.lv(MAX_BOX)
        r.finish()
        self.keys = k = Schedule(self.message1, head, ECDH(self.e, ER) + ECDH(self.own.kem_key, ER) + hybrid_secret, self.psk,
            self.psk_id)
        k.session(wrap, AD(k.kek, k.th[1], wrap, 'wrap'))
        self.accept(AD(k.kR, k.th[2], box, 'boxR'))
        return self.build_m3()

    def accept(self, plain):
        k, r = self.keys, Reader(plain)
        epoch, leaf, evidence = r.lv(76), r.lv(MAX_BOX), r.lv(MAX_BOX)
        signature, finished = r.take(64), r.take(32)
        r.finish()
        need(len(epoch) == 76, 'the epoch pointer of M2')
        self.peer = Peer(leaf, self.own, self.pinned, self.now, epoch, self.same)
        k.certificate_r(epoch, leaf, self.peer.spki)
        signed = k.evidence(R, evidence)
        need(hmac.compare_digest(finished, k.signature(R, signature)), 'finR is wrong')
        verify_ES256(self.peer.key, signed, signature, 'sigR')
        need(evidence == b'' or epoch != NO_EPOCH, 'evidence of a side that no root vouches for')
        k.finished(R, finished, spki_of(self.own.sign_key))

    def build_m3(self):
        k = self.keys
        evidence = self.own.evidence(k.bindI)
        signature = self.own.sign(k.evidence(I, evidence))
        finished = k.signature(I, signature)
        k.finished(I, finished)
        return lv(AE(k.kI, k.th[6], lv(evidence) + signature + finished))


class Responder(Side):
    def m2(self, m1):
        r = Reader(m1)
        need(r.uint(1) == VERSION, 'the version of M1')
        suites = [r.uint(2) for _ in range(r.uint(1))]
        common = [suite for suite in (HYBRID, SUITE) if suite in suites and suite in self.suites]
        need(common, 'no suite in common')
        self.suite = common[0]
        r.take(32)
        self.peer_epoch, leaf, EI = r.take(76), r.lv(MAX_M1), r.take(65)
        hybrid_key = r.lv(MAX_M1)
        need(len(hybrid_key) == (1184 if HYBRID in suites else 0), 'the hybrid key of M1')
        r.finish()
        self.peer = Peer(leaf, self.own, self.pinned, self.now, self.peer_epoch, self.same)
        nonce = self.own.draw(32)
        e = self.own.ephemeral()
        hybrid_secret = ct = b''
        if self.suite == HYBRID:
            try:
                hybrid_secret, ct = mlkem.encaps(hybrid_key, self.own.draw(32))
            except mlkem.BadKey:
                raise Refused('the hybrid key of M1 is none') from None
        head = struct.pack('>BH', VERSION, self.suite) + nonce + point_of(e) + lv(ct)
        self.keys = k = Schedule(m1, head, ECDH(e, EI) + ECDH(e, self.peer.kem) + hybrid_secret, self.psk, self.psk_id)
        self.drawn = self.own.draw(32)
        wrap = AE(k.kek, k.th[1], self.drawn)
        k.session(wrap, self.drawn)
        return head + wrap + lv(AE(k.kR, k.th[2], self.box()))

    def box(self):
        k, own = self.keys, self.own
        k.certificate_r(own.epoch, own.leaf, spki_of(own.sign_key))
        evidence = own.evidence(k.bindR)
        signature = own.sign(k.evidence(R, evidence))
        finished = k.signature(R, signature)
        k.finished(R, finished, self.peer.spki)
        return lv(own.epoch) + lv(own.leaf) + lv(evidence) + signature + finished

    def accept(self, m3):
        k, r = self.keys, Reader(m3)
        sealed = r.lv(MAX_BOX)
        r.finish()
        r = Reader(AD(k.kI, k.th[6], sealed, 'boxI'))
        evidence, signature, finished = r.lv(MAX_BOX), r.take(64), r.take(32)
        r.finish()
        verify_ES256(self.peer.key, k.evidence(I, evidence), signature, 'sigI')
        need(hmac.compare_digest(finished, k.signature(I, signature)), 'finI is wrong')
        need(evidence == b'' or self.peer_epoch != NO_EPOCH, 'evidence of a side that no root vouches for')
        k.finished(I, finished)


# ---- section 8: records ----

LAST_GENERATION, MAX_RECORDS, MAX_BYTES = 65535, 1 << 23, 1 << 36


class Direction:
    def __init__(self, ts, gen=0):
        need(gen <= LAST_GENERATION, 'no key generation is left')
        material = EX(ts, b'key', b'', 44)
        self.ts, self.gen, self.gcm, self.iv = ts, gen, AESGCM(material[:32]), material[32:]
        self.seq = self.bytes = 0
        self.closed = False

    def next(self, ts):
        """The keys after KEYUPDATE or SWITCH."""
        closed = self.closed
        self.__init__(ts, self.gen + 1)
        self.closed = closed

    def update(self):
        self.next(EX(self.ts, b'update', b'', 32))

    def nonce(self):
        mask = bytes(4) + struct.pack('>Q', self.seq)
        return bytes(a ^ b for a, b in zip(self.iv, mask))

    def spent(self, length):
        return self.seq >= MAX_RECORDS - 16 or self.bytes + length > MAX_BYTES

    def seal(self, kind, plain):
        header = struct.pack('>HBBIQ', self.gen, kind, 0, len(plain) + 16, self.seq)
        record = header + self.gcm.encrypt(self.nonce(), plain, header)
        self.count(plain)
        return record

    def open(self, header, sealed):
        kind = header[2]
        need(header == struct.pack('>HBBIQ', self.gen, kind, 0, len(sealed), self.seq), 'a record out of order')
        need(self.seq < MAX_RECORDS - (kind not in (KEYUPDATE, SWITCH)), 'a generation without end')
        need(not self.closed or kind in (KEYUPDATE, HS, SWITCH), 'a record after CLOSE')
        try:
            plain = self.gcm.decrypt(self.nonce(), sealed, header)
        except InvalidTag:
            raise Refused('a record does not open') from None
        self.count(plain)
        need(kind != DATA or self.bytes <= MAX_BYTES, 'a generation without end')
        return kind, plain

    def count(self, plain):
        self.seq += 1
        self.bytes += len(plain)


# ---- section 9: re-handshake ----

IDLE, WAIT_M2, WAIT_M3, WAIT_SWITCH = range(4)
LARGEST = {IDLE: MAX_M1, WAIT_M2: MAX_M2, WAIT_M3: MAX_M3}


class Records:
    """An open channel without a socket: what is to be sent is appended to `outbox`."""

    def __init__(self, role, side):
        self.role, self.identity, self.pinned, self.now = role, side.own, side.pinned, lambda: side.now
        self.outbox, self.state, self.rekeys, self.suites = [], IDLE, 0, side.suites
        self.partial = self.passed_over = None
        self.adopt(side)
        own, peer = self.traffic(role, side.keys)
        self.out, self.into = Direction(own), Direction(peer)

    def adopt(self, side):
        self.suite = side.suite
        self.peer, self.id, self.psk_next, self.exporter = side.peer, side.keys.channel_id, side.keys.psk_next, side.keys.exporter

    @staticmethod
    def traffic(role, keys):
        return (keys.tsI, keys.tsR) if role == I else (keys.tsR, keys.tsI)

    def seal(self, kind, plain=b''):
        self.outbox.append(self.out.seal(kind, plain))

    def seal_data(self, plain):
        need(not self.out.closed, 'data after CLOSE')
        if self.out.spent(len(plain)):
            self.keyupdate()
        self.seal(DATA, plain)

    def seal_close(self):
        self.seal(CLOSE)
        self.out.closed = True

    def keyupdate(self):
        self.seal(KEYUPDATE)
        self.out.update()

    def is_over(self):
        return self.out.closed and self.into.closed

    def take(self, header, sealed):
        """One record. DATA and CLOSE are the caller's; everything else is dealt with."""
        kind, plain = self.into.open(header, sealed)
        if kind == ALERT:
            raise Refused('the peer ended the channel with reason %d' % struct.unpack('>H', plain))
        need(kind in (DATA, HS) and plain or kind in (CLOSE, KEYUPDATE, SWITCH) and not plain, 'a record of type %d' % kind)
        if kind == CLOSE:
            self.into.closed = True
        if kind == KEYUPDATE:
            self.into.update()
        if kind == HS:
            self.take_piece(plain)
        if kind == SWITCH:
            self.take_switch()
        return kind, plain

    def put_message(self, message):
        framed = lv(message)
        for at in range(0, len(framed), MAX_PLAIN):
            self.seal(HS, framed[at:at + MAX_PLAIN])

    def rekey(self):
        need(self.state == IDLE and self.partial is None, 'a re-handshake is under way')
        need(max(self.out.gen, self.into.gen) < LAST_GENERATION, 'no key generation is left')
        self.shake = Initiator(self.identity, self.pinned, self.now(), old=self)
        self.put_message(self.shake.m1())
        self.state = WAIT_M2

    def take_piece(self, piece):
        if self.partial is None:
            need(self.state != WAIT_SWITCH, 'a handshake message where SWITCH is due')
            need(len(piece) >= 4, 'a message that begins without its length')
            need(struct.unpack('>I', piece[:4])[0] <= LARGEST[self.state], 'a message is too large')
            self.partial = b''
        self.partial += piece
        length = struct.unpack('>I', self.partial[:4])[0] + 4
        need(len(self.partial) <= length, 'bytes after a handshake message')
        if len(self.partial) == length:
            message, self.partial = self.partial[4:], None
            self.take_message(message)

    def take_message(self, message):
        if self.state == WAIT_M2 and message[1:2] != b'\0':
            need(not self.passed_over, 'a second M1')
            if self.role == I:
                self.passed_over = True
                return
            self.state = IDLE  # our own M1 has lost
        if self.state == IDLE:
            self.shake = Responder(self.identity, self.pinned, self.now(), old=self)
            self.put_message(self.shake.m2(message))
            self.state = WAIT_M3
        elif self.state == WAIT_M2:
            self.put_message(self.shake.m3(message))
            self.switch(I)
        else:
            self.shake.accept(message)
            self.switch(R)

    def switch(self, role):
        own, self.next_into = self.traffic(role, self.shake.keys)
        self.seal(SWITCH)
        self.out.next(own)
        self.state = WAIT_SWITCH

    def take_switch(self):
        need(self.state == WAIT_SWITCH, 'SWITCH before a handshake has verified')
        self.into.next(self.next_into)
        self.adopt(self.shake)
        self.state, self.shake, self.passed_over = IDLE, None, None
        self.rekeys += 1


class Channel(Records):
    """An open channel over a connected stream socket."""

    def __init__(self, sock, role, side):
        super().__init__(role, side)
        self.sock, self.now = sock, utc_now

    def flush(self):
        while self.outbox:
            self.sock.sendall(self.outbox.pop(0))

    def send(self, data):
        for at in range(0, len(data), MAX_PLAIN):
            self.seal_data(data[at:at + MAX_PLAIN])
            self.flush()

    def send_frame(self, value):
        self.send(lv(cbor2.dumps(value, canonical=True)))

    def close(self):
        self.seal_close()
        self.flush()

    def step(self):
        """Takes one record; gives (kind, plaintext)."""
        header = read_exactly(self.sock, 16)
        length = struct.unpack('>I', header[4:8])[0]
        need(16 <= length <= MAX_PLAIN + 16, 'the length of a record')
        taken = self.take(header, read_exactly(self.sock, length))
        self.flush()
        return taken

    def receive(self):
        """The next piece of data; b'' after CLOSE."""
        while not self.into.closed:
            kind, plain = self.step()
            if kind == DATA:
                return plain
        return b''

    def receive_all(self):
        parts = []
        while part := self.receive():
            parts.append(part)
        return b''.join(parts)

    def receive_until(self, rekeys):
        """Data, until so many re-handshakes are finished; they go on after the peer's CLOSE."""
        parts = []
        while self.rekeys < rekeys:
            kind, plain = self.step()
            parts.append(plain if kind == DATA else b'')
        return b''.join(parts)


def read_exactly(sock, count):
    data = b''
    while len(data) < count:
        part = sock.recv(count - len(data))
        need(part, 'the connection ended in the middle')
        data += part
    return data


def read_frame(sock, most):
    length = struct.unpack('>I', read_exactly(sock, 4))[0]
    need(length <= most, 'a message is too large')
    return read_exactly(sock, length)


def utc_now():
    return datetime.datetime.utcnow()


def as_list(pinned):
    return pinned if isinstance(pinned, (list, tuple)) else [pinned]


def initiate(sock, identity, pinned, suites=(SUITE,)):
    side = Initiator(identity, pinned, utc_now(), suites)
    sock.sendall(lv(side.m1()))
    sock.sendall(lv(side.m3(read_frame(sock, MAX_M2))))
    return Channel(sock, I, side)


def respond(sock, identity, pinned, suites=(SUITE,)):
    side = Responder(identity, pinned, utc_now(), suites)
    sock.sendall(lv(side.m2(read_frame(sock, MAX_M1))))
    side.accept(read_frame(sock, MAX_M3))
    return Channel(sock, R, side)


# ---- command ----

def write_identity(folder, uri):
    os.makedirs(folder, exist_ok=True)
    sign_key, kem_key = ec.generate_private_key(CURVE), ec.generate_private_key(CURVE)
    start = datetime.datetime.utcnow() - datetime.timedelta(minutes=5)
    leaf = make_leaf(sign_key, kem_key, sign_key, uri, start, start + datetime.timedelta(days=1), 1)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    public = sign_key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    parts = {'leaf.der': leaf, 'issuer.pem': public}
    for name, key in (('sign.pem', sign_key), ('kem.pem', kem_key)):
        parts[name] = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    for name, data in parts.items():
        with open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as file:
            file.write(data)


def connect(role, path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20)
    if role == 'initiator':
        sock.connect(path)
        return sock
    sock.bind(path)
    sock.listen(1)
    print('ready', file=sys.stderr, flush=True)
    return sock.accept()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('role', choices=('initiator', 'responder', 'identity'))
    parser.add_argument('path')
    parser.add_argument('--identity')
    parser.add_argument('--pin', action='append')
    parser.add_argument('--rekeys', type=int, default=0)
    parser.add_argument('--start', action='store_true')
    parser.add_argument('--update', action='store_true')
    parser.add_argument('--uri', default='spiffe://outside.example/ire/client')
    parser.add_argument('--suites', default='1')
    args = parser.parse_args()
    if args.role == 'identity':
        return write_identity(args.path, args.uri)

    identity = Identity.load(args.identity)
    pinned = []
    for path in args.pin:
        with open(path, 'rb') as file:
            pinned.append(serialization.load_pem_public_key(file.read()))
    with connect(args.role, args.path) as sock:
        sock.settimeout(20)
        channel = (initiate if args.role == 'initiator' else respond)(sock, identity, pinned, tuple(int(s) for s in args.suites.split(',')))
        print(f'suite {channel.suite}', file=sys.stderr)
        given = sys.stdin.buffer.read()
        channel.send(given[:len(given) // 2])
        if args.update:
            channel.keyupdate()
        if args.start:
            channel.rekey()
            channel.flush()
        channel.send(given[len(given) // 2:])
        sys.stdout.buffer.write(channel.receive_until(args.rekeys))
        channel.close()
        sys.stdout.buffer.write(channel.receive_all())
    return None


if __name__ == '__main__':
    try:
        main()
    except Refused as refused:
        sys.exit(f'refused: {refused}')
