"""Receipts through the real binaries: what is accepted where nothing but the files is there, and what never is."""
import hashlib
import json
import os
import random
import shutil

import cbor2
import conftest
import pytest
from jobs import Machine, box, pipeline, receipt, written  # noqa: F401 (box is a fixture)


def checksummed(head, sections):
    """A receipt's outer form around these parts, with a checksum that fits."""
    body = b'\xa3\x01' + cbor2.dumps(head) + b'\x02' + cbor2.dumps([list(s) for s in sections]) + b'\x03'
    return body + cbor2.dumps(hashlib.sha256(body).digest())


def parts(path):
    with open(path, 'rb') as f:
        outer = cbor2.loads(f.read())
    return outer[1], [tuple(s) for s in outer[2]]


@pytest.fixture
def ran(box):
    """A machine on which a pipeline of three ran; its trust file stands beside it."""
    box.job = pipeline(box.work)
    box.rows = written(box.work, 'rows', 'b\na\n')
    box.trusted = box.trust(box.job)
    box.run(box.job, {'rows': box.rows}).ok()
    box.receipt = os.path.join(box.out, 'receipt.troth')
    return box


def verify(machine, receipt, trust=None, *more):
    return machine.troth('verify', receipt, '--trust', trust or machine.trusted, '--json', *more)


def failed(answer):
    return {check['name']: check['reason'] for check in answer.json['checks'] if not check['ok']}


def test_accepted_where_there_is_nothing_but_the_files(ran, home):
    empty = os.path.join(home, 'empty')
    os.mkdir(empty)
    for path in (os.path.join(ran.bin, 'troth'), ran.receipt, ran.trusted, os.path.join(ran.out, 'out.txt')):
        shutil.copy2(path, empty)
    shutil.rmtree(ran.state)
    answer = conftest.run(['/usr/bin/unshare', '--net', '--map-root-user', './troth', 'verify', 'receipt.troth', '--trust', 'trust.json', '--output', 'out.txt',
                           '--json'], cwd=empty, env={'PATH': '/nowhere', 'HOME': '/nowhere'}).ok()
    assert answer.json['verdict'] == 'accepted' and answer.json['level'] == 1
    assert all(check['ok'] for check in answer.json['checks'])
    assert {'head.signature', 'record', 'flow.edge', 'output.file'} <= {check['name'] for check in answer.json['checks']}
    assert any('order and time are this host' in limit for limit in answer.json['limits'])
    assert sorted(os.listdir(empty)) == ['out.txt', 'receipt.troth', 'troth', 'trust.json']


def test_tells_people_what_was_checked_and_what_it_does_not_prove(ran):
    answer = ran.troth('verify', ran.receipt, '--trust', ran.trusted, '--output', os.path.join(ran.out, 'out.txt'), '--input', f'rows={ran.rows}').ok()
    for words in ('ACCEPTED', 'Level-1', 'order and time are this host\'s word; a later thief of this epoch key could make such a receipt', 'output files'):
        assert words in answer.stdout, answer
    assert 'No output file was compared' in ran.troth('verify', ran.receipt, '--trust', ran.trusted).ok().stdout


@pytest.mark.attack('RC-01')
def test_flipped_bits(ran, amount, home):
    with open(ran.receipt, 'rb') as f:
        good = f.read()
    damaged = os.path.join(home, 'damaged.troth')
    places = range(len(good)) if conftest.LONG else random.Random(1).sample(range(len(good)), amount(60, 60))
    for place in places:
        written(home, 'damaged.troth', good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1:])
        answer = verify(ran, damaged)
        assert answer.code == 1 and answer.json['verdict'] == 'refused', f'byte {place}: {answer}'


@pytest.mark.attack('RC-02', 'RC-12')
def test_parts_of_another_run(ran, home):
    other = os.path.join(home, 'other')
    ran.run(ran.job, {'rows': written(ran.work, 'more', 'c\n')}, out=other).ok()
    head, sections = parts(ran.receipt)
    other_head, other_sections = parts(os.path.join(other, 'receipt.troth'))
    spliced = os.path.join(home, 'spliced.troth')
    differing = 0
    for at, (mine, theirs) in enumerate(zip(sections, other_sections)):
        if mine != theirs:
            differing += 1
            written(home, 'spliced.troth', checksummed(head, [*sections[:at], theirs, *sections[at + 1:]]))
            assert failed(verify(ran, spliced)) == {'section.digest': 'DIGEST_MISMATCH'}
    assert differing == 4
    written(home, 'spliced.troth', checksummed(other_head, sections))
    verify(ran, spliced).refused('DIGEST_MISMATCH', code=1)
    written(home, 'spliced.troth', checksummed(head, sections))
    verify(ran, spliced).ok()
    answer = verify(ran, ran.receipt, None, '--output', os.path.join(other, 'out.txt')).refused('RECEIPT_REFUSED', code=1)
    assert failed(answer) == {'output.file': 'DIGEST_MISMATCH'}


@pytest.mark.attack('RC-03', 'RC-05')
def test_another_host(ran, home):
    os.mkdir(os.path.join(home, 'second'))
    second = Machine(os.path.join(home, 'second')).init()
    assert failed(verify(ran, ran.receipt, second.trust(ran.job))) == {'head.root': 'DAC_UNTRUSTED_ROOT'}


@pytest.mark.attack('RC-04')
def test_other_files(ran, home):
    for content in ('', 'b\n', 'b\na\n\n', 'x' * 100000):
        wrong = written(home, 'out.txt', content)
        assert failed(verify(ran, ran.receipt, None, '--output', wrong)) == {'output.file': 'DIGEST_MISMATCH'}
        assert failed(verify(ran, ran.receipt, None, '--input', f'rows={wrong}')) == {'input.file': 'DIGEST_MISMATCH'}
    verify(ran, ran.receipt, None, '--input', f'rwos={ran.rows}').refused('UNKNOWN_ROLE', code=2)
    verify(ran, ran.receipt, None, '--output', '/dev/zero').refused('BAD_TYPE')


@pytest.mark.attack('RC-06')
def test_sections_missing_doubled_or_moved(ran, home):
    head, sections = parts(ran.receipt)
    path = os.path.join(home, 'changed.troth')
    for changed in (sections[1:], sections[:-1], sections + sections[-1:], [sections[1], sections[0], *sections[2:]], [*sections, (40, b'x')]):
        written(home, 'changed.troth', checksummed(head, changed))
        assert 'sections.table' in failed(verify(ran, path))
    with open(ran.receipt, 'rb') as f:
        good = f.read()
    for raw in (good + b'\0', good[:-1], b'', good[:100]):
        written(home, 'changed.troth', raw)
        assert 'receipt.form' in failed(verify(ran, path))


@pytest.mark.attack('RC-07', 'RC-09')
def test_another_program_of_the_same_name(ran, home):
    written(ran.work, 'B.sh', '#!/bin/sh\ncat # the same, differently\n', 0o755)
    changed = os.path.join(home, 'changed')
    ran.run(ran.job, {'rows': ran.rows}, out=changed).ok()
    assert failed(verify(ran, os.path.join(changed, 'receipt.troth'))) == {'job.expected': 'DIGEST_MISMATCH'}


@pytest.mark.attack('RC-10')
def test_trust_files(ran, home):
    with open(ran.trusted) as f:
        good = json.load(f)
    path = os.path.join(home, 'changed.json')

    def judged(**changes):
        written(home, 'changed.json', json.dumps({**good, **changes}, indent=1))
        return verify(ran, ran.receipt, path)

    judged().ok()
    answer = judged(revokd=[]).refused('UNKNOWN_FIELD')
    assert 'changed.json:' in answer.stderr and 'revoked' in answer.stderr, answer
    judged(roots=[]).refused('BAD_VALUE')
    assert failed(judged(revoked=[good['job']['enclaves'][1]['measurement']]))['enclave.measurement'] == 'MEASUREMENT_REVOKED'
    assert failed(judged(expires='2020-01-01T00:00:00Z')) == {'trust.valid': 'TRUST_EXPIRED'}
    verify(ran, ran.receipt, path, '--at', '2019-12-31T00:00:00Z').ok()
    assert failed(judged(tcb=[{'register0': '00' * 48, 'register1': '00' * 48}]))['enclave.launch'] == 'MEASUREMENT_MISMATCH'
    judged(job={**good['job'], 'outputs': []}).refused('DIGEST_MISMATCH')
    ran.troth('verify', ran.receipt).refused('USAGE', code=2)


@pytest.mark.attack('RC-11')
def test_a_receipt_of_a_gigabyte(ran, home):
    big = os.path.join(home, 'big.troth')
    shutil.copy(ran.receipt, big)
    os.truncate(big, 1 << 30)
    assert verify(ran, big).refused('TOO_LARGE').seconds < 20 * conftest.SLOWNESS
    deep = written(home, 'deep.troth', b'\xa3\x01' + b'\x81' * 1000000)
    verify(ran, deep).refused('RECEIPT_REFUSED', code=1)


@pytest.mark.attack('RC-12')
def test_nonces(ran, home):
    nonce, wrong = '11' * 32, '12' * 32
    out = os.path.join(home, 'asked')
    ran.run(ran.job, {'rows': ran.rows}, out=out, more=['--nonce', nonce]).ok()
    asked = os.path.join(out, 'receipt.troth')
    verify(ran, asked, None, '--nonce', nonce).ok()
    assert failed(verify(ran, asked, None, '--nonce', wrong)) == {'head.nonce': 'BAD_VALUE'}
    assert failed(verify(ran, ran.receipt, None, '--nonce', nonce)) == {'head.nonce': 'BAD_VALUE'}
    verify(ran, asked, None, '--nonce', nonce[2:]).refused('USAGE', code=2)


def test_inspect_shows_and_claims_nothing(ran):
    left = receipt(ran.out)
    raw = {name: ran.troth('inspect', ran.receipt, '--section', name, '--raw').ok().raw for name in left.sections}
    assert raw == left.sections
    assert [hashlib.sha256(raw[name]).digest() for name in raw] == [row[2] for row in left.head[14]]
    assert cbor2.loads(ran.troth('inspect', ran.receipt, '--section', 'head', '--raw').ok().raw).tag == 18
    whole = ran.troth('inspect', ran.receipt, '--json').ok()
    assert whole.json['verified'] is False and len(whole.json['content']['sections']['records']) == 6
    for path, kind in ((ran.receipt, 'receipt'), (ran.trusted, 'trust file'), (ran.job, 'job file'),
                       (os.path.join(ran.state, 'inception.epoch'), 'epoch record')):
        words = ran.troth('inspect', path).ok().stdout
        assert kind in words and 'nothing in it was verified' in words
    ran.troth('inspect', ran.receipt, '--section', 'nothing').refused('NOT_FOUND')
    ran.troth('inspect', ran.rows).refused('BAD_VALUE')


def test_show_draws_the_chain(ran):
    words = ran.troth('show', ran.receipt).ok().stdout
    assert words.startswith('Not verified')
    at = [words.index(part) for part in ('C ran and put out', 'B sent to C', 'B ran', 'A sent to B', 'A ran', 'A input enters rows')]
    assert at == sorted(at)
    assert 'Verified under' in ran.troth('show', ran.receipt, '--trust', ran.trusted).ok().stdout


def test_a_trust_file_is_never_overwritten(ran):
    with open(ran.trusted) as f:
        before = f.read()
    arguments = ['trust', 'new', '--root', os.path.join(ran.state, 'inception.epoch'), '--reference', ran.job]
    ran.troth(*arguments, '--output', ran.trusted).refused('ALREADY_EXISTS', code=2)
    with open(ran.trusted) as f:
        assert f.read() == before
    assert json.loads(ran.troth(*arguments).ok().stdout) == json.loads(before)
    other = written(ran.work, 'other.pem', '-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n')
    ran.troth(*arguments, '--recovery', other).refused('BAD_KEY')
