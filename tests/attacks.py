"""tests/attacks.tsv: one row for every id of the adversary list, and the judgement whether its test exists and ran.

A row is ID <tab> WHAT IS TRIED <tab> TESTS <tab> NOTE. TESTS is one of
    tests/system/test_x.py::test_name ...   one or more tests, separated by spaces; parameters may be left out; also unit/FOLDER:name
                                            (a test of a unit binary) and fuzz/NAME (replay of a fuzz target's corpus)
    waits: PART                             the part of Troth, not built yet, that this attack is aimed at
    todo                                    no test yet
NOTE names the tier of confinement, or what of the attack is still open.
"""
import ast
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, 'tests', 'attacks.tsv')


def read(path=TABLE):
    rows = []
    with open(path, encoding='utf-8') as f:
        for number, line in enumerate(f, 1):
            if not line.strip() or line.startswith('#'):
                continue
            cells = line.rstrip('\n').split('\t')
            if len(cells) not in (3, 4) or not re.fullmatch(r'[A-Z]{2}-\d\d', cells[0]) or not cells[2].strip():
                raise SystemExit(f'tests/attacks.tsv:{number}: a row is ID<tab>WHAT<tab>TESTS[<tab>NOTE]')
            rows.append((*cells, '')[:4])
    ids = [row[0] for row in rows]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise SystemExit(f'tests/attacks.tsv: two rows for {" ".join(twice)}')
    return rows


def marked():
    """id -> names of the tests that carry its mark."""
    found = {}
    for folder in ('tests/system', 'tests/outside'):
        for name in sorted(os.listdir(os.path.join(ROOT, folder)) if os.path.isdir(os.path.join(ROOT, folder)) else []):
            if not name.startswith('test_') or not name.endswith('.py'):
                continue
            with open(os.path.join(ROOT, folder, name), encoding='utf-8') as f:
                tree = ast.parse(f.read())
            for node in ast.walk(tree):
                for mark in getattr(node, 'decorator_list', []):
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith('mark.attack'):
                        for arg in mark.args:
                            if isinstance(arg, ast.Constant):
                                found.setdefault(arg.value, []).append(f'{folder}/{name}::{node.name}')
    return found


def ran(test, outcomes):
    """Outcomes of the tests that a name stands for: itself, or all its parameters, or all tests of a replay."""
    return [outcome for name, outcome in outcomes.items()
            if name == test or name.startswith((test + '[', test + ':'))]


def judge(report, outcomes):
    rows = read()
    print(f'   {sum(row[2].startswith("waits:") for row in rows)} of {len(rows)} attacks wait for parts of Troth that are not built yet')
    for identity, _, tests, _ in rows:
        if tests.startswith('waits:'):
            continue
        if tests == 'todo':
            report.add(f'attack/{identity}: todo', 'skipped', detail='no test yet')
        else:
            problems, passed = [], False
            for test in tests.split():
                found = ran(test, outcomes)
                if not found:
                    problems.append(f'{test} did not run')
                elif 'failed' in found:
                    problems.append(f'{test}: {" ".join(sorted(set(found)))}')
                passed = passed or 'passed' in found
            # A skip needs its reason in tests/skips.tsv, and somebody must have performed the attack all the same.
            if not problems and not passed:
                problems.append('every test of it was skipped')
            report.add(f'attack/{identity}', 'failed' if problems else 'passed', detail='\n'.join(problems))
