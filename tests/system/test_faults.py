"""Faults of the machine under `troth run` and `troth host init`: kills at any moment, failing and full disks, wrong clocks, altered files.

Each time the result is one of two: everything is done and verifies, or a typed error and no trace. The next run works.
"""
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import threading
import time

import conftest
import jobs
import pytest
from jobs import Machine, box, probe  # noqa: F401 (fixtures)

ROWS = ''.join(f'{n},row {n}\n' for n in range(30000))


def pipeline(machine, name='rows', rows=ROWS):
    """A job of three enclaves, its input and what must come out."""
    job = jobs.pipeline(machine.work, 'cat', 'echo begin; cat', 'cat; echo end')
    return job, {'rows': jobs.written(machine.work, name, rows)}, f'begin\n{rows}end\n'


# ---- killed at random moments

def kill_one(name, rng):
    """Kills one of the programs of this name; False when none lives at this moment."""
    pids = jobs.processes(name)
    if not pids:
        return False
    try:
        os.kill(rng.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_some_time(child, victim, rng, delay, hosts):
    """Kills one of these programs `delay` seconds after the first of them lives; False when none is left by then."""
    while not jobs.processes(victim) and child.poll() is None:
        hosts |= set(jobs.processes('trothd'))
    moment = time.monotonic() + delay
    while time.monotonic() < moment and child.poll() is None:
        hosts |= set(jobs.processes('trothd'))
    while child.poll() is None:
        if kill_one(victim, rng):
            return True
    return False


def judge(machine, child, error, trust, expected, out):
    """Typed error and nothing, or all of it. A client that was killed says nothing, but the same holds for the folder."""
    assert not conftest.gone(conftest.descendants(), 10), [conftest.describe(p) for p in conftest.descendants()]
    conftest.reap()
    if child.returncode == 0 or os.path.exists(out):
        jobs.assert_complete(machine, trust, expected, out)
        shutil.rmtree(out)
    if child.returncode not in (0, -signal.SIGKILL):
        jobs.assert_typed(child.returncode, error.decode())


@pytest.mark.slow
@pytest.mark.parametrize('victim', ['troth', 'trothd', 'troth-ap', 'troth-ire'])
def test_killed_at_a_random_moment(box, victim, amount):
    """30 in ./check, 200 in --long, over the four programs."""
    job, inputs, expected = pipeline(box)
    box.run(job, inputs).ok()
    trust = box.trust(job)
    jobs.assert_complete(box, trust, expected)
    shutil.rmtree(box.out)
    began = time.monotonic()
    box.run(job, inputs).ok()
    longest = time.monotonic() - began
    shutil.rmtree(box.out)
    rng = random.Random(f'{victim} {conftest.LONG}')
    hits, hosts, wanted = 0, set(), amount(8, 50)
    for turn in range(wanted * 4):
        with box.running(job, inputs) as child:
            hit = kill_some_time(child, victim, rng, rng.uniform(0.0, longest), hosts)
            _, error = child.communicate(timeout=60 * conftest.SLOWNESS)
        judge(box, child, error, trust, expected, box.out)
        hits += hit
        if hits == wanted:
            break
        # How long a program lives depends on what else the machine does: a moment that came too late makes the next ones earlier.
        longest *= 1 if hit else 0.7
        if turn % 4 == 3:
            box.run(job, inputs).ok()
            jobs.assert_complete(box, trust, expected)
            shutil.rmtree(box.out)
    assert hits == wanted, f'{hits} of {wanted} moments found a {victim}'
    box.run(job, inputs).ok()
    jobs.assert_complete(box, trust, expected)
    beside = [n for n in os.listdir(box.home) if n.startswith('.out')]
    assert not beside, f'the next run left {beside}'
    left = os.listdir(os.path.join(box.state, 'tmp')) if os.path.isdir(os.path.join(box.state, 'tmp')) else []
    assert not left, f'left in the state folder: {left}'
    for place, folders, _ in os.walk('/sys/fs/cgroup'):
        assert not [f for f in folders if any(f.startswith(f'troth-{pid}-') for pid in hosts)], place


@pytest.mark.sanitize
def test_interrupted_by_a_person(box):
    """Ctrl-C: nothing is written, nothing goes on, and the exit says that it was not finished."""
    jobs.written(box.work, 'p.sh', '#!/bin/sh\ntouch /tmp/started\nwhile :; do :; done\n', 0o755)
    job = jobs.single(box.work, './p.sh', files=['/usr/bin/touch'])
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        with box.running(job) as child:
            jobs.until(lambda: jobs.processes('p.sh') or jobs.processes('sh') or child.poll() is not None, 'the program runs')
            child.send_signal(signal_number)
            child.communicate(timeout=30)
        assert child.returncode != 0
        assert not conftest.gone(conftest.descendants(), 10)
        jobs.assert_untouched(box)


# ---- a disk that fails at one step

CALLS = {'fsync': 'fsync,fdatasync,sync_file_range', 'rename': 'rename,renameat,renameat2', 'pwrite': 'pwrite64,pwritev,pwritev2',
         'open': 'openat2', 'truncate': 'ftruncate,fallocate', 'mkdir': 'mkdir,mkdirat'}


def injecting(log, calls, error, number):
    return ['strace', '-f', '-qq', '-o', log, '-e', f'trace={calls}', '-e', f'inject={calls}:error={error}:when={number}']


def injected(log):
    with open(log, errors='replace') as f:
        return f.read().count('(INJECTED)')


@pytest.mark.attack('RO-16')
@pytest.mark.slow
@pytest.mark.parametrize('error', ['EIO', 'ENOSPC'])
@pytest.mark.parametrize('calls', ['fsync', 'rename', 'pwrite', 'truncate', 'mkdir'])
def test_host_init_on_a_failing_disk(home, calls, error, amount):
    """The n-th call of each program fails, for every n that there is. Afterwards init succeeds, and gives one root."""
    log, faults, n = os.path.join(home, 'strace.log'), 0, 1
    while n <= amount(12, 100):
        machine = Machine(os.path.join(home, str(n)))
        ran = machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--json', wrap=injecting(log, CALLS[calls], error, n))
        if not injected(log):
            ran.ok()
            break
        faults += 1
        if ran.code:
            jobs.assert_typed(ran.code, ran.stdout + ran.stderr)
        again = machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--json').ok().json
        if ran.code == 0:
            assert again['rot_id'] == ran.json['rot_id']
        machine.troth('host', 'status', '--state', machine.state).ok()
        n += 1
    assert faults >= 1, 'no fault was injected, so nothing was tried'


@pytest.mark.attack('RO-16')
@pytest.mark.slow
@pytest.mark.parametrize('error', ['EIO', 'ENOSPC'])
@pytest.mark.parametrize('calls', ['fsync', 'rename', 'pwrite', 'truncate', 'mkdir'])
def test_a_run_on_a_failing_disk(box, calls, error, amount):
    jobs.written(box.work, 'p.sh', '#!/bin/sh\necho whole\n', 0o755)
    job = jobs.single(box.work, './p.sh')
    trust = box.trust(job)
    log, faults = os.path.join(box.home, 'strace.log'), 0
    for n in range(1, amount(8, 60) + 1):
        ran = box.run(job, wrap=injecting(log, CALLS[calls], error, n), timeout=90)
        hit = injected(log)
        faults += hit > 0
        if ran.code:
            assert hit, str(ran)
            jobs.assert_typed(ran.code, ran.stdout + ran.stderr)
        if ran.code == 0 or os.path.exists(box.out):
            jobs.assert_complete(box, trust, 'whole\n')
            shutil.rmtree(box.out)
        box.run(job).ok()
        jobs.assert_complete(box, trust, 'whole\n')
        shutil.rmtree(box.out)
        if not hit:
            break
    assert faults >= 1, 'no fault was injected, so nothing was tried'


# ---- a full disk, a read-only one

def own_mounts():
    """A mount namespace of the command's own: as root, or as the user one is, kept as it is."""
    return ['unshare', '--mount', '--propagation', 'private'] if os.geteuid() == 0 else [
        'unshare', '--user', '--map-current-user', '--keep-caps', '--mount']


def in_mounts(script, *args):
    return [*own_mounts(), 'sh', '-ec', script, 'sh', *args]


@pytest.mark.slow
def test_host_init_on_a_full_disk(home):
    """State folders of every small size: a typed refusal, or a root that is whole."""
    good = 0
    for kib in (4, 16, 40, 64, 96, 128, 192, 256, 512, 4096):
        machine = Machine(os.path.join(home, str(kib)))
        os.mkdir(machine.state)
        os.chmod(machine.state, 0o700)
        script = ('mount -t tmpfs -o size=$1k,mode=0700 none "$2"; "$3" host init --no-recovery --state "$2"; '
                  'exec "$3" host status --state "$2"')
        ran = machine.troth(wrap=in_mounts(script, str(kib), machine.state, machine.command()[0]))
        if ran.code:
            jobs.assert_typed(ran.code, ran.stderr)
            assert re.search('DISK_FULL|JOURNAL_POISONED|IO_ERROR', ran.stderr), str(ran)
        good += ran.code == 0
    assert 1 <= good < 10, f'{good} of 10 sizes were enough'


@pytest.mark.slow
def test_output_on_a_full_disk(box):
    job, inputs, expected = pipeline(box)
    outs = os.path.join(box.home, 'outs')
    os.mkdir(outs)
    trust = box.trust(job)
    script = ('mount -t tmpfs -o size=$1k none "$2"; code=0; "$3" run "$4" --state "$5" --input rows="$6" --out "$2/out" || code=$?; '
              'if [ -e "$2/out" ]; then "$3" verify "$2/out/receipt.troth" --trust "$7" --output "$2/out/out.txt" --json; fi; '
              'echo "left: $(ls -A "$2")"; exit $code')
    codes = []
    for kib in (8, 64, len(expected) // 1024 - 8, len(expected) // 1024 + 8, 8192):
        ran = box.troth(wrap=in_mounts(script, str(kib), outs, box.command()[0], job, box.state, inputs['rows'], trust))
        codes.append(ran.code)
        if ran.code:
            assert 'left: \n' in ran.stdout, str(ran)
            assert 'DISK_FULL' in ran.stderr, str(ran)
            jobs.assert_typed(ran.code, ran.stderr)
        else:
            assert 'left: out\n' in ran.stdout and 'accepted' in ran.stdout, str(ran)
    assert codes[0] != 0 and codes[-1] == 0, codes
    box.run(job, inputs).ok()


def test_an_output_folder_that_cannot_be_made(box):
    job, inputs, _ = pipeline(box)
    outs = os.path.join(box.home, 'outs')
    os.mkdir(outs)
    script = ('mount -t tmpfs -o ro none "$1"; exec "$2" run "$3" --state "$4" --input rows="$5" --out "$1/out"')
    ran = box.troth(wrap=in_mounts(script, outs, box.command()[0], job, box.state, inputs['rows']))
    assert ran.code in (2, 3) and re.search('NO_PERMISSION|IO_ERROR|READ_ONLY', ran.stderr), str(ran)
    ran = box.run(job, inputs, out=os.path.join(box.home, 'no/such/place'))
    ran.refused('NOT_FOUND')
    ran = box.run(job, inputs, out=jobs.written(box.home, 'file', 'a file'))
    ran.refused('OUTPUT_EXISTS')
    assert open(os.path.join(box.home, 'file')).read() == 'a file'
    jobs.assert_untouched(box)


def test_stale_output_is_not_touched(box):
    job, inputs, expected = pipeline(box)
    os.mkdir(box.out)
    jobs.written(box.out, 'precious.txt', 'mine')
    box.run(job, inputs).refused('OUTPUT_EXISTS', 2)
    assert os.listdir(box.out) == ['precious.txt'] and box.text('precious.txt') == 'mine'
    box.run(job, inputs, more=['--replace']).ok()
    jobs.assert_complete(box, box.trust(job), expected)
    # A failing run with --replace leaves the old output as it was.
    before = {n: open(os.path.join(box.out, n), 'rb').read() for n in os.listdir(box.out)}
    jobs.written(box.work, 'B.sh', '#!/bin/sh\ncat >/tmp/x\nexit 3\n', 0o755)
    box.run(job, inputs, more=['--replace']).refused('STAGE_FAILED')
    assert {n: open(os.path.join(box.out, n), 'rb').read() for n in os.listdir(box.out)} == before


# ---- clocks

CLOCK = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, out);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        out->tv_sec += SHIFT;
    return code;
}
time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return out ? *out = now.tv_sec : now.tv_sec;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}
'''


def other_clock(machine, seconds):
    """A prefix under which every program sees the clock moved: /etc/ld.so.preload of a mount namespace of its own."""
    etc = os.path.join(machine.home, f'etc{seconds}')
    os.mkdir(etc)
    for name in ('ld.so.cache', 'ld.so.conf', 'passwd', 'group', 'nsswitch.conf'):
        if os.path.exists(f'/etc/{name}'):
            shutil.copy(f'/etc/{name}', etc)
    if os.path.isdir('/etc/ld.so.conf.d'):
        shutil.copytree('/etc/ld.so.conf.d', os.path.join(etc, 'ld.so.conf.d'))
    shift = jobs.compile_text(machine.home, f'clock{seconds}', f'#define SHIFT ({seconds})\n{CLOCK}', '-shared', '-fPIC')
    jobs.written(etc, 'ld.so.preload', shift + '\n')
    return in_mounts('mount --bind "$1" /etc; shift; exec "$@"', etc)


DAY = 24 * 3600


def test_the_clock_set_back_is_noticed(home):
    """A root that has seen tomorrow, on a machine that says today: nothing is signed until the clock is right."""
    machine = Machine(home)
    tomorrow = other_clock(machine, DAY)
    assert abs(float(conftest.run([*tomorrow, 'date', '+%s']).ok().stdout) - time.time() - DAY) < 60
    machine.init(wrap=tomorrow)
    job, inputs, _ = pipeline(machine)
    machine.run(job, inputs).refused('CLOCK_BACK', 3)
    jobs.assert_untouched(machine)
    machine.run(job, inputs, wrap=tomorrow).ok()


def test_a_little_set_back_is_normal(home):
    machine = Machine(home)
    machine.init(wrap=other_clock(machine, 120))
    job, inputs, expected = pipeline(machine)
    machine.run(job, inputs).ok()
    assert machine.text() == expected


def test_an_epoch_that_has_expired(box):
    """Twenty years later the root's first epoch is over: refused by name, the state stays whole."""
    job, inputs, _ = pipeline(box)
    later = other_clock(box, 20 * 366 * DAY)
    ran = box.run(job, inputs, wrap=later)
    ran.refused('EPOCH_EXPIRED')
    jobs.assert_untouched(box)


# ---- altered programs

@pytest.mark.attack('RO-09')
def test_an_altered_secure_processor_is_not_started(home):
    """One byte appended to troth-ap after the root was made."""
    machine = Machine(home)
    machine.own_programs()
    machine.init()
    job, inputs, expected = pipeline(machine)
    with open(os.path.join(machine.bin, 'troth-ap'), 'ab') as f:
        f.write(b'\0')
    for args in (('host', 'status', '--state', machine.state), machine.run_arguments(job, inputs)):
        machine.troth(*args).refused('AP_CHANGED', 1)
    jobs.assert_untouched(machine)
    digest = jobs.sha384(open(os.path.join(machine.bin, 'troth-ap'), 'rb').read()).hex()
    wrong = digest[:-1] + ('0' if digest[-1] != '0' else '1')
    machine.troth('host', 'accept-ap', wrong, '--state', machine.state).refused('AP_CHANGED')
    machine.troth('host', 'accept-ap', digest, '--state', machine.state).ok()
    machine.run(job, inputs).ok()
    assert machine.text() == expected


@pytest.mark.attack('RO-10')
def test_an_altered_runtime_shows_in_the_receipt(home):
    """troth-ire with one more byte is another measurement of phase 1: the host refuses, or the verifier does; nobody is fooled."""
    machine = Machine(home)
    machine.own_programs()
    machine.init()
    job, inputs, _ = pipeline(machine)
    trust = machine.trust(job)
    with open(os.path.join(machine.bin, 'troth-ire'), 'ab') as f:
        f.write(b'\0')
    ran = machine.run(job, inputs)
    if ran.code:
        ran.refused('MEASUREMENT_WRONG')
        jobs.assert_untouched(machine)
    else:
        refused = machine.verify(trust)
        assert refused.code == 1 and refused.json['verdict'] == 'refused', str(refused)
        assert [c for c in refused.json['checks'] if not c['ok'] and 'tcb' in c['name']], str(refused)


def test_a_program_altered_between_measurement_and_start(box):
    """As soon as the host has read the program it is replaced: what the runtime then copies is not what was measured."""
    target = jobs.written(box.work, 'p.sh', '#!/bin/sh\necho honest\n', 0o755)
    job = jobs.single(box.work, './p.sh')
    box.run(job).ok()
    trust = box.trust(job)
    jobs.assert_complete(box, trust, 'honest\n')
    shutil.rmtree(box.out)
    mismatches = 0
    for turn in range(20):
        jobs.written(box.work, 'p.sh', '#!/bin/sh\necho honest\n', 0o755)
        watcher = watch_close(target, lambda: replace(target, '#!/bin/sh\necho hostile\n'))
        ran = box.run(job)
        watcher()
        if ran.code:
            ran.refused('MEASUREMENT_MISMATCH')
            jobs.assert_untouched(box)
            mismatches += 1
            break
        # The replacement came before the measurement or after the copy: the receipt says which.
        verdict = box.verify(trust)
        assert (verdict.code == 0) == (box.text() == 'honest\n'), str(verdict)
        shutil.rmtree(box.out)
    assert mismatches, 'never hit between measurement and start'


def replace(path, text):
    jobs.written(os.path.dirname(path), 'new', text, 0o755)
    os.rename(os.path.join(os.path.dirname(path), 'new'), path)


def watch_close(path, action):
    """Calls the action once, when a reader has closed the file. Gives a function that ends the watch."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    IN_CLOSE_NOWRITE = 0x10
    fd = libc.inotify_init1(os.O_CLOEXEC)
    assert fd >= 0 and libc.inotify_add_watch(fd, path.encode(), IN_CLOSE_NOWRITE) >= 0
    read, write = os.pipe()

    def wait():
        import select
        ready, _, _ = select.select([fd, read], [], [], 60)
        if fd in ready:
            action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()

    def stop():
        os.write(write, b'x')
        thread.join()
        for each in (fd, read, write):
            os.close(each)
    return stop


# ---- bad input

def test_run_before_host_init(home):
    machine = Machine(home)
    job, inputs, _ = pipeline(machine)
    ran = machine.run(job, inputs)
    ran.refused('NO_ROOT', 2)
    assert 'troth host init' in ran.stderr
    jobs.assert_untouched(machine)


BAD_JOBS = {
    'missing program': (lambda j: j['enclaves'][0].update(program='./nothing.sh'), 'PROGRAM_NOT_FOUND'),
    'not a program': (lambda j: j['enclaves'][0].update(program='./rows'), 'NOT_A_PROGRAM'),
    'unknown enclave': (lambda j: j['flow'][0].update(to='Z'), 'UNKNOWN_ENCLAVE'),
    'cyclic flow': (lambda j: j['flow'].append({'from': 'C', 'to': 'A', 'input': 'again'}), 'CYCLIC_FLOW'),
    'misspelt field': (lambda j: j.update(flwo=[]), 'UNKNOWN_FIELD'),
    'missing file': (lambda j: j['enclaves'][1].update(files=['./nothing']), 'NOT_FOUND'),
    'missing policy': (lambda j: j['enclaves'][1].update(policy='policies/none.json'), 'NOT_FOUND'),
    'unknown permission': (lambda j: j['enclaves'][1].update(permissions=['everything']), 'UNKNOWN_PERMISSION'),
}


@pytest.mark.sanitize
@pytest.mark.parametrize('what', BAD_JOBS)
def test_a_bad_job_is_refused_by_name(box, what):
    import json
    job, inputs, _ = pipeline(box)
    with open(job) as f:
        content = json.load(f)
    change, reason = BAD_JOBS[what]
    change(content)
    jobs.written(box.work, 'job.json', json.dumps(content, indent=1))
    ran = box.run(job, inputs)
    ran.refused(reason)
    assert re.search(r'job\.json:\d+:\d+', ran.stderr) or what == 'missing policy', str(ran)
    jobs.assert_untouched(box)


@pytest.mark.sanitize
def test_inputs_that_are_not_there(box):
    job, inputs, _ = pipeline(box)
    box.run(job).refused('MISSING_INPUT', 2)
    box.run(job, {**inputs, 'rwos': inputs['rows']}).refused('UNKNOWN_ROLE', 2)
    ran = box.run(job, {'rows': box.work + '/nothing'})
    ran.refused('NOT_FOUND')
    assert 'nothing' in ran.stderr
    box.run(job, {'rows': box.work}).refused('BAD_TYPE')
    jobs.assert_untouched(box)


@pytest.mark.ire
def test_an_unreadable_input(home):
    """As an ordinary user: a file of somebody else's, and one without permission."""
    machine = Machine(home, jobs.ordinary_user() if os.geteuid() == 0 else None).init()
    job, inputs, _ = pipeline(machine)
    machine.give_away()
    os.chmod(inputs['rows'], 0)
    machine.troth(*machine.run_arguments(job, inputs)).refused('NO_PERMISSION', 3)
    jobs.assert_untouched(machine)


@pytest.mark.parametrize('what, second, expected', [
    ('reads nothing', 'echo done', 'done\n'), ('reads a little', 'read line; echo "$line"', '0,row 0\n'), ('closes its input', 'exec <&-; echo done', 'done\n'),
    ('leaves a child behind', '(while :; do :; done) & cat >/dev/null; echo done', 'done\n'), ('reads twice', 'cat >/dev/null; cat; echo done', 'done\n')])
def test_a_stage_in_the_middle_that(box, what, second, expected):
    """Programs that an honest pipeline has: each run ends, whole, and its receipt verifies."""
    job = jobs.pipeline(box.work, 'cat', second, 'cat')
    box.run(job, {'rows': jobs.written(box.work, 'rows', ROWS * 4)}).ok()
    jobs.assert_complete(box, box.trust(job), expected)


@pytest.mark.sanitize
def test_an_instrumented_build_counts_as_level_0(box):
    """A build with sanitizers may be made to say anything: no other enclave deals with its enclaves. A release build is not one."""
    job, inputs, expected = pipeline(box)
    instrumented = box.troth('host', 'status', '--state', box.state, '--json').ok().json['health']['instrumented']
    with open(os.path.join(box.bin, 'troth-ap'), 'rb') as f:
        assert instrumented == bool(re.search(rb'__asan_init|__tsan_init|__gcov_', f.read()))
    if instrumented:
        box.run(job, inputs).refused('LEVEL_TOO_LOW', 1)
        return jobs.assert_untouched(box)
    box.run(job, inputs).ok()
    return jobs.assert_complete(box, box.trust(job), expected)


@pytest.mark.attack('RC-08')
def test_a_failed_stage_names_itself(box):
    job, inputs, _ = pipeline(box)
    jobs.written(box.work, 'B.sh', '#!/bin/sh\ncat >/dev/null\necho "no such table: sales" >&2\nexit 3\n', 0o755)
    ran = box.run(job, inputs)
    ran.refused('STAGE_FAILED', 1)
    assert re.search(r'stage B\b', ran.stderr) and 'no such table: sales' in ran.stderr and 'PROGRAM_FAILED' in ran.stderr, str(ran)
    jobs.assert_untouched(box)
    told = box.run(job, inputs, more=['--json'])
    assert told.code == 1
    error = __import__('json').loads((told.stdout + told.stderr).strip().splitlines()[-1])['error']
    assert error['reason'] == 'STAGE_FAILED' and 'B' in error['text']


@pytest.mark.attack('PO-04')
@pytest.mark.parametrize('size', [100 << 20, 1 << 30])
def test_an_enormous_policy_is_refused_unread(box, size):
    """A policy of 100 MB or 1 GB (a file with holes), under a memory limit that it would not fit in."""
    job, inputs, _ = pipeline(box)
    with open(os.path.join(box.work, 'policies/B.json'), 'r+b') as f:
        f.truncate(size)
    ran = box.run(job, inputs, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (96 << 20, 96 << 20)))
    ran.refused('TOO_LARGE')
    assert 'B.json' in ran.stderr
    box.troth('policy', 'lint', os.path.join(box.work, 'policies/B.json')).refused('TOO_LARGE')
    jobs.assert_untouched(box)


def test_a_truncated_receipt(box):
    job, inputs, _ = pipeline(box, rows='1,a\n2,b\n')
    box.run(job, inputs).ok()
    trust = box.trust(job)
    whole = open(os.path.join(box.out, 'receipt.troth'), 'rb').read()
    assert box.verify(trust).ok().json['verdict'] == 'accepted'
    for length in [0, 1, 2, 100, len(whole) // 2, len(whole) - 33, len(whole) - 1]:
        with open(os.path.join(box.out, 'receipt.troth'), 'wb') as f:
            f.write(whole[:length])
        cut = box.verify(trust)
        assert cut.code == 1, f'{length} of {len(whole)} bytes: {cut}'
        assert re.search('TRUNCATED|DIGEST_MISMATCH|NOT_DETERMINISTIC|BAD_TYPE', cut.stdout + cut.stderr), str(cut)


@pytest.mark.slow
def test_two_runs_in_one_state_folder(box):
    """Side by side: the second uses the first one's host, and it stays until both are done."""
    job, inputs, expected = pipeline(box)
    trust = box.trust(job)
    outs = [os.path.join(box.home, f'side{n}') for n in range(3)]
    children = [subprocess.Popen(box.command(*box.run_arguments(job, inputs, out=out)), env=box.env(), cwd=box.home, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) for out in outs]
    for child, out in zip(children, outs):
        _, error = child.communicate(timeout=60 * conftest.SLOWNESS)
        assert child.returncode == 0, error.decode()
        jobs.assert_complete(box, trust, expected, out)
    heads = [jobs.receipt(out).head for out in outs]
    assert len({h[2] for h in heads}) == 3 and len({h[9] for h in heads}) == 3, 'run ids and sequence numbers differ'


def test_two_runs_to_one_output_folder(box):
    """Only one of them gets it; it is whole, and the other says why not."""
    job, inputs, expected = pipeline(box)
    trust = box.trust(job)
    children = [subprocess.Popen(box.command(*box.run_arguments(job, inputs)), env=box.env(), cwd=box.home, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) for _ in range(2)]
    told = [(child.communicate(timeout=60 * conftest.SLOWNESS)[1].decode(), child.returncode) for child in children]
    assert sorted(code == 0 for _, code in told) == [False, True], told
    for error, code in told:
        if code:
            jobs.assert_typed(code, error)
            assert 'OUTPUT_EXISTS' in error or 'BUSY' in error, error
    jobs.assert_complete(box, trust, expected)
