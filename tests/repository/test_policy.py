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


# Who asks. A new place belongs here, so that whoever adds one says so.
CALLERS = {'enclave', 'receipt', 'job', 'cmd', 'policy'}


def test_every_place_that_asks_is_known():
    asking = {path.split('/')[0] for path, text in sources('*.c') if re.search(r'\bpolicy_(decide|require)\(', text)}
    assert asking <= CALLERS


def test_no_answer_is_thrown_away():
    assert not lines_with(r'\(void\)\s*policy_(decide|require)\(')
