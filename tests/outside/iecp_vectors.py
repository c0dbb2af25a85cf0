#!/usr/bin/python3
"""Makes tests/unit/enclave/vectors/iecp-suite1.json with the outside client: fixed seeds, every value by its name. With the
argument `rekey`: iecp-rekey.json, a channel from its first record on; with `suite2`: iecp-suite2.json.

Run by hand when the protocol changes; signatures are random, so each run gives other bytes. Troth's own code has no part
in it, which is what makes the vectors worth something.
"""
import datetime
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric import ec

import iecp_client as iecp

NOT_BEFORE = datetime.datetime(2026, 1, 1)
NOT_AFTER = datetime.datetime(2027, 1, 1)
NOW = datetime.datetime(2026, 6, 1)


def stream(seed):
    """Deterministic bytes: SHA-256(seed ‖ counter)."""
    state = {'count': 0, 'drawn': b''}

    def draw(count):
        out = b''
        while len(out) < count:
            out += hashlib.sha256(seed + state['count'].to_bytes(4, 'big')).digest()
            state['count'] += 1
        state['drawn'] += out[:count]
        return out[:count]
    return draw, state


def key(seed48):
    return ec.derive_private_key(int.from_bytes(seed48, 'big') % (iecp.ORDER - 1) + 1, iecp.CURVE)


def side(name, epoch, evidence):
    draw, _ = stream(b'keys of ' + name)
    seeds = {'sign': draw(48), 'kem': draw(48), 'issuer': draw(48)}
    keys = {what: key(seed) for what, seed in seeds.items()}
    uri = 'spiffe://vectors.example/ire/' + name.decode()
    leaf = iecp.make_leaf(keys['sign'], keys['kem'], keys['issuer'], uri, NOT_BEFORE, NOT_AFTER, 1 + len(name))
    own = iecp.Identity(keys['sign'], keys['kem'], leaf, epoch, evidence)
    own.draw, random = stream(b'random of ' + name)
    own.ephemeral = lambda: key(own.draw(48))
    signatures = []

    def sign(message):
        signatures.append(iecp.ES256(keys['sign'], message))
        return signatures[-1]
    own.sign = sign
    return own, keys, seeds, random, signatures


def handshake(rooted, psk, psk_id, suites=(iecp.SUITE,)):
    epochs = [hashlib.sha256(b'rot').digest() + bytes([0, 0, 0, 1]) + bytes(7) + bytes([5]) +
        hashlib.sha256(b'epoch').digest()] * 2 if rooted else [iecp.NO_EPOCH] * 2
    evidence = (lambda bind: b'evidence over ' + bind) if rooted else (lambda bind: b'')
    a, keys_a, seeds_a, random_a, signed_a = side(b'alice', epochs[0], evidence)
    b, keys_b, seeds_b, random_b, signed_b = side(b'bob', epochs[1], evidence)
    initiator = iecp.Initiator(a, [keys_b['issuer'].public_key()], NOW, suites, psk=psk, psk_id=psk_id)
    responder = iecp.Responder(b, [keys_a['issuer'].public_key()], NOW, suites, psk=psk, psk_id=psk_id)
    m1 = initiator.m1()
    m2 = responder.m2(m1)
    m3 = initiator.m3(m2)
    responder.accept(m3)
    k = responder.keys
    assert k.master == initiator.keys.master
    out_i, out_r = iecp.Direction(k.tsI), iecp.Direction(k.tsR)
    records = [('i', 1, b'ping'), ('r', 1, b'pong'), ('i', 1, bytes(range(256))), ('i', 2, b''), ('r', 6, b'\x02\xc6')]
    values = {name: getattr(k, name) for name in (
        'ss', 'psk', 'P', 'kek', 'S', 'kR', 'kI', 'fR', 'fI', 'bindR', 'bindI', 'master', 'tsI', 'tsR', 'channel_id',
        'psk_next', 'exporter')}
    values.update({f'th{step}': value for step, value in k.th.items()}, K_B=responder.drawn)

    def party(own, seeds, random, signatures):
        return {'sign_seed': seeds['sign'].hex(), 'kem_seed': seeds['kem'].hex(), 'issuer_seed': seeds['issuer'].hex(),
            'certificate': own.leaf.hex(), 'epoch': own.epoch.hex(), 'random': random['drawn'].hex(),
            'signature': signatures[0].hex(),
            'evidence': own.evidence(k.bindI if own is a else k.bindR).hex()}
    return {
        'now_ms': int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000),
        'psk_id': psk_id.hex(), 'psk_given': psk.hex(),
        'initiator': party(a, seeds_a, random_a, signed_a), 'responder': party(b, seeds_b, random_b, signed_b),
        'm1': m1.hex(), 'm2': m2.hex(), 'm3': m3.hex(),
        'values': {name: value.hex() for name, value in values.items()},
        'records': [{'from': who, 'type': kind, 'plain': plain.hex(),
            'record': (out_i if who == 'i' else out_r).seal(kind, plain).hex()} for who, kind, plain in records],
    }


class Tape:
    """Two sides of a channel; every record on its way is written down, with who sent it and why."""

    def __init__(self):
        self.parties = [side(name, iecp.NO_EPOCH, lambda bind: b'') for name in (b'alice', b'bob')]
        (a, keys_a, *_), (b, keys_b, *_) = self.parties
        pins = [keys_b['issuer'].public_key()], [keys_a['issuer'].public_key()]
        initiator, responder = iecp.Initiator(a, pins[0], NOW), iecp.Responder(b, pins[1], NOW)
        m1 = initiator.m1()
        m2 = responder.m2(m1)
        m3 = initiator.m3(m2)
        responder.accept(m3)
        self.messages = {'m1': m1.hex(), 'm2': m2.hex(), 'm3': m3.hex()}
        self.ends = [iecp.Records(iecp.I, initiator), iecp.Records(iecp.R, responder)]
        self.steps = []

    def collect(self, who, act, plain=b''):
        out, self.ends[who].outbox = self.ends[who].outbox, []
        end = self.ends[who]
        self.steps.append({'side': 'ir'[who], 'act': act, 'plain': plain.hex(), 'out': [record.hex() for record in out],
            'channel_id': end.id.hex(), 'psk_next': end.psk_next.hex(), 'sending': [end.out.gen, end.out.ts.hex()],
            'receiving': [end.into.gen, end.into.ts.hex()]})
        return out

    def act(self, who, act, plain=b''):
        """And delivers everything that follows from it."""
        do = {'data': lambda e: e.seal_data(plain), 'close': lambda e: e.seal_close(), 'keyupdate': lambda e: e.keyupdate(),
            'rekey': lambda e: e.rekey()}
        do[act](self.ends[who])
        self.deliver(who, self.collect(who, act, plain))

    def both_start(self):
        for who in (0, 1):
            self.ends[who].rekey()
        first = [self.collect(who, 'rekey') for who in (0, 1)]
        for who in (1, 0):
            self.deliver(who, first[who])

    def deliver(self, who, records):
        for record in records:
            self.ends[1 - who].take(record[:16], record[16:])
            self.deliver(1 - who, self.collect(1 - who, 'take'))


def rekey():
    tape = Tape()
    for who, act, plain in ((0, 'data', b'before'), (0, 'keyupdate', b''), (0, 'data', b'updated'), (1, 'data', b'first answer'),
            (0, 'rekey', b''), (0, 'data', b'new keys'), (1, 'data', b'new keys too'), (1, 'keyupdate', b''), (1, 'rekey', b''),
            (1, 'data', b'twice'), (0, 'data', b'thrice'), (0, 'close', b'')):
        tape.act(who, act, plain)
    tape.both_start()
    tape.act(1, 'data', b'the other direction')
    tape.act(1, 'close')
    assert [end.rekeys for end in tape.ends] == [3, 3]

    def party(own, keys, seeds, random, signatures):
        return {'sign_seed': seeds['sign'].hex(), 'kem_seed': seeds['kem'].hex(), 'issuer_seed': seeds['issuer'].hex(),
            'certificate': own.leaf.hex(), 'epoch': own.epoch.hex(), 'random': random['drawn'].hex(), 'evidence': '',
            'signature': signatures[0].hex(), 'signatures': [signature.hex() for signature in signatures]}
    return {'protocol': 'troth-iecp1', 'suite': 1, 'now_ms': int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000),
        'initiator': party(*tape.parties[0]), 'responder': party(*tape.parties[1]), **tape.messages, 'steps': tape.steps}


def suite_2():
    psk = hashlib.sha256(b'psk').digest()
    vectors = [
        {'name': 'pinned keys, no evidence', **handshake(False, b'', b'', (2, 1))},
        {'name': 'root of trust, evidence, suite 2 alone', **handshake(True, b'', b'', (2,))},
        {'name': 'with the psk of an earlier channel', **handshake(True, psk, hashlib.sha256(b'id').digest(), (2, 1))},
    ]
    return {'protocol': 'troth-iecp1', 'suite': 2, 'handshakes': vectors}


def main():
    if sys.argv[1:] == ['suite2']:
        json.dump(suite_2(), sys.stdout, indent=1)
        return print()
    if sys.argv[1:] == ['rekey']:
        json.dump(rekey(), sys.stdout, indent=1)
        return print()
    psk = hashlib.sha256(b'psk').digest()
    vectors = [
        {'name': 'pinned keys, no evidence', **handshake(False, b'', b'')},
        {'name': 'root of trust, evidence', **handshake(True, b'', b'')},
        {'name': 'with the psk of an earlier channel', **handshake(True, psk, hashlib.sha256(b'id').digest())},
    ]
    json.dump({'protocol': 'troth-iecp1', 'suite': 1, 'handshakes': vectors}, sys.stdout, indent=1)
    print()


if __name__ == '__main__':
    main()
