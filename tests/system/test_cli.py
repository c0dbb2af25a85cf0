"""The command line itself: help, usage errors, JSON, exit codes, pipelines as jobs, measuring, doctor."""
import json
import os
import re
import subprocess

import conftest
import pytest
import yaml

COMMANDS = ['run', 'exec', 'verify', 'show', 'inspect', 'seal', 'trust new', 'job new', 'job lint', 'ire measure', 'policy lint', 'host init',
            'host status', 'host accept-ap', 'host backup', 'host restore', 'host stop', 'upgrade plan', 'upgrade authorise', 'upgrade status', 'reference new',
            'reference sign', 'reference show', 'reference lint', 'ledger apply', 'key new', 'key show', 'grant new', 'grant delegate',
            'grant submit', 'grant revoke', 'grant list', 'grant show', 'grant explain', 'grant names', 'ledger access', 'ledger request', 'ledger operation', 'ledger register',
            'ledger endorse', 'ledger unregister', 'ledger config', 'ledger submit', 'ledger query', 'doctor', 'version']


def written(folder, name, text, mode=0o644):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, mode)
    return path


# ---- help and usage

@pytest.mark.smoke
def test_the_commands_are_listed(troth):
    listed = troth('--help').ok().stdout
    for command in COMMANDS:
        assert re.search(rf'^  {command} ', listed, re.M), command
    bare = troth()
    assert bare.code == 2 and 'usage' in bare.stderr and not bare.stdout


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_has_help(troth, command):
    text = troth(*command.split(), '--help').ok().stdout
    assert text.startswith(f'usage: troth {command}')
    assert '--json' in text and '--help' in text
    assert max(map(len, text.splitlines())) < 160


def test_no_secret_can_be_given_on_the_command_line(troth):
    for command in ('seal', 'run', 'host init'):
        text = troth(*command.split(), '--help').ok().stdout
        assert not re.search(r'--(key|secret|passphrase|password)\b(?!-fd)', text), text


@pytest.mark.parametrize('words', [['dance'], ['host', 'dance'], ['run'], ['run', 'a', 'b'], ['run', '--dance', 'x'], ['run', 'x', '--input'],
                                   ['doctor', 'please'], ['verify'], ['exec'], ['exec', '--'], ['job', 'new'], ['host', 'init', '--valid', 'soon'],
                                   ['host', 'init', '--state'], ['run', '--replace=yes', 'x'], ['run', '-x', 'y'], ['seal'],
                                   ['run', '--nonce', '00', '--nonce', '11', 'x']])
def test_wrong_words_are_usage_errors(troth, words):
    troth(*words, input=b'').refused('USAGE', 2)


def test_a_noun_alone_lists_its_verbs(troth):
    shown = troth('host')
    assert shown.code == 2 and 'host init' in shown.stderr and 'policy lint' not in shown.stderr


def test_options_have_two_forms_and_may_be_cut_short(troth, state):
    troth('host', 'init', f'--state={state}', '--no-rec', '--valid=3').ok()
    shown = troth('host', 'status', '--stat', state, '--json').ok().json
    assert shown['has_root'] is True


def test_an_error_as_json(troth):
    ran = troth('run', '/nonexistent/job.yaml', '--json')
    error = json.loads(ran.stderr)['error']
    assert (ran.code, error['reason'], error['code']) == (3, 'NOT_FOUND', 4)
    assert '/nonexistent/job.yaml' in error['text'] and len(error['sentence']) > 20
    assert ran.stdout == ''


def test_an_error_for_people_says_what_to_do(troth):
    ran = troth('run', '/nonexistent/job.yaml')
    first, second = ran.stderr.splitlines()[:2]
    assert first.startswith('troth: NOT_FOUND: ') and second.startswith('  ') and second.endswith('.')


def test_bytes_that_steer_a_terminal_are_not_printed(troth):
    ran = troth('run', '/tmp/\x1b[2Jx\x07')
    assert ran.code == 3
    assert '\x1b' not in ran.stderr and '\x07' not in ran.stderr


def test_a_full_stdout_is_an_error(troth):
    with open('/dev/full', 'w') as full:
        done = subprocess.run([conftest.program('troth'), 'doctor', '--json'], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                              timeout=60, check=False)
    assert done.returncode == 3 and b'DISK_FULL' in done.stderr


def test_version(troth):
    shown = troth('version', '--json').ok().json
    assert re.fullmatch(r'\d+\.\d+\.\d+', shown['version']) and shown['build'] in ('release', 'instrumented')
    assert shown['version'] in troth('--version').ok().stdout


def test_trothd_knows_its_roles(troth):
    assert 'host' in troth('--help', program='trothd').ok().stdout
    troth('dance', program='trothd').refused('USAGE', 2)
    troth(program='trothd').refused('usage', 2)
    assert '--state' in troth('host', '--help', program='trothd').ok().stdout
    assert '--listen' in troth('ledger', '--help', program='trothd').ok().stdout
    troth('ledger', '--dir', '/nonexistent', program='trothd').refused('NOT_FOUND')


# ---- doctor

def test_doctor(troth):
    found = troth('doctor', '--json').ok().json
    assert found['level'] in (0, 1)
    assert found['tier'] in ('N', 'none')
    if found['tier'] == 'N':
        assert len(found['denials']) >= 20
        assert all(d['refused'] for d in found['denials'])
        assert found['isolation'] == ('uid' if os.geteuid() == 0 else 'weak')
    assert any('Level-2' in r for r in found['raises'])
    page = troth('doctor').ok().stdout
    assert len(page.splitlines()) < 45 and f'Level-{found["level"]}' in page


# ---- hosts

def test_init_is_made_once(troth, state):
    first = troth('host', 'init', '--state', state, '--no-recovery', '--json').ok().json
    again = troth('host', 'init', '--state', state, '--json').ok().json
    assert first['created'] and not again['created']
    assert first['fingerprint'] == again['fingerprint'] and first['rot_id'] == again['rot_id']
    assert os.stat(state).st_mode & 0o777 == 0o700
    assert first['inception'] == os.path.join(state, 'inception.epoch')


def make_key(folder, name, curve='P-256'):
    private, public = os.path.join(folder, name + '.key'), os.path.join(folder, name + '.pub')
    subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', f'ec_paramgen_curve:{curve}', '-out', private], check=True,
                   stderr=subprocess.DEVNULL)
    subprocess.run(['openssl', 'pkey', '-in', private, '-pubout', '-out', public], check=True)
    return public


def test_recovery_keys(troth, state, work):
    a, b, c = (make_key(work, n) for n in 'abc')
    troth('host', 'init', '--state', state, '--recovery', '3', a, b).refused('USAGE', 2)
    troth('host', 'init', '--state', state, '--recovery', '1', a, a).refused('USAGE', 2)
    troth('host', 'init', '--state', state, '--recovery', '1', make_key(work, 'd', 'P-384')).refused('BAD_KEY')
    troth('host', 'init', '--state', state, '--recovery', '1', os.path.join(work, 'none')).refused('NOT_FOUND')
    troth('host', 'init', '--state', state, '--recovery', '2', a, b, '--no-recovery').refused('USAGE', 2)
    made = troth('host', 'init', '--state', state, '--recovery', '2', a, b, c, '--json').ok().json
    assert made['recovery'] is True
    troth('host', 'init', '--state', state, '--recovery', '2', c, a, b).ok()
    troth('host', 'init', '--state', state, '--recovery', '1', a).refused('ROOT_EXISTS', 1)
    troth('host', 'init', '--state', state, '--no-recovery').refused('ROOT_EXISTS', 1)


def test_status_proves_the_root(troth, state):
    made = troth('host', 'init', '--state', state, '--trust-domain', 'example.test', '--json').ok().json
    shown = troth('host', 'status', '--state', state, '--json').ok().json
    assert shown['fingerprint'] == made['fingerprint'] and shown['health']['trust_domain'] == 'example.test'
    assert shown['private_host'] is True
    again = troth('host', 'status', '--state', state, '--json').ok().json
    assert again['health']['boot_gen'] > shown['health']['boot_gen']
    assert (again['register0'], again['register1']) == (shown['register0'], shown['register1'])
    assert made['fingerprint'] in troth('host', 'status', '--state', state).ok().stdout


def test_nothing_works_before_init(troth, state):
    for words in (['host', 'status'], ['host', 'accept-ap', '0' * 96], ['exec', '--', 'true']):
        at = words.index('--') if '--' in words else len(words)
        troth(*words[:at], '--state', state, *words[at:]).refused('NO_ROOT', 2)
    assert not os.path.exists(state)


def test_a_state_folder_is_its_owners_alone(troth, state):
    troth('host', 'init', '--state', state).ok()
    os.chmod(state, 0o755)
    troth('host', 'status', '--state', state).refused('NO_PERMISSION', 3)


def test_stop_without_a_host(troth, state):
    troth('host', 'init', '--state', state).ok()
    troth('host', 'stop', '--state', state).refused('HOST_NOT_RUNNING', 3)


def test_a_wrapped_state_needs_its_passphrase(troth, state, work):
    phrase, other = written(work, 'phrase', 'correct horse'), written(work, 'other', 'wrong horse')

    def with_passphrase(path, *words):
        fd = os.open(path, os.O_RDONLY)
        try:
            return troth(*words, '--state', state, '--passphrase-fd', str(fd), pass_fds=[fd])
        finally:
            os.close(fd)
    with_passphrase(phrase, 'host', 'init', '--wrap', 'passphrase').ok()
    with_passphrase(phrase, 'host', 'status').ok()
    assert 'BAD_TAG' in with_passphrase(other, 'host', 'status').refused('AP_STOPPED', 3).stderr
    troth('host', 'status', '--state', state).refused('NO_WRAP_KEY', 3)


def test_accept_ap_wants_the_digest_of_what_is_there(troth, state):
    troth('host', 'init', '--state', state).ok()
    digest = troth('host', 'status', '--state', state, '--json').ok().json['ap_digest']
    troth('host', 'accept-ap', digest, '--state', state).ok()
    troth('host', 'accept-ap', 'f' * 96, '--state', state).refused('AP_CHANGED', 1)
    troth('host', 'accept-ap', 'short', '--state', state).refused('USAGE', 2)


# ---- measuring

def test_a_command_is_measured_from_its_files_alone(troth):
    first = troth('ire', 'measure', '--json', '--', 'cat', '-n').ok().json
    again = troth('ire', 'measure', '--json', '--', 'cat', '-n').ok().json
    other = troth('ire', 'measure', '--json', '--', 'cat', '-b').ok().json
    assert first == again
    assert first['enclaves'][0]['measurement'] != other['enclaves'][0]['measurement']
    paths = [f['path'] for f in first['enclaves'][0]['manifest']['files']]
    assert any(p.endswith('/bin/cat') for p in paths) and any('libc.so' in p for p in paths)
    shown = troth('ire', 'measure', '--', 'cat', '-n').ok().stdout
    assert first['enclaves'][0]['measurement'] in shown


def test_one_enclave_of_a_job_is_measured(troth, work):
    job = os.path.join(work, 'job.yaml')
    troth('job', 'new', '--output', job, 'cat | sort').ok()
    every = troth('ire', 'measure', job, '--json').ok().json['enclaves']
    one = troth('ire', 'measure', job, '2-sort', '--json').ok().json['enclaves']
    assert [e['enclave'] for e in every] == ['1-cat', '2-sort'] and one == every[1:]
    troth('ire', 'measure', job, '3-none').refused('UNKNOWN_ENCLAVE', 2)
    troth('ire', 'measure', '--', 'no-such-program-at-all').refused('PROGRAM_NOT_FOUND', 2)


# ---- pipelines as jobs

def test_a_pipeline_becomes_a_job(troth, work):
    job = os.path.join(work, 'job.yaml')
    troth('job', 'new', '--output', job, '--name', 'count', "LC_ALL=C sort -k 1,1 | uniq -c | sed -e 's/ \"x\\y\" / /'").ok()
    with open(job) as f:
        made = yaml.safe_load(f)
    assert made['job'] == 'count'
    assert [e['program'] for e in made['enclaves']] == ['sort', 'uniq', 'sed']
    assert made['enclaves'][0]['env'] == {'LC_ALL': 'C'} and made['enclaves'][0]['args'] == ['-k', '1,1']
    assert made['enclaves'][2]['args'] == ['-e', 's/ "x\\y" / /']
    assert [p['policy']['enclave_id'] for p in made['enclaves']] == ['1-sort', '2-uniq', '3-sed']
    assert made['enclaves'][1]['policy']['allowed_communicators'] == ['1-sort', '3-sed']
    assert made['inputs'] == [{'role': 'input', 'to': '1-sort'}]
    lint = troth('job', 'lint', job, '--json').ok().json
    assert lint['name'] == 'count' and len(lint['edges']) == 2
    troth('job', 'new', '--output', job, 'cat').refused('ALREADY_EXISTS', 2)


def test_files_that_a_command_names_are_measured_with_it(troth, work):
    written(work, 'words', 'b\na\n')
    job = os.path.join(work, 'job.yaml')
    troth('job', 'new', '--output', job, 'sort words | cat /etc/hostname -', cwd=work).ok()
    with open(job) as f:
        made = yaml.safe_load(f)
    assert made['enclaves'][0]['files'] == ['./words'] and made['enclaves'][0]['args'] == ['/job/words']
    assert made['enclaves'][1]['files'] == ['/etc/hostname']
    assert 'inputs' not in made
    troth('job', 'lint', job).ok()


@pytest.mark.parametrize('text', ['cat $HOME', 'cat `id`', 'ls *.c', 'ls a?', 'cat < x', 'cat > x', 'a; b', 'a && b', 'a || b', 'a |& b', 'a &', '(a)',
                                  'cat ~/x', 'a | | b', '| a', 'a |', '', '   ', "echo 'open", 'echo "open', 'echo "$x"', 'a \\', 'a{1,2}', '! a', 'a # b',
                                  'a\nb', 'X=1'])
def test_what_a_pipeline_cannot_say_is_refused(troth, text):
    ran = troth('job', 'new', '--', text).refused('BAD_SYNTAX', 2)
    assert re.search(r'character \d+', ran.stderr)


def test_quotes_take_away_a_shells_meaning(troth):
    made = yaml.safe_load(troth('job', 'new', "printf '%s $HOME *' \"a \\\" \\$b\" c\\ d e~f x#y").ok().stdout)
    assert made['enclaves'][0]['args'] == ['%s $HOME *', 'a " $b', 'c d', 'e~f', 'x#y']


# ---- lint

def test_job_lint_names_the_place(troth, work):
    job = written(work, 'job.yaml', 'job: x\nenclaves:\n  - name: A\n    program: cat\n    polcy: p.json\noutputs: []\n')
    ran = troth('job', 'lint', job).refused('UNKNOWN_FIELD', 1)
    assert 'job.yaml:5:5' in ran.stderr and "did you mean 'policy'" in ran.stderr.replace('"', "'")


def test_policy_lint(troth, work):
    good = written(work, 'good.json', '{"enclave_id":"IRE-A","allowed_communicators":["IRE-B","IRE-C"],"max_dac_depth":3,'
                                      '"required_attestation_level":"Level-2"}')
    shown = troth('policy', 'lint', good, '--json').ok().json
    assert [p['id'] for p in shown['policies']] == ['IRE-A'] and shown['findings'] == []
    bad = written(work, 'bad.json', '{"enclave_id":"IRE-A","alowed_communicators":["IRE-B"],"max_dac_depth":3,"required_attestation_level":"Level-1"}')
    assert 'bad.json:1:' in troth('policy', 'lint', bad).refused('UNKNOWN_FIELD', 1).stderr
