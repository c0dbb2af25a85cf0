"""troth policy explain, diff, test: what policies say before anything runs."""
import json
import os

import conftest
import pytest
from jobs import written

SITE = {'default': 'site', 'max_dac_depth': 4, 'required_attestation_level': 'Level-1', 'deny': ['X']}
A = {'enclave_id': 'A', 'inherits': 'site',
     'allowed_communicators': [{'id': 'B', 'operations': ['rows'], 'rate': {'operations': 2, 'per_s': 10}}, 'C', 'X']}
B = {'enclave_id': 'B', 'inherits': 'site', 'required_attestation_level': 'Level-2', 'allowed_communicators': [{'id': 'A', 'direction': 'receive'}]}


@pytest.fixture
def ask(work, troth):
    def call(verb, policies, *rest, json_out=True):
        files = [written(work, f'p{i}.json', json.dumps(p)) for i, p in enumerate(policies)]
        return troth('policy', verb, *files, *rest, *(['--json'] if json_out else []))
    return call


def test_explain_names_rule_and_what_would_change_it(ask):
    ran = ask('explain', [[SITE, A, B]], '--own', 'A', '--peer', 'B', '--operation', 'rows').ok().json
    assert ran['own']['allow'] and ran['own']['field'] == 'allowed_communicators' and ran['own']['index'] == 0, ran
    changes = {c['with']: c['reason'] for c in ran['own']['would_change']}
    assert changes['evidence of Level-0'] == 'LEVEL_TOO_LOW' and changes['a chain of depth 5'] == 'DEPTH_EXCEEDED', changes
    other = ran['other_side']
    assert not other['allow'] and other['reason'] == 'LEVEL_TOO_LOW' and other['field'] == 'required_attestation_level', other
    assert {'with': 'evidence of Level-2', 'reason': 'OK'} in other['would_change'], other


def test_explain_for_people(ask):
    told = ask('explain', [[SITE, A]], '--own', 'A', '--peer', 'Z', json_out=False).ok().stdout
    assert 'A may not send to Z' in told and 'allowed_communicators' in told and 'peer C instead' in told, told
    told = ask('explain', [[SITE, A]], '--own', 'A', '--peer', 'X', json_out=False).ok().stdout
    assert 'the deny list names it' in told, told


@pytest.mark.parametrize('more, reason', [
    (['--operation', 'other'], 'OPERATION_NOT_ALLOWED'),
    (['--operation', 'rows', '--repeat', 3], 'RATE_EXCEEDED'),
    (['--operation', 'rows', '--level', 'Level-0'], 'LEVEL_TOO_LOW'),
    (['--operation', 'rows', '--rot', 'ab' * 32], 'ROT_NOT_ALLOWED'),
    (['--operation', 'rows', '--proof', 'claimed'], 'ID_NOT_ENDORSED'),
    (['--operation', 'rows', '--confinement', 'L'], 'CONFINEMENT_TOO_LOW'),
    (['--resource', 'record', '--operation', 'rows', '--depth', 5], 'DEPTH_EXCEEDED'),
    (['--resource', 'channel', '--direction', 'accept'], 'OK'),
])
def test_explain_answers_as_the_engine(ask, more, reason):
    ran = ask('explain', [[SITE, A]], '--own', 'A', '--peer', 'B', *more).ok().json
    assert ran['own']['reason'] == reason and ran['own']['allow'] == (reason == 'OK'), ran


def test_explain_takes_a_request_as_a_file(ask, work):
    request = written(work, 'request.json', json.dumps({'own': 'A', 'peer': 'C', 'scopes': ['s'], 'factors': ['tpm']}))
    assert ask('explain', [[SITE, A]], '--request', request).ok().json['own']['allow']
    bad = written(work, 'request.json', json.dumps({'own': 'A', 'peer': 'C', 'levle': 'Level-1'}))
    ran = ask('explain', [[SITE, A]], '--request', bad, json_out=False)
    ran.refused('UNKNOWN_FIELD')
    assert 'did you mean "level"' in ran.stderr, str(ran)


def test_explain_shows_what_was_inherited(ask):
    (shown,) = ask('explain', [[SITE, B]]).ok().json
    assert shown['policy']['deny'] == ['X'] and shown['policy']['max_dac_depth'] == 4, shown
    assert shown['policy']['required_attestation_level'] == 'Level-2' and 'inherits' not in shown['policy'], shown


def test_diff_says_what_becomes_allowed_and_denied(ask):
    new = {'enclave_id': 'A', 'max_dac_depth': 3, 'required_attestation_level': 'Level-1', 'version': 2,
           'allowed_communicators': [{'id': 'B', 'rate': {'operations': 2, 'per_s': 20}}, {'id': 'X', 'direction': 'send'}, 'D']}
    found = ask('diff', [[SITE, A], new]).ok().json['differences']
    told = {(d['field'], d['peer']): d['effect'] for d in found}
    assert told == {('max_dac_depth', ''): 'denies', ('operations', 'B'): 'allows', ('rate', 'B'): 'denies',
                    ('allowed_communicators', 'C'): 'denies', ('allowed_communicators', 'D'): 'allows', ('direction', 'X'): 'denies',
                    ('deny', 'X'): 'allows', ('version', ''): 'changes'}, told
    assert all(d['subject'] == 'A' for d in found)
    people = ask('diff', [[SITE, A], new], json_out=False).ok().stdout
    assert 'allows   A: operations B: rows -> not said' in people and 'denies   A: allowed_communicators C: no longer send' in people, people


def test_diff_of_what_is_only_written_otherwise(ask):
    closed = {'enclave_id': 'B', 'max_dac_depth': 4, 'required_attestation_level': 'Level-2', 'deny': ['X'],
              'allowed_communicators': [{'direction': ['receive', 'accept', 'connect'], 'id': 'A'}]}
    assert ask('diff', [[SITE, B], closed]).ok().json['differences'] == []
    assert 'decide the same' in ask('diff', [[SITE, B], closed], json_out=False).ok().stdout
    (gone,) = [d for d in ask('diff', [[SITE, A, B], [SITE, B]]).ok().json['differences']]
    assert (gone['subject'], gone['effect'], gone['field']) == ('A', 'denies', ''), gone


EXPECTED = [
    {'name': 'rows go to B', 'own': 'A', 'peer': 'B', 'operation': 'rows', 'expect': 'allow'},
    {'name': 'nothing else', 'own': 'A', 'peer': 'B', 'operation': 'other', 'expect': 'OPERATION_NOT_ALLOWED'},
    {'name': 'not too often', 'own': 'A', 'peer': 'B', 'operation': 'rows', 'repeat': 3, 'expect': 'RATE_EXCEEDED'},
    {'name': 'nobody knows Z', 'own': 'A', 'peer': 'Z', 'expect': 'PEER_NOT_ALLOWED'},
    {'name': 'the site denies X', 'own': 'A', 'peer': 'X', 'expect': 'DENIED_BY_RULE'},
    {'name': 'B wants a TPM', 'own': 'B', 'peer': 'A', 'direction': 'receive', 'expect': 'LEVEL_TOO_LOW'},
    {'own': 'B', 'peer': 'A', 'direction': 'receive', 'level': 'Level-2', 'expect': 'allow'},
]


def test_expectations_that_hold(ask, work):
    tests = written(work, 'tests.json', json.dumps(EXPECTED))
    ran = ask('test', [[SITE, A], [SITE, B]], tests).ok().json
    assert (ran['asked'], ran['wrong']) == (len(EXPECTED), 0), ran
    assert [r['reason'] if r['reason'] != 'OK' else 'allow' for r in ran['rows']] == [e['expect'] for e in EXPECTED], ran


def test_expectations_that_do_not_hold(ask, work):
    wrong = EXPECTED + [{'name': 'wishful', 'own': 'A', 'peer': 'X', 'expect': 'allow'},
                        {'name': 'right answer, wrong reason', 'own': 'A', 'peer': 'Z', 'expect': 'DENIED_BY_RULE'}]
    tests = written(work, 'tests.yaml', ''.join(f'- {json.dumps(e)}\n' for e in wrong))
    ran = ask('test', [[SITE, A, B]], tests, json_out=False)
    ran.refused('EXPECTATION_FAILED', 1)
    assert 'wishful' in ran.stdout and 'right answer, wrong reason' in ran.stdout and 'rows go to B' not in ran.stdout, str(ran)
    assert f'{len(EXPECTED)} of {len(wrong)} as expected' in ran.stdout, str(ran)
    rows = ask('test', [[SITE, A, B]], tests).stdout
    assert '"wrong":2' in rows.replace(' ', ''), rows[:300]


@pytest.mark.parametrize('text, reason', [
    ('[]', 'BAD_TYPE'), ('{"own": "A"}', 'BAD_TYPE'), ('[{"own": "A", "peer": "B"}]', 'MISSING_FIELD'),
    ('[{"own": "A", "peer": "B", "expect": "PEER_NOT_ALOWED"}]', 'BAD_VALUE'),
    ('[{"own": "A", "peer": "B", "expect": "OK"}]', 'BAD_VALUE'),
    ('[{"own": "A", "peer": "B", "expect": "allow", "direction": "connect"}]', 'BAD_VALUE'),
    ('[{"own": "A", "peer": "B", "expect": "allow", "expect": "allow"}]', 'DUPLICATE_KEY'),
    ('[{"own": "A", "peer": "B", "expect": "allow", "repeat": 0}]', 'BAD_VALUE'),
])
def test_files_that_are_no_tests(ask, work, text, reason):
    ran = ask('test', [[SITE, A]], written(work, 'tests.json', text), json_out=False)
    ran.refused(reason, 2 if reason == 'USAGE' else None)
    assert 'tests.json' in ran.stderr, str(ran)


def test_a_default_that_is_widened_names_both_places(ask, work, troth):
    path = written(work, 'p.yaml', '- default: site\n  max_dac_depth: 4\n  required_attestation_level: Level-1\n'
                   '- enclave_id: A\n  inherits: site\n  max_dac_depth: 5\n')
    for verb in ('lint', 'explain'):
        ran = troth('policy', verb, path)
        ran.refused('POLICY_CONFLICT')
        assert 'p.yaml:6:18' in ran.stderr and 'default site at line 2' in ran.stderr, str(ran)


@pytest.mark.parametrize('verb', ['lint', 'explain', 'diff', 'test', 'sign', 'push'])
def test_every_verb_has_help(troth, verb):
    assert f'troth policy {verb}' in troth('policy', verb, '--help').ok().stdout


@pytest.mark.attack('PO-12')
def test_a_million_rules_and_one_more(home, work, troth):
    """The most that a policy may have is loaded and asked in bounded time and memory; one more is refused."""
    def policy(count):
        peers = ''.join(f'- n{i}\n' for i in range(count))
        return f'enclave_id: A\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\nallowed_communicators:\n{peers}'
    path = written(work, 'most.yaml', policy(1000000))
    ran = troth('policy', 'explain', path, '--own', 'A', '--peer', 'n765432', '--json', timeout=120 * conftest.SLOWNESS).ok()
    assert ran.json['own']['allow'] and ran.seconds < 20 * conftest.SLOWNESS, str(ran)
    more = written(work, 'more.yaml', policy(1000001))
    troth('policy', 'explain', more, '--own', 'A', '--peer', 'n1', timeout=120 * conftest.SLOWNESS).refused('TOO_LARGE')
    os.unlink(path)
    os.unlink(more)
