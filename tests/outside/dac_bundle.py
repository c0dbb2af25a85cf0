#!/usr/bin/python3
"""Complete bundles of docs/PROTOCOL.dac with nothing but a CBOR and a crypto library: makes them, breaks them, judges them. It shares no
code with Troth.

    dac_bundle.py judge BUNDLE           what is wrong with it by itself, record by record (no trust file: whose root it is, is not asked)
    dac_bundle.py make FOLDER            a good bundle, its trust file, and one broken bundle for each name of BROKEN
"""
import base64
import collections
import copy
import datetime
import hashlib
import json
import os
import sys

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import iecp_client as iecp  # noqa: E402

ORIGIN, DERIVE, REQUEST, RESPONSE = 1, 2, 3, 4
(KIND, ENCLAVE, CERTIFICATE, REPORT, ROT_ID, ERA, EPOCH, SEQ, TIME, PARENTS, TARGET, CALL, OPERATION, IN, OUT, POLICY, LEDGER, RUN) = range(2, 20)
(ROOTS, RECORDS, CERTIFICATES, REPORTS, POLICIES, CHAINS, REFERENCES, PLATFORM, PROOFS, VERSIONS) = range(2, 12)
T0, SKEW, HOUR = 1800000000000, 60000, 3600000
PROTECTED = bytes.fromhex('a10126')


def dumps(item):
    return cbor2.dumps(item, canonical=True)


def ascending(items):
    return sorted(items, key=dumps)


def each_once(items):
    return ascending(set(items))


def signed_bytes(label, payload):
    return dumps(['Signature1', PROTECTED, label, payload])


def raw_signature(key, message):
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, 'big') + s.to_bytes(32, 'big')


def sign1(label, payload, key):
    return cbor2.dumps(cbor2.CBORTag(18, [PROTECTED, {}, payload, raw_signature(key, signed_bytes(label, payload))]))


def oid_of(label, payload):
    return hashlib.sha256(signed_bytes(label, payload)).digest()


def fresh_key():
    return ec.generate_private_key(ec.SECP256R1())


def spki_of(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


# ---- a bundle, read

class Record:
    def __init__(self, data, label=b'troth record'):
        self.data = data
        protected, unprotected, payload, self.signature = cbor2.loads(data).value
        assert protected == PROTECTED and unprotected == {}
        self.payload, self.body, self.oid = payload, cbor2.loads(payload), oid_of(label, payload)

    def __getitem__(self, field):
        return self.body[field]

    @property
    def parents(self):
        return [oid for _, oid in self.body[PARENTS]]

    def verifies(self, key, label=b'troth record'):
        pair = encode_dss_signature(int.from_bytes(self.signature[:32], 'big'), int.from_bytes(self.signature[32:], 'big'))
        try:
            key.verify(pair, signed_bytes(label, self.payload), ec.ECDSA(hashes.SHA256()))
            return True
        except InvalidSignature:
            return False


class Bundle:
    """`outer` is the map as it stands; records are taken apart."""

    def __init__(self, outer):
        self.outer = outer
        self.records = [Record(r) for r in outer[RECORDS]]

    def encode(self):
        return dumps(self.outer)


def read(data):
    outer = cbor2.loads(data)
    assert dumps(outer) == data and list(outer) == list(range(1, 12)) and outer[1] == 1
    for field in (ROOTS, CERTIFICATES, REPORTS, POLICIES, CHAINS, REFERENCES, PLATFORM, PROOFS, VERSIONS):
        assert outer[field] == ascending(outer[field]), f'list {field} is not in order'
    return Bundle(outer)


# ---- judged

def is_own(a, b):
    return a[CERTIFICATE] == b[CERTIFICATE]


def commits(pairs):
    return {c for _, c in pairs}


def shape(r):
    kind, parents, target = r[KIND], len(r[PARENTS]), r[TARGET]
    return {ORIGIN: not parents and not target and not r[CALL] and not r[IN] and r[OUT],
            DERIVE: parents and not target and not r[CALL] and not r[LEDGER],
            REQUEST: parents and target and r[CALL] and r[IN] and not r[OUT] and not r[LEDGER] and target != r[ENCLAVE],
            RESPONSE: parents and target and r[CALL] and r[OUT] and not r[LEDGER]}[kind]


class Judge:
    """Steps 3 to 16 of the page but policies and roots; the first step that fails, by record."""

    def __init__(self, bundle):
        self.bundle, self.by_oid, self.wrong = bundle, {r.oid: r for r in bundle.records}, {}
        self.certificates = {hashlib.sha256(c).digest(): x509.load_der_x509_certificate(c) for c in bundle.outer[CERTIFICATES]}
        self.reports = {}
        for data in bundle.outer[REPORTS]:
            report = Record(data, b'troth report')
            self.reports[report.oid] = report
        self.count(lambda r: (r[CERTIFICATE], r[SEQ]))
        self.count(lambda r: next((p for p in r.parents if p in self.by_oid and self.by_oid[p][KIND] == REQUEST and
                                   not is_own(self.by_oid[p], r)), None) if r[KIND] == RESPONSE else None)
        for record in bundle.records:  # parents come first
            if record.oid not in self.wrong and (reason := self.judge(record)):
                self.wrong[record.oid] = reason

    def count(self, place):
        places = collections.defaultdict(set)
        for record in self.bundle.records:
            if place(record) is not None and not self.alone(record):
                places[place(record)].add(record.oid)
        for oids in places.values():
            if len(oids) > 1:
                self.wrong.update(dict.fromkeys(oids, 'DAC_EQUIVOCATION'))

    def alone(self, r):
        certificate, report = self.certificates.get(r[CERTIFICATE]), self.reports.get(r[REPORT])
        if not certificate:
            return 'DAC_UNKNOWN_CERTIFICATE'
        if not report:
            return 'DAC_UNKNOWN_REPORT'
        if not r.verifies(certificate.public_key()):
            return 'BAD_SIGNATURE'
        if r[RUN] != self.bundle.records[0][RUN]:
            return 'DAC_FOREIGN_RUN'
        time = datetime.datetime.utcfromtimestamp(r[TIME] / 1000)
        if not certificate.not_valid_before <= time <= certificate.not_valid_after:
            return 'CERTIFICATE_EXPIRED'
        launch, uri = report[13], certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0].value
        same = (report[14] == r[CERTIFICATE] and launch[3] == r[RUN] and launch[7] == r[POLICY] and uri == r[ENCLAVE] and
                uri.endswith('/' + launch[4]) and (report[3], report[4], report[5]) == (r[ROT_ID], r[ERA], r[EPOCH]))
        return None if same else 'DAC_REPORT_MISMATCH'

    def judge(self, r):
        if reason := self.alone(r):
            return reason
        if any(p not in self.by_oid for p in r.parents):
            return 'DAC_MISSING_PARENT'
        if not shape(r):
            return 'DAC_KIND_RULE'
        if any(p in self.wrong for p in r.parents):
            return 'DAC_BROKEN_ANCESTOR'
        parents = [self.by_oid[p] for p in r.parents]
        for (uri, _), p in zip(r[PARENTS], parents):
            if uri != p[ENCLAVE]:
                return 'DAC_KIND_RULE'
            if is_own(p, r) and p[SEQ] >= r[SEQ]:
                return 'DAC_TIME'
            if not is_own(p, r):
                if p[TARGET] != r[ENCLAVE]:
                    return 'DAC_SPLICED'
                if not (r[KIND] in (DERIVE, RESPONSE) and p[KIND] in (REQUEST, RESPONSE)):
                    return 'DAC_KIND_RULE'
            if p[TIME] > r[TIME] + SKEW:
                return 'DAC_TIME'
        supplied = set()
        for p in parents:
            supplied |= commits(p[OUT])
            if p[KIND] == REQUEST and not is_own(p, r):
                supplied |= commits(p[IN])
        if not commits(r[IN]) <= supplied:
            return 'DAC_COMMITMENT'
        if r[KIND] == RESPONSE:
            asked = [p for p in parents if p[KIND] == REQUEST and not is_own(p, r)]
            if len(asked) != 1 or (asked[0][CALL], asked[0][OPERATION], asked[0][ENCLAVE]) != (r[CALL], r[OPERATION], r[TARGET]):
                return 'DAC_KIND_RULE'
        return None


def judge(bundle):
    """{oid: reason} of what is refused."""
    return Judge(bundle).wrong


# ---- a world that makes them

def policy(name, peers, depth=4, rots=()):
    entries = [{1: p, 2: 15} for p in sorted(peers)]
    fields = {1: 1, 2: 1, 3: 1, 4: name, 5: depth, 6: 1, 7: 2, 8: False, 9: ascending(rots) or 0}
    if entries:
        fields[10] = entries
    return dumps(fields)


class Root:
    def __init__(self):
        self.key = fresh_key()
        payload = dumps({1: 1, 2: bytes(32), 3: 0, 4: 1, 5: bytes(32), 6: 1, 7: iecp.point_of(self.key), 8: iecp.point_of(fresh_key()), 9: bytes(32),
                         10: hashlib.sha256(b'next').digest(), 11: None, 12: T0 - HOUR, 13: T0 + 1000 * HOUR, 14: 30, 15: {1: 0, 2: 0},
                         16: bytes(48), 17: 1, 18: 0})
        kid = hashlib.sha256(spki_of(self.key.public_key())).digest()
        header = dumps({1: -7, 4: kid})
        signature = raw_signature(self.key, dumps(['Signature', b'', header, b'troth epoch', payload]))
        self.inception = cbor2.dumps(cbor2.CBORTag(98, [b'', {}, payload, [[header, {}, signature]]]))
        self.rot_id = hashlib.sha256(dumps(['Signature', b'', b'troth epoch', payload])).digest()
        self.label = base64.b32encode(self.rot_id).decode().rstrip('=').lower()


class Enclave:
    def __init__(self, root, name, peers, run, valid=HOUR, depth=4, rots=()):
        self.root, self.name, self.key, kem = root, name, fresh_key(), fresh_key()
        self.uri = f'spiffe://{root.label}.troth.internal/ire/{name}'
        def day(ms):
            return datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms)
        self.certificate = iecp.make_leaf(self.key, kem, root.key, self.uri, day(T0 - HOUR), day(T0 + valid), 7)
        self.digest = hashlib.sha256(self.certificate).digest()
        self.policy = policy(name, peers, depth, rots)
        self.policy_digest = hashlib.sha256(b'troth policy1\0' + self.policy).digest()
        self.core, self.measurement = (hashlib.sha384(f'{w} {name}'.encode()).digest() for w in ('core', 'measurement'))
        keys = hashlib.sha256(b''.join(len(p).to_bytes(4, 'big') + p for p in map(iecp.point_of, (self.key, kem)))).digest()
        launch = {1: 1, 2: hashlib.sha256(name.encode()).digest()[:16], 3: run, 4: name, 5: self.core, 6: self.measurement, 7: self.policy_digest,
                  8: 'N', 9: 'uid', 10: 'rlimit', 11: 'locked', 12: 'closed', 13: keys}
        payload = dumps({1: 1, 2: 1, 3: root.rot_id, 4: 0, 5: 1, 6: root.rot_id, 7: 1, 8: 1, 9: None, 10: T0, 11: b'',
                         12: [bytes(48)] * 8, 13: launch, 14: self.digest, 15: False})
        self.report = sign1(b'troth report', payload, root.key)
        self.report_oid = oid_of(b'troth report', payload)
        self.seq = 0


def commit(name):
    return [name, hashlib.sha256(name.encode()).digest()]


Broken = collections.namedtuple('Broken', 'data reason names verdicts')


class Maker:
    """One bundle in the making. `twist` may change the fields of a record of the given name before it is signed."""

    def __init__(self, world, twist=lambda name, fields: None, enclaves=None, signer=None):
        self.world, self.twist, self.signer = world, twist, signer or {}
        self.enclaves = {**world.enclaves, **(enclaves or {})}
        self.made, self.order, self.seq = {}, [], collections.Counter()

    def record(self, name, enclave, kind, parents=(), into=(), out=(), target=None, call=None, operation='rows'):
        e = self.enclaves[enclave]
        self.seq[enclave] += 1
        pairs = [[self.made[p].body[ENCLAVE], self.made[p].oid] for p in parents]
        fields = {1: 1, KIND: kind, ENCLAVE: e.uri, CERTIFICATE: e.digest, REPORT: e.report_oid, ROT_ID: e.root.rot_id, ERA: 0, EPOCH: 1,
                  SEQ: self.seq[enclave], TIME: T0 + len(self.order), PARENTS: pairs, TARGET: self.enclaves[target].uri if target else None,
                  CALL: bytes([call]) * 16 if call else None, OPERATION: operation, IN: [commit(n) for n in into], OUT: [commit(n) for n in out],
                  POLICY: e.policy_digest, LEDGER: None, RUN: self.world.run}
        self.twist(name, fields)
        for lists in (PARENTS, IN, OUT):
            fields[lists] = ascending(fields[lists])
        self.made[name] = Record(sign1(b'troth record', dumps(fields), self.enclaves[self.signer.get(name, enclave)].key))
        self.order.append(name)

    def ranks(self, names):
        ranks, by_oid = {}, {self.made[n].oid: n for n in names}
        for name in self.order:
            if name in names:
                ranks[name] = max([ranks[by_oid[p]] + 1 for p in self.made[name].parents if by_oid.get(p) in ranks], default=0)
        return ranks

    def bundle(self, root, leave_out=()):
        names = [n for n in self.order if n not in leave_out]
        ranks = self.ranks(names)
        names.sort(key=lambda n: (ranks[n], self.made[n].oid))
        records = [self.made[n] for n in names]
        used = [e for e in self.enclaves.values() if any(r[CERTIFICATE] == e.digest or r[REPORT] == e.report_oid for r in records)]
        named = [e for e in used if any(r[CERTIFICATE] == e.digest for r in records)]
        roots = {e.root.rot_id: e.root for e in named}
        return Bundle({1: 1, ROOTS: [self.made[root].oid], RECORDS: [r.data for r in records],
                       CERTIFICATES: each_once(e.certificate for e in named),
                       REPORTS: each_once(e.report for e in used if any(r[REPORT] == e.report_oid for r in records)),
                       POLICIES: each_once(e.policy for e in named),
                       CHAINS: ascending([rot_id, [r.inception]] for rot_id, r in roots.items()), REFERENCES: [], PLATFORM: [], PROOFS: [], VERSIONS: []})

    def descendants(self, names):
        """Of these records, themselves left out."""
        broken = {self.made[n].oid for n in names}
        first = set(broken)
        for name in self.order:
            if set(self.made[name].parents) & broken:
                broken.add(self.made[name].oid)
        return broken - first

    def verdicts(self, wrong, leave_out=()):
        """{oid: reason or None}: these, their descendants, and nothing else."""
        told = {self.made[n].oid: None for n in self.order if n not in leave_out}
        for oid in self.descendants([*wrong, *leave_out]):
            if oid in told:
                told[oid] = 'DAC_BROKEN_ANCESTOR'
        told.update({self.made[n].oid: reason for n, reason in wrong.items()})
        return told


class World:
    """A root and enclaves A, B, C; B asks A, which asks C (the second example of "Level")."""

    def __init__(self):
        self.root, self.run = Root(), hashlib.sha256(b'run').digest()
        self.enclaves = {n: Enclave(self.root, n, peers, self.run) for n, peers in (('A', 'BC'), ('B', 'A'), ('C', 'A'))}
        self.at = '2027-01-15T09:00:00Z'  # an hour after T0

    def trust(self, revoked=(), roots=(), **more):
        """`roots`: instead of the world's own; `more`: further fields of the file."""
        enclaves = ascending({1: e.name, 2: e.core, 3: e.measurement, 4: e.policy_digest} for e in self.enclaves.values())
        job = dumps({1: 1, 2: 'world', 3: enclaves, 4: [], 5: [], 6: [], 7: []})
        digest = hashlib.sha256(len(b'troth job').to_bytes(4, 'big') + b'troth job' + job).hexdigest()
        listed = [{'name': e[1], 'core': e[2].hex(), 'measurement': e[3].hex(), 'policy_digest': e[4].hex()} for e in enclaves]
        return json.dumps({
            'troth_trust': 1, 'roots': [{'inception': r.inception.hex()} for r in roots or [self.root]], 'recovery_keys': [],
            'tcb': [{'register0': '00' * 48, 'register1': '00' * 48}],
            'job': {'name': 'world', 'digest': digest, 'enclaves': listed, 'edges': [], 'inputs': [], 'outputs': [], 'externals': []},
            'authors': [], 'revoked': list(revoked), 'allow_synthetic': False, 'max_run_s': 86400, 'skew_s': SKEW // 1000, 'ledger': {}, 'guests': {},
            'services': {}, **more})

    def maker(self, twist=lambda name, fields: None, more=None, **options):
        m = Maker(self, twist, **options)
        m.record('b1', 'B', ORIGIN, out=['x'])
        m.record('b2', 'B', REQUEST, ['b1'], into=['x'], target='A', call=1)
        m.record('a1', 'A', DERIVE, ['b2'], into=['x'], out=['y'])
        m.record('a2', 'A', REQUEST, ['a1'], into=['y'], target='C', call=2)
        m.record('c1', 'C', DERIVE, ['a2'], into=['y'], out=['z'])
        m.record('c2', 'C', RESPONSE, ['a2', 'c1'], into=['z'], out=['w'], target='A', call=2)
        if more:
            more(m)
        m.record('a3', 'A', RESPONSE, ['b2', 'c2', *([] if not more or 'c3' not in m.made else ['c3'])], into=['w'], out=['v'], target='B', call=1)
        m.record('b3', 'B', DERIVE, ['a3'], into=['v'], out=['u'])
        return m

    def calls(self):
        return self.maker().bundle('b3')

    def named(self, text):
        text = text.encode()[:60].decode(errors='ignore')
        def twist(name, fields):
            fields[OPERATION] = text
            if fields[OUT]:
                fields[OUT] = [[text, fields[OUT][0][1]]]
        return self.maker(twist).bundle('b3')

    def long(self, count):
        """B asks and A answers, again and again."""
        m = Maker(self)
        m.record('r0', 'B', ORIGIN, out=['x'])
        last, i = 'r0', 0
        while len(m.order) < count:
            m.record(f'q{i}', 'B', REQUEST, [last], into=['x'], target='A', call=1 + i % 250)
            m.record(f's{i}', 'A', RESPONSE, [f'q{i}'], into=['x'], out=['x'], target='B', call=1 + i % 250)
            m.record(f'd{i}', 'B', DERIVE, [f's{i}'], into=['x'], out=['x'])
            last, i = f'd{i}', i + 1
        return m.bundle(last)

    def broken(self, name):
        return getattr(self, 'broken_' + name)()

    # -- one record is wrong: it and its descendants fail

    def one(self, record, reason, change, **options):
        def twist(name, fields):
            if name == record:
                change(fields)
        m = self.maker(twist, **options)
        return Broken(m.bundle('b3').encode(), reason, m.made[record].oid, m.verdicts({record: reason}))

    def broken_another_key(self):
        return self.one('c1', 'BAD_SIGNATURE', lambda f: None, signer={'c1': 'A'})

    def broken_before_its_parent(self):
        return self.one('c1', 'DAC_TIME', lambda f: f.update({TIME: T0 - SKEW - 1}))

    def broken_from_the_future(self):
        return self.one('c1', 'DAC_TIME', lambda f: f.update({TIME: T0 + HOUR + SKEW + 1}))

    def broken_own_order(self):
        """c2 builds on c1, which claims to come later."""
        def twist(name, fields):
            if name in ('c1', 'c2'):
                fields[SEQ] = 3 - fields[SEQ]
        m = self.maker(twist)
        return Broken(m.bundle('b3').encode(), 'DAC_TIME', m.made['c2'].oid, m.verdicts({'c2': 'DAC_TIME'}))

    def broken_report_of_another(self):
        return self.one('c1', 'DAC_REPORT_MISMATCH', lambda f: f.update({REPORT: self.enclaves['A'].report_oid}))

    def broken_wrong_enclave(self):
        return self.one('c1', 'DAC_REPORT_MISMATCH', lambda f: f.update({ENCLAVE: self.enclaves['B'].uri}))

    def broken_another_policy(self):
        return self.one('c1', 'DAC_REPORT_MISMATCH', lambda f: f.update({POLICY: self.enclaves['A'].policy_digest}))

    def broken_another_run(self):
        return self.one('c1', 'DAC_FOREIGN_RUN', lambda f: f.update({RUN: bytes(32)}))

    def broken_no_supplier(self):
        return self.one('c1', 'DAC_COMMITMENT', lambda f: f.update({IN: [commit('stolen')]}))

    def broken_kind(self):
        return self.one('c1', 'DAC_KIND_RULE', lambda f: f.update({CALL: bytes(16)}))

    def broken_another_request(self):
        return self.one('c2', 'DAC_KIND_RULE', lambda f: f.update({CALL: b'\x09' * 16}))

    def broken_answer_to_nobody(self):
        return self.one('c2', 'DAC_KIND_RULE', lambda f: f.update({OPERATION: 'other'}))

    def broken_parent_of_another(self):
        return self.one('c1', 'DAC_KIND_RULE', lambda f: f.update({PARENTS: [[self.enclaves['B'].uri, f[PARENTS][0][1]]]}))

    def broken_cycle_by_forged_hash(self):
        """An oid is a hash of what it names: a record that wants to be its own ancestor can only guess."""
        guess = hashlib.sha256(b'a record to come').digest()
        def change(fields):
            fields[PARENTS].append([self.enclaves['A'].uri, guess])
        return self.one('a1', 'DAC_MISSING_PARENT', change)._replace(names=guess)

    def broken_spliced(self):
        m = self.spliced_maker()
        return Broken(m.bundle('b3').encode(), 'DAC_SPLICED', m.made['b3'].oid, m.verdicts({'b3': 'DAC_SPLICED'}))

    def spliced_maker(self):
        m = self.maker()
        m.order.remove('b3')
        m.seq['B'] -= 1
        m.record('b3', 'B', DERIVE, ['a3', 'c2'], into=['v'], out=['u'])
        return m

    def broken_forbidden_by_policy(self):
        c = Enclave(self.root, 'C', 'B', self.run)
        return self.with_enclave(c, {'c1': 'PEER_NOT_ALLOWED'})

    def broken_too_deep(self):
        c = Enclave(self.root, 'C', 'A', self.run, depth=2)
        return self.with_enclave(c, {'c1': 'DEPTH_EXCEEDED'})

    def broken_expired(self):
        c = Enclave(self.root, 'C', 'A', self.run, valid=-HOUR // 2)
        return self.with_enclave(c, {'c1': 'CERTIFICATE_EXPIRED', 'c2': 'CERTIFICATE_EXPIRED'})

    def broken_untrusted_root(self):
        c = Enclave(Root(), 'C', 'A', self.run)
        return self.with_enclave(c, {'c1': 'DAC_UNTRUSTED_ROOT', 'c2': 'DAC_UNTRUSTED_ROOT'})

    def with_enclave(self, c, wrong):
        c.core, c.measurement = self.enclaves['C'].core, self.enclaves['C'].measurement
        m = self.maker(enclaves={'C': c})
        return Broken(m.bundle('b3').encode(), wrong['c1'], m.made['c1'].oid, m.verdicts(wrong))

    def broken_same_place_twice(self):
        def twist(name, fields):
            if name == 'c2':
                fields[SEQ] = 1
        m = self.maker(twist)
        wrong = dict.fromkeys(['c1', 'c2'], 'DAC_EQUIVOCATION')
        return Broken(m.bundle('b3').encode(), 'DAC_EQUIVOCATION', m.made['c1'].oid, m.verdicts(wrong))

    def broken_answered_twice(self):
        m = self.maker(more=lambda m: m.record('c3', 'C', RESPONSE, ['a2', 'c1'], into=['z'], out=['other'], target='A', call=2))
        wrong = dict.fromkeys(['c2', 'c3'], 'DAC_EQUIVOCATION')
        return Broken(m.bundle('b3').encode(), 'DAC_EQUIVOCATION', m.made['c3'].oid, m.verdicts(wrong))

    # -- the bundle is wrong

    def altered(self, reason, change, names=None, keep=True):
        m = self.maker()
        bundle = m.bundle('b3')
        outer = copy.deepcopy(bundle.outer)
        told = change(outer, m)
        return Broken(dumps(outer), reason, told or names, m.verdicts({}) if keep else None)

    def broken_missing_parent(self):
        m = self.maker()
        verdicts = m.verdicts({}, ['c1'])
        verdicts[m.made['c2'].oid] = 'DAC_MISSING_PARENT'
        return Broken(m.bundle('b3', ['c1']).encode(), 'DAC_MISSING_PARENT', m.made['c1'].oid, verdicts)

    def broken_missing_result(self):
        guess = hashlib.sha256(b'nothing').digest()
        return self.altered('DAC_MISSING_PARENT', lambda o, m: o.update({ROOTS: [guess]}), guess)

    def broken_extra_record(self):
        m = self.maker(more=lambda m: m.record('b9', 'B', ORIGIN, out=['unasked']))
        return Broken(m.bundle('b3').encode(), 'DAC_EXTRA_NODE', m.made['b9'].oid, m.verdicts({}))

    def broken_record_twice(self):
        def change(outer, m):
            outer[RECORDS].insert(3, outer[RECORDS][2])
            return Record(outer[RECORDS][2]).oid
        return self.altered('DAC_DUPLICATE', change, keep=False)

    def broken_another_signature(self):
        """The same object in another form: nothing unsigned may make two of one."""
        def change(outer, m):
            outer[RECORDS].insert(4, sign1(b'troth record', m.made['a1'].payload, self.enclaves['A'].key))
            return m.made['a1'].oid
        return self.altered('DAC_DUPLICATE', change, keep=False)

    def broken_unprotected_header(self):
        def change(outer, m):
            p, _, payload, signature = cbor2.loads(outer[RECORDS][2]).value
            outer[RECORDS][2] = cbor2.dumps(cbor2.CBORTag(18, [p, {4: b'x'}, payload, signature]))
        return self.altered('UNPROTECTED_HEADER', change, keep=False)

    def broken_out_of_order(self):
        def change(outer, m):
            outer[RECORDS].reverse()
        return self.altered('NOT_DETERMINISTIC', change)

    def broken_unsorted_set(self):
        return self.altered('NOT_DETERMINISTIC', lambda o, m: o[CERTIFICATES].reverse(), keep=False)

    def broken_certificate_twice(self):
        return self.altered('NOT_DETERMINISTIC', lambda o, m: o[CERTIFICATES].insert(0, o[CERTIFICATES][0]), keep=False)

    def extra(self, field, item):
        def change(outer, m):
            outer[field] = ascending([*outer[field], item])
        return self.altered('DAC_EXTRA_NODE', change)

    def broken_extra_certificate(self):
        other = Enclave(self.root, 'D', '', self.run)
        return self.extra(CERTIFICATES, other.certificate)._replace(names=other.digest)

    def broken_extra_report(self):
        other = Enclave(self.root, 'D', '', self.run)
        return self.extra(REPORTS, other.report)._replace(names=other.report_oid)

    def broken_extra_policy(self):
        other = Enclave(self.root, 'D', '', self.run)
        return self.extra(POLICIES, other.policy)._replace(names=other.policy_digest)

    def broken_extra_root(self):
        other = Root()
        return self.extra(CHAINS, [other.rot_id, [other.inception]])._replace(names=other.rot_id)

    def missing(self, field, item, reason, wrong):
        m = self.maker()
        outer = m.bundle('b3').outer
        outer[field] = [i for i in outer[field] if i != item]
        return Broken(dumps(outer), reason, m.made['c1'].oid, m.verdicts(wrong))

    def broken_missing_certificate(self):
        reason = 'DAC_UNKNOWN_CERTIFICATE'
        return self.missing(CERTIFICATES, self.enclaves['C'].certificate, reason, {'c1': reason, 'c2': reason})

    def broken_missing_report(self):
        reason = 'DAC_UNKNOWN_REPORT'
        return self.missing(REPORTS, self.enclaves['C'].report, reason, {'c1': reason, 'c2': reason})

    def broken_missing_policy(self):
        return self.missing(POLICIES, self.enclaves['C'].policy, 'NO_POLICY', {'c1': 'NO_POLICY'})

    def broken_record_bomb(self):
        """A head that promises 2^32 records."""
        data = self.calls().encode()
        outer = cbor2.loads(data)
        at = data.index(dumps(outer[RECORDS]))
        return Broken(data[:at] + b'\x9a\xff\xff\xff\xff' + data[at + 1:], 'TRUNCATED', None, None)

    def broken_nesting_bomb(self):
        return Broken(b'\xab\x01\x01\x02' + b'\x81' * 100000 + b'\x00', 'BAD_TYPE', None, None)

    def broken_cut_off(self):
        return Broken(self.calls().encode()[:-2], 'TRUNCATED', None, None)

    def broken_something_behind(self):
        return Broken(self.calls().encode() + b'\0', 'TRAILING_BYTES', None, None)


BROKEN = sorted(n.removeprefix('broken_') for n in dir(World) if n.startswith('broken_'))


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('judge', 'make'):
        sys.exit(__doc__)
    if sys.argv[1] == 'judge':
        with open(sys.argv[2], 'rb') as f:
            bundle = read(f.read())
        wrong = judge(bundle)
        for record in bundle.records:
            print(json.dumps({'oid': record.oid.hex(), 'reason': wrong.get(record.oid)}))
        sys.exit(1 if wrong else 0)
    world = World()
    os.makedirs(sys.argv[2], exist_ok=True)
    for name, data in [('good', world.calls().encode()), ('trust.json', world.trust().encode())] + [(n, world.broken(n).data) for n in BROKEN]:
        with open(os.path.join(sys.argv[2], name), 'wb') as f:
            f.write(data)
    print(f'judged as of {world.at}')


if __name__ == '__main__':
    main()
