"""Complete chains: fetched from enclaves that live, judged offline record by record, drawn."""
import hashlib
import os
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import cbor2
import conftest
import jobs
import pytest
from jobs import box, machine  # noqa: F401 (fixtures)
from test_revocation import Operator

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import dac_bundle  # noqa: E402

WAITS = 'cat > /dev/null; sleep 600'


def fan(folder):
    """A hands the same rows to B and C, which have read everything and go on living."""
    for name, text in {'A': 'cat', 'B': WAITS, 'C': WAITS}.items():
        jobs.written(folder, f'{name}.sh', f'#!/bin/sh\n{text}\n', 0o755)
    peers = {'A': ['B', 'C'], 'B': ['A'], 'C': ['A']}
    files = ['/usr/bin/cat', '/usr/bin/sleep']
    return jobs.write_job(folder, [jobs.enclave(n, f'./{n}.sh', peers=peers[n], files=files) for n in 'ABC'],
                          flow=[{'name': 'left', 'from': 'A', 'to': 'B', 'operation': 'rows'},
                                {'name': 'right', 'from': 'A', 'to': 'C', 'operation': 'rows'}],
                          inputs=[{'role': 'rows', 'to': 'A'}], outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}, {'name': 'also', 'from': 'C', 'file': 'also.txt'}])


class Chains:
    """The fan while B and C live."""

    def __init__(self, machine):
        self.machine = machine
        self.job = fan(machine.work)
        rows = jobs.written(machine.work, 'rows', '1,row\n2,row\n')
        self.running = machine.running(self.job, {'rows': rows})

    def __enter__(self):
        self.child = self.running.__enter__()
        return self

    def __exit__(self, *why):
        return self.running.__exit__(*why)

    def get(self, ire, *more, out='chain'):
        path = os.path.join(self.machine.home, out)
        return self.machine.troth('dac', 'get', ire, '--state', self.machine.state, '--output', path, *more), path

    def fetch(self, ire, *more, out='chain'):
        """As soon as there is one."""
        def tried():
            assert self.child.poll() is None, self.child.stderr.read()
            done, path = self.get(ire, *more, out=out)
            return path if done.code == 0 else None
        path = jobs.until(tried, f'a chain of {ire}', 10)
        with open(path, 'rb') as f:
            return f.read(), path


def judge(machine, path, trust, *more):
    return machine.troth('dac', 'verify', path, '--trust', trust, '--json', *more)


def test_any_enclave_gives_the_same_chain_of_a_record(machine):
    with Chains(machine) as chains:
        left, path = chains.fetch('B')
        right, _ = chains.fetch('C', out='other')
        assert left != right, 'each was handed a REQUEST of its own'
        trust = machine.trust(chains.job)
        judged = judge(machine, path, trust).ok().json
        assert judged['verdict'] == 'accepted' and judged['accepted'] == 3 and judged['refused'] == 0
        assert [r['kind'] for r in judged['records']] == ['ORIGIN', 'DERIVE', 'REQUEST'] and all(r['ok'] for r in judged['records'])
        derive = judged['records'][1]['oid']
        one, _ = chains.fetch('B', '--record', derive, out='one')
        two, path = chains.fetch('C', '--record', derive, out='two')
        assert one == two, 'the last gives what the first gives'
        assert judge(machine, path, trust).ok().json['accepted'] == 2
        # without Troth, from the page alone
        bundle = dac_bundle.read(one)
        assert dac_bundle.judge(bundle) == {}
        chains.get('B', '--record', '00' * 32)[0].refused('DAC_UNKNOWN_RECORD', 3)
        chains.get('A')[0].refused('ENCLAVE_STOPPED', 3)
        chains.get('D')[0].refused('IRE_UNKNOWN', 3)
        run = bundle.records[0].body[19].hex()
        assert chains.fetch(f'B@{run[:8]}', out='named')[0] == left
        chains.get('B@ffffffffffffffff' if not run.startswith('ffff') else 'B@00')[0].refused('IRE_UNKNOWN', 3)


def test_no_host_no_chain(box):
    box.troth('dac', 'get', 'A', '--state', box.state, '--output', os.path.join(box.home, 'chain')).refused('HOST_NOT_RUNNING', 3)
    assert not os.path.exists(os.path.join(box.home, 'chain'))


class Page(HTMLParser):
    """Refuses what leads out of a page, and what could run."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ''

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert tag not in ('script', 'img', 'link', 'iframe', 'object', 'embed', 'form', 'input', 'base'), tag
        for name, value in attrs:
            assert not name.startswith('on'), name
            assert name not in ('src', 'srcset', 'action') and (name != 'href' or value.startswith('#')), (name, value)

    def handle_data(self, data):
        self.text += data


def drawn(troth, path, kind, *more):
    return troth('dac', 'show', path, '--format', kind, *more).ok().stdout


def test_pictures(box):
    with Chains(box) as chains:
        _, path = chains.fetch('B')
        trust = box.trust(chains.job)
    tree = drawn(box.troth, path, 'tree')
    assert 'Nothing here was verified.' in tree and 'A sent to B' in tree and 'input enters' in tree
    assert 'Nothing here was verified.' not in drawn(box.troth, path, 'tree', '--trust', trust)
    assert ElementTree.fromstring(drawn(box.troth, path, 'svg')).tag == '{http://www.w3.org/2000/svg}svg'
    page = Page()
    page.feed(drawn(box.troth, path, 'html', '--trust', trust))
    assert 'accepted' in page.text and 'svg' in page.tags and page.text.count('ok, level') == 3
    assert len(box.troth('dac', 'show', path, '--json').ok().json['records']) == 3


@pytest.fixture(scope='module')
def world():
    """A root, three enclaves and their chain, made in Python from docs/PROTOCOL.dac."""
    return dac_bundle.World()


def write(home, name, data):
    return jobs.written(home, name, data)


def test_a_made_chain_is_accepted(troth, work, world):
    made = world.calls()
    trust = write(work, 'trust.json', world.trust())
    judged = troth('dac', 'verify', write(work, 'b', made.encode()), '--trust', trust, '--json', '--at', world.at).ok().json
    assert judged['verdict'] == 'accepted' and judged['refused'] == 0 and judged['depth'] == 3
    assert dac_bundle.judge(dac_bundle.read(made.encode())) == {}


@pytest.mark.attack('DA-01', 'DA-02', 'DA-03', 'DA-04', 'DA-06', 'DA-07', 'DA-08', 'DA-09', 'DA-10', 'DA-11', 'DA-12')
@pytest.mark.parametrize('name', dac_bundle.BROKEN)
def test_a_hostile_bundle_is_refused(troth, work, world, name):
    """With its reason, naming the record; and only what depends on it is refused with it."""
    broken = world.broken(name)
    trust = write(work, 'trust.json', world.trust())
    ran = troth('dac', 'verify', write(work, 'b', broken.data), '--trust', trust, '--json', '--at', world.at)
    ran.refused(broken.reason)
    assert ran.code == 1, str(ran)
    if broken.names:
        assert broken.names.hex()[:12] in ran.stdout + ran.stderr, f'{name}: the record is not named: {ran}'
    if broken.verdicts is None:
        return
    told = {r['oid']: r.get('reason') for r in ran.json['records']}
    assert told == {oid.hex(): reason for oid, reason in broken.verdicts.items()}, name


def test_a_name_is_hostile_input(troth, work, world):
    """What a record says of itself reaches no terminal and no page as anything but text."""
    made = world.named('<script>alert(1)</script>"\'&\x1b[31m\u202e' * 2)
    path = write(work, 'b', made.encode())
    for kind in ('tree', 'svg', 'html', 'json'):
        text = drawn(troth, path, kind)
        assert '\x1b' not in text and '\u202e' not in text, kind
        if kind == 'html':
            Page().feed(text)
        if kind == 'svg':
            ElementTree.fromstring(text)
        if kind in ('svg', 'html'):
            assert '<script' not in text


@pytest.mark.attack('DA-05')
def test_pictures_of_ten_thousand(troth, work, world):
    made = world.long(conftest.LONG and 10000 or 2000)
    path = write(work, 'b', made.encode())
    svg = drawn(troth, path, 'svg')
    assert len(svg) < 200000 and svg.count('<rect') < 160, 'groups, not records'
    ElementTree.fromstring(svg)
    page = Page()
    page.feed(drawn(troth, path, 'html'))
    assert page.tags.count('tr') > len(made.records)
    assert len(drawn(troth, path, 'tree').splitlines()) < 200
    assert len(drawn(troth, path, 'tree', '--all').splitlines()) >= len(made.records)


def test_not_a_bundle(troth, work, world):
    trust = write(work, 'trust.json', world.trust())
    for data in (b'', b'\xa0', b'\xff' * 100, cbor2.dumps({1: 2}), world.calls().encode()[:-1]):
        path = write(work, 'b', data)
        jobs.assert_typed((ran := troth('dac', 'verify', path, '--trust', trust)).code, ran.stdout + ran.stderr)
        jobs.assert_typed((ran := troth('dac', 'show', path)).code, ran.stdout + ran.stderr)


REVOKED = {'measurement': lambda e: e.measurement, 'key': lambda e: hashlib.sha256(dac_bundle.spki_of(e.key.public_key())).digest(),
           'certificate': lambda e: e.digest, 'policy': lambda e: e.policy_digest}


@pytest.mark.attack('DA-12')
@pytest.mark.parametrize('what', sorted(REVOKED))
def test_what_is_revoked_fails_with_what_was_built_on_it(troth, work, world, what):
    """C is revoked, by an operator whom the trust file names: its records fail by name, their descendants with them, and nothing else."""
    operator = Operator(work)
    made = world.maker()
    path = write(work, 'b', made.bundle('b3').encode())
    trust = write(work, 'trust.json', world.trust(revocation_keys=[operator.id.hex()]))
    entry = (what, REVOKED[what](world.enclaves['C']), 0, 'its key was lost')
    signed = write(work, 'list', operator.sign(operator.payload(1, [entry])))
    troth('dac', 'verify', path, '--trust', trust, '--at', world.at).ok()
    ran = troth('dac', 'verify', path, '--trust', trust, '--at', world.at, '--revocations', signed, '--json').refused('REVOKED', 1)
    told = {r['oid']: r.get('reason') for r in ran.json['records']}
    assert told == {o.hex(): r for o, r in made.verdicts({'c1': 'REVOKED', 'c2': 'REVOKED'}).items()}
    texts = [r['text'] for r in ran.json['records'] if r.get('reason') == 'REVOKED']
    assert texts and all('its key was lost' in t for t in texts), texts
    # What was signed before stays; a list of another operator, one of a stranger, and one that was altered are not taken.
    later = write(work, 'later', operator.sign(operator.payload(1, [(what, entry[1], dac_bundle.T0 + 10 ** 6, '')])))
    troth('dac', 'verify', path, '--trust', trust, '--at', world.at, '--revocations', later).ok()
    stranger = Operator(work, 'stranger')
    stranger = write(work, 'stranger', stranger.sign(stranger.payload(1, [entry])))
    troth('dac', 'verify', path, '--trust', trust, '--at', world.at, '--revocations', stranger).refused('REVOCATION_KEY_UNKNOWN')
    data = bytearray(operator.sign(operator.payload(1, [entry])))
    data[-1] ^= 1
    troth('dac', 'verify', path, '--trust', trust, '--at', world.at, '--revocations', write(work, 'bad', bytes(data))).refused('BAD_SIGNATURE')
    troth('dac', 'verify', path, '--trust', trust, '--at', world.at, '--revocations', signed, '--revocations', later).refused('REVOCATION_CONFLICT')


@pytest.mark.attack('DA-12')
@pytest.mark.parametrize('what', ['host', 'epoch'])
def test_a_revoked_host_takes_its_records_along(troth, work, what):
    """Two roots: C runs under one of its own, which is revoked; or one of them is not trusted at all."""
    world = dac_bundle.World()
    other = dac_bundle.Root()
    c = dac_bundle.Enclave(other, 'C', 'A', world.run, rots=[world.root.rot_id])
    a = dac_bundle.Enclave(world.root, 'A', 'BC', world.run, rots=[world.root.rot_id, other.rot_id])
    world.enclaves.update(A=a, C=c)
    made = world.maker()
    path = write(work, 'b', made.bundle('b3').encode())
    operator = Operator(work)
    keys = [operator.id.hex()]
    both = write(work, 'both.json', world.trust(roots=[world.root, other], revocation_keys=keys))
    judged = troth('dac', 'verify', path, '--trust', both, '--at', world.at, '--json').ok().json
    assert judged['verdict'] == 'accepted' and judged['refused'] == 0
    one = write(work, 'one.json', world.trust())
    ran = troth('dac', 'verify', path, '--trust', one, '--at', world.at, '--json').refused('DAC_UNTRUSTED_ROOT', 1)
    assert {r['oid']: r.get('reason') for r in ran.json['records']} == {
        o.hex(): r for o, r in made.verdicts({'c1': 'DAC_UNTRUSTED_ROOT', 'c2': 'DAC_UNTRUSTED_ROOT'}).items()}
    signed = write(work, 'list', operator.sign(operator.payload(1, [(what, other.rot_id, 0, 'stolen')])))
    ran = troth('dac', 'verify', path, '--trust', both, '--at', world.at, '--revocations', signed, '--json').refused('REVOKED', 1)
    assert {r['oid']: r.get('reason') for r in ran.json['records']} == {
        o.hex(): r for o, r in made.verdicts({'c1': 'REVOKED', 'c2': 'REVOKED'}).items()}
