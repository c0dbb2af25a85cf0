"""Upgrades on real binaries: new builds of Troth and of a job's program in mid-life, authorised beforehand or refused."""
import json
import os
import shutil
import subprocess

import jobs
import pytest

FIRST, NEXT = 'first build', 'next build'
SECRET = b'a secret that outlives its program'
READER = '''
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	char secret[64];
	ssize_t got = read(3, secret, sizeof(secret));
	printf("%s: %zd bytes\\n", BUILD, got);
	return 0;
}
'''


def build_reader(machine, build):
    """The job's program: what sqlite3 is to a real job before and after an apt upgrade."""
    jobs.compile_text(machine.work, 'reader', READER, f'-DBUILD="{build}"')


def reader_job(machine):
    return jobs.write_job(machine.work, [jobs.enclave('P', './reader', secrets=[{'name': 'k', 'fd': 3}])],
                          inputs=[{'role': 'key', 'to': 'P', 'secret': 'k'}], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}])


class Upgradable:
    """A machine with programs of its own, a job whose program reads a secret, and an author of reference sets."""

    def __init__(self, home):
        self.machine = jobs.Machine(home)
        self.machine.own_programs()
        self.machine.init()
        self.home, self.state = home, self.machine.state
        build_reader(self.machine, FIRST)
        self.job = reader_job(self.machine)
        self.author = self.key('author')

    def path(self, name):
        return os.path.join(self.home, name)

    def key(self, name):
        path = self.path(name + '.pem')
        subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
        return path

    def troth(self, *args, **more):
        return self.machine.troth(*args, **more)

    def new_programs(self, *names):
        """New builds beside the old ones: the same code in other files, as a compiler with another date gives."""
        target = self.path('bin.next')
        shutil.copytree(self.machine.bin, target)
        for name in names or ('troth-ap', 'trothd', 'troth-ire'):
            with open(os.path.join(target, name), 'ab') as f:
                f.write(b'next build')
        return target

    def sign(self, source, name, key=None):
        self.troth('reference', 'sign', source, '--key', key or self.author, '--output', self.path(name)).ok()
        return self.path(name)

    def first_set(self):
        self.troth('reference', 'new', '--name', 'payroll', '--programs', self.machine.bin, '--job', self.job, '--output',
                   self.path('first.json')).ok()
        return self.sign(self.path('first.json'), 'first.set')

    def next_set(self, before, programs, *more):
        self.troth('upgrade', 'plan', '--set', before, '--programs', programs, '--job', self.job, '--output', self.path('next.json'), *more).ok()
        return self.sign(self.path('next.json'), 'next.set')

    def authorise(self, *args):
        return self.troth('upgrade', 'authorise', *args, '--state', self.state)

    def seal(self, name, *more):
        path = self.path(name)
        self.troth('seal', '--job', self.job, '--enclave', 'P', '--as', 'k', '--root', os.path.join(self.state, 'inception.epoch'),
                   '--state', self.state, '--output', path, *more, input=SECRET).ok()
        return path

    def run(self, sealed, out):
        return self.machine.run(self.job, sealed={'key': sealed}, out=self.path(out))

    def assert_read(self, sealed, out, build):
        self.run(sealed, out).ok()
        assert self.machine.text(out=self.path(out)) == f'{build}: {len(SECRET)} bytes\n'


@pytest.fixture
def up(home):
    yield Upgradable(home)


@pytest.mark.attack('RO-09')
def test_an_upgrade_in_mid_life_is_refused_and_then_authorised(up):
    """The whole story: sealed data before, a refusal without authorisation, the same data after it, and old receipts still good."""
    first = up.first_set()
    up.authorise(first, '--enrol').ok()
    by_measurement, by_reference = up.seal('m.sealed'), up.seal('r.sealed', '--reference', first)
    up.assert_read(by_measurement, 'before', FIRST)
    up.assert_read(by_reference, 'before2', FIRST)
    trust = up.machine.trust(up.job)

    old, new = up.machine.bin, up.new_programs()
    build_reader(up.machine, NEXT)
    up.run(by_measurement, 'changed').refused('SEAL_FOREIGN')
    up.run(by_reference, 'changed').refused('REFERENCE_MISSING')
    up.machine.bin = new
    up.run(by_reference, 'changed').refused('AP_CHANGED')
    up.troth('host', 'status', '--state', up.state).refused('AP_CHANGED')
    assert not os.path.exists(up.path('changed'))
    up.machine.bin = old

    following = up.next_set(first, new)
    up.authorise(following, '--reseal', f'{by_measurement}={up.path("m2.sealed")}').ok()
    up.troth('host', 'status', '--state', up.state).ok()  # what runs goes on
    up.machine.bin = new
    up.troth('host', 'status', '--state', up.state).ok()
    up.assert_read(up.path('m2.sealed'), 'after', NEXT)
    up.assert_read(by_reference, 'after2', NEXT)
    up.run(by_measurement, 'after3').refused('SEAL_FOREIGN')

    verdict = up.machine.verify(trust, up.path('before')).ok().json
    assert verdict['verdict'] == 'accepted'
    # The new programs have other registers: a receipt of theirs needs a trust file that names them.
    up.machine.verify(trust, up.path('after')).refused('RECEIPT_REFUSED')
    assert up.machine.verify(up.machine.trust(up.job, 'trust2.json'), up.path('after')).ok().json['verdict'] == 'accepted'
    # One file for both builds judges what either of them left of this job.
    both = up.path('both.json')
    up.troth('trust', 'new', '--root', os.path.join(up.state, 'inception.epoch'), '--reference', up.job, '--programs', old, '--programs', new,
             '--output', both).ok()
    assert len(json.load(open(both))['tcb']) == 2
    assert up.machine.verify(both, up.path('after')).ok().json['verdict'] == 'accepted'


@pytest.mark.attack('RO-09')
@pytest.mark.parametrize('name', ['troth-ap', 'trothd', 'troth-ire'])
def test_only_the_programs_that_were_authorised_run(up, name):
    up.authorise(up.first_set(), '--enrol').ok()
    new = up.new_programs(name)
    up.authorise(up.next_set(up.path('first.set'), new)).ok()
    up.machine.bin = new
    up.troth('host', 'status', '--state', up.state).ok()
    with open(os.path.join(new, name), 'ab') as f:
        f.write(b'and one byte more')
    refused = up.troth('host', 'status', '--state', up.state)
    refused.refused('AP_CHANGED' if name == 'troth-ap' else 'MEASUREMENT_WRONG')


@pytest.mark.attack('RO-09')
def test_a_downgrade_is_refused(up):
    first = up.first_set()
    up.authorise(first, '--enrol').ok()
    old, new = up.machine.bin, up.new_programs()
    assert up.troth('upgrade', 'status', '--state', up.state, '--json').ok().json['min_svn']['troth-ap'] == 1
    up.authorise(up.next_set(first, new, '--forbid-older')).ok()
    status = up.troth('upgrade', 'status', '--state', up.state, '--json').ok().json
    assert status['min_svn'] == {'troth-ap': 2, 'trothd': 2, 'troth-ire': 2} and len(status['authors']) == 1
    assert [(p['svn'], p['allowed']) for p in status['programs'] if p['program'] == 'troth-ap'] == [(1, False), (2, True)]
    up.machine.bin = new
    up.troth('host', 'status', '--state', up.state).ok()
    up.machine.bin = old
    up.troth('host', 'status', '--state', up.state).refused('SVN_TOO_LOW')
    up.authorise(first).refused('REFERENCE_OLD')  # the set in which the old one was good
    up.troth('host', 'status', '--state', up.state).refused('SVN_TOO_LOW')
    up.machine.bin = new
    up.troth('host', 'status', '--state', up.state).ok()


THIEF = '''
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	char key[64];
	ssize_t got = read(5, key, sizeof(key));
	int file = open(STOLEN, O_CREAT | O_WRONLY, 0600);
	return write(file, key, got > 0 ? got : 0) > 0;
}
'''


@pytest.mark.attack('RO-09')
def test_a_changed_secure_processor_gets_no_key(up):
    """It is refused before the key of the state is handed to it, not after."""
    stolen = up.path('stolen')
    thief = jobs.compile_text(up.home, 'thief', THIEF, f'-DSTOLEN="{stolen}"')
    os.replace(thief, os.path.join(up.machine.bin, 'troth-ap'))
    up.troth('host', 'status', '--state', up.state).refused('AP_CHANGED')
    up.run(jobs.written(up.home, 'none', ''), 'out').refused('AP_CHANGED')
    assert not os.path.exists(stolen)


def test_a_set_may_come_after_the_programs(up):
    """apt was faster than the operator: the author is enrolled, so the set alone brings the host back."""
    first = up.first_set()
    up.authorise(first, '--enrol').ok()
    sealed = up.seal('r.sealed', '--reference', first)
    new = up.new_programs()
    up.machine.bin = new
    up.run(sealed, 'refused').refused('AP_CHANGED')
    up.authorise(up.next_set(first, new)).ok()
    up.assert_read(sealed, 'after', FIRST)


def test_nobody_else_authorises(up):
    first = up.first_set()
    up.authorise(first).refused('AUTHOR_UNKNOWN')
    up.authorise(first, '--enrol').ok()
    new = up.new_programs()
    source = up.path('first.json')
    up.troth('upgrade', 'plan', '--set', source, '--programs', new, '--output', up.path('forged.json')).ok()
    forged = up.sign(up.path('forged.json'), 'forged.set', up.key('thief'))
    up.authorise(forged).refused('AUTHOR_UNKNOWN')
    up.machine.bin = new
    up.authorise(forged).refused('AUTHOR_UNKNOWN')
    up.authorise(forged, '--enrol').refused('AP_CHANGED')  # changed programs enrol nobody
    damaged = bytearray(open(first, 'rb').read())
    damaged[len(damaged) // 2] ^= 1
    jobs.written(up.home, 'damaged.set', bytes(damaged))
    assert up.authorise(up.path('damaged.set')).code == 1
    up.troth('host', 'status', '--state', up.state).refused('AP_CHANGED')


def test_the_hosts_own_record_is_not_believed_when_altered(up):
    up.authorise(up.first_set(), '--enrol').ok()
    new = up.new_programs()
    up.authorise(up.next_set(up.path('first.set'), new)).ok()
    path = os.path.join(up.state, 'upgrades')
    content = bytearray(open(path, 'rb').read())
    content[60] ^= 1
    with open(path, 'wb') as f:
        f.write(content)
    up.machine.bin = new
    up.troth('host', 'status', '--state', up.state).refused('AP_CHANGED')


def test_a_plan_names_every_seal_that_is_affected(up):
    first = up.first_set()
    up.authorise(first, '--enrol').ok()
    measured, reference = up.seal('m.sealed'), up.seal('r.sealed', '--reference', first)
    seals = ['--sealed', measured, '--sealed', reference]
    unchanged = up.troth('upgrade', 'plan', '--set', first, '--programs', up.machine.bin, '--job', up.job, *seals, '--json').ok().json
    assert unchanged['new'] == 0 and [s['state'] for s in unchanged['seals']] == ['opens', 'opens with the next set']
    build_reader(up.machine, NEXT)
    changed = up.troth('upgrade', 'plan', '--set', first, '--job', up.job, *seals, '--json').ok().json
    assert changed['new'] == 2 and changed['version'] == 2
    assert [s['state'] for s in changed['seals']] == ['must be sealed anew', 'opens with the next set']
    assert {v['what'] for v in changed['values'] if not v['known']} == {'core', 'measurement'}
    # The registers of the plan are those that the host has.
    status = up.troth('host', 'status', '--state', up.state, '--json').ok().json
    assert (unchanged['register0'], unchanged['register1']) == (status['register0'], status['register1'])


def test_sets_given_at_once_are_all_kept(up):
    """Several clients of one host: no set is lost in the host's record, which starts the next build."""
    first = up.first_set()
    up.authorise(first, '--enrol').ok()
    sets = []
    for name in ('one', 'two', 'three', 'four'):
        up.troth('reference', 'new', '--name', name, '--programs', up.machine.bin, '--output', up.path(name)).ok()
        sets.append(up.sign(up.path(name), name + '.set'))
    children = [subprocess.Popen(up.machine.command('upgrade', 'authorise', s, '--state', up.state), env=up.machine.env(),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for s in sets]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    kept = up.troth('upgrade', 'status', '--state', up.state, '--json').ok().json['sets']
    assert {s['name'] for s in kept} == {'payroll', 'one', 'two', 'three', 'four'}
    for path in sets:
        up.authorise(path).ok()


def test_sets_as_files(up):
    source = up.path('first.json')
    signed = up.first_set()
    shown = up.troth('reference', 'show', signed, '--json').ok().json
    linted = up.troth('reference', 'lint', source, '--json').ok().json
    assert shown['entries'] == linted['entries'] and shown['name'] == 'payroll' and len(shown['author']) == 64
    with open(source) as f:
        text = json.load(f)
    text['entries'][0]['min_svn'] = 99
    wrong = jobs.written(up.home, 'wrong.json', json.dumps(text, indent=1))
    assert 'wrong.json:' in up.troth('reference', 'lint', wrong).refused('BAD_VALUE').stderr
    up.troth('reference', 'sign', wrong, '--key', up.author, '--output', up.path('wrong.set')).refused('BAD_VALUE')
    assert not os.path.exists(up.path('wrong.set'))
    up.troth('reference', 'show', source).refused('is no signed reference set')
    up.troth('reference', 'new', '--output', up.path('x')).refused('USAGE', 2)
    up.troth('upgrade', 'plan').refused('USAGE', 2)
    up.troth('inspect', signed).ok()
