"""A receipt of `troth exec` is judged like any other: the auditor measures the command, not the word of who ran it."""
import os

import pytest


@pytest.fixture
def ran(troth, state, work):
    """`tr a-z A-Z` ran on some input; gives the folder."""
    troth('host', 'init', '--state', state, '--no-recovery').ok()
    done = troth('exec', '--state', state, '--input', '-', '--receipt', 'receipt.troth', '--', 'tr', 'a-z', 'A-Z', input='troth\n', cwd=work).ok()
    assert done.stdout == 'TROTH\n'
    with open(os.path.join(work, 'stdout'), 'w') as f:
        f.write(done.stdout)
    return work


def trust_new(troth, state, work, *command, name='trust.json', options=('--with-input',)):
    return troth('trust', 'new', '--root', os.path.join(state, 'inception.epoch'), *options, '--output', name, '--', *command, cwd=work)


def test_a_command_that_was_measured_by_the_auditor(troth, state, ran):
    trust_new(troth, state, ran, 'tr', 'a-z', 'A-Z').ok()
    answer = troth('verify', 'receipt.troth', '--trust', 'trust.json', '--output', 'stdout=stdout', '--json', cwd=ran).ok()
    assert answer.json['verdict'] == 'accepted' and answer.json['job'] == 'exec'


@pytest.mark.parametrize('command,options', [
    (('tr', 'a-z', 'a-z'), ('--with-input',)),
    (('cat',), ('--with-input',)),
    (('tr', 'a-z', 'A-Z'), ()),
])
def test_another_command_is_another_job(command, options, troth, state, ran):
    trust_new(troth, state, ran, *command, options=options).ok()
    troth('verify', 'receipt.troth', '--trust', 'trust.json', cwd=ran).refused('DIGEST_MISMATCH', code=1)


def test_a_job_or_a_command(troth, state, ran):
    root = os.path.join(state, 'inception.epoch')
    troth('trust', 'new', '--root', root).refused('USAGE', code=2)
    troth('trust', 'new', '--root', root, '--reference', 'job.yaml', '--', 'cat').refused('USAGE', code=2)
    troth('trust', 'new', '--root', root, '--reference', 'job.yaml', '--with-input').refused('USAGE', code=2)
