"""Receipts of earlier builds: each folder of tests/golden is one that every later build must verify unchanged.

A folder holds receipt.troth, trust.json, the outputs under their names and inputs as role.*; nothing in it is ever rewritten. A new
format gets a new folder.
"""
import json
import os

import conftest
import pytest

GOLDEN = os.path.join(conftest.ROOT, 'tests', 'golden')
FOLDERS = sorted(name for name in os.listdir(GOLDEN) if os.path.isdir(os.path.join(GOLDEN, name)))


def test_there_are_some():
    assert FOLDERS


@pytest.mark.parametrize('folder', FOLDERS)
def test_verifies_unchanged(folder, troth, home):
    place = os.path.join(GOLDEN, folder)
    with open(os.path.join(place, 'trust.json')) as f:
        job = json.load(f)['job']
    outputs = [a for o in job['outputs'] for a in ('--output', f'{o["name"]}={os.path.join(place, o["file"])}')]
    inputs = [a for i in job['inputs'] if not i['secret'] for n in os.listdir(place) if n.split('.')[0] == i['role']
              for a in ('--input', f'{i["role"]}={os.path.join(place, n)}')]
    command = ['verify', os.path.join(place, 'receipt.troth'), '--trust', os.path.join(place, 'trust.json'), '--json']
    answer = troth(*command, *outputs, *inputs).ok()
    assert answer.json['verdict'] == 'accepted' and answer.json['job'] == job['name']
    names = [check['name'] for check in answer.json['checks']]
    assert names.count('output.file') == len(job['outputs']) and 'input.file' in names
    with open(os.path.join(place, job['outputs'][0]['file']), 'rb') as f:
        changed = f.read() + b'\n'
    with open(os.path.join(home, 'changed'), 'wb') as f:
        f.write(changed)
    troth(*command, '--output', f'{job["outputs"][0]["name"]}={home}/changed').refused('DIGEST_MISMATCH', code=1)
