"""Trust policies through the command line: what does not load says where, and a denial can be understood and undone."""
import json
import os
import re

import conftest
import jobs
import pytest
from jobs import box  # noqa: F401 (fixture)

SEED = {'enclave_id': 'A', 'allowed_communicators': ['B', 'C'], 'max_dac_depth': 3, 'required_attestation_level': 'Level-2'}


def pipeline(box):
    return jobs.pipeline(box.work), {'rows': jobs.written(box.work, 'rows', 'one\ntwo\n')}


def put(box, name, text):
    return jobs.written(box.work, f'policies/{name}.json', text if isinstance(text, (str, bytes)) else json.dumps(text, indent=1))


def refused_load(box, text, reason, place=None, name='B'):
    """A policy that does not load: by `troth run` and by `troth policy lint` alike, with the same place; nothing was started."""
    job, inputs = pipeline(box)
    path = put(box, name, text)
    ran = box.run(job, inputs)
    lint = box.troth('policy', 'lint', path)
    for told in (ran, lint):
        told.refused(reason)
        assert re.search(rf'{name}\.json:{place or "[0-9]+:[0-9]+"}', told.stderr), str(told)
    jobs.assert_untouched(box)
    return ran


@pytest.mark.sanitize
@pytest.mark.attack('PO-01')
def test_a_misspelt_field(box):
    text = '{"enclave_id": "B",\n "allowed_communicators": ["A", "C"],\n "max_dac_depth": 3,\n "required_atestation_level": "Level-1"}\n'
    ran = refused_load(box, text, 'UNKNOWN_FIELD', '4:2')
    assert 'required_attestation_level' in ran.stderr, 'the right spelling is offered'


@pytest.mark.sanitize
@pytest.mark.attack('PO-02')
def test_a_key_that_stands_twice(box):
    refused_load(box, '{"enclave_id": "B", "max_dac_depth": 3,\n"max_dac_depth": 9, "required_attestation_level": "Level-1"}', 'DUPLICATE_KEY', '2:1')


@pytest.mark.sanitize
@pytest.mark.attack('PO-03')
def test_deep_nesting(box):
    refused_load(box, '{"enclave_id": ' + '[' * 100 + ']' * 100 + '}', 'TOO_DEEP')
    job, inputs = pipeline(box)
    path = put(box, 'B', '{"enclave_id": ' + '[' * 1000000 + ']' * 1000000 + '}')
    for told in (box.run(job, inputs), box.troth('policy', 'lint', path)):
        assert told.code in (1, 2) and re.search('TOO_DEEP|TOO_LARGE', told.stderr) and 'B.json' in told.stderr, str(told)
    jobs.assert_untouched(box)


@pytest.mark.attack('PO-05')
def test_text_that_is_not_utf8(box):
    job, inputs = pipeline(box)
    path = put(box, 'B', b'{"enclave_id": "B\xff", "max_dac_depth": 3, "required_attestation_level": "Level-1"}')
    for told in (box.run(job, inputs), box.troth('policy', 'lint', path)):
        told.refused('BAD_UTF8')
    jobs.assert_untouched(box)


@pytest.mark.attack('PO-06')
def test_a_letter_of_another_alphabet(box):
    ran = refused_load(box, jobs.policy('B', ['\u0410', 'C']), 'BAD_NAME')
    assert 'U+0410' in ran.stderr.upper() or '0410' in ran.stderr, str(ran)


@pytest.mark.attack('PO-07')
def test_an_empty_list(box):
    refused_load(box, {**jobs.policy('B'), 'allowed_communicators': []}, 'EMPTY_SET')


@pytest.mark.attack('PO-08')
def test_allowed_and_denied(box):
    """Both at once is found by lint; in a run deny wins, and says so."""
    job, inputs = pipeline(box)
    path = put(box, 'B', {**jobs.policy('B', ['A', 'C']), 'deny': ['A']})
    lint = box.troth('policy', 'lint', path)
    assert 'A' in lint.stdout + lint.stderr and re.search('den', lint.stdout + lint.stderr), str(lint)
    ran = box.run(job, inputs)
    ran.refused('DENIED_BY_RULE', 1)
    jobs.assert_untouched(box)
    refused_load(box, {**jobs.policy('B'), 'allowed_communicators': ['A', 'C', 'A']}, 'POLICY_CONFLICT')


@pytest.mark.attack('PO-10')
def test_no_policy(box):
    """A file without a policy for this enclave, and a job without a file."""
    job, inputs = pipeline(box)
    put(box, 'B', jobs.policy('X', ['A', 'C']))
    box.run(job, inputs).refused('NO_POLICY')
    with open(job) as f:
        content = json.load(f)
    del content['enclaves'][1]['policy']
    jobs.written(box.work, 'job.json', json.dumps(content))
    box.run(job, inputs).refused('MISSING_FIELD')
    jobs.assert_untouched(box)


@pytest.mark.attack('PO-12')
@pytest.mark.parametrize('text, reason', [
    ('enclave_id: B\nmax_dac_depth: &d 3\nrequired_attestation_level: Level-1\n', 'BAD_SYNTAX|NOT_SUPPORTED|BAD_VALUE|BAD_TYPE'),
    ('enclave_id: B\nmax_dac_depth: 3\nrequired_attestation_level: *x\n', 'BAD_SYNTAX|NOT_SUPPORTED|BAD_VALUE|BAD_TYPE'),
    ('<<: {enclave_id: B}\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n', 'BAD_SYNTAX|NOT_SUPPORTED|UNKNOWN_FIELD|BAD_VALUE|BAD_TYPE'),
    ('enclave_id: !!str B\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n', 'BAD_SYNTAX|NOT_SUPPORTED|BAD_VALUE|BAD_TYPE'),
    ('enclave_id: B\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\nallow_interpreter: no\n', 'BAD_TYPE|BAD_VALUE'),
    ('enclave_id: B\nmax_dac_depth: "3"\nrequired_attestation_level: Level-1\n', 'BAD_TYPE')])
@pytest.mark.sanitize
def test_what_only_yaml_has(box, text, reason):
    job, inputs = pipeline(box)
    with open(job) as f:
        content = json.load(f)
    content['enclaves'][1]['policy'] = 'policies/b.yaml'
    jobs.written(box.work, 'job.json', json.dumps(content))
    path = jobs.written(box.work, 'policies/b.yaml', text)
    for told in (box.run(job, inputs), box.troth('policy', 'lint', path)):
        assert told.code in (1, 2) and re.search(reason, told.stderr), str(told)
        assert re.search(r'b\.yaml:\d+:\d+', told.stderr), str(told)
    jobs.assert_untouched(box)


@pytest.mark.attack('PO-12')
def test_a_million_rules(box):
    job, inputs = pipeline(box)
    path = put(box, 'B', {**jobs.policy('B'), 'allowed_communicators': [f'n{i}' for i in range(1000001)]})
    for told in (box.run(job, inputs), box.troth('policy', 'lint', path)):
        assert told.code in (1, 2) and re.search('TOO_LARGE', told.stderr), str(told)
        assert told.seconds < 10 * conftest.SLOWNESS
    jobs.assert_untouched(box)


def test_an_edge_that_a_policy_forbids(box):
    """C may not talk to B: the run stops, names stage, rule, policy and both enclaves, says what to do; doing it helps."""
    job, inputs = pipeline(box)
    put(box, 'C', jobs.policy('C', ['A']))
    ran = box.run(job, inputs)
    ran.refused('PEER_NOT_ALLOWED', 1)
    assert re.search(r'\bC\b.*\bB\b', ran.stderr) and 'allowed_communicators' in ran.stderr, str(ran)
    jobs.assert_untouched(box)
    put(box, 'C', jobs.policy('C', ['B']))
    box.run(job, inputs).ok()
    assert box.text() == 'one\ntwo\n'


@pytest.mark.parametrize('name, change, reason', [
    ('B', {'allowed_communicators': [{'id': 'A', 'operations': ['other']}, 'C']}, 'OPERATION_NOT_ALLOWED'),
    ('B', {'allowed_communicators': [{'id': 'A', 'direction': 'send'}, 'C']}, 'DIRECTION_NOT_ALLOWED'),
    ('B', {'allowed_communicators': [{'id': 'A', 'scopes': ['elsewhere']}, 'C']}, 'SCOPE_NOT_ALLOWED'),
    ('B', {'allowed_communicators': [{'id': 'A', 'cores': ['00' * 48]}, 'C']}, 'MEASUREMENT_NOT_ALLOWED'),
    ('C', {'max_dac_depth': 1}, 'DEPTH_EXCEEDED'),
    ('C', {'not_after': '2020-01-01T00:00:00Z', 'not_before': '2019-01-01T00:00:00Z'}, 'POLICY_NOT_VALID_NOW'),
    ('B', {'rot_ids': ['11' * 32]}, 'ROOT_NOT_EXPECTED'),
    ('B', {'allow_interpreter': False}, 'INTERPRETER_OPEN')])
def test_each_condition_of_a_policy_is_enforced(box, name, change, reason):
    job, inputs = pipeline(box)
    peers = {'A': ['B'], 'B': ['A', 'C'], 'C': ['B']}[name]
    put(box, name, {**jobs.policy(name, peers), **change})
    ran = box.run(job, inputs)
    ran.refused(reason, 1)
    jobs.assert_untouched(box)


def test_the_seeds_policy_loads_and_then_denies(box):
    """The seed's JSON, verbatim: it asks for Level-2, and this host without a TPM reaches Level-1."""
    job, inputs = pipeline(box)
    path = put(box, 'A', '{"enclave_id":"A","allowed_communicators":["B","C"],"max_dac_depth":3,"required_attestation_level":"Level-2"}')
    box.troth('policy', 'lint', path).ok()
    ran = box.run(job, inputs)
    ran.refused('LEVEL_TOO_LOW', 1)
    assert 'Level-2' in ran.stderr and 'Level-1' in ran.stderr and 'doctor' in ran.stderr, str(ran)
    jobs.assert_untouched(box)
    put(box, 'A', {**SEED, 'required_attestation_level': 'Level-1'})
    box.run(job, inputs).ok()
    assert box.text() == 'one\ntwo\n'


def test_lint_says_what_is_probably_not_meant(box):
    path = jobs.written(box.work, 'two.json', json.dumps([jobs.policy('A', ['B']), jobs.policy('B', ['C'])]))
    told = box.troth('policy', 'lint', path, '--json')
    found = told.json
    assert found and re.search(r'two\.json|"line"', told.stdout), str(told)
    whole = jobs.written(box.work, 'whole.json', json.dumps([jobs.policy('A', ['B']), jobs.policy('B', ['A'])]))
    assert box.troth('policy', 'lint', whole).ok().code == 0


def test_a_changed_policy_is_another_measurement(box):
    """The auditor's file was made for one policy; a run under a laxer one does not pass."""
    job, inputs = pipeline(box)
    trust = box.trust(job)
    put(box, 'B', {**jobs.policy('B', ['A', 'C']), 'max_dac_depth': 9})
    box.run(job, inputs).ok()
    refused = box.verify(trust)
    assert refused.code == 1 and refused.json['verdict'] == 'refused'
    assert {c['reason'] for c in refused.json['checks'] if not c['ok']}, str(refused)
