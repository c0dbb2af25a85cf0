"""Calls between enclaves through the real programs: a chain of four, many at once, large and slow ones, refusals on both sides,
deaths in the middle, hostile programs on the descriptor, and enclaves that stay."""
import os
import re
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from jobs import enclave, policy, write_job, written

OUTSIDE = os.path.join(conftest.ROOT, 'tests', 'outside')
PRELUDE = '#!/usr/bin/python3 -I\nimport os, sys\nsys.path.insert(0, "/job")\nimport fabric_client as f\nx = f.Fabric()\n'


def program(folder, name, text):
    return written(folder, name, PRELUDE + text, 0o755)


def job(folder, programs, calls, peers=None, extra=None, outputs=True, **policies):
    """Enclaves with Python programs (name -> text) and call edges (from, to); B gives the output."""
    shutil.copy(os.path.join(OUTSIDE, 'fabric_client.py'), folder)
    names = {n: set() for n in programs}
    for one, other in calls:
        names[one].add(other)
        names[other].add(one)
    enclaves = []
    for name, text in programs.items():
        program(folder, f'{name}.py', text)
        rules = policy(name, sorted(names[name] if peers is None else peers[name]), **policies.get(name, {}))
        enclaves.append({**enclave(name, f'./{name}.py', files=['./fabric_client.py']), 'policy': rules, **(extra or {}).get(name, {})})
    return write_job(folder, enclaves, [{'from': a, 'to': b, 'operation': 'ask', 'call': True} for a, b in calls],
                     outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}] if outputs else [])


def content(*parts):
    with open(os.path.join(*parts), 'rb') as f:
        return f.read()


@pytest.fixture
def host(troth, state):
    troth('host', 'init', '--state', state, '--no-recovery').ok()
    return state


def verified(troth, state, work, path):
    trust = os.path.join(work, 'trust.json')
    troth('trust', 'new', '--root', os.path.join(state, 'inception.epoch'), '--reference', path, '--output', trust).ok()
    return troth('verify', os.path.join(work, 'out', 'receipt.troth'), '--trust', trust, '--json')


def run(troth, state, work, path, *more, **rest):
    return troth('run', path, '--state', state, '--output', os.path.join(work, 'out'), *more, **rest)


ECHO = 'x.serve(lambda call, data: data)\n'
FORWARD = 'x.serve(lambda call, data: b"<" + x.call("{}", data) + b">")\n'
ASK = 'sys.stdout.buffer.write(x.call("A", b"hello"))\n'


def chain(work, **policies):
    programs = {'B': ASK, 'A': FORWARD.format('C'), 'C': FORWARD.format('D'), 'D': ECHO}
    return job(work, programs, [('B', 'A'), ('A', 'C'), ('C', 'D')], **policies)


def test_a_chain_of_four_leaves_a_receipt_with_the_whole_call_graph(troth, host, work):
    path = chain(work)
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt') == b'<<hello>>'
    verdict = verified(troth, host, work, path).ok()
    shown = troth('show', os.path.join(work, 'out', 'receipt.troth')).ok().stdout
    for line in ("A answered B for 'ask'", "C answered A for 'ask'", "D answered C for 'ask'", "B sent to A for 'ask'"):
        assert line in shown
    assert len(set(re.findall(r'RESPONSE \d+ of [ACD]', verdict.stdout))) == 3


@pytest.mark.parametrize('depth, works', [(4, True), (3, False)])
def test_depth_counts_calls(troth, host, work, depth, works):
    """B, A, C, D is level 4: D's own policy refuses with less."""
    path = chain(work, D={'max_dac_depth': depth})
    ran = run(troth, host, work, path)
    if works:
        ran.ok()
    else:
        ran.refused('STAGE_FAILED')
        assert 'DEPTH_EXCEEDED' in ran.stderr
        assert not os.path.exists(os.path.join(work, 'out'))


@pytest.mark.parametrize('who', ['A', 'B'])
def test_either_side_may_deny_the_operation(troth, host, work, who):
    other = 'B' if who == 'A' else 'A'
    path = job(work, {'B': ASK, 'A': ECHO}, [('B', 'A')], peers={'A': [], 'B': []},
               **{who: {'allowed_communicators': [{'id': other, 'operations': ['other']}]}, other: {'allowed_communicators': [other == 'A' and 'B' or 'A']}})
    ran = run(troth, host, work, path).refused('STAGE_FAILED')
    assert 'OPERATION_NOT_ALLOWED' in ran.stderr or 'CALL_ABORTED' in ran.stderr


def test_a_caller_that_the_policy_does_not_name_gets_no_channel(troth, host, work):
    path = job(work, {'B': ASK, 'A': ECHO, 'C': ECHO}, [('B', 'A'), ('C', 'A')], peers={'A': ['C'], 'B': ['A'], 'C': ['A']})
    ran = run(troth, host, work, path).refused('STAGE_FAILED')
    assert 'PEER_NOT_ALLOWED' in ran.stderr


MANY = '''
N = 1000
handles = [x.open("A", data=b"%d" % i, last=True) for i in range(N)]
for i in reversed(range(N)):
    assert x.read_all(handles[i]) == b"%d!" % i
    x.close(handles[i])
print("all")
'''


def test_a_thousand_calls_at_once(troth, host, work):
    path = job(work, {'B': MANY, 'A': 'x.serve(lambda call, data: data + b"!")\n'}, [('B', 'A')])
    run(troth, host, work, path, timeout=240).ok()
    assert content(work, 'out', 'out.txt') == b'all\n'
    verified(troth, host, work, path).ok()


LARGE = '''
import hashlib
def piece(i):
    return hashlib.sha256(b"%d" % i).digest() * 1024
'''


def test_an_answer_of_64_mib_and_a_slow_reader_beside_it(troth, host, work):
    asks = LARGE + '''
slow = x.open("A", data=b"large", last=True)
for i in range(50):
    assert x.call("A", b"small") == b"small"
want, got, size = hashlib.sha256(), hashlib.sha256(), 0
for i in range(2048):
    want.update(piece(i))
last = False
while not last:
    data, last = x.read(slow)
    got.update(data)
    size += len(data)
assert size == 64 << 20 and got.digest() == want.digest()
print(size)
'''
    answers = LARGE + '''
import collections, select
open_ones = collections.deque()
while True:
    call = x.accept(wait=not open_ones)
    if call["end"] and not open_ones:
        break
    if call["handle"]:
        if x.read_all(call["handle"]) == b"small":
            x.respond(call["handle"], b"small")
        else:
            open_ones.append([call["handle"], 0, None])
    for one in list(open_ones):
        handle, i, tag = one
        if tag is not None:
            # the room for it may take long: others are served meanwhile
            while tag not in x.replies:
                if not select.select([x.fd], [], [], 0.001)[0]:
                    break
                x.receive()
            if tag not in x.replies:
                continue
            x.answer(tag)
        if i == 2048:
            x.close(handle)
            open_ones.remove(one)
            continue
        one[1], one[2] = i + 1, x.ask(f.WRITE, {1: handle, 2: piece(i), 3: i == 2047})
'''
    path = job(work, {'B': asks, 'A': answers}, [('B', 'A')])
    run(troth, host, work, path, timeout=240).ok()
    assert content(work, 'out', 'out.txt') == b'%d\n' % (64 << 20)


def test_pushes_records_statements_and_evidence(troth, host, work):
    asks = '''
h = x.open("A", data=b"take this", last=True, push=True)
assert x.read(h) == (b"", True)
try:
    x.write(h, b"more")
except f.Refused as e:
    assert e.status == f.MISUSED, e
x.close(h)
import hashlib, hmac
h = x.open("A", data=b"q", last=True)
answer = x.read_all(h)
r = x.record("finding", b"what was found", causes=[h])
assert hmac.new(r["salt"], b"what was found", hashlib.sha256).digest() == r["commit"]
x.close(h)
e = x.attest(b"n" * 32)
assert len(e["certificate"]) > 100 and len(e["report"]) > 100
assert b"n" * 32 not in e["report"]
s = x.sign("note", b"words", "text/plain")
assert hashlib.sha256(b"words").digest() in s and b"program/note" in s
print(answer.decode())
'''
    serves = '''
seen = []
def answer(call, data):
    if call["push"]:
        seen.append(data)
        return None
    return b"pushed: " + b",".join(seen)
x.serve(answer)
'''
    path = job(work, {'B': asks, 'A': serves}, [('B', 'A')])
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt') == b'pushed: take this\n'
    verified(troth, host, work, path).ok()


def test_a_circle_of_calls_is_ended_by_the_depth(troth, host, work):
    """B asks A, A asks B, and so on, each on behalf of the one before."""
    asks = '''
h = x.open("A", data=b"0", last=True)
served = x.accept()
n = int(x.read_all(served["handle"]))
try:
    x.call("A", b"1", causes=[served["handle"]])
    answer = b"went on"
except f.Refused as e:
    answer = b"stopped: " + e.text.encode()
x.respond(served["handle"], answer)
print(x.read_all(h).decode())
'''
    serves = 'x.serve(lambda call, data: x.call("B", data, causes=[call["handle"]]))\n'
    path = job(work, {'B': asks, 'A': serves}, [('B', 'A'), ('A', 'B')], A={'max_dac_depth': 3}, B={'max_dac_depth': 3})
    run(troth, host, work, path).ok()
    assert b'DEPTH_EXCEEDED' in content(work, 'out', 'out.txt')
    verified(troth, host, work, path).ok()


def test_who_serves_several_says_for_which_it_calls(troth, host, work):
    asks = '''
one, other = x.open("A", data=b"1", last=True), x.open("A", data=b"2", last=True)
print(x.read_all(one).decode(), x.read_all(other).decode())
'''
    serves = '''
one, other = x.accept(), x.accept()
for c in one, other:
    x.read_all(c["handle"])
try:
    x.call("C", b"")
    raise SystemExit("that was allowed")
except f.Refused as e:
    assert e.status == f.MISUSED and "CALL_CAUSE_NEEDED" in e.text, e
for c in one, other:
    x.respond(c["handle"], x.call("C", b"for " + str(c["handle"]).encode(), causes=[c["handle"]]))
'''
    path = job(work, {'B': asks, 'A': serves, 'C': ECHO}, [('B', 'A'), ('A', 'C')])
    run(troth, host, work, path).ok()
    verified(troth, host, work, path).ok()


def test_deadlines_and_cancelling(troth, host, work):
    asks = '''
import time
h = x.open("A", data=b"never", last=True, timeout_ms=300)
began = time.monotonic()
try:
    x.read(h)
    raise SystemExit("answered")
except f.Refused as e:
    assert e.status == f.TIMED_OUT and time.monotonic() - began < 20, e
x.close(h)
h = x.open("A", data=b"half")
x.close(h)
try:
    x.read(h)
    raise SystemExit("still there")
except f.Refused as e:
    assert e.status == f.MISUSED and "CALL_UNKNOWN" in e.text, e
print(x.call("A", b"well").decode())
'''
    serves = '''
while True:
    call = x.accept()
    if call["end"]:
        break
    try:
        data = x.read_all(call["handle"])
        if data != b"never":
            x.respond(call["handle"], data)
    except f.Refused as e:
        assert e.status in (f.CANCELLED, f.TIMED_OUT), e
        x.close(call["handle"])
'''
    path = job(work, {'B': asks, 'A': serves}, [('B', 'A')])
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt') == b'well\n'
    verified(troth, host, work, path).ok()


def test_a_callee_that_dies_fails_the_call_and_the_run(troth, host, work):
    path = job(work, {'B': ASK, 'A': 'call = x.accept()\nos._exit(3)\n'}, [('B', 'A')])
    ran = run(troth, host, work, path).refused('STAGE_FAILED')
    assert 'stage A' in ran.stderr
    assert not os.path.exists(os.path.join(work, 'out'))


def test_a_callee_that_just_leaves_is_named(troth, host, work):
    path = job(work, {'B': 'try:\n    x.call("A", b"q")\nexcept f.Refused as e:\n    print(e.status, e.text)\n', 'A': 'x.accept()\n'}, [('B', 'A')])
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt').startswith(b'2 CALL_ABORTED')
    verified(troth, host, work, path).ok()


@pytest.mark.attack('CF-14')
def test_a_hostile_program_on_its_descriptor(troth, host, work):
    """Nonsense ends the conversation or is refused; the runtime, its peers and the descriptors of others are out of reach."""
    asks = r'''
import random, socket, struct
random.seed(1)
def fresh(kind, body):
    try:
        return x.do(kind, body)
    except f.Refused as e:
        assert e.text, "a refusal without a sentence"
        return e.status
for kind in list(range(0, 14)) + [99, 255]:
    for body in ({}, {1: 0}, {1: 1 << 63}, {1: b""}, {1: "x" * 70}, {1: [1]}, {1: True, 2: 3}):
        assert isinstance(fresh(kind, body), (int, dict))
assert fresh(f.READ, {1: 10**9, 2: 0}) == f.MISUSED
assert fresh(f.CALL, {1: "nobody", 2: "", 3: [], 4: 0, 5: False, 6: b"", 7: True}) == f.DENIED
assert fresh(f.CALL, {1: "A", 2: "other", 3: [], 4: 0, 5: False, 6: b"", 7: True}) == f.DENIED
assert fresh(f.CALL, {1: "A", 2: "", 3: [77], 4: 0, 5: False, 6: b"", 7: True}) == f.MISUSED
# no other socket is to be found, and none can be made to reach one
links = [os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)]
assert sum(l.startswith("socket:") for l in links) == 1, links
for pid in [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]:
    try:
        found = os.listdir("/proc/%s/fd" % pid)
    except OSError:
        found = []
    assert not found, (pid, found)
for family in (socket.AF_UNIX, socket.AF_INET):
    try:
        s = socket.socket(family, socket.SOCK_STREAM)
        s.connect("\0troth" if family == socket.AF_UNIX else ("127.0.0.1", 1))
        raise SystemExit("connected")
    except OSError:
        pass
handles = []
status = None
for i in range(5000):
    got = fresh(f.CALL, {1: "A", 2: "", 3: [], 4: 0, 5: False, 6: b"", 7: False})
    if isinstance(got, int):
        status = got
        break
    handles.append(got[1])
assert status == f.LIMIT and len(handles) >= 1000, (status, len(handles))
for h in handles:
    x.close(h)
print(x.call("A", b"still here").decode())
sys.stdout.flush()
os.write(x.fd, struct.pack(">I", 1 << 31) + b"x" * 100)
try:
    while True:
        x.receive()
except f.Hung:
    print("hung up")
'''
    path = job(work, {'B': asks, 'A': ECHO}, [('B', 'A')])
    run(troth, host, work, path, timeout=240).ok()
    assert content(work, 'out', 'out.txt') == b'still here\nhung up\n'
    verified(troth, host, work, path).ok()


# ---- enclaves that stay

TICKER = '''
import time
n = 0
while True:
    try:
        assert x.call("A", b"%d" % n) == b"%d" % n
    except f.Refused as e:
        print(e, file=sys.stderr)
        sys.exit(0)
    n += 1
    time.sleep(0.02)
'''


def staying(work, **more):
    long_life = {'limits': {'wall': '24h', 'cpu': '24h'}}
    return job(work, {'B': TICKER, 'A': ECHO}, [('B', 'A')], outputs=False, extra={'A': long_life, 'B': long_life}, **more)


@pytest.fixture
def served(troth, host, work, tmp_path):
    """A host that stays."""
    daemon = subprocess.Popen([os.path.join(conftest.BIN, 'trothd'), 'host', '--state', host], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=open(os.path.join(work, 'host.log'), 'wb'))
    until = time.monotonic() + 20 * conftest.SLOWNESS
    while not os.path.exists(os.path.join(host, 'socket')):
        assert daemon.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    yield daemon
    if daemon.poll() is None:
        daemon.terminate()
        daemon.wait(60)


def rows(troth, state):
    return troth('ire', 'list', '--state', state, '--json').ok().json['rows']


def test_enclaves_stay_survive_their_client_and_a_rotation_and_are_stopped(troth, host, work, served):
    path = staying(work)
    up = troth('ire', 'run', path, '--name', 'pair', '--state', host, '--json').ok().json
    assert up['name'] == 'pair'
    live = rows(troth, host)
    assert [(r['name'], r['stays'], r['group']) for r in live] == [('A', True, 'pair'), ('B', True, 'pair')]
    troth('ire', 'run', path, '--name', 'pair', '--state', host).refused('IRE_STAYS_ALREADY')
    troth('root', 'rotate', '--state', host).ok()
    assert 'A' in troth('ire', 'list', '--state', host).ok().stdout
    began = time.monotonic()
    troth('ire', 'stop', 'B', '--state', host).ok()
    assert time.monotonic() - began < 20 * conftest.SLOWNESS
    assert rows(troth, host) == []
    troth('ire', 'stop', 'pair', '--state', host).refused('IRE_NOT_STAYING')
    troth('ire', 'run', path, '--state', host).ok()
    troth('ire', 'run', path, '--name', 'second', '--state', host).ok()
    assert len(rows(troth, host)) == 4
    troth('ire', 'stop', '--all', '--state', host).ok()
    assert rows(troth, host) == []


def test_a_host_that_ends_takes_them_along(troth, host, work, served):
    troth('ire', 'run', staying(work), '--state', host).ok()
    served.send_signal(signal.SIGTERM)
    assert served.wait(60) == 0


def test_only_a_host_that_stays_keeps_them(troth, host, work):
    troth('ire', 'run', staying(work), '--state', host).refused('HOST_NOT_RUNNING')


def test_one_that_cannot_start_says_why(troth, host, work, served):
    path = job(work, {'B': TICKER, 'A': ECHO}, [('B', 'A')], peers={'A': [], 'B': ['A']}, outputs=False)
    ran = troth('ire', 'run', path, '--state', host)
    ran.refused('STAGE_FAILED')
    assert 'PEER_NOT_ALLOWED' in ran.stderr
    assert rows(troth, host) == []


# ---- libtroth

def blocks(page):
    """Code of a page by the file name that stands before it."""
    return dict(re.findall(r'^([a-z.]+):\n\n```[a-z]+\n(.*?)^```', page, re.M | re.S))


def test_the_example_of_the_page_of_libtroth(troth, host, work):
    """The programs and the job as they stand on the page, with the library built from its one source file."""
    with open(os.path.join(conftest.ROOT, 'docs', 'LIBTROTH.md')) as f:
        files = blocks(f.read())
    assert set(files) == {'ask.c', 'lookup.c', 'job.yaml'}
    for name, text in files.items():
        written(work, name, text)
    for name in ('ask', 'lookup'):
        subprocess.run(['cc', '-std=c99', '-Wall', '-Wextra', '-Werror', '-I', os.path.join(conftest.ROOT, 'include'), '-o', os.path.join(work, name),
                        os.path.join(work, name + '.c'), os.path.join(conftest.ROOT, 'src', 'libtroth', 'libtroth.c'), '-D_GNU_SOURCE'], check=True)
    path = os.path.join(work, 'job.yaml')
    word = written(work, 'word', 'troth')
    run(troth, host, work, path, '--input', f'word={word}').ok()
    assert content(work, 'out', 'meaning.txt') == b'a promise to be believed\n'
    verified(troth, host, work, path).ok()


LIBRARY = r'''
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <troth/troth.h>

#define NEED(x) do { enum troth_status s_ = (x); if (s_ != TROTH_OK) { \
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, troth_status_name(s_), troth_error(t)); return 1; } } while (0)

static int serve(struct troth *t)
{
	struct troth_incoming call;
	enum troth_status status;
	while ((status = troth_accept(t, &call)) == TROTH_OK) {
		void *data;
		size_t len;
		NEED(troth_read_all(t, call.handle, 32 << 20, &data, &len));
		if (call.push)
			NEED(troth_finish(t, call.handle));
		else
			NEED(troth_respond(t, call.handle, data, len));
		free(data);
	}
	return status == TROTH_END ? 0 : 1;
}

static int ask(struct troth *t)
{
	enum { SIZE = 3000000, MANY = 100 };
	uint64_t handles[MANY];
	uint8_t *large = malloc(SIZE), piece[1000];
	void *answer, *report;
	size_t len, report_len, got;
	bool last;
	struct troth_record record;
	for (size_t i = 0; i < SIZE; i++)
		large[i] = (uint8_t)(i * 2654435761u >> 24);
	NEED(troth_call(t, "A", "", large, SIZE, &answer, &len));
	if (len != SIZE || memcmp(answer, large, SIZE) != 0)
		return 2;
	free(answer);
	for (int i = 0; i < MANY; i++) {
		NEED(troth_connect(t, "A", "ask", NULL, &handles[i]));
		NEED(troth_send(t, handles[i], &i, sizeof(i), true));
	}
	for (int i = MANY; i-- > 0;) {
		int echoed;
		NEED(troth_receive(t, handles[i], &echoed, sizeof(echoed), &got, &last));
		if (got != sizeof(echoed) || echoed != i || !last)
			return 3;
	}
	NEED(troth_record(t, "sum", "42", 2, handles, 56, &record));
	for (int i = 0; i < MANY; i++)
		NEED(troth_finish(t, handles[i]));
	NEED(troth_push(t, "A", "ask", large, 200000));
	NEED(troth_attest(t, "0123456789abcdef", 16, &answer, &len, &report, &report_len));
	free(answer);
	free(report);
	NEED(troth_sign(t, "word", "text/plain", "x", 1, &answer, &len));
	free(answer);
	if (troth_call(t, "nobody", "", "", 0, &answer, &len) != TROTH_DENIED || !troth_error(t)[0] || troth_reason(t) == 0)
		return 4;
	if (troth_receive(t, 12345, piece, sizeof(piece), &got, &last) != TROTH_MISUSED)
		return 5;
	if (troth_attest(t, "short", 5, &answer, &len, &report, &report_len) != TROTH_MISUSED)
		return 6;
	if (strcmp(troth_name(t), "B") != 0)
		return 7;
	free(large);
	printf("good\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct troth *t;
	(void)argv;
	if (troth_open(&t) != TROTH_OK)
		return 9;
	int code = argc > 1 ? serve(t) : ask(t);
	troth_close(t);
	return code;
}
'''


def test_libtroth_does_all_that_its_header_says(troth, host, work):
    written(work, 'both.c', LIBRARY)
    subprocess.run(['cc', '-Wall', '-Wextra', '-Werror', '-fsanitize=undefined', '-fsanitize-undefined-trap-on-error', '-I', os.path.join(conftest.ROOT, 'include'),
                    '-D_GNU_SOURCE', '-o', os.path.join(work, 'both'), os.path.join(work, 'both.c'),
                    os.path.join(conftest.ROOT, 'src', 'libtroth', 'libtroth.c')], check=True)
    path = write_job(work, [enclave('B', './both', peers=['A']), enclave('A', './both', ['serve'], peers=['B'])],
                     [{'from': 'B', 'to': 'A', 'operation': 'ask', 'call': True}], outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
    run(troth, host, work, path).ok()
    assert content(work, 'out', 'out.txt') == b'good\n'
    verified(troth, host, work, path).ok()


def test_without_a_fabric_there_is_nothing_to_open(work):
    written(work, 'both.c', LIBRARY)
    subprocess.run(['cc', '-I', os.path.join(conftest.ROOT, 'include'), '-D_GNU_SOURCE', '-o', os.path.join(work, 'both'), os.path.join(work, 'both.c'),
                    os.path.join(conftest.ROOT, 'src', 'libtroth', 'libtroth.c')], check=True)
    assert subprocess.run([os.path.join(work, 'both')], env={}, stdin=subprocess.DEVNULL).returncode == 9
