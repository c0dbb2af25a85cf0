"""There is one way to an allowance: policy_decide sets it, in one place, and few know the inside of a table."""
import glob
import os
import re

import conftest

ROOT = conftest.ROOT


def sources(pattern):
    for path in sorted(glob.glob(os.path.join(ROOT, 'src', '**', pattern), recursive=True)):
        with open(path, encoding='utf-8') as f:
            yield os.path.relpath(path, os.path.join(ROOT, 'src')), f.read()


def lines_with(expression, where=''):
    """Lines that match, in files that contain `where`."""
    return [f'{path}: {line.strip()}' for path, text in sources('*.[ch]') if where in text
            for line in text.split('\n') if re.search(expression, line)]


def test_only_the_decision_allows():
    assert lines_with(r'\ballow\s*=[^=]', where='policy_decision') == ['policy/decision.c: decision->allow = true;']


def test_only_the_engine_looks_inside_a_table():
    inside = {path for path, text in sources('*.[ch]') if '#include "policy/rules.h"' in text}
    assert inside == {'policy/decision.c', 'policy/lint.c', 'policy/table.c'}
    compiled = {path for path, text in sources('*.[ch]') if '#include "policy/compiled.h"' in text}
    assert all(path.startswith('policy/') for path in compiled)


# Who asks, by file. A new place belongs here, so that whoever adds one says so.
CALLERS = {
    'policy/decision.c',          # the engine itself
    'policy/query.c',             # questions of people
    'enclave/runtime_channel.c',  # handshakes, operations and records of a runtime
    'enclave/dac.c',              # rule 6 of the attestation chain, in runtimes, hosts and verifiers
}


def test_every_place_that_asks_is_known():
    asking = {path for path, text in sources('*.c') if re.search(r'\bpolicy_(decide|require)\(', text)}
    assert asking == CALLERS


def test_every_gate_of_a_channel_asks():
    """Handshake, operation in both directions, acceptance of a record, and again when the policy has changed."""
    asked = {}
    for path, text in sources('runtime_*.c'):
        for resource in re.findall(r'RESOURCE_(\w+), ', text):
            asked.setdefault(resource, set()).add(os.path.basename(path))
    assert 'runtime_channel.c' in asked['CHANNEL'], asked
    assert 'runtime_pump.c' in asked['OPERATION'], asked
    assert 'runtime_records.c' in asked['RECORD'], asked
    assert lines_with(r'channel_decide_again\(channel\);', where='policy_received'), 'channels are asked about again'


def test_a_runtime_decides_by_the_policy_in_force():
    """One pointer, set in one place: there is no second table that a decision could use."""
    assert lines_with(r'rt->policy = ') == ['enclave/runtime_policy.c: rt->policy = table;']
    assert all('runtime->policy,' in line for line in lines_with(r'policy_(decide|require)\(channel'))


def test_no_answer_is_thrown_away():
    assert not lines_with(r'\(void\)\s*policy_(decide|require)\(')
