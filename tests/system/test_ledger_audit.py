"""Proofs of a ledger and its audit: everything that `troth ledger prove` makes is accepted by `troth ledger verify` and by examples/audit/auditor.py, and nothing
that was altered, exchanged or taken from elsewhere is. One story on a ledger of this module's own; once it is told the service is down, and the folder is read directly."""
import csv
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile

import conftest
import pytest

EXAMPLE = os.path.join(conftest.ROOT, 'examples', 'audit')
AUDITOR = os.path.join(EXAMPLE, 'auditor.py')
VMM, CODE = 'a1' * 48, 'c0' * 48
SCOPE = '/ward-7/trial/north'


class Place:
    """A ledger in a folder, its people, and the programs that are asked about it."""

    def __init__(self, folder):
        self.folder, self.service = folder, None
        for who in ('hospital', 'alice', 'bob', 'processor'):
            self.bare('key', 'new', f'{who}.key', '--public', f'{who}.pub').ok()
            self.bare('grant', 'names', 'add', who, f'{who}.pub', '--state', self.path('state')).ok()
        self.bare('ledger', 'init', self.path('ledger'), '--processor', 'processor.pub', '--name', 'example.org/audited').ok()
        self.founder = self.path('ledger/founder.key')

    def path(self, name):
        return os.path.join(self.folder, name)

    def bare(self, *words, **more):
        return conftest.run([conftest.program('troth'), *words], env=conftest.environment(self.folder), cwd=self.folder, **more)

    def troth(self, *words, ledger='ledger', **more):
        return self.bare(*words, '--state', self.path('state'), '--ledger', self.path(ledger), **more)

    def serve(self, ledger='ledger'):
        """Until `stop`. The service says by a descriptor when it is ready."""
        ready, told = os.pipe()
        with open(self.path('service.log'), 'ab') as log:
            self.service = subprocess.Popen([conftest.program('trothd'), 'ledger', '--dir', self.path(ledger), '--listen', '127.0.0.1:0', '--ready-fd', str(told)],
                                            pass_fds=[told], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=conftest.environment(self.folder), cwd=self.folder)
        os.close(told)
        with os.fdopen(ready) as f:
            address = f.readline()  # the end of the file, too, when it died
        assert address, open(self.path('service.log')).read()

    def stop(self):
        if self.service:
            self.service.terminate()
            assert self.service.wait(60 * conftest.SLOWNESS) == 0, open(self.path('service.log')).read()
            self.service = None

    def operate(self, name, grant='bob.grant', **more):
        self.troth('ledger', 'request', '--key', 'bob.key', '--operation', 'compute', '--scope', 'hospital' + SCOPE, '--measurement', CODE, '--output', name + '.request').ok()
        return self.troth('ledger', 'operation', '--key', 'processor.key', '--request', name + '.request', '--grant', grant, '--vmm', VMM, '--measurement', CODE,
                          '--data-commitment', 'dd' * 32, '--json', **more)

    def verify(self, *words):
        return self.bare('ledger', 'verify', *words, '--log', self.path('ledger/log.vkey'))


def told(place):
    """register, grant, delegate, decide, revoke, decide."""
    place.serve()
    place.troth('ledger', 'register', 'vmm', VMM, '--label', 'host', '--key', 'processor.key').ok()
    place.troth('ledger', 'register', 'enclave', CODE, '--label', 'model', '--endorse', '--key', place.founder).ok()
    place.troth('ledger', 'checkpoint', '--output', 'before.checkpoint').ok()
    place.troth('grant', 'new', '--key', 'hospital.key', '--to', 'alice', '--scope', '/ward-7/trial', '--operations', 'read,compute', '--uses', '3', '--depth', '1', '--output', 'alice.grant').ok()
    place.troth('grant', 'delegate', 'alice.grant', '--key', 'alice.key', '--to', 'bob', '--operations', 'compute', '--scope', SCOPE, '--output', 'bob.grant').ok()
    place.first = place.operate('first').ok().json
    place.troth('ledger', 'checkpoint', '--output', 'between.checkpoint').ok()
    place.troth('ledger', 'prove', 'grant:alice.grant', '--output', 'early.grant.proof').ok()
    place.troth('ledger', 'prove', 'revocation:alice.grant', '--output', 'early.revocation.proof').ok()
    place.revoked = place.troth('grant', 'revoke', 'alice.grant', '--key', 'hospital.key', '--json').ok().json
    place.operate('second').refused('GRANT_REVOKED')
    rows = place.troth('audit', '--type', 'operation', '--json').ok().json['transactions']
    place.second = rows[-1]
    assert [row['reason'] for row in rows] == ['OK', 'GRANT_REVOKED']
    place.stop()
    for name in ('first', 'second'):
        place.troth('ledger', 'prove', '--decision', getattr(place, name)['txid'], '--from', 'before.checkpoint', '--output', name).ok()
    place.troth('ledger', 'prove', 'grant:alice.grant', '--output', 'grant.proof').ok()
    place.troth('ledger', 'prove', 'revocation:bob.grant', '--output', 'absent.proof').ok()
    place.troth('ledger', 'prove', 'transaction:' + place.first['txid'], '--output', 'leaf.proof').ok()
    place.troth('ledger', 'prove', '--from', 'before.checkpoint', '--output', 'continues').ok()
    place.troth('ledger', 'checkpoint', '--output', 'now.checkpoint').ok()
    return place


@pytest.fixture(scope='module')
def story():
    folder = tempfile.mkdtemp(prefix='troth-')
    place = None
    try:
        place = Place(folder)
        yield told(place)
        conftest.assert_nothing_left(folder)
    finally:
        if place and place.service:
            place.service.kill()
            place.service.wait()
        shutil.rmtree(folder)


@pytest.fixture
def copy(story, home):
    """A bundle of one's own to spoil."""
    def make(name='first'):
        target = os.path.join(home, name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(story.path(name), target)
        return target
    return make


def by_hand(bundle, place, *words):
    """The auditor's script: no packages of the system (-S), no environment, and nothing in the PATH but openssl."""
    tools = place.path('tools')
    if not os.path.exists(tools):
        os.mkdir(tools)
        os.symlink('/usr/bin/openssl', os.path.join(tools, 'openssl'))
    return conftest.run(['/usr/bin/python3', '-I', '-S', '-B', AUDITOR, bundle, '--log', place.path('ledger/log.vkey'), *words], env={'PATH': tools, 'TMPDIR': place.folder}, cwd=place.folder)


def refused(place, bundle, why, earlier='before.checkpoint'):
    """By both, neither with a crash; `why` is in what the script says."""
    place.verify(bundle, '--earlier', place.path(earlier)).refused('', code=1)
    said = by_hand(bundle, place, '--earlier', place.path(earlier))
    assert said.code == 1 and 'REFUSED' in said.stdout and why in said.stdout, said


# ---- What is true is accepted

@pytest.mark.smoke
def test_decisions_are_judged_by_both(story):
    for name, reason, words in [('first', 'OK', ['grant 1 was alive at the decision', f'revoked later, at leaf {story.revoked["index"]}', 'grant 2 was alive', 'not revoked; 1 of 3 uses']),
                                ('second', 'GRANT_REVOKED', [f'had been revoked at leaf {story.revoked["index"]}'])]:
        ours = story.verify(name, '--earlier', 'before.checkpoint').ok().stdout
        theirs = by_hand(name, story, '--earlier', 'before.checkpoint').ok().stdout
        assert 'continues the earlier checkpoint' in ours and 'continues the earlier checkpoint' in theirs
        for word in words:
            assert word in ours and word in theirs, (word, ours, theirs)
        row = story.verify(name, '--json').ok().json['files'][0]
        other = by_hand(name, story, '--json').ok().json
        assert row['reason'] == reason == other['decision'] and other['accepted']
        for field in ('index', 'txid', 'actor', 'operation', 'scope', 'size'):
            assert row[field] == other[field], field
        if name == 'first':
            assert row['grants'] == other['grants'] and len(row['grants']) == 2


def test_single_proofs(story):
    index, revoked = story.first['index'], story.revoked['index']
    assert 'since leaf' in story.verify('grant.proof', '--of', 'grant:alice.grant').ok().stdout
    assert f'ended at leaf {revoked}' in story.verify('grant.proof', '--of', 'grant:alice.grant', '--at', str(index)).ok().stdout
    story.verify('grant.proof', '--of', 'grant:alice.grant', '--at', str(revoked)).refused('PROOF_INVALID')
    story.verify('grant.proof', '--of', 'grant:alice.grant', '--at', str(index - 1)).refused('PROOF_INVALID')
    story.verify('grant.proof', '--of', 'grant:alice.grant', '--at', '1000').refused('PROOF_INVALID')
    assert 'there is no revocation' in story.verify('absent.proof', '--of', 'revocation:bob.grant', '--at', str(revoked + 1)).ok().stdout
    row = story.verify('leaf.proof', '--of', 'transaction:' + story.first['txid'], '--json').ok().json['files'][0]
    assert row['index'] == index and row['reason'] == 'OK' and row['type'] == 'operation'
    story.verify('leaf.proof', '--of', f'leaf:{index}').ok()
    for word in ('config', f'registration:enclave:{CODE}', f'registration:vmm:{VMM}', f'leaf:{index + 1}', 'key:' + '00' * 32):
        made = story.troth('ledger', 'prove', word).ok()
        with open(story.path('one.proof'), 'wb') as f:
            f.write(made.raw)
        story.verify('one.proof', '--of', word).ok()
    # At an earlier size, under the checkpoint of that size.
    size = story.verify('between.checkpoint', '--json').ok().json['files'][0]['size']
    story.troth('ledger', 'prove', f'leaf:{index}', '--size', str(size), '--output', 'earlier.proof').ok()
    assert story.verify('earlier.proof', '--json').ok().json['files'][0]['size'] == size
    story.troth('ledger', 'prove', f'leaf:{index}', '--size', str(size - 1), '--output', 'none.proof').refused('NOT_FOUND')
    assert not os.path.exists(story.path('none.proof'))


def test_the_log_continues(story):
    story.verify('continues', 'now.checkpoint', 'leaf.proof', '--earlier', 'before.checkpoint').ok()
    story.verify('continues', 'between.checkpoint', '--earlier', 'before.checkpoint').refused('PROOF_INVALID')  # nothing ties the one in between
    story.verify('now.checkpoint', '--earlier', 'before.checkpoint').refused('PROOF_INVALID')
    story.verify('continues', '--earlier', 'between.checkpoint').refused('PROOF_INVALID')
    story.verify('continues').refused('USAGE')
    story.verify('between.checkpoint', '--earlier', 'between.checkpoint').ok()
    with open(story.path('continues')) as f:
        assert f.readline().startswith('old ')


# ---- What is not is refused

def flips(data, count, chance):
    for _ in range(count):
        at = chance.randrange(len(data) * 8)
        altered = bytearray(data)
        altered[at // 8] ^= 1 << at % 8
        yield at // 8, bytes(altered)


@pytest.mark.attack('LE-06')
def test_a_flipped_bit_in_a_proof(story, home, amount):
    chance = random.Random(6)
    file = os.path.join(home, 'file')
    for name, words in [('grant.proof', ['--of', 'grant:alice.grant']), ('absent.proof', ['--of', 'revocation:bob.grant']), ('leaf.proof', ['--of', 'transaction:' + story.first['txid']]),
                        ('continues', ['--earlier', 'before.checkpoint']), ('now.checkpoint', [])]:
        with open(story.path(name), 'rb') as f:
            data = f.read()
        story.verify(story.path(name), *words).ok()
        for at, altered in flips(data, amount(25, 500), chance):
            with open(file, 'wb') as f:
                f.write(altered)
            ran = story.verify(file, *words)
            assert ran.code == 1, f'{name}, byte {at}: {ran}'
        for length in (0, 1, len(data) // 2, len(data) - 1):
            with open(file, 'wb') as f:
                f.write(data[:length])
            assert story.verify(file, *words).code == 1, f'{name}, cut after {length}'


@pytest.mark.attack('LE-06')
def test_a_flipped_bit_in_a_bundle(story, copy, amount):
    sys.path.insert(0, EXAMPLE)
    try:
        import auditor
    finally:
        sys.path.remove(EXAMPLE)
    chance = random.Random(7)
    for name in ('first', 'second'):
        bundle = copy(name)

        class Words:
            log, earlier = story.path('ledger/log.vkey'), story.path('before.checkpoint')
        Words.bundle = bundle
        assert auditor.audit(Words)[1]['accepted']
        for file in sorted(os.listdir(bundle)):
            path = os.path.join(bundle, file)
            with open(path, 'rb') as f:
                data = f.read()
            for at, altered in flips(data, amount(2, 40), chance):
                with open(path, 'wb') as f:
                    f.write(altered)
                assert not auditor.audit(Words)[1]['accepted'], f'{name}/{file}, byte {at}'
                assert story.verify(bundle, '--earlier', Words.earlier).code == 1, f'{name}/{file}, byte {at}'
            with open(path, 'wb') as f:
                f.write(data)


@pytest.mark.attack('LE-06')
def test_another_leaf_size_or_tree(story, copy, home):
    # About something else than was asked.
    story.verify('grant.proof', '--of', 'grant:bob.grant').refused('PROOF_INVALID')
    story.verify('absent.proof', '--of', 'revocation:alice.grant').refused('PROOF_INVALID')
    story.verify('leaf.proof', '--of', 'transaction:' + story.second['txid']).refused('PROOF_INVALID')
    story.verify('leaf.proof', '--of', f'leaf:{story.first["index"] + 1}').refused('PROOF_INVALID')
    story.verify('leaf.proof', '--of', 'config').refused('PROOF_INVALID')
    # The path and leaf of one proof under the checkpoint of another size; another index.
    with open(story.path('leaf.proof')) as f, open(story.path('between.checkpoint')) as g:
        head, _, note = f.read().partition('\n\n')
        between = g.read()
    index = story.first['index']
    for text in (f'{head}\n\n{between}', head.replace(f'index {index}', f'index {index - 1}') + f'\n\n{note}', head.rsplit('\n', 1)[0] + f'\n\n{note}'):
        with open(os.path.join(home, 'mixed.proof'), 'w') as f:
            f.write(text)
        story.verify(os.path.join(home, 'mixed.proof')).refused('PROOF_INVALID')
    # Files of a bundle in each other's place, or missing.
    exchanges = [('grant-1.proof', 'grant-2.proof', 'something else'), ('revocation-1.proof', 'revocation-2.proof', 'something else'), ('access-0.proof', 'access-1.proof', 'something else'),
                 ('tail.proof', 'decision.proof', 'TAIL'), ('vmm.proof', 'enclave.proof', 'something else'), ('decision.proof', 'grant-1.proof', 'does not prove a leaf')]
    for one, other, why in exchanges:
        bundle = copy()
        shutil.copy(os.path.join(bundle, other), os.path.join(bundle, one))
        refused(story, bundle, why)
    for name in os.listdir(copy()):
        bundle = copy()
        os.remove(os.path.join(bundle, name))
        refused(story, bundle, name)
    # The grant as it was before it was revoked, and the absence of its revocation: from after the decision, and so of no help against a later one.
    bundle = copy('second')
    shutil.copy(story.path('early.revocation.proof'), os.path.join(bundle, 'revocation-1.proof'))
    refused(story, bundle, 'none was')
    bundle = copy()
    shutil.copy(story.path('early.revocation.proof'), os.path.join(bundle, 'revocation-1.proof'))
    refused(story, bundle, '')  # the end of the grant and the absence of its revocation contradict each other
    shutil.copy(story.path('early.grant.proof'), os.path.join(bundle, 'grant-1.proof'))
    refused(story, bundle, 'tail-')  # these two are true, but nothing shows that they are of this log
    # The TAIL of another batch.
    bundle = copy()
    shutil.copy(os.path.join(story.path('second'), 'tail.proof'), os.path.join(bundle, 'tail.proof'))
    refused(story, bundle, 'another batch')
    # Not from the auditor's checkpoint.
    refused(story, copy(), 'no proof from the size', earlier='between.checkpoint')


@pytest.mark.attack('LE-06')
def test_another_ledger(story, home):
    other = Place(os.path.join(home))
    assert other.verify(story.path('grant.proof')).refused('NOT_SIGNED')
    other.verify(story.path('first')).refused('NOT_SIGNED')
    said = by_hand(story.path('first'), other)
    assert said.code == 1 and 'another log' in said.stdout or 'not signed by the log' in said.stdout, said
    other.bare('ledger', 'verify', story.path('grant.proof')).refused('USAGE', code=2)
    other.bare('ledger', 'verify', story.path('grant.proof'), '--log', story.path('before.checkpoint')).refused('')
    assert by_hand(story.path('first'), other, '--log', story.path('before.checkpoint')).code == 2, 'without a key it is no judgement'
    # The ledger has never seen this grant, and says so with a proof.
    other.troth('ledger', 'prove', 'grant:' + story.path('alice.grant'), '--output', 'p').ok()
    assert 'there is no grant' in other.verify('p', '--of', 'grant:' + story.path('alice.grant')).ok().stdout
    other.verify('p', '--of', 'grant:' + story.path('alice.grant'), '--at', '0').refused('PROOF_INVALID')


@pytest.mark.attack('LE-05')
def test_two_stories_of_one_log(story, home):
    """The operator goes on from one folder in two ways. Whoever holds the log's public key and both heads can see it."""
    for name in ('one', 'other'):
        shutil.copytree(story.path('ledger'), story.path(name))
        story.serve(name)
        story.troth('ledger', 'register', 'host', ('1' if name == 'one' else '2') * 96, '--label', name, '--key', 'processor.key', ledger=name).ok()
        story.troth('ledger', 'checkpoint', '--output', name + '.checkpoint', ledger=name).ok()
        story.troth('ledger', 'prove', 'config', '--output', name + '.proof', ledger=name).ok()
        story.stop()
    evidence = ['ledger', 'verify-fork', '--log', story.path('ledger/log.vkey')]
    assert 'FORKED' in story.bare(*evidence, 'one.checkpoint', 'other.checkpoint').ok().stdout
    found = story.bare(*evidence, 'one.checkpoint', 'other.checkpoint', '--json').ok().json
    assert found['forked'] and len(set(found['roots'])) == 2
    story.bare(*evidence, 'one.checkpoint', 'one.checkpoint').refused('PROOF_INVALID')
    story.bare(*evidence, 'one.checkpoint', 'now.checkpoint').refused('PROOF_INVALID')
    story.verify('one.checkpoint', 'other.checkpoint').refused('LEDGER_FORKED')
    story.verify('one.proof', 'other.proof').refused('LEDGER_FORKED')
    story.verify('one.proof', '--earlier', 'other.checkpoint').refused('LEDGER_FORKED')
    story.verify('one.proof', '--earlier', 'one.checkpoint').ok()
    # A client that saw one of them is shown the other.
    refusal = story.troth('ledger', 'prove', '--from', 'one.checkpoint', ledger='other')
    refusal.refused('LEDGER_FORKED')


# ---- Reading it

def test_rows_and_what_they_are_filtered_by(story):
    def rows(*words):
        return story.troth('audit', '--json', *words).ok().json['transactions']
    every = rows()
    assert [row['type'] for row in every] == ['config', 'register', 'register', 'operation', 'revoke', 'operation']
    assert [row['index'] for row in every] == sorted(row['index'] for row in every)
    assert rows('--only-refused') == [every[-1]] and every[-1]['reason'] == 'GRANT_REVOKED'
    assert rows('--type', 'revoke') == [every[4]]
    assert rows('--actor', 'bob') == [every[3], every[5]], 'whoever asked, though the co-processor sent it'
    assert rows('--actor', 'hospital') == [every[4]] and rows('--actor', every[4]['sender']) == [every[4]]
    assert rows('--limit', '2') == every[:2]
    assert rows('--since', every[4]['time'], '--limit', '1') == [every[4]] or every[3]['time'] == every[4]['time']
    assert rows('--since', '2099-01-01') == [] and rows('--until', '2020-01-01') == []
    assert every[3]['scope'].endswith(SCOPE) and every[3]['measurement'] == CODE and every[3]['grants'] == 2
    table = story.troth('audit').ok().stdout
    assert 'bob: compute on hospital' + SCOPE in table and 'TIME (UTC)' in table and '6 transactions, 1 of them refused' in table
    read = list(csv.DictReader(io.StringIO(story.troth('audit', '--csv').ok().raw.decode(), newline='')))
    assert [row['txid'] for row in read] == [row['txid'] for row in every] and read[3]['actor'] == every[3]['actor'] and read[5]['code'] == '1016'
    for words, reason in [(['--type', 'nothing'], 'USAGE'), (['--since', 'yesterday'], 'USAGE'), (['--actor', 'nobody'], 'NOT_FOUND'), (['--csv', '--json'], 'USAGE')]:
        story.troth('audit', *words).refused(reason)


def test_the_whole_log_applied_again(story):
    shutil.copytree(story.path('ledger'), story.path('served'))
    assert 'All 6 transactions' in story.troth('audit', '--deep').ok().stdout  # from the folder
    story.serve('served')
    client = story.path('served/client')
    with open(story.path('served/service/address')) as f:
        address = f.read().strip()
    with open(os.path.join(client, 'ledger.conf')) as f:
        lines = [f'url: https://{address}\n' if line.startswith('url:') else line for line in f]
    with open(os.path.join(client, 'ledger.conf'), 'w') as f:
        f.writelines(lines)
    deep = story.troth('audit', '--deep', '--json', ledger='served/client').ok().json  # by asking the service for every leaf
    assert deep['applied_again'] and len(deep['transactions']) == 6
    # A bundle that was asked from a service is judged as one from the folder.
    story.troth('ledger', 'prove', '--decision', str(story.first['index']), '--from', 'between.checkpoint', '--output', 'asked', ledger='served/client').ok()
    story.stop()
    story.verify('asked', '--earlier', 'between.checkpoint').ok()
    by_hand('asked', story, '--earlier', 'between.checkpoint').ok()


def test_a_damaged_log_says_so(story, home):
    folder = os.path.join(home, 'ledger')
    shutil.copytree(story.path('ledger'), folder)
    log = os.path.join(folder, 'log-00000001.log')
    with open(log, 'r+b') as f:
        f.seek(900)
        byte = f.read(1)
        f.seek(900)
        f.write(bytes([byte[0] ^ 1]))
    damaged = story.bare('audit', '--deep', '--ledger', folder, '--state', home)
    damaged.refused('DAMAGED')
    assert 'log-00000001.log' in damaged.stderr and 'put a copy of the folder in its place' in damaged.stderr, damaged
    story.bare('ledger', 'reindex', folder).refused('DAMAGED')


def test_reindex(story, home):
    folder = os.path.join(home, 'ledger')
    shutil.copytree(story.path('ledger'), folder)
    before = story.bare('ledger', 'checkpoint', '--ledger', folder, '--state', home).ok().stdout
    for name in ('index.sqlite', 'index.sum', 'tree', 'state.snapshot'):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    made = story.bare('ledger', 'reindex', folder, '--json').ok().json
    assert made['transactions'] == 6 and made['size'] == 12
    assert story.bare('ledger', 'checkpoint', '--ledger', folder, '--state', home).ok().stdout == before
    story.bare('ledger', 'reindex', os.path.join(home, 'nowhere')).refused('NOT_FOUND')
    story.bare('ledger', 'checkpoint', '--size', '3', '--ledger', folder, '--state', home).refused('NOT_FOUND')


def test_what_words_are_taken(story):
    for word in ('leaf:x', 'leaf:', 'grant:zz', 'transaction:12', 'registration:thing:' + CODE, 'registration:vmm', 'floor:policy:', 'key:1', 'everything', 'access:nobody/x'):
        story.troth('ledger', 'prove', word).refused('', code=None)
    story.troth('ledger', 'prove').refused('USAGE', code=2)
    story.troth('ledger', 'prove', 'config', '--decision', '6').refused('USAGE', code=2)
    story.troth('ledger', 'prove', '--decision', '6').refused('USAGE', code=2)
    story.troth('ledger', 'prove', '--decision', '7', '--output', 'none').refused('BAD_TYPE')  # a TAIL
    story.troth('ledger', 'prove', '--decision', '0', '--output', 'none').refused('BAD_TYPE')  # the configuration
    story.troth('ledger', 'prove', '--decision', '4000', '--output', 'none').refused('NOT_FOUND')
    story.troth('ledger', 'prove', '--decision', '00' * 32, '--output', 'none').refused('NOT_FOUND')
    assert not os.path.exists(story.path('none'))
    story.verify('grant.proof', '--at', '6').refused('USAGE', code=2)
    story.verify('grant.proof', '--quorum', '1').refused('USAGE', code=2)
    story.verify('first', '--of', 'config').refused('USAGE', code=2)
    witness = 'w.example+' + 'aa' * 4 + '+' + 'A' * 44
    story.verify('grant.proof', '--witness', witness).refused('')


# ---- The example

def test_the_example_runs_from_nothing(home):
    out = os.path.join(home, 'auditor')
    ran = conftest.run([os.path.join(EXAMPLE, 'run'), '--bin', conftest.BIN, '--out', out], timeout=120, env={**conftest.environment(home), 'TMPDIR': home}, cwd=home).ok()
    assert ran.stdout.count('ACCEPTED') == 2 and ran.stdout.count('REFUSED') == 1 and 'operations: the grant above does not allow export' in ran.stdout, ran
    assert sorted(os.listdir(out)) == ['auditor.py', 'before.checkpoint', 'first', 'log.vkey', 'second']
    moved = conftest.run(['/usr/bin/python3', '-I', '-S', '-B', 'auditor.py', 'first', '--log', 'log.vkey', '--earlier', 'before.checkpoint', '--json'], env={'PATH': '/usr/bin'}, cwd=out).ok().json
    assert moved['accepted'] and moved['decision'] == 'OK' and [row for row in moved['checks'] if row['kind'] == 'note'] == []


def test_the_example_says_what_it_needs(home):
    ran = subprocess.run([os.path.join(EXAMPLE, 'run'), '--bin', home], capture_output=True, text=True)
    assert ran.returncode == 2 and 'no programs of Troth' in ran.stderr
    help_ = subprocess.run(['/usr/bin/python3', '-B', AUDITOR, '--help'], capture_output=True, text=True)
    assert help_.returncode == 0 and '--earlier' in help_.stdout
    with open(AUDITOR, encoding='utf-8') as f:
        imported = {line.split()[1].split('.')[0] for line in f if line.startswith(('import ', 'from '))}
    assert imported <= set(sys.stdlib_module_names), 'the standard library alone'
