"""The main job through the real programs: payroll from the generator to the verified receipt, exec, pipelines, and what is refused."""
import collections
import contextlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import threading

import cbor2
import conftest
import pytest

PAYROLL = os.path.join(conftest.ROOT, 'examples', 'payroll')


def written(folder, name, text, mode=0o644):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb' if isinstance(text, bytes) else 'w') as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def content(*parts):
    with open(os.path.join(*parts), 'rb') as f:
        return f.read()


# ---- payroll

def expected_payroll(plain):
    """The summary, computed from the plain rows without any of the example's programs."""
    sums, rejects, accepted = {}, collections.Counter(), 0
    lines = plain.decode().splitlines()
    assert lines[-1] == f'#end {len(lines) - 1}'
    for line in lines[:-1]:
        fields = line.split(',')
        if len(fields) != 4:
            rejects['fields'] += 1
        elif not re.fullmatch(r'[0-9]+', fields[0]):
            rejects['employee'] += 1
        elif not re.fullmatch(r'[A-Za-z]+', fields[1]):
            rejects['department'] += 1
        elif not re.fullmatch(r'[0-9]+', fields[2]):
            rejects['salary'] += 1
        elif not re.fullmatch(r'[0-9]+', fields[3]) or int(fields[3]) > 744:
            rejects['hours'] += 1
        else:
            count, salary, hours = sums.get(fields[1], (0, 0, 0))
            sums[fields[1]] = (count + 1, salary + int(fields[2]), hours + int(fields[3]))
            accepted += 1
    rows = [(name, *sums[name]) for name in sorted(sums)]
    rows.append(('TOTAL', *(sum(r[i] for r in rows) for i in (1, 2, 3))))
    summary = 'department,employees,salary_cents,hours\n' + ''.join(','.join(map(str, r)) + '\n' for r in rows)
    reasons = ('fields', 'employee', 'department', 'salary', 'hours')
    counted = 'reason,rows\n' + ''.join(f'{r},{rejects[r]}\n' for r in reasons) + f'rejected,{sum(rejects.values())}\naccepted,{accepted}\n'
    return summary.encode(), counted.encode()


class Payroll:
    """A copy of the example with its data, sealed key and trust file."""

    def __init__(self, troth, state, work, seed=7, rows=20000):
        self.troth, self.state = troth, state
        self.folder = os.path.join(work, 'payroll')
        shutil.copytree(PAYROLL, self.folder, ignore=shutil.ignore_patterns('data', 'out', 'auditor'))
        self.job, self.out, self.trust = (os.path.join(self.folder, n) for n in ('job.yaml', 'out', 'trust.json'))
        self.data, key, self.plain = (os.path.join(work, n) for n in ('rows.enc', 'rows.key', 'rows.plain'))
        self.sealed = os.path.join(work, 'rows.sealed')
        conftest.run([os.path.join(self.folder, 'generate'), '--seed', str(seed), '--rows', str(rows), '--out', self.data, '--key', key, '--plain',
                      self.plain]).ok()
        self.root = os.path.join(state, 'inception.epoch')
        self.key = content(key)
        if not os.path.exists(self.root):
            troth('host', 'init', '--state', state, '--no-recovery').ok()
        self.prepare()

    def prepare(self):
        self.troth('seal', '--state', self.state, '--job', self.job, '--enclave', 'IRE-A', '--as', 'rows-key', '--root', self.root, '--output',
                   self.sealed, input=self.key).ok()
        if os.path.exists(self.trust):
            os.unlink(self.trust)
        self.troth('trust', 'new', '--root', self.root, '--reference', self.job, '--output', self.trust).ok()

    def run(self, *more, **rest):
        return self.troth('run', self.job, '--state', self.state, '--input', f'rows={self.data}', '--sealed', f'rows-key={self.sealed}', *more, **rest)

    def verify(self, *more, out=None):
        out = out or self.out
        return self.troth('verify', os.path.join(out, 'receipt.troth'), '--trust', self.trust, '--output', f'summary={out}/summary.csv', '--output',
                          f'rejects={out}/rejects.csv', '--json', *more)


@pytest.fixture
def payroll(troth, state, work):
    return Payroll(troth, state, work)


@pytest.mark.smoke
def test_payroll_agrees_with_an_independent_computation(payroll):
    ran = payroll.run('--json').ok().json
    assert (content(payroll.out, 'summary.csv'), content(payroll.out, 'rejects.csv')) == expected_payroll(content(payroll.plain))
    assert b'TOTAL' in content(payroll.out, 'summary.csv') and b'rejected,0\n' not in content(payroll.out, 'rejects.csv')
    assert payroll.verify().ok().json['verdict'] == 'accepted'
    assert ran['job'] == 'payroll' and ran['receipt'] == os.path.join(payroll.out, 'receipt.troth')
    assert sorted(os.listdir(payroll.out)) == ['receipt.troth', 'rejects.csv', 'summary.csv']
    assert [s['name'] for s in ran['stages']] == ['IRE-A', 'IRE-B', 'IRE-C']
    assert ran['stages'][0]['bytes_in'] == os.path.getsize(payroll.data)


@pytest.mark.parametrize('seed, rows', [(1, 1), (2, 400), (12345, 5001)])
def test_payroll_of_any_size(troth, state, work, seed, rows):
    payroll = Payroll(troth, state, work, seed, rows)
    payroll.run('--quiet').ok()
    assert (content(payroll.out, 'summary.csv'), content(payroll.out, 'rejects.csv')) == expected_payroll(content(payroll.plain))
    payroll.verify().ok()


def test_the_generator_repeats_itself(work):
    def rows(name, seed):
        paths = [os.path.join(work, f'{name}.{end}') for end in ('enc', 'key', 'plain')]
        conftest.run([os.path.join(PAYROLL, 'generate'), '--seed', seed, '--rows', '500', '--out', paths[0], '--key', paths[1], '--plain', paths[2]]).ok()
        assert stat.S_IMODE(os.stat(paths[1]).st_mode) == 0o600
        return [content(p) for p in paths]
    first, again, other = rows('a', '3'), rows('b', '3'), rows('c', '4')
    assert first[2] == again[2] != other[2]
    assert first[1] != again[1], 'the key is drawn anew'
    assert first[2] not in first[0]


def test_two_runs_of_one_job_are_two_receipts(payroll):
    first = payroll.run('--json').ok().json
    second = payroll.run('--json', '--replace').ok().json
    assert first['run_id'] != second['run_id']
    payroll.verify().ok()


def test_a_nonce_makes_the_run_younger_than_it(payroll):
    nonce = os.urandom(32).hex()
    payroll.run('--nonce', nonce).ok()
    payroll.verify('--nonce', nonce).ok()
    assert payroll.verify('--nonce', os.urandom(32).hex()).code == 1
    payroll.run('--nonce', 'short', '--replace').refused('USAGE', 2)


def test_the_wrong_data_is_not_a_small_payroll(payroll):
    with open(payroll.data, 'r+b') as f:
        f.truncate(os.path.getsize(payroll.data) // 2)
    ran = payroll.run().refused('STAGE_FAILED', 1)
    assert 'IRE-A' in ran.stderr and 'does not end as it should' in ran.stderr
    assert not os.path.exists(payroll.out)


def test_a_failure_as_json_names_stage_cause_and_words(payroll):
    written(payroll.folder, 'total.awk', 'END { print "no \\033[1mway" > "/dev/stderr"; exit 3 }\n')
    payroll.prepare()
    error = json.loads(payroll.run('--json').refused('STAGE_FAILED', 1).stderr)['error']
    assert error['stage'] == 'IRE-C' and 'way' in error['stderr'] and error['cause'] != 'OK' and error['code'] == 905
    shown = payroll.run().refused('STAGE_FAILED', 1).stderr
    assert 'IRE-C| no ?[1mway' in shown


def test_the_denial_a_newcomer_reads(payroll):
    """IRE-C's policy no longer names IRE-B: the run stops there and says so; undone, it runs."""
    path = os.path.join(payroll.folder, 'policies', 'ire-c.json')
    before = content(path).decode()
    written(payroll.folder, 'policies/ire-c.json', before.replace('"IRE-A", "IRE-B"', '"IRE-A"'))
    payroll.prepare()
    error = payroll.run().refused('PEER_NOT_ALLOWED', 1).stderr
    assert 'IRE-C' in error and 'IRE-B' in error and 'allowed_communicators' in error and 'STAGE_FAILED' in error
    assert error.count('add it to allowed_communicators') == 1
    assert not os.path.exists(payroll.out)
    written(payroll.folder, 'policies/ire-c.json', before)
    payroll.prepare()
    payroll.run().ok()
    payroll.verify().ok()


# ---- sealing

def test_a_seal_opens_only_for_what_it_was_made_for(payroll):
    payroll.run().ok()
    with open(os.path.join(payroll.folder, 'check.awk'), 'a') as f:
        f.write('# another file\n')
    ran = payroll.run('--replace').refused('SEAL_FOREIGN', 1)
    assert 'IRE-A' in ran.stderr
    payroll.prepare()
    payroll.run('--replace').ok()


def test_a_seal_binds_direct_peers_too(payroll):
    written(payroll.folder, 'job.yaml', content(payroll.job).decode().replace('GROUP BY department', 'GROUP BY 1'))
    payroll.run().refused('SEAL_FOREIGN', 1)


def test_the_key_is_nowhere(payroll):
    payroll.run().ok()
    secret = payroll.key.strip()
    for top in (payroll.out, payroll.state):
        for place, _, names in os.walk(top):
            for name in names:
                if not stat.S_ISSOCK(os.lstat(os.path.join(place, name)).st_mode):
                    assert secret not in content(place, name), name
    assert secret not in content(payroll.sealed)


def test_what_seal_refuses(troth, payroll, work):
    def seal(job=payroll.job, enclave='IRE-A', secret='rows-key', root=payroll.root, given=b'key'):
        return troth('seal', '--state', payroll.state, '--job', job, '--enclave', enclave, '--as', secret, '--root', root, input=given)
    assert len(seal().ok().raw) > 300
    assert b'key' not in seal(given=b'key' * 20).raw
    seal(enclave='IRE-X').refused('UNKNOWN_ENCLAVE', 2)
    seal(secret='other').refused('UNKNOWN_ROLE', 2)
    seal(given=b'').refused('BAD_VALUE', 1)
    seal(given=bytes(4097)).refused('TOO_LARGE', 1)
    seal(root=payroll.job).refused('', 1)
    seal(root=os.path.join(work, 'none')).refused('NOT_FOUND', 3)
    other = os.path.join(work, 'other')
    troth('host', 'init', '--state', other).ok()
    seal(root=os.path.join(other, 'inception.epoch')).refused('', 1)


def test_a_seal_of_another_host_does_not_open(troth, payroll, work):
    other = os.path.join(work, 'other')
    troth('host', 'init', '--state', other).ok()
    foreign = troth('seal', '--state', other, '--job', payroll.job, '--enclave', 'IRE-A', '--as', 'rows-key', '--root',
                    os.path.join(other, 'inception.epoch'), input=payroll.key).ok().raw
    written(os.path.dirname(payroll.sealed), 'rows.sealed', foreign)
    payroll.run().refused('SEAL_FOREIGN', 1)
    written(os.path.dirname(payroll.sealed), 'rows.sealed', b'nothing')
    payroll.run().refused('no sealed secret', 1)


# ---- roles

def test_roles(payroll, work):
    run = ['run', payroll.job, '--state', payroll.state]
    rows, key = ['--input', f'rows={payroll.data}'], ['--sealed', f'rows-key={payroll.sealed}']
    payroll.troth(*run, *rows).refused('MISSING_INPUT', 2)
    payroll.troth(*run, *key).refused('MISSING_INPUT', 2)
    payroll.troth(*run, *rows, *key, '--input', f'more={payroll.data}').refused('UNKNOWN_ROLE', 2)
    payroll.troth(*run, *rows, '--input', f'rows-key={payroll.sealed}').refused('UNKNOWN_ROLE', 2)
    payroll.troth(*run, *rows, *rows, *key).refused('USAGE', 2)
    payroll.troth(*run, *key, '--input', 'rows').refused('USAGE', 2)
    payroll.troth(*run, *key, '--input', f'rows={work}').refused('BAD_TYPE')
    assert not os.path.exists(payroll.out)


def test_an_input_from_stdin(payroll):
    payroll.troth('run', payroll.job, '--state', payroll.state, '--input', 'rows=-', '--sealed', f'rows-key={payroll.sealed}',
                  input=content(payroll.data)).ok()
    assert content(payroll.out, 'summary.csv') == expected_payroll(content(payroll.plain))[0]
    payroll.verify('--input', f'rows={payroll.data}').ok()


# ---- output folders

def test_output_folders(payroll, work):
    taken = os.path.join(work, 'taken')
    written(taken, 'old', 'precious')
    payroll.run('--output', taken).refused('OUTPUT_EXISTS', 2)
    assert os.listdir(taken) == ['old']
    payroll.run('--output', taken, '--replace').ok()
    assert sorted(os.listdir(taken)) == ['receipt.troth', 'rejects.csv', 'summary.csv']
    payroll.verify(out=taken).ok()
    nested = os.path.join(work, 'nested')
    written(nested, 'deep/file', 'precious')
    payroll.run('--output', nested, '--replace').refused('OUTPUT_EXISTS', 2)
    assert content(nested, 'deep', 'file') == b'precious'
    empty = os.path.join(work, 'empty')
    os.mkdir(empty)
    payroll.run('--output', empty).ok()
    payroll.run('--output', os.path.join(work, 'none', 'out')).refused('NOT_FOUND', 3)
    payroll.run('--output', payroll.data).refused('OUTPUT_EXISTS', 2)
    assert not [n for n in os.listdir(work) if n.startswith('.')]


def test_a_failed_run_leaves_the_old_output(payroll):
    payroll.run().ok()
    before = {n: content(payroll.out, n) for n in os.listdir(payroll.out)}
    with open(payroll.data, 'r+b') as f:
        f.truncate(100)
    payroll.run('--replace').refused('STAGE_FAILED', 1)
    assert {n: content(payroll.out, n) for n in os.listdir(payroll.out)} == before
    assert not [n for n in os.listdir(payroll.folder) if n.startswith('.')]


# ---- exec

@pytest.fixture
def host(troth, state):
    troth('host', 'init', '--state', state, '--no-recovery').ok()

    def execute(*words, **more):
        return troth('exec', '--state', state, *words, **more)
    return execute


def test_exec(host, work):
    ran = host('--input', '-', '--', 'tr', 'a-z', 'A-Z', input=b'hello\n\x00\xff', cwd=work).ok()
    assert ran.raw == b'HELLO\n\x00\xff'
    assert os.listdir(work) == ['receipt.troth']
    assert cbor2.loads(content(work, 'receipt.troth')).keys() == {1, 2, 3}


def test_exec_into_a_folder(host, work):
    told = host('--output', 'o', '--json', '--', 'echo', 'hi', cwd=work).ok().json
    assert content(work, 'o', 'stdout') == b'hi\n' and told['receipt'] == os.path.join(work, 'o', 'receipt.troth')
    assert told['stages'][0]['bytes_out'] == 3
    host('--output', 'o', '--', 'echo', 'hi', cwd=work).refused('OUTPUT_EXISTS', 2)
    host('--output', 'o', '--replace', '--', 'echo', 'ho', cwd=work).ok()
    assert content(work, 'o', 'stdout') == b'ho\n'


def test_exec_takes_files(host, work):
    written(work, 'data/words', 'b\na\n')
    ran = host('--file', 'data/words', '--receipt', 'r', 'sort', '/job/data/words', cwd=work).ok()
    assert ran.stdout == 'a\nb\n' and sorted(os.listdir(work)) == ['data', 'r']
    host('--file', '../outside', '--', 'true', cwd=work).refused('BAD_VALUE')
    host('--file', 'none', '--', 'true', cwd=work).refused('NOT_FOUND')
    host('--', 'cat', '/etc/shadow', cwd=work).refused('STAGE_FAILED', 1)
    assert sorted(os.listdir(work)) == ['data', 'r']


def test_exec_passes_stderr_on_and_nothing_of_a_failure(host, work):
    ran = host('--', 'sh', '-c', 'echo out; echo err >&2', cwd=work).ok()
    assert (ran.stdout, ran.stderr) == ('out\n', 'err\n')
    failed = host('--receipt', 'second', '--', 'sh', '-c', 'echo out; exit 7', cwd=work).refused('STAGE_FAILED', 1)
    assert failed.stdout == '' and not os.path.exists(os.path.join(work, 'second'))
    assert '7' in failed.stderr
    host('--', '/no/such/program', cwd=work).refused('PROGRAM_NOT_FOUND', 2)


def test_exec_looks_where_the_receipt_goes_before_the_program_runs(host, work):
    for place, reason, code in (('missing/receipt', 'NOT_FOUND', 3), ('.', 'USAGE', 2)):
        ran = host('--receipt', place, '--', 'sh', '-c', 'echo ran >&2', cwd=work).refused(reason, code)
        assert ran.stdout == '' and 'ran\n' not in ran.stderr


def test_exec_leaves_nothing_in_the_state_folder(host, state, work):
    host('--', 'true', cwd=work).ok()
    assert os.listdir(os.path.join(state, 'tmp')) == []


# ---- pipelines

def test_a_pipeline_gives_what_the_shell_gives(troth, host, state, work):
    text = "grep -v '^#' | tr A-Z a-z | sort | uniq -c | sort -rn | head -n 3"
    data = written(work, 'data', '# no\n' + 'b\nA\na\nB\nb\nc\n' * 400)
    job = os.path.join(work, 'job.yaml')
    troth('job', 'new', '--output', job, text).ok()
    troth('run', job, '--state', state, '--input', f'input={data}').ok()
    with open(data, 'rb') as f:
        bare = subprocess.run(['sh', '-c', text], stdin=f, capture_output=True, env={'PATH': '/usr/bin:/bin'}, check=True)
    assert content(work, 'out', 'output') == bare.stdout
    trust = os.path.join(work, 'trust.json')
    troth('trust', 'new', '--root', os.path.join(state, 'inception.epoch'), '--reference', job, '--output', trust).ok()
    troth('verify', f'{work}/out/receipt.troth', '--trust', trust, '--output', f'{work}/out/output').ok()


# ---- flows of other shapes

DIAMOND = """
job: diamond
enclaves:
  - name: split
    program: ./split.sh
    files: [/usr/bin/cat, /usr/bin/mkdir, /usr/bin/tee]
    secrets: [{name: first, fd: 7}, {name: second, fd: 5}]
    outputs: [{name: copy, path: deep/copy.txt}]
    policy: {enclave_id: split, allowed_communicators: [left, right], max_dac_depth: 3, required_attestation_level: Level-1}
  - name: left
    program: tr
    args: [a-z, A-Z]
    policy: {enclave_id: left, allowed_communicators: [split, join], max_dac_depth: 3, required_attestation_level: Level-1}
  - name: right
    program: rev
    policy: {enclave_id: right, allowed_communicators: [split, join], max_dac_depth: 3, required_attestation_level: Level-1}
  - name: join
    program: cat
    args: [-, /tmp/in/other, /tmp/in/more]
    policy: {enclave_id: join, allowed_communicators: [left, right], max_dac_depth: 3, required_attestation_level: Level-1}
flow:
  - {from: split, to: left, operation: half}
  - {from: split, output: copy, to: right, operation: half}
  - {from: left, to: join}
  - {from: right, to: join, input: other}
inputs:
  - {role: data, to: split}
  - {role: more-data, to: join, input: more}
  - {role: key-one, to: split, secret: first}
  - {role: key-two, to: split, secret: second}
outputs:
  - {name: joined, from: join, file: joined.txt, statement: true}
  - {name: halves, from: split, file: halves.txt}
  - {name: copied, from: split, output: copy, file: copied.txt}
  - {name: upper, from: left, file: upper.txt, statement: true}
"""


def test_a_flow_that_splits_and_joins(troth, host, state, work):
    """Several sinks, one output in several places, named inputs, files as outputs, secrets whose roles have other names."""
    written(work, 'split.sh', '#!/bin/sh\nset -e\nmkdir /tmp/deep\n{ cat /dev/fd/7 /dev/fd/5; cat; } | tee /tmp/deep/copy.txt\n', 0o755)
    job = written(work, 'job.yaml', DIAMOND)
    data, more = written(work, 'data', 'some data\n'), written(work, 'more', 'more\n')
    root, trust, sealed = os.path.join(state, 'inception.epoch'), os.path.join(work, 'trust.json'), []
    for role, value in (('key-one', 'one\n'), ('key-two', 'two\n')):
        path = os.path.join(work, role)
        troth('seal', '--state', state, '--job', job, '--enclave', 'split', '--as', role, '--root', root, '--output', path, input=value).ok()
        sealed += ['--sealed', f'{role}={path}']
    troth('trust', 'new', '--root', root, '--reference', job, '--output', trust).ok()
    troth('run', job, '--state', state, '--input', f'data={data}', '--input', f'more-data={more}', *sealed).ok()
    out = os.path.join(work, 'out')
    text = 'one\ntwo\nsome data\n'
    backwards = ''.join(line[::-1] + '\n' for line in text.splitlines())
    assert content(out, 'halves.txt').decode() == content(out, 'copied.txt').decode() == text
    assert content(out, 'upper.txt').decode() == text.upper()
    assert content(out, 'joined.txt').decode() == text.upper() + backwards + 'more\n'
    outputs = [a for n, f in (('joined', 'joined'), ('halves', 'halves'), ('copied', 'copied'), ('upper', 'upper'))
               for a in ('--output', f'{n}={out}/{f}.txt')]
    verify = ['verify', f'{out}/receipt.troth', '--trust', trust, '--input', f'data={data}', '--input', f'more-data={more}', '--json']
    assert troth(*verify, *outputs).ok().json['verdict'] == 'accepted'
    written(work, 'more', 'other\n')
    assert troth(*verify).code == 1


def test_more_inputs_than_one_message_carries(troth, host, state, work):
    names = range(20)
    job = written(work, 'job.json', json.dumps({
        'job': 'many', 'enclaves': [{'name': 'A', 'program': 'cat', 'args': [f'/tmp/in/n{i}' for i in names],
                                     'policy': {'enclave_id': 'A', 'max_dac_depth': 1, 'required_attestation_level': 'Level-1'}}],
        'inputs': [{'role': f'r{i}', 'to': 'A', 'input': f'n{i}'} for i in names], 'outputs': [{'name': 'out', 'from': 'A'}]}))
    for i in names:
        written(work, f'f{i}', f'{i}\n')
    given = [w for i in names for w in ('--input', f'r{i}=f{i}')]
    troth('run', job, '--state', state, *given, cwd=work).ok()
    assert content(work, 'out', 'out').decode().split() == [str(i) for i in names]
    os.unlink(os.path.join(work, 'f19'))
    troth('run', job, '--state', state, '--replace', *given, cwd=work).refused('NOT_FOUND', 3)


def test_an_enclave_signs_each_of_its_outputs(troth, host, state, work):
    """More than an enclave has edges: 64 files and standard output under 20 names, each with its statement."""
    names = [f'o{i}' for i in range(64)]
    written(work, 'many.sh', '#!/bin/sh\n' + ''.join(f'echo {n} > /tmp/{n}\n' for n in names) + 'echo out\n', 0o755)
    outputs = [{'name': n, 'from': 'A', 'output': n, 'file': n, 'statement': True} for n in names]
    outputs += [{'name': f's{i}', 'from': 'A', 'file': f's{i}', 'statement': True} for i in range(20)]
    job = written(work, 'job.json', json.dumps({
        'job': 'signed', 'enclaves': [{'name': 'A', 'program': './many.sh', 'outputs': [{'name': n, 'path': n} for n in names],
                                       'policy': {'enclave_id': 'A', 'max_dac_depth': 1, 'required_attestation_level': 'Level-1'}}],
        'outputs': outputs}))
    trust, root, out = os.path.join(work, 'trust.json'), os.path.join(state, 'inception.epoch'), os.path.join(work, 'out')
    troth('run', job, '--state', state).ok()
    assert content(out, 'o63') == b'o63\n' and content(out, 's19') == b'out\n'
    troth('trust', 'new', '--root', root, '--reference', job, '--output', trust).ok()
    verify = ['verify', f'{out}/receipt.troth', '--trust', trust]
    troth(*verify, '--output', f'o63={out}/o63', '--output', f's19={out}/s19').ok()
    assert troth(*verify, '--output', f'o63={out}/o62').code == 1


def test_a_sealed_secret_in_a_pipe(payroll):
    """It is read by whoever asks for the run; the host waits for nobody's pipe."""
    given = ('run', payroll.job, '--state', payroll.state, '--input', f'rows={payroll.data}', '--sealed', 'rows-key=-')
    payroll.troth(*given, input=content(payroll.sealed)).ok()
    payroll.verify().ok()
    payroll.troth(*given, '--replace', input=b'').refused('TRUNCATED')
    payroll.troth(*given, '--replace', input=bytes(70000)).refused('TOO_LARGE')


def test_a_secret_that_nothing_gives(troth, host, state, work):
    written(work, 'split.sh', '#!/bin/sh\n', 0o755)
    job = written(work, 'job.yaml', DIAMOND.replace('  - {role: key-two, to: split, secret: second}\n', ''))
    ran = troth('run', job, '--state', state).refused('JOB_INCONSISTENT', 2)
    assert 'second' in ran.stderr and 'job.yaml:4:' in ran.stderr


def test_an_enclave_without_input(troth, host, state, work):
    job = written(work, 'job.yaml', 'job: alone\nenclaves:\n  - {name: A, program: echo, args: [hello], policy: {enclave_id: A, max_dac_depth: 1, '
                                    'required_attestation_level: Level-1}}\noutputs:\n  - {name: out, from: A, file: out.txt}\n')
    troth('run', job, '--state', state).ok()
    assert content(work, 'out', 'out.txt') == b'hello\n'
    trust = os.path.join(work, 'trust.json')
    troth('trust', 'new', '--root', os.path.join(state, 'inception.epoch'), '--reference', job, '--output', trust).ok()
    troth('verify', f'{work}/out/receipt.troth', '--trust', trust, '--output', f'{work}/out/out.txt').ok()


@pytest.mark.parametrize('name', ['a/b', '..', '.hidden', '/abs', 'receipt.troth'])
def test_an_output_stays_in_its_folder(troth, work, name):
    job = written(work, 'job.yaml', 'job: x\nenclaves:\n  - {name: A, program: echo, policy: {enclave_id: A, max_dac_depth: 1, '
                                    f'required_attestation_level: Level-1}}}}\noutputs:\n  - {{name: out, from: A, file: "{name}"}}\n')
    ran = troth('job', 'lint', job)
    assert ran.code in (1, 2) and 'job.yaml:5:' in ran.stderr


# ---- the host

def test_many_runs_on_one_private_host(payroll):
    """The second run attaches to the first one's host, which leaves with the last of them."""
    results = []

    def run(number):
        results.append(payroll.run('--output', os.path.join(payroll.folder, f'out{number}'), '--json'))
    threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r.ok().json['run_id'] for r in results}) == 3
    for number in range(3):
        payroll.verify(out=os.path.join(payroll.folder, f'out{number}')).ok()
    assert not os.path.exists(os.path.join(payroll.state, 'socket'))


@contextlib.contextmanager
def service(payroll):
    """`trothd host` as a service, from when it is ready."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([conftest.program('trothd'), 'host', '--state', payroll.state, '--ready-fd', str(theirs.fileno())],
                             stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=conftest.environment(payroll.folder), pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        ours.settimeout(60)
        assert ours.recv(4), child.stderr.read()
        yield child
    finally:
        ours.close()
        child.terminate()
        child.communicate(timeout=60)


def test_a_host_as_a_service(payroll):
    """Runs use the service; a stuck and a rude client hold nobody up; SIGTERM ends it cleanly."""
    with service(payroll) as host:
        status = payroll.troth('host', 'status', '--state', payroll.state, '--json').ok().json
        assert status['pid'] == host.pid and status['private_host'] is False
        path = os.path.join(payroll.state, 'socket')
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as stuck, socket.socket(socket.AF_UNIX) as rude:
            stuck.connect(path)
            stuck.send(b'\x00\x00\x10')
            rude.connect(path)
            rude.send(b'\xff' * 100)
            payroll.run().ok()
        payroll.verify().ok()
        payroll.troth('host', 'status', '--state', payroll.state).ok()
        host.terminate()
        assert host.wait(timeout=30) == 0
        assert not os.path.exists(path)


def framed(message):
    encoded = cbor2.dumps(message, canonical=True)
    return len(encoded).to_bytes(4, 'big') + encoded


def test_a_client_with_a_pipe_instead_of_a_sealed_secret(payroll):
    """The host reads sealed secrets itself: it does not wait for a pipe that its client keeps open."""
    read, write = os.pipe()
    request = cbor2.dumps({1: payroll.job, 2: [], 3: [], 4: '', 5: [{1: 'rows', 2: payroll.data, 3: 0, 4: False}],
                           6: [{1: 'rows-key', 2: '', 3: 0, 4: True}], 7: payroll.out, 8: False, 9: None}, canonical=True)
    with service(payroll), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(os.path.join(payroll.state, 'socket'))
        socket.send_fds(client, [framed({1: 5, 2: request})], [read])
        heard = b''
        while b'rows-key' not in heard:
            part = client.recv(4096)
            assert part, heard
            heard += part
        assert b'not a regular file' in heard
    os.close(read)
    os.close(write)
    assert not os.path.exists(payroll.out)


def test_more_clients_than_it_takes(payroll):
    with service(payroll):
        path = os.path.join(payroll.state, 'socket')
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(70)]
        for one in crowd:
            one.connect(path)
        ran = payroll.troth('host', 'status', '--state', payroll.state)
        assert ran.code == 0 or 'BUSY' in ran.stderr, str(ran)
        for one in crowd:
            one.close()
        payroll.run().ok()


def test_a_running_host_is_told_to_stop(payroll):
    with service(payroll) as host:
        second = conftest.run([conftest.program('trothd'), 'host', '--state', payroll.state], env=conftest.environment(payroll.folder))
        second.refused('STATE_BUSY', 3)
        payroll.troth('host', 'stop', '--state', payroll.state).ok()
        assert host.wait(timeout=30) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be another uid')
def test_only_the_same_uid_is_served(payroll):
    probe = ("import os,socket,sys\ns=socket.socket(socket.AF_UNIX)\nos.chdir(sys.argv[1])\nos.setgid(62001)\nos.setuid(62001)\n"
             "s.connect('socket')\nprint(s.recv(4096))")
    with service(payroll):
        for place in (os.path.dirname(payroll.state), payroll.state):  # file modes would keep a stranger out already
            os.chmod(place, 0o711)
        os.chmod(os.path.join(payroll.state, 'socket'), 0o666)
        assert 'uid 62001' in conftest.run(['/usr/bin/python3', '-c', probe, payroll.state]).ok().stdout
        payroll.run().ok()


def test_what_was_refused_is_recorded(payroll):
    payroll.run().ok()
    with open(payroll.data, 'r+b') as f:
        f.truncate(100)
    payroll.run('--replace').refused('STAGE_FAILED', 1)
    journal = b''.join(content(payroll.state, 'journal', n) for n in sorted(os.listdir(os.path.join(payroll.state, 'journal'))))
    assert journal.count(b'payroll') >= 2 and b'stage IRE-A' in journal
