#!/usr/bin/python3
"""Random and hostile transactions for a ledger's contract, as a stream of batches (docs/PROTOCOL.ledger, "troth ledger apply").

    ledger_generator.py SEED COUNT > STREAM             the same seed and count give the same bytes
    ledger_generator.py --roots SEED COUNT > STREAM     a story in which roots of trust live, too

A small world of owners, actors, processors, registrars and members goes about its business; about every second transaction has something wrong with it: another
signer, a field too many, a wider grant, a revoked one, another chain's, one sent before, one bit more. What is wrong is chosen at random, so it also happens to be wrong in several ways at once.
"""
import hashlib
import random
import struct
import sys

import cbor2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ledger_evaluator import address_of, address_text, bstr, encode, lv

ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
START = 1_800_000_000_000
YEAR = 365 * 24 * 3600 * 1000
TIME_BOUND, SPOOL_BOUND = 300_000, 86_400_000
ALL = 2 ** 64 - 1


def public(secret):
    key = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def one_time(number):
    """1/k and r of one signature. They are used again and again, which gives the private keys away to everybody who counts; these keys
    are no secret, signing is quick so, and the same story has the same bytes."""
    k = int.from_bytes(hashlib.sha256(b'ledger generator k %d' % number).digest(), 'big') % (ORDER - 1) + 1
    return pow(k, -1, ORDER), int.from_bytes(public(k)[1:33], 'big') % ORDER


ONE_TIME = [one_time(n) for n in range(256)]


class Person:
    def __init__(self, name):
        self.secret = secret = int.from_bytes(hashlib.sha256(b'ledger generator ' + name.encode()).digest(), 'big') % (ORDER - 1) + 1
        self.point = public(secret)
        self.address = address_of(self.point)
        self.text = address_text(self.address)
        self.kid = hashlib.sha256(bytes.fromhex('3059301306072a8648ce3d020106082a8648ce3d030107034200') + self.point).digest()

    def sign(self, data):
        digest = hashlib.sha256(data).digest()
        inverse, r = ONE_TIME[digest[0]]
        s = inverse * (int.from_bytes(digest, 'big') + r * self.secret) % ORDER
        return r.to_bytes(32, 'big') + s.to_bytes(32, 'big')


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.owners = [Person(f'owner {i}') for i in range(3)]
        self.actors = [Person(f'actor {i}') for i in range(6)]
        self.processors = [Person(f'processor {i}') for i in range(2)]
        self.registrars = [Person(f'registrar {i}') for i in range(3)]
        self.members = [Person(f'member {i}') for i in range(3)]
        self.strangers = [Person(f'stranger {i}') for i in range(2)]
        self.everybody = self.owners + self.actors + self.processors + self.registrars + self.members + self.strangers
        self.codes = [bytes([n]) * 48 for n in range(1, 6)]
        self.vmms = [bytes([n]) * 48 for n in range(0x41, 0x43)]
        self.launches = [bytes([n]) * 16 for n in range(3)]
        self.now, self.seq = START, 0
        self.versions, self.grants, self.sent, self.requests = {}, [], [], []
        self.chain = bytes(32)

    # ---- Chance, by getrandbits alone: the same in every version of Python

    def below(self, n):
        return self.random.getrandbits(40) % n

    def pick(self, items):
        return items[self.below(len(items))]

    def chance(self, percent):
        return self.below(100) < percent

    def some(self, items, most=3):
        return [item for item in items if self.chance(40)][:most] or [self.pick(items)]

    def bytes(self, n):
        return self.random.getrandbits(8 * n).to_bytes(n, 'big')

    # ---- Objects

    def mangled(self, payload):
        """Bytes that say almost the same: most are not in the one form."""
        way = self.below(10)
        at = self.below(len(payload))
        if way == 0:
            return payload + b'\0'
        if way == 1:
            return payload[:at]
        if way == 2 and payload[1:3] == b'\x01\x01':
            return payload[:1] + b'\x01\x18\x01' + payload[3:]
        if way == 3:
            return b'\xbf' + payload[1:] + b'\xff'
        if way == 4:
            return bytes([payload[0] + 1]) + payload[1:] + b'\x18\x40\xf6'
        if way == 5:
            return bytes([payload[0] - 1]) + payload[3:]
        if way == 6:
            return payload[:1] + b'\x20' + payload[2:]
        if way == 7:
            return payload[:at] + self.bytes(1 + self.below(3)) + payload[at:]
        if way == 8:
            return payload[:at] + self.bytes(1) + payload[at + 1:]
        flipped = bytearray(payload)
        flipped[at] ^= 1 << self.below(8)
        return bytes(flipped)

    def signed(self, label, fields, signer, hostile=3):
        """COSE_Sign1 and oid. In `hostile` of a hundred something of form or signature is wrong."""
        payload = encode(fields)
        way = self.below(6) if self.chance(hostile) else None
        if way == 0:
            payload = self.mangled(payload)
        elif way == 1:
            signer = self.pick(self.everybody)
        elif way == 2:
            payload = encode({**fields, 2: self.bytes(32)})
        elif way == 3:
            kept = fields[3] if isinstance(fields.get(3), bytes) and len(fields[3]) == 65 else b'\4' + bytes(64)
            payload = encode({**fields, 3: self.pick([bytes([2]) + kept[1:], kept[:64] + bytes([kept[64] ^ 1]), b'\4' + bytes(64)])})
        tbs = b'\x84\x6aSignature1\x43\xa1\x01\x26' + bstr(label) + bstr(payload)
        seal = signer.sign(self.pick([tbs + b'\0', tbs[1:]]) if way == 4 else tbs)
        data = b'\xd2\x84\x43\xa1\x01\x26\xa0' + bstr(payload) + b'\x58\x40' + seal
        if way == 5:
            data = self.pick([data[1:], data + b'\0', data[:-1], data[:6] + b'\xa1\x04\x40' + data[7:], data[:-64] + bytes(64),
                              data[:2] + b'\x44\xa1\x01\x38\x06' + data[6:], b'\xd8' + data, data[:-64] + ORDER.to_bytes(32, 'big') + seal[32:]])
        return data, hashlib.sha256(tbs).digest()

    def transaction(self, sender, kind, body, hostile=6):
        fields = {1: 1, 2: self.chain, 3: sender.point, 4: self.bytes(32), 5: self.now + 1 + self.below(600_000), 6: kind, 7: encode(body)}
        if self.chance(hostile):
            way = self.below(9)
            if way == 0:
                fields[5] = self.now - self.below(2000)
            elif way == 1:
                fields[5] = self.now + 600_001 + self.below(3) * 10 ** 9
            elif way == 2:
                fields[6] = self.pick([0, 13, 255, 1 + self.below(12)])
            elif way == 3:
                fields[7] = self.mangled(fields[7])
            elif way == 4:
                fields[2] = self.bytes(32)
            elif way == 5:
                fields[7] = fields[7] + bytes(self.pick([1, 49152 - len(fields[7]) if len(fields[7]) < 49152 else 1, 57344]))
            elif way == 6 and self.sent:
                return self.pick(self.sent)
            elif way == 7:
                fields[7] = self.bytes(1 + self.below(40))
            elif way == 8:
                fields[5] = self.pick([0, ALL, self.now, self.now + 600_000])
        data, _ = self.signed(b'troth transaction', fields, sender, hostile // 2)
        if hostile and self.chance(1):
            data = self.pick([data[:self.below(len(data))], data + bytes(60000), b'', self.bytes(200)])
        if self.chance(20) or len(self.sent) < 4:
            self.sent = (self.sent + [data])[-40:]
        return data

    def scope(self, owner, depth=None):
        parts = [self.pick(['lab', 'ward', 'x', 'Rows.csv', 'a_b-c']) for _ in range(self.below(4) if depth is None else depth)]
        return '/'.join([owner.text] + parts)

    def bad_scope(self, scope):
        return self.pick([scope + '/', scope + '//x', scope + '/.x', scope + '/-x', scope + '/' + 'p' * 64, scope + '/a' * 17, scope.upper(), 'troth1qqqq',
                          scope[1:], scope + '/ü', scope[:20] + 'q' + scope[21:], scope + '/' + 'q' * 63, scope + 'x', scope + '/p q', '/' + scope])

    def mask(self):
        return self.pick([1, 2, 3, 5, 0xff, ALL, 1 << 40 | 1, 1 << self.below(64)])

    def codes_or_null(self):
        return None if self.chance(50) else sorted(self.some(self.codes))

    # ---- Grants

    def grant(self, issuer, audience, parent=None):
        """A link that is good, or within what chance makes of it."""
        if parent is None:
            g = {5: self.scope(issuer), 6: self.mask(), 7: self.codes_or_null(), 8: START - self.below(10) * 1000,
                 9: START + self.pick([YEAR, YEAR, YEAR, 60_000 + self.below(3_000_000)]), 10: self.pick([None, None, 1, 2, 5, 1000]), 11: self.pick([0, 1, 2, 3, 7, 7]), 12: None}
        else:
            up, oid = parent
            g = {5: up[5] + self.pick(['', '', '/lab', '/x']), 6: up[6] & self.pick([up[6], up[6], 0xff, 3]) or up[6],
                 7: up[7] and up[7][:1 + self.below(len(up[7]))], 8: up[8] + self.below(2), 9: up[9] - self.below(2),
                 10: up[10] and 1 + self.below(up[10]), 11: max(0, up[11] - 1 - self.below(2) // 2), 12: oid}
            if len(g[5]) > 250:
                g[5] = up[5]
            if up[7] is None and self.chance(30):
                g[7] = self.codes_or_null()
            if up[10] is None and self.chance(30):
                g[10] = 3
        g = {1: 1, 2: self.chain, 3: issuer.point, 4: audience.address, **g, 13: self.bytes(32)}
        if self.chance(18):
            up = parent[0] if parent else g
            for field, value in [self.pick([
                    (5, self.bad_scope(g[5])), (5, up[5].rpartition('/')[0] or up[5]), (5, up[5] + 'x'), (5, self.scope(self.pick(self.owners))),
                    (6, 0), (6, up[6] | 1 << self.below(64)), (7, None), (7, self.codes), (7, sorted(self.some(self.codes))), (7, [self.codes[1], self.codes[0]]),
                    (7, [self.codes[0]] * 2), (7, []), (8, up[8] - 1), (8, g[9]), (8, g[9] + 1), (9, up[9] + 1), (9, self.now - 1), (10, 0), (10, None),
                    (10, (up[10] or 5) + 1), (10, ALL), (10, ALL + 1), (11, up[11]), (11, 8), (11, min(7, up[11] + 1)), (12, None), (12, self.bytes(32)), (4, self.pick(self.everybody).address),
                    (3, self.pick(self.everybody).point)])]:
                g[field] = value
        data, oid = self.signed(b'troth grant', g, issuer)
        return g, oid, data, audience

    def new_chain(self):
        """A root grant, or one more link below one that is there."""
        if self.grants and self.chance(60):
            links = self.pick(self.grants)
            up = links[-1]
            issuer = up[3] if self.chance(95) else self.pick(self.everybody)
            links = links + [self.grant(issuer, self.pick(self.actors), (up[0], up[1]))]
        else:
            owner = self.pick(self.owners)
            links = [self.grant(owner if self.chance(97) else self.pick(self.everybody), self.pick(self.actors))]
        if len(links) <= 10:
            self.grants = (self.grants + [links])[-50:] if len(self.grants) < 50 else self.replaced(links)
        return links

    def replaced(self, links):
        self.grants[self.below(50)] = links
        return self.grants

    def links(self, chain):
        """As bytes, in order; now and then out of it."""
        data = [link[2] for link in chain]
        if self.chance(4):
            data = self.pick([data[::-1], data[1:], data[:-1], data + data[-1:], data * 5, data[:1] + [self.bytes(30)], []])
        return [d for d in data if d][:8 if self.chance(90) else 9]

    # ---- Transactions

    def tx_grant(self):
        links = self.new_chain()
        sender = self.pick([links[-1][3], self.of(links[-1][0][3]), self.of(links[0][0][3]), self.pick(self.everybody)])
        return self.transaction(sender, 4, {1: self.links(links)})

    def of(self, point):
        return next((p for p in self.everybody if p.point == point), self.strangers[0])

    def tx_revoke(self):
        if not self.grants:
            return self.tx_grant()
        links = self.pick(self.grants)
        links = links[:1 + self.below(len(links))] if self.chance(50) else links
        sender = self.of(self.pick(links)[0][3]) if self.chance(75) else self.pick(self.everybody)
        target = links[-1][1] if self.chance(92) else self.bytes(32)
        return self.transaction(sender, 5, {1: [] if self.chance(35) else self.links(links), 2: target})

    def tx_access(self):
        owner = self.pick(self.owners)
        scope = self.scope(owner, self.below(3))
        rules = []
        for _ in range(self.below(4)):
            rule_scope = scope + self.pick(['', '', '/lab', '/x/ward']) if self.chance(95) else self.pick([self.bad_scope(scope), owner.text, self.scope(self.owners[0])])
            rules.append({1: self.pick([1, 1, 1, 2]) if self.chance(98) else 0, 2: None if self.chance(30) else sorted(p.address for p in self.some(self.actors)),
                          3: self.mask() if self.chance(98) else 0, 4: rule_scope, 5: self.codes_or_null()})
        version = self.versions.get(scope, 0) + 1
        if self.chance(93):
            self.versions[scope] = version
        else:
            version = self.pick([0, version - 1, version + 1, ALL])
        name = scope if self.chance(97) else self.bad_scope(scope)
        return self.transaction(owner if self.chance(95) else self.pick(self.everybody), 3, {1: name, 2: version, 3: rules}, 3)

    def tx_register(self):
        subject = self.pick([1, 3, 3, 3, 2, 4, 0])
        digest = self.pick(self.vmms if subject == 1 else self.codes)
        body = {1: subject, 2: digest, 3: self.pick(['', 'model', 'host']), 4: START - 1000, 5: START + self.pick([YEAR, YEAR, 600_000 + self.below(10 ** 7)])}
        if self.chance(3):
            body[4] = body[5]
        return self.register(body, self.some(self.registrars) if self.chance(85) else [self.pick(self.everybody)] * (1 + self.below(2)))

    def register(self, body, registrars, sender=None):
        said = {4: body[1], 5: body[2], 6: body[3], 7: body[4], 8: body[5]}
        if sender is None and self.chance(6):
            said[self.pick([7, 8])] += 1
        signed = [self.signed(b'troth registration', {1: 1, 2: self.chain, 3: r.point, **said}, r, 0 if sender else 3)[0] for r in registrars]
        return self.transaction(sender or self.pick(self.everybody), 1, {**body, 6: [s for s in signed if s]}, 0 if sender else 6)

    def tx_unregister(self):
        if self.chance(50):  # so that there is something to work with: most are put back
            return self.register({1: 3, 2: self.pick(self.codes), 3: 'again', 4: START - 1000, 5: START + YEAR}, self.registrars[:2], self.members[0])
        subject = self.pick([1, 3, 3, 2, 4])
        sender = self.pick(self.registrars + self.members) if self.chance(30) else self.pick(self.everybody)
        return self.transaction(sender, 2, {1: subject, 2: self.pick(self.vmms if subject == 1 and self.chance(10) else self.codes), 3: 'because'})

    def tx_vmm(self):
        return self.register({1: 1, 2: self.pick(self.vmms), 3: 'host', 4: START - 1000, 5: START + YEAR}, self.registrars[:2], self.processors[0])

    def request(self, actor, scope, code, bit, spooled):
        if self.requests and self.chance(4):
            return self.pick(self.requests)
        fields = {1: 1, 2: self.chain, 3: actor.point, 4: bit, 5: scope, 6: code if self.chance(40) else None, 7: self.bytes(32),
                  8: self.now + self.below(600_000)}
        if self.chance(4):
            field, value = self.pick([(4, 64), (5, self.bad_scope(scope)), (6, self.pick(self.codes)), (8, self.now - self.below(400_000)), (8, self.now + 600_001),
                                      (8, self.now + SPOOL_BOUND + 600_000 + self.below(2)), (8, ALL)])
            fields[field] = value
        data, _ = self.signed(b'troth access request', fields, actor, 2)
        self.requests = (self.requests + [data])[-20:]
        return data or b'\0'

    def tx_operation(self):
        code, links = self.pick(self.codes), []
        way = self.below(10)
        if self.grants and way < 6:
            links = self.pick(self.grants)
            grant = links[-1][0]
            bits = [b for b in range(64) if grant[6] >> b & 1]
            actor, bit = links[-1][3], self.pick(bits) if bits else 0
            scope = grant[5] + self.pick(['', '/lab', '/x'])
            if grant[7]:
                code = self.pick(grant[7]) if self.chance(90) else code
        elif way < 8:
            actor, bit, scope = self.pick(self.actors), self.below(8), self.scope(self.pick(self.owners))
        else:
            actor = self.pick(self.owners)
            bit, scope = self.below(8), self.scope(actor)
        if self.chance(8):
            actor, bit, scope = self.pick([(self.pick(self.everybody), bit, scope), (actor, self.below(64), scope), (actor, bit, self.scope(self.pick(self.owners)))])
        kind = self.pick([6, 6, 6, 7])
        when = self.now - self.below(TIME_BOUND if kind == 6 else SPOOL_BOUND) // 4
        if self.chance(3):
            when = self.pick([self.now + TIME_BOUND, self.now + TIME_BOUND + 1, self.now - TIME_BOUND, self.now - TIME_BOUND - 1, self.now - SPOOL_BOUND, self.now - SPOOL_BOUND - 1, 0, ALL])
        processor = self.pick(self.processors) if self.chance(96) else self.pick(self.everybody)
        operation = {1: 1, 2: self.chain, 3: processor.point, 4: self.pick(self.vmms) if self.chance(97) else self.pick(self.codes), 5: self.bytes(32),
                     6: self.request(actor, scope, code, bit, kind == 7), 7: self.bytes(32), 8: when, 9: code, 10: None if self.chance(50) else self.bytes(32)}
        data, _ = self.signed(b'troth operation', operation, processor, 2)
        return self.transaction(self.pick(self.processors) if self.chance(50) else self.pick(self.everybody), self.pick([kind] * 30 + [6, 7]), {1: data or b'\0', 2: self.links(links)})

    def tx_secure_mode(self):
        sender = self.pick(self.processors) if self.chance(80) else self.pick(self.everybody)
        return self.transaction(sender, 8, {1: self.pick(self.codes[:2]), 2: self.pick(self.launches), 3: self.chance(50), 4: self.when()})

    def when(self):
        return self.now + (self.below(2 * TIME_BOUND) - TIME_BOUND if self.chance(95) else self.pick([TIME_BOUND + 1, -TIME_BOUND - 1, TIME_BOUND, -TIME_BOUND]))

    def tx_event(self):
        sender = self.pick(self.processors) if self.chance(80) else self.pick(self.everybody)
        return self.transaction(sender, 9, {1: self.below(4), 2: self.pick(['key 7', 'ü']), 3: self.bytes(32), 4: self.when()})

    def tx_floor(self):
        sender = self.pick(self.members + self.registrars) if self.chance(80) else self.pick(self.everybody)
        return self.transaction(sender, 11, {1: self.below(4), 2: self.pick(['policy', 'list', 'ä']), 3: self.bytes(32), 4: self.below(50) if self.chance(95) else self.pick([0, 2 ** 63, 1])})

    def tx_epoch(self):
        """What is no record of an epoch is for the table of bodies alone."""
        return self.transaction(self.pick(self.everybody), 10, self.pick([{1: b''}, {1: b'', 2: []}, {2: []}, {1: b'x', 2: [b'']}, []]))

    def config(self, seq, hostile):
        fields = {1: 1, 2: self.chain if seq else bytes(32), 3: seq, 4: sorted(m.point for m in self.members), 5: 2, 6: sorted(r.point for r in self.registrars), 7: 2,
                  8: sorted(p.point for p in self.processors), 9: 'example.com/ledger', 10: bytes([7]) * 32, 11: [], 12: TIME_BOUND, 13: SPOOL_BOUND}
        signers = self.some(self.members) if hostile else self.members[:2]
        if hostile and self.chance(60 if seq else 40):
            field, value = self.pick([(2, self.bytes(32)), (3, seq - 1), (3, seq + 1), (5, 0), (5, 4), (5, 33), (7, 4), (7, 0), (11, [{1: 'w', 2: bytes(32), 3: 0}]), (4, []),
                                      (4, fields[4][::-1]), (9, ''), (10, b'')])
            fields[field] = value
        if hostile and self.chance(20):
            signers = signers + [self.strangers[0]]
        payload = self.payload = encode(fields)
        if not seq and not hostile:
            self.chain = hashlib.sha256(b'troth chain1' + lv(payload)).digest()
        rows = []
        for person in sorted(signers, key=lambda p: p.kid):
            header = bytes.fromhex('a20126045820') + person.kid
            tbs = b'\x85\x69Signature\x40' + bstr(header) + bstr(b'troth ledger config') + bstr(payload)
            rows.append([header, {}, person.sign(tbs if not hostile or self.chance(90) else tbs + b'\0')])
        if hostile and not seq:
            rows = rows[:1]
        if hostile and self.chance(10):
            rows = rows[::-1] + rows[:1]
        return encode(cbor2.CBORTag(98, [b'', {}, payload, rows])), not hostile

    def tx_config(self):
        hostile = self.chance(85)
        data, good = self.config(self.seq + 1, hostile)
        if good:
            self.seq += 1
            return self.transaction(self.members[0], 12, {1: data}, 0)
        # Should chance have made a good one after all, the story goes on from it: it is not sent by a stranger alone.
        return self.transaction(self.pick(self.everybody), 12, {1: self.broken(data)})

    def broken(self, data):
        """No configuration that is hostile may come into force: the generator would not know its number."""
        way = self.below(3)
        if way == 0:
            return data[:-1] + bytes([data[-1] ^ 1])
        if way == 1:
            return self.mangled(data)
        return data.replace(encode({3: self.seq + 1})[1:], encode({3: self.seq + 2})[1:], 1) if self.seq < 20 else data[:-1]

    def first(self):
        """Before the first configuration nothing counts; then that, and what the story needs."""
        self.chain = self.bytes(32)
        early = [self.tx_event(), self.tx_grant()]
        self.grants = []
        for _ in range(6):
            data, _ = self.config(0, True)
            self.chain = self.pick([hashlib.sha256(b'troth chain1' + lv(self.payload)).digest(), bytes(32), self.bytes(32)]) if self.chance(90) else bytes(32)
            early.append(self.transaction(self.members[0], 12, {1: self.pick([data, data, data[:-1], data + b'\0', self.bytes(9)])}, 0))
        data, _ = self.config(0, False)
        early.append(self.transaction(self.members[0], 12, {1: data}, 0))
        for digest in self.codes[:4]:
            early.append(self.register({1: 3, 2: digest, 3: 'model', 4: START - 1000, 5: START + YEAR}, self.registrars[:2], self.members[0]))
        for digest in self.vmms:
            early.append(self.register({1: 1, 2: digest, 3: 'host', 4: START - 1000, 5: START + YEAR}, [], self.processors[0]))
        return early

    MENU = [('operation', 48), ('grant', 20), ('revoke', 4), ('access', 8), ('register', 3), ('unregister', 3), ('vmm', 1), ('secure_mode', 4), ('event', 3), ('floor', 3),
            ('epoch', 1), ('config', 2)]
    WORDS = [name for name, weight in MENU for _ in range(weight)]

    def batches(self, count):
        """(time, transactions); `count` transactions in all, beside those at the beginning."""
        yield self.now, [b'no transaction']
        yield self.now, []
        yield self.now, self.first()
        while count > 0:
            if self.chance(30):
                self.now += self.pick([0, 1, 1000, 30_000, 400_000])
            size = min(count, self.pick([1, 3, 16, 64, 64]))
            count -= size
            yield self.now, [getattr(self, 'tx_' + self.pick(self.WORDS))() for _ in range(size)]


class RootGenerator(Generator):
    """With roots of trust: epochs that follow, fork, are halted and recovered, and operations that their keys sign."""
    MENU = [(name, weight) for name, weight in Generator.MENU if name != 'epoch'] + [('root', 70), ('epoch', 1)]
    WORDS = [name for name, weight in MENU for _ in range(weight)]

    def __init__(self, seed):
        super().__init__(seed)
        self.officers = [Person(f'officer {i}') for i in range(4)]
        self.roots, self.people, self.seed, self.spoiled = [], 0, seed, False

    def person(self):
        self.people += 1
        return Person(f'epoch {self.seed} {self.people}')

    def keys(self):
        """What an epoch will have: signing key, key for secrets, salt."""
        return self.person(), self.pick(self.everybody).point, self.bytes(32)

    def sealed(self, payload, label, signers):
        rows = []
        for person in sorted({p.kid: p for p in signers}.values(), key=lambda p: p.kid):
            header = bytes.fromhex('a20126045820') + person.kid
            tbs = b'\x85\x69Signature\x40' + bstr(header) + bstr(label) + bstr(payload)
            rows.append([header, {}, person.sign(tbs if self.chance(98) else tbs + b'\0')])
        return encode(cbor2.CBORTag(98, [b'', {}, payload, rows]))

    def recovery_set(self):
        if self.chance(15):
            return None
        kids = sorted(p.kid for p in self.some(self.officers, 4))
        return {1: 1 + self.below(min(2, len(kids))), 2: len(kids), 3: kids}

    def record(self, root, before, reason):
        """One behind `before`, a row of (fields, oid, signing key, keys to come); None: the first."""
        fields_before = before[0] if before else None
        current = before[3] if before and reason != 5 else self.keys()
        coming = self.keys()
        signer, kem, salt = current
        counter = fields_before[15] if before else {1: self.below(2), 2: 0}
        if counter[1]:
            counter = {1: 1, 2: counter[2] + 1 + self.below(3)}
        fields = {1: 1, 2: root if before else bytes(32), 3: fields_before[3] + (reason == 5) if before else 0, 4: fields_before[4] + 1 if before else 1,
                  5: before[1] if before else bytes(32), 6: 1, 7: signer.point, 8: kem, 9: salt,
                  10: hashlib.sha256(b'troth rot next' + coming[0].point + coming[1] + coming[2]).digest(),
                  11: fields_before[11] if before and reason != 4 else self.recovery_set(), 12: START - 1000, 13: self.now + self.pick([YEAR, 300_000, 30_000]),
                  14: self.pick([0, 30, 3600]), 15: counter if counter[1] else {1: 0, 2: 0}, 16: bytes(48), 17: 1, 18: reason}
        self.spoiled = self.chance(15)
        if self.spoiled:
            field, value = self.pick([(2, self.bytes(32)), (3, fields[3] + 1), (4, fields[4] + 1), (4, fields[4] - 1 if fields[4] else 0), (5, self.bytes(32)), (6, 2), (9, self.bytes(32)),
                                      (11, None), (11, self.recovery_set()), (13, 1), (15, {1: 0, 2: 0}), (15, {1: 0, 2: 1}), (15, {1: 1, 2: 0}), (17, 2), (18, self.below(6)),
                                      (7, before[2].point if before else signer.point), (8, b'\4' + bytes(64))])
            fields[field] = value
        signers = [signer] + ([before[2]] if before and reason != 5 else [])
        if before and (reason in (4, 5) or self.chance(3)):
            wanted = (fields_before[11] or {3: []})[3]
            signers += [p for p in self.officers if (p.kid in wanted and self.chance(85)) or self.chance(3)]
        if self.chance(3):
            signers = signers[1:] or [self.pick(self.everybody)]
        payload = encode(fields)
        oid = hashlib.sha256(b'\x84\x69Signature\x40' + bstr(b'troth epoch') + bstr(payload)).digest()
        return (fields, oid, signer, coming), self.sealed(payload, b'troth epoch', signers)

    def shown_keys(self):
        spki = bytes.fromhex('3059301306072a8648ce3d020106082a8648ce3d030107034200')
        return [spki + p.point for p in self.officers if self.chance(95)] + ([self.bytes(91)] if self.chance(1) else [])

    def tx_root(self):
        if not self.roots or self.chance(8):
            row, data = self.record(None, None, 0)
            if not self.spoiled:
                self.roots = (self.roots + [(row[1], [row])])[-4:]
            return self.transaction(self.pick(self.members) if self.chance(90) else self.pick(self.everybody), 10, {1: data, 2: []}, 3)
        rot_id, rows = self.pick(self.roots)
        if self.chance(6):
            base = self.pick(rows)
            payload = encode({1: 1, 2: rot_id, 3: base[0][3], 4: base[0][4] + (self.below(8) == 0)})
            wanted = (base[0][11] or {3: []})[3]
            data = self.sealed(payload, b'troth halt', [p for p in self.officers if p.kid in wanted or self.chance(3)] or [self.officers[0]])
            return self.transaction(self.pick(self.everybody), 10, {1: data, 2: self.shown_keys()}, 3)
        before = rows[-1] if self.chance(90) else self.pick(rows)
        row, data = self.record(rot_id, before, self.pick([1, 1, 2, 3, 3, 4, 4, 5]))
        if not self.spoiled or self.chance(5):
            rows.append(row)
        if len(rows) > 2 and self.chance(12):
            del rows[1 + self.below(len(rows) - 1):]
        return self.transaction(self.pick(self.everybody), 10, {1: data if self.chance(97) else self.mangled(data), 2: self.shown_keys()}, 3)

    def tx_operation(self):
        """Some are signed by the key of an epoch."""
        if not self.roots or self.chance(60):
            return super().tx_operation()
        kept = self.processors
        self.processors = [self.pick(self.pick(self.roots)[1][-3:])[2]]
        try:
            return super().tx_operation()
        finally:
            self.processors = kept


def frame(now, transactions):
    return struct.pack('>QI', now, len(transactions)) + b''.join(lv(tx) for tx in transactions)


def main():
    made = RootGenerator if sys.argv[1:2] == ['--roots'] else Generator
    words = sys.argv[1 + (made is RootGenerator):]
    if len(words) != 2:
        sys.exit(__doc__)
    for now, transactions in made(int(words[0])).batches(int(words[1])):
        sys.stdout.buffer.write(frame(now, transactions))


if __name__ == '__main__':
    main()
