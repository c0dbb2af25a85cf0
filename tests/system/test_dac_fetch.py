"""Ancestors on demand between real enclaves, and the bounds that a policy sets on chains (docs/PROTOCOL.dac)."""
import os

import pytest
from test_calls import ECHO, FORWARD, content, host, job, run, verified  # noqa: F401 (fixture)

# Twenty answers, each of which rests on the one before, and a last question that rests on all of them.
LONG = '''
last = []
for i in range(20):
    h = x.open("A", data=b"%d" % i, causes=last, last=True)
    assert x.read_all(h) == b"<%d>" % i
    for old in last:
        x.close(old)
    last = [h]
print(x.call("E", b"all", causes=last).decode())
'''


def long_chain(work, **policies):
    programs = {'B': LONG, 'A': FORWARD.format('C'), 'C': ECHO, 'E': ECHO}
    return job(work, programs, [('B', 'A'), ('A', 'C'), ('B', 'E')], **policies)


def test_what_does_not_come_along_is_fetched(troth, host, work):  # noqa: F811
    """E meets a chain of more than a hundred records at once, and gets all but one of them only for the asking."""
    few = {'max_dac_depth': 200, 'chain': {'eager': 1}}
    path = long_chain(work, A=few, B=few, C=few, E={'max_dac_depth': 200})
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt') == b'all\n'
    verified(troth, host, work, path).ok()


@pytest.mark.parametrize('bound, eager', [({'records': 40}, {'chain': {'eager': 1}}), ({'bytes': 20000}, {}), ({'path': 20}, {}),
                                          ({'parents': 1}, {'chain': {'eager': 1}})])
def test_a_chain_beyond_the_bounds_of_the_policy_is_refused(troth, host, work, bound, eager):  # noqa: F811
    many = {'max_dac_depth': 200}
    path = long_chain(work, A=many, B={**many, **eager}, C=many, E={**many, 'chain': bound})
    ran = run(troth, host, work, path).refused('STAGE_FAILED')
    assert 'DAC_TOO_LARGE' in ran.stderr
    assert not os.path.exists(os.path.join(work, 'out'))
