"""The ledger's contract beside another one: `troth ledger apply` and tests/outside/ledger_evaluator.py, written from docs/PROTOCOL.ledger alone, judge the same
random and hostile transactions and agree on every code, on the events of each and on the state root after each batch. The roots of some stories are in
tests/vectors/ledger.json, so that each build (gcc, clang, sanitizers) is compared with all others."""
import collections
import concurrent.futures
import hashlib
import io
import json
import multiprocessing
import os
import struct
import sys

import conftest
import pytest

OUTSIDE = os.path.join(conftest.ROOT, 'tests', 'outside')
VECTORS = os.path.join(conftest.ROOT, 'tests', 'vectors', 'ledger.json')
sys.path.insert(0, OUTSIDE)
import ledger_evaluator as evaluator  # noqa: E402
import ledger_generator as generator  # noqa: E402

STORY = 5000  # transactions


def stream_of(seed, count, made=generator.Generator):
    return b''.join(generator.frame(now, transactions) for now, transactions in made(seed).batches(count))


def apply(stream, *more, timeout=120):
    return conftest.run([conftest.program('troth'), 'ledger', 'apply', '--stdin', *more], input=stream, timeout=timeout, env=conftest.environment('/'))


def judged_by_other(stream):
    ledger = evaluator.Ledger()
    return [evaluator.line(row) for now, transactions in evaluator.batches(io.BytesIO(stream)) for row in ledger.batch(now, transactions)]


def compared(seed, count, made=generator.Generator):
    """(codes, the first lines in which the two differ)"""
    stream = stream_of(seed, count, made)
    ours, other = apply(stream).ok().stdout.splitlines(), judged_by_other(stream)
    assert len(ours) == len(other) > count
    differing = [(seed, number, a, b) for number, (a, b) in enumerate(zip(ours, other), 1) if a != b]
    return collections.Counter(json.loads(line).get('reason') for line in ours), differing[:3]


def test_another_evaluator_agrees_on_everything(amount):
    """10^5 transactions in ./check, 10^6 in --long; a seed that finds something is `compared(seed, STORY)`."""
    stories = amount(20, 200)
    codes = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context('fork')) as pool:
        for found, differing in pool.map(compared, range(100, 100 + stories), [STORY] * stories):
            assert not differing, differing
            codes += found
    # Whatever can be refused was refused, and much was not.
    missing = [reason for reason in evaluator.CODES if codes[reason] < stories // 2]
    assert not missing, (missing, codes)
    assert codes['OK'] > stories * STORY // 5, codes


def test_another_evaluator_agrees_on_roots_of_trust(amount):
    """Epochs that follow, fork, are halted and recovered, and operations that their keys sign."""
    stories = amount(5, 50)
    codes = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context('fork')) as pool:
        for found, differing in pool.map(compared, range(500, 500 + stories), [1500] * stories, [generator.RootGenerator] * stories):
            assert not differing, differing
            codes += found
    missing = [reason for reason in evaluator.EPOCH_CODES if not codes[reason] and reason not in ('TOO_LARGE', 'BAD_POINT')]
    assert not missing, (missing, codes)


@pytest.mark.sanitize
@pytest.mark.smoke
def test_every_build_comes_to_the_same_roots():
    with open(VECTORS, encoding='utf-8') as f:
        rows = json.load(f)['stories']
    assert len(rows) >= 3
    for row in rows:
        lines = apply(stream_of(row['seed'], row['count'])).ok().raw
        assert hashlib.sha256(lines).hexdigest() == row['sha256'], f'seed {row["seed"]}: another verdict, event or root than before'


@pytest.mark.sanitize
def test_the_vector():
    """One short stream, byte for byte, with what is said to it."""
    with open(VECTORS, encoding='utf-8') as f:
        vector = json.load(f)['vector']
    stream = bytes.fromhex(vector['stream'])
    assert apply(stream, '--events').ok().stdout.splitlines() == vector['lines']
    plain = [{k: v for k, v in json.loads(line).items() if k != 'events_cbor'} for line in vector['lines']]
    assert [json.loads(line) for line in judged_by_other(stream)] == plain


# ---- Attacks, one by one

class World(generator.Generator):
    """A ledger of the test's own, past its beginning."""

    def __init__(self):
        super().__init__(7)
        self.early = [tx for tx in self.first()]
        self.owner, self.actor, self.friend = self.owners[0], self.actors[0], self.actors[1]

    def chance(self, percent):
        return False if hasattr(self, 'early') else super().chance(percent)

    def good(self, issuer, audience, parent=None, **change):
        """A link; change: f10=2 sets field 10."""
        g = {5: self.owner.text + '/lab', 6: 1, 7: None, 8: self.now - 1000, 9: self.now + 10 ** 6, 10: None, 11: 3, 12: None}
        if parent:
            g = {**{k: parent[0][k] for k in range(5, 13)}, 11: parent[0][11] - 1, 12: parent[1]}
        g = {1: 1, 2: self.chain, 3: issuer.point, 4: audience.address, **g, 13: self.bytes(32), **{int(k[1:]): v for k, v in change.items()}}
        return g, *reversed(self.signed(b'troth grant', g, issuer)), audience

    def operate(self, actor, links, bit=0, scope=None):
        fields = {1: 1, 2: self.chain, 3: actor.point, 4: bit, 5: scope or self.owner.text + '/lab', 6: None, 7: self.bytes(32), 8: self.now + 1000}
        request, _ = self.signed(b'troth access request', fields, actor)
        operation = {1: 1, 2: self.chain, 3: self.processors[0].point, 4: self.vmms[0], 5: self.bytes(32), 6: request, 7: self.bytes(32), 8: self.now,
                     9: self.codes[0], 10: None}
        return self.transaction(self.processors[0], 6, {1: self.signed(b'troth operation', operation, self.processors[0])[0], 2: [link[2] for link in links]})

    def raw(self, fields, signer, label=b'troth transaction'):
        payload = fields if isinstance(fields, bytes) else evaluator.encode(fields)
        tbs = b'\x84\x6aSignature1\x43\xa1\x01\x26' + evaluator.bstr(label) + evaluator.bstr(payload)
        return b'\xd2\x84\x43\xa1\x01\x26\xa0' + evaluator.bstr(payload) + b'\x58\x40' + signer.sign(tbs)

    def event(self, **change):
        fields = {1: 1, 2: self.chain, 3: self.processors[0].point, 4: self.bytes(32), 5: self.now + 1000, 6: 9,
                  7: evaluator.encode({1: 1, 2: 'key', 3: bytes(32), 4: self.now})}
        return {**fields, **{int(k[1:]): v for k, v in change.items()}}

    def verdicts(self, *batches):
        """Reasons, batch by batch (later batches a second later each); roots. Asked of both evaluators."""
        stream = generator.frame(self.now, self.early) + b''.join(generator.frame(self.now + 1000 * n, b) for n, b in enumerate(batches))
        ran = apply(stream).ok()
        assert ran.stdout.splitlines() == judged_by_other(stream)
        rows = [json.loads(line) for line in ran.stdout.splitlines()][len(self.early) + 1:]
        self.counted = [row['index'] is not None for row in rows if 'reason' in row]
        return [row['reason'] for row in rows if 'reason' in row], [row['root'] for row in rows if 'root' in row]


@pytest.mark.sanitize
@pytest.mark.attack('LE-01')
def test_grants_that_are_not_good():
    w = World()
    root = w.good(w.owner, w.actor)
    child = w.good(w.actor, w.friend, root)
    short = w.good(w.owner, w.actor, f9=w.now + 500)
    once = w.good(w.owner, w.actor, f10=1)
    once_below = w.good(w.actor, w.friend, once)
    revoked = w.good(w.owner, w.actor)
    below = w.good(w.actor, w.friend, revoked)
    flat = w.good(w.owner, w.actor, f11=0)
    measured = w.good(w.owner, w.actor, f7=[w.codes[0]])
    cases = [
        (w.operate(w.actor, [root]), 'OK'),
        (w.operate(w.friend, [root, child]), 'OK'),
        (w.operate(w.friend, []), 'ACCESS_NOT_GRANTED'),
        (w.operate(w.friend, [root]), 'GRANT_NOT_FOR_THIS'),
        (w.operate(w.actor, [root], bit=1), 'GRANT_NOT_FOR_THIS'),
        (w.operate(w.actor, [root], scope=w.owner.text), 'GRANT_NOT_FOR_THIS'),
        (w.operate(w.friend, [child]), 'GRANT_BROKEN'),
        (w.operate(w.friend, [root, w.good(w.friend, w.friend, root)]), 'GRANT_BROKEN'),
        (w.operate(w.friend, [w.good(w.friend, w.friend)]), 'GRANT_BROKEN'),
        (w.operate(w.friend, [root, w.good(w.actor, w.friend, root, f5=w.owner.text)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [root, w.good(w.actor, w.friend, root, f6=3)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [measured, w.good(w.actor, w.friend, measured, f7=None)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [root, w.good(w.actor, w.friend, root, f8=w.now - 1001)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [root, w.good(w.actor, w.friend, root, f9=w.now + 10 ** 6 + 1)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [once, w.good(w.actor, w.friend, once, f10=2)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [root, w.good(w.actor, w.friend, root, f11=3)]), 'GRANT_WIDENED'),
        (w.operate(w.friend, [flat, w.good(w.actor, w.friend, flat, f11=0)]), 'GRANT_TOO_DEEP'),
        (w.operate(w.friend, [once, once_below]), 'OK'),
        (w.operate(w.actor, [once]), 'GRANT_EXHAUSTED'),  # used up by the delegate
        (w.operate(w.friend, [once, once_below]), 'GRANT_EXHAUSTED'),
        (w.operate(w.friend, [revoked, below]), 'OK'),
        (w.transaction(w.friend, 5, {1: [revoked[2], below[2]], 2: below[1]}), 'SENDER_NOT_ALLOWED'),
        (w.transaction(w.owner, 5, {1: [revoked[2]], 2: revoked[1]}), 'OK'),
        (w.operate(w.friend, [revoked, below]), 'GRANT_REVOKED'),
        (w.operate(w.actor, [revoked]), 'GRANT_REVOKED'),
    ]
    late = [(w.operate(w.actor, [short]), 'GRANT_EXPIRED'), (w.operate(w.actor, [revoked]), 'GRANT_REVOKED')]
    reasons, _ = w.verdicts([tx for tx, _ in cases], [tx for tx, _ in late])
    assert reasons == [reason for _, reason in cases + late]


@pytest.mark.sanitize
@pytest.mark.attack('LE-02')
def test_a_transaction_sent_again():
    w = World()
    root = w.good(w.owner, w.actor)
    tx = w.operate(w.actor, [root])
    late = w.raw(w.event(f5=w.now + 60_000), w.processors[0])
    reasons, roots = w.verdicts([tx, tx], [tx], [late, late], [tx, tx])
    assert reasons == ['OK', 'TX_REPLAYED', 'TX_REPLAYED', 'OK', 'TX_REPLAYED', 'TX_REPLAYED', 'TX_REPLAYED']
    assert w.counted == [True, False, False, True, False, False, False]
    assert roots[0] == roots[1] and roots[2] == roots[3], 'a batch in which nothing counts changes nothing'
    # Beyond its time a nonce may be forgotten: the same bytes are too old then.
    w = World()
    tx = w.raw(w.event(f5=w.now + 1500), w.processors[0])
    assert w.verdicts([tx], [tx], [tx], [tx])[0] == ['OK', 'TX_REPLAYED', 'TX_EXPIRED', 'TX_EXPIRED']


@pytest.mark.sanitize
@pytest.mark.attack('LE-03')
def test_bombs():
    w = World()
    grant = w.good(w.owner, w.actor)[2]
    deep = b'\x81' * 40000 + b'\x00'
    # Heads that promise what is not there, lists and lengths of many gigabytes, nesting, floods of links.
    bombs = [w.raw(w.event(f7=bytes(49152)), w.processors[0]), w.raw(w.event(f6=4, f7=evaluator.encode({1: [grant] * 9})), w.processors[0]),
             w.raw(w.event(f7=deep), w.processors[0]), w.raw(w.event(f7=b'\xa4\x01\x9b' + b'\xff' * 8), w.processors[0]),
             w.raw(w.event(f7=b'\xa4\x01\x01\x02\x7b' + b'\x7f' * 8), w.processors[0]), w.raw(w.event(f7=b'\xbb' + b'\x10' * 8), w.processors[0])]
    outside = [w.raw(w.event(f7=bytes(49153)), w.processors[0]), w.raw(w.event(), w.processors[0]) + bytes(57345), bytes(1 << 20), deep, b'\x9b' + b'\xff' * 8, b'']
    reasons, _ = w.verdicts(bombs + outside + [w.raw(w.event(), w.processors[0])])
    assert reasons == ['TX_MALFORMED'] * (len(bombs) + len(outside)) + ['OK'], 'others are still served'
    assert w.counted == [True] * len(bombs) + [False] * len(outside) + [True]
    for stream, reason in [(struct.pack('>QII', 1, 1, 1 << 31), 'TOO_LARGE'), (struct.pack('>QI', 1, 1 << 31), 'TOO_LARGE'), (struct.pack('>QII', 1, 1, 9) + b'x', 'TRUNCATED'),
                           (b'\0', 'TRUNCATED'), (struct.pack('>QI', 1, 1), 'TRUNCATED')]:
        apply(stream).refused(reason)


@pytest.mark.sanitize
@pytest.mark.attack('LE-07')
def test_other_encodings_of_the_same():
    w = World()
    fields = w.event()
    payload = evaluator.encode(fields)
    good = w.raw(payload, w.processors[0])
    longer = [payload[:2] + b'\x18\x01' + payload[3:], b'\xbf' + payload[1:] + b'\xff', b'\xb8\x07' + payload[1:], payload + b'\0', payload[:-1],
              b'\xa8' + payload[1:] + b'\x08\x00', b'\xa7' + payload[3:] + payload[1:3], b'\xa6' + payload[3:], payload.replace(b'\x03\x58\x41', b'\x03\x59\x00\x41', 1)]
    envelopes = [good[1:], good + b'\0', b'\xd8\x12' + good[1:], good[:6] + b'\xa1\x04\x40' + good[7:], good[:2] + b'\x44\xa1\x01\x38\x06' + good[6:],
                 good[:-66] + b'\x59\x00\x40' + good[-64:], good[:2] + b'\x58\x03' + good[3:]]
    body = fields[7]
    bodies = [body + b'\0', b'\xbf' + body[1:] + b'\xff', body.replace(b'\x01\x01', b'\x01\x18\x01', 1), body.replace(b'\x63key', b'\x7f\x63key\xff', 1), b'\xa5' + body[1:] + b'\x05\x00',
              body.replace(b'\x63key', b'\x63k\0y', 1), body.replace(b'\x63key', b'\x63k\xffy', 1)]
    transactions = [w.raw(p, w.processors[0]) for p in longer] + envelopes + [w.raw(w.event(f7=b), w.processors[0]) for b in bodies]
    assert len(set(transactions)) == len(longer) + len(envelopes) + len(bodies)
    reasons, _ = w.verdicts(transactions + [good])
    assert reasons == ['TX_MALFORMED'] * len(transactions) + ['OK']
    # Whose body is not in its form counts: it was signed. What is no transaction does not.
    assert w.counted == [False] * (len(longer) + len(envelopes)) + [True] * (len(bodies) + 1)


@pytest.mark.sanitize
@pytest.mark.attack('LE-08')
def test_one_nonce_twice():
    w = World()
    first, second = w.event(), w.event()
    second[4] = first[4]
    stranger = {**second, 3: w.strangers[0].point}
    reasons, _ = w.verdicts([w.raw(first, w.processors[0]), w.raw(second, w.processors[0]), w.raw(stranger, w.strangers[0])], [w.raw({**second, 5: w.now + 9000}, w.processors[0])])
    assert reasons == ['OK', 'TX_REPLAYED', 'SENDER_NOT_ALLOWED', 'TX_REPLAYED'], 'a nonce is one of its sender: nobody can use up that of another'
    # The request within an operation counts once, whoever sends it, also when the operation is made anew.
    w = World()
    root = w.good(w.owner, w.actor)
    fields = {1: 1, 2: w.chain, 3: w.actor.point, 4: 0, 5: w.owner.text + '/lab', 6: None, 7: w.bytes(32), 8: w.now + 1000}
    request, _ = w.signed(b'troth access request', fields, w.actor)
    sent = []
    for processor in (w.processors[0], w.processors[1]):
        operation = {1: 1, 2: w.chain, 3: processor.point, 4: w.vmms[0], 5: w.bytes(32), 6: request, 7: w.bytes(32), 8: w.now, 9: w.codes[0], 10: None}
        sent.append(w.transaction(processor, 6, {1: w.signed(b'troth operation', operation, processor)[0], 2: [root[2]]}))
    assert w.verdicts(sent[:1], sent[1:])[0] == ['OK', 'TX_REPLAYED']
    # Who sends a request of their own under its own nonce would have it forgotten with the transaction's.
    w = World()
    nonce = w.bytes(32)
    request, _ = w.signed(b'troth access request', {**fields, 2: w.chain, 3: w.owner.point, 7: nonce}, w.owner)
    operation = {1: 1, 2: w.chain, 3: w.processors[0].point, 4: w.vmms[0], 5: w.bytes(32), 6: request, 7: w.bytes(32), 8: w.now, 9: w.codes[0], 10: None}
    body = evaluator.encode({1: w.signed(b'troth operation', operation, w.processors[0])[0], 2: []})
    assert w.verdicts([w.raw(w.event(f3=w.owner.point, f4=nonce, f6=6, f7=body), w.owner)], [w.raw(w.event(f5=w.now + 9000, f6=6, f7=body), w.processors[0])])[0] == ['TX_REPLAYED'] * 2
