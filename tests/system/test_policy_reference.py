"""A policy that leaves it to an author's signed set which code a peer may have, with real binaries from job to receipt."""
import json
import os
import subprocess

import cbor2
import jobs
import pytest

TEXT = 'one\ntwo\n'


class Referring:
    """rows -> A -> B -> out.txt; B takes from A only what set `good` of its author lists with SVN 2 or more."""

    def __init__(self, machine):
        self.machine, self.work = machine, machine.work
        self.author = self.key('author')
        self.stranger = self.key('stranger')
        self.program('first')
        # The author's id is in the set that he signs; a first one of anything tells it.
        self.author_id, self.stranger_id = self.id_of(self.author), self.id_of(self.stranger)
        self.job = self.write_job()

    def path(self, name):
        return os.path.join(self.work, name)

    def key(self, name):
        path = self.path(name + '.pem')
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
        return path

    def id_of(self, key):
        source = self.source('id.json', 'x', [{'svn': 1, 'core': '00' * 48}])
        made = self.machine.troth('reference', 'sign', source, '--key', key, '--output', self.path(os.path.basename(key) + '.set'), '--json').ok()
        return made.json['author']

    def program(self, version):
        """What A runs: another version is another core of A and of nothing else."""
        jobs.written(self.work, 'a.sh', f'#!/bin/sh\n# {version}\ncat\n', 0o755)

    def write_job(self, sets=('good.set',)):
        reference = {'author': self.author_id, 'set': 'good', 'min_svn': 2}
        path = jobs.write_job(
            self.work, [jobs.enclave('A', './a.sh', peers=['B'], files=['/usr/bin/cat']),
                        jobs.enclave('B', 'cat', peers=[{'id': 'A', 'reference': reference}])],
            flow=[{'from': 'A', 'to': 'B', 'operation': 'rows'}], inputs=[{'role': 'rows', 'to': 'A'}],
            outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
        job = json.load(open(path))
        job['references'] = list(sets)
        return jobs.written(self.work, 'job.json', json.dumps(job))

    def core(self, name='A'):
        measured = self.machine.troth('ire', 'measure', self.job, '--json').ok().json
        return next(e['core'] for e in measured['enclaves'] if e['enclave'] == name)

    def source(self, file, name, rows, not_after='2099-01-01T00:00:00Z', entry='A', version=1):
        text = {'name': name, 'version': version, 'not_before': '2020-01-01T00:00:00Z', 'not_after': not_after,
                'entries': [{'name': entry, 'min_svn': 1, 'rows': rows}]}
        return jobs.written(self.work, file, json.dumps(text))

    def sign(self, rows, key=None, name='good', file='good.set', **more):
        if os.path.exists(self.path(file)):
            os.remove(self.path(file))
        self.machine.troth('reference', 'sign', self.source('good.json', name, rows, **more), '--key', key or self.author, '--output',
                           self.path(file)).ok()

    def run(self, out):
        rows = jobs.written(self.work, 'rows', TEXT)
        return self.machine.run(self.job, inputs={'rows': rows}, out=self.path(out))

    def trust(self, file, *authors):
        path = self.path(file)
        given = [word for author in authors for word in ('--author', author)]
        self.machine.troth('trust', 'new', '--root', os.path.join(self.machine.state, 'inception.epoch'), '--reference', self.job, *given,
                           '--output', path).ok()
        return path

    def verify(self, trust, out):
        return self.machine.verify(trust, self.path(out))


@pytest.fixture
def ref(home):
    yield Referring(jobs.Machine(home).init())


def failed_checks(verdict):
    return {(c['name'], c['reason']) for c in verdict.json['checks'] if not c['ok']}


def test_an_updated_peer_needs_no_other_policy(ref):
    """First program, then an update: the same policies, a new set, and receipts of both that verify offline."""
    first = ref.core()
    policies = [open(ref.path(f'policies/{name}.json')).read() for name in 'AB']
    ref.sign([{'svn': 2, 'core': first}])
    ref.run('out1').ok()
    assert ref.machine.text(out=ref.path('out1')) == TEXT
    assert ref.verify(ref.trust('trust1.json', ref.author_id), 'out1').ok().json['verdict'] == 'accepted'

    ref.program('second')
    assert ref.core() != first
    ref.run('changed').refused('REFERENCE_MISSING')  # the author did not say so yet
    assert not os.path.exists(ref.path('changed'))
    ref.sign([{'svn': 2, 'core': first}, {'svn': 3, 'core': ref.core()}], version=2)
    ref.run('out2').ok()
    assert policies == [open(ref.path(f'policies/{name}.json')).read() for name in 'AB']
    trust = ref.trust('trust2.json', ref.author_id)
    assert ref.verify(trust, 'out2').ok().json['verdict'] == 'accepted'
    # The set is in the receipt, byte for byte.
    outer = cbor2.loads(open(os.path.join(ref.path('out2'), 'receipt.troth'), 'rb').read())
    section = dict((number, data) for number, data in outer[2])[12]
    assert cbor2.loads(section) == [open(ref.path('good.set'), 'rb').read()]


def test_an_auditor_believes_only_authors_that_he_names(ref):
    ref.sign([{'svn': 2, 'core': ref.core()}])
    ref.run('out').ok()
    nobody, stranger = ref.trust('nobody.json'), ref.trust('stranger.json', ref.stranger_id)
    for trust in (nobody, stranger):
        judged = ref.verify(trust, 'out')
        judged.refused('RECEIPT_REFUSED')
        assert ('references.author', 'AUTHOR_UNKNOWN') in failed_checks(judged)
    assert ref.verify(ref.trust('both.json', ref.stranger_id, ref.author_id), 'out').ok().json['verdict'] == 'accepted'


@pytest.mark.parametrize('what, reason', [('low', 'SVN_TOO_LOW'), ('unlisted', 'REFERENCE_MISSING'), ('expired', 'REFERENCE_EXPIRED'),
                                          ('absent', 'REFERENCE_MISSING'), ('stranger', 'AUTHOR_UNKNOWN'), ('unsigned', 'BAD_SIGNATURE'),
                                          ('other-name', 'AUTHOR_UNKNOWN')])
def test_what_the_author_did_not_say_is_refused(ref, what, reason):
    rows = [{'svn': 2, 'core': ref.core()}]
    if what == 'low':
        ref.sign([{'svn': 1, 'core': ref.core()}])
    elif what == 'unlisted':
        ref.sign(rows, entry='B')
    elif what == 'expired':
        ref.sign(rows, not_after='2021-01-01T00:00:00Z')
    elif what == 'absent':
        ref.job = ref.write_job(sets=())
    elif what == 'stranger':
        ref.sign(rows, key=ref.stranger)
    elif what == 'unsigned':
        ref.sign(rows)
        data = bytearray(open(ref.path('good.set'), 'rb').read())
        data[-1] ^= 1
        jobs.written(ref.work, 'good.set', bytes(data))
    elif what == 'other-name':
        ref.sign(rows, name='better')
    ref.run('out').refused(reason)
    assert not os.path.exists(ref.path('out'))
