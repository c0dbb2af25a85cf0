"""A hostile program inside an IRE, and hostile neighbours outside: the Confinement section of the attack list, on the real programs.

The program is tests/system/probe/probe.c: it tries, and ends with an error if anything was allowed; then there is no output and no receipt.
"""
import errno
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import conftest
import jobs
import pytest
from jobs import box, machine, probe  # noqa: F401 (fixtures)

pytestmark = pytest.mark.ire


def attack(machine, probe, args, **more):
    """Runs the probe in an IRE. It judges itself; what it printed comes back as lines."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    machine.run(jobs.single(machine.work, './probe', args, **more)).ok()
    lines = machine.text().splitlines()
    assert not [line for line in lines if line.startswith(('ALLOWED', 'BROKEN'))], lines
    return lines


def refusals(lines):
    return [line.split(None, 1)[1] for line in lines if line.startswith('refused')]


def holding(lines):
    return [line.split(None, 1)[1] for line in lines if line.startswith('holds')]


@pytest.mark.attack('CF-01')
@pytest.mark.sanitize
def test_files_of_the_host_are_out_of_reach(machine, probe):
    theirs = [jobs.written(machine.home, 'theirs.txt', 'a file of the host'), os.path.join(machine.state, 'ap/state'),
              os.path.join(machine.state, 'ap/wrap.key'), os.path.join(machine.state, 'pins'), os.path.join(machine.work, 'probe'),
              machine.state, machine.home, os.path.join(machine.bin, 'troth-ap')]
    lines = refusals(attack(machine, probe, ['cf-01', *theirs]))
    for path in ['/etc/passwd', '/etc/shadow', '/proc/1/environ', '/proc/1/mem', *theirs]:
        assert any(line.startswith(f'open {path}: ') for line in lines), path
    assert len(lines) > 30


@pytest.mark.attack('CF-01')
def test_files_of_another_enclave_are_out_of_reach(machine, probe):
    """Two enclaves of one job: B's file, in B's manifest only, is not in A's root."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    jobs.written(machine.work, 'only-b.txt', 'of B')
    jobs.written(machine.work, 'b.sh', '#!/bin/sh\ncat\ncat /job/only-b.txt\n', 0o755)
    job = jobs.write_job(machine.work, [jobs.enclave('A', './probe', ['cf-01', '/job/only-b.txt', '/job/b.sh'], ['B']),
                                        jobs.enclave('B', './b.sh', (), ['A'], files=['./only-b.txt', '/usr/bin/cat'])],
                         flow=[{'from': 'A', 'to': 'B'}], outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
    machine.run(job).ok()
    text = machine.text()
    assert 'refused  open /job/only-b.txt: No such file' in text and 'refused  open /job/b.sh: No such file' in text
    assert text.endswith('of B') and 'ALLOWED' not in text


@pytest.mark.sanitize
@pytest.mark.attack('CF-02')
def test_nothing_is_written_but_scratch(machine, probe):
    theirs = jobs.written(machine.home, 'theirs.txt', 'untouched', 0o666)
    lines = attack(machine, probe, ['cf-02', theirs, machine.state + '/pins', '/job/probe', '/etc/new'])
    assert f'open {theirs} for writing: ' in '\n'.join(refusals(lines)) and 'the scratch folder can be written' in holding(lines)
    assert len(refusals(lines)) >= 24
    with open(theirs) as f:
        assert f.read() == 'untouched'
    assert sorted(os.listdir(machine.out)) == ['out.txt', 'receipt.troth']


@pytest.mark.attack('CF-02')
def test_only_declared_outputs_leave(machine, probe):
    """A program that writes three files declares one: that one comes out, as a file, and a link to the host's file does not."""
    jobs.written(machine.work, 'p.sh', '#!/bin/sh\necho one >/tmp/one\necho two >/tmp/two\nmkdir /tmp/d\necho said\n', 0o755)
    job = jobs.write_job(machine.work, [jobs.enclave('P', './p.sh', files=['/usr/bin/mkdir'], outputs=[{'name': 'one', 'path': 'one'}])],
                         outputs=[{'name': 'one', 'from': 'P', 'output': 'one', 'file': 'one.txt'}])
    machine.run(job).ok()
    assert sorted(os.listdir(machine.out)) == ['one.txt', 'receipt.troth'] and machine.text('one.txt') == 'one\n'
    secret = jobs.written(machine.home, 'secret.txt', 'of the host')
    jobs.written(machine.work, 'p.sh', f'#!/bin/sh\nln -s {secret} /tmp/one\n', 0o755)
    job = jobs.write_job(machine.work, [jobs.enclave('P', './p.sh', files=['/usr/bin/ln'], outputs=[{'name': 'one', 'path': 'one'}])],
                         outputs=[{'name': 'one', 'from': 'P', 'output': 'one', 'file': 'one.txt'}])
    other = os.path.join(machine.home, 'out2')
    machine.run(job, out=other).refused('STAGE_FAILED')
    jobs.assert_untouched(machine, other)


@pytest.mark.attack('CF-02')
@pytest.mark.parametrize('what, reason', [('mkfifo /tmp/one', 'BAD_TYPE'), ('mkdir /tmp/one', 'BAD_TYPE'), ('ln -s /dev/zero /tmp/one', 'BAD_TYPE'),
                                          ('mkdir /tmp/d; ln -s d /tmp/e; ln -s e/x /tmp/one; echo x >/tmp/d/x', 'BAD_TYPE'), (':', 'OUTPUT_MISSING')])
@pytest.mark.sanitize
def test_an_output_that_is_no_file(box, what, reason):
    jobs.written(box.work, 'p.sh', f'#!/bin/sh\n{what}\nexit 0\n', 0o755)
    files = [f'/usr/bin/{name}' for name in ('mkfifo', 'mkdir', 'ln')]
    job = jobs.write_job(box.work, [jobs.enclave('P', './p.sh', files=files, outputs=[{'name': 'one', 'path': 'one'}])],
                         outputs=[{'name': 'one', 'from': 'P', 'output': 'one', 'file': 'one.txt'}])
    ran = box.run(job)
    ran.refused('STAGE_FAILED', 1)
    assert reason in ran.stderr and '/tmp/one' in ran.stderr, str(ran)
    jobs.assert_untouched(box)


@pytest.mark.sanitize
@pytest.mark.attack('CF-02')
def test_last_words_do_not_steer_the_terminal(box):
    jobs.written(box.work, 'p.sh', '#!/bin/sh\nprintf "\\033]0;evil\\007\\033[31mred\\r\\302\\233J\\n" >&2\nexit 1\n', 0o755)
    ran = box.run(jobs.single(box.work, './p.sh'))
    ran.refused('PROGRAM_FAILED', 1)
    assert 'red' in ran.stderr and not set(ran.stderr) & {'\033', '\007', '\r', '\x9b'}, repr(ran.stderr)


@pytest.mark.sanitize
@pytest.mark.attack('CF-03')
def test_nothing_is_sent(machine, probe):
    """No socket of any family and type; and a listener of the host hears nothing."""
    with socket.socket(socket.AF_UNIX) as ear:
        def heard():
            """The name is the machine's, and another run of the tests may have it for a moment."""
            try:
                ear.bind('\0troth-probe'.ljust(108, '\0'))  # as the probe calls it: the whole field counts
            except OSError as cause:
                assert cause.errno == errno.EADDRINUSE
                return False
            return True
        jobs.until(heard, 'the name is free')
        ear.listen(1)
        lines = attack(machine, probe, ['cf-03'])
        assert not select.select([ear], [], [], 0)[0], 'somebody connected'
    assert 'no socket of any family and type' in holding(lines)
    assert {'connect to an abstract address', 'bind to an abstract address', 'listen', 'accept'} <= {r.split(':')[0] for r in refusals(lines)}


@pytest.mark.sanitize
@pytest.mark.attack('CF-04')
def test_inherited_descriptors_do_not_arrive(machine, probe):
    """Open descriptors of whoever starts the run: files and sockets, without close-on-exec."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    job = jobs.single(machine.work, './probe', ['cf-04'])
    machine.give_away()
    pair = socket.socketpair()

    def leave_open():
        secret = os.open('/etc/passwd', os.O_RDONLY)
        for number in (7, 33, 200):
            os.dup2(secret, number)
        os.dup2(pair[0].fileno(), 8)

    machine.run(job, preexec_fn=leave_open, close_fds=False).ok()
    for end in pair:
        end.close()
    assert 'holds    only descriptors of the manifest are open' in machine.text() and 'BROKEN' not in machine.text()


@pytest.mark.attack('CF-04')
@pytest.mark.skipif(os.geteuid() != 0, reason='only root may look at the descriptors of an undumpable process')
def test_the_runtime_holds_what_it_works_on_alone(machine, probe):
    """troth-ire: nothing at 0 and 1, then pipes, sockets and the data of its job. Its process 1: no data and no pipe."""
    with machine.running(long_job(machine, probe)):
        runtimes = running_parts(machine)['troth-ire']
        held = [{int(n): os.readlink(f'/proc/{pid}/fd/{n}') for n in os.listdir(f'/proc/{pid}/fd')} for pid in runtimes]
    runtime, reaper = sorted(held, key=len, reverse=True)
    assert runtime[0] == runtime[1] == '/dev/null'
    rest = [target for n, target in runtime.items() if n > 2]
    data = [target for target in rest if not re.match(r'(pipe|socket|anon_inode):', target)]
    assert rest.count('anon_inode:[pidfd]') <= 1 and len(data) == 1 and data[0].endswith('/out.txt'), runtime
    assert all(re.match(r'socket:|anon_inode:\[signalfd\]|/tmp$', target) for target in reaper.values()), reaper


HOSTILE_ENVIRONMENT = {'SECRET': 'of the operator', 'LD_LIBRARY_PATH': '/tmp', 'GLIBC_TUNABLES': 'glibc.malloc.check=3', 'BASH_ENV': '/tmp/evil',
                       'ENV': '/tmp/evil', 'PYTHONPATH': '/tmp', 'PERL5LIB': '/tmp', 'IFS': 'x', 'LOCPATH': '/tmp', 'GCONV_PATH': '/tmp',
                       'MALLOC_CHECK_': '3', 'TROTH_STATE': '/tmp', 'HTTP_PROXY': 'http://127.0.0.1'}


@pytest.mark.sanitize
@pytest.mark.attack('CF-05')
def test_only_the_manifests_variables_and_arguments_arrive(machine, probe):
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    job = jobs.single(machine.work, './probe', ['cf-05', 'LC_ALL=C', 'ONE=two three'], env={'LC_ALL': 'C', 'ONE': 'two three'})
    machine.run(job, env=HOSTILE_ENVIRONMENT).ok()
    lines = machine.text().splitlines()
    assert [line for line in lines if line.startswith('argument')] == ['argument LC_ALL=C', 'argument ONE=two three']
    assert holding(lines).count('LC_ALL=C') == 2 and 'no GLIBC_TUNABLES' in holding(lines)
    assert 'of the operator' not in machine.text()


@pytest.mark.sanitize
@pytest.mark.attack('CF-06')
def test_other_processes_are_out_of_reach(machine, probe):
    """Its supervisor, and processes of the host by number, one of the same user."""
    victim = subprocess.Popen([*machine.prefix, 'sleep', '60'])
    try:
        lines = attack(machine, probe, ['cf-06', victim.pid, os.getpid()])
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    assert {'trace process 1', 'read memory of process 1', 'write memory of process 1', 'take a descriptor of process 1',
            f'signal to process {victim.pid} of the host'} <= {r.split(':')[0] for r in refusals(lines)}
    assert {'no other process can be signalled', 'process 1 survives signals'} <= set(holding(lines))


@pytest.mark.sanitize
@pytest.mark.attack('CF-07')
def test_namespaces_and_mounts_are_fixed(machine, probe):
    before = open('/proc/self/mountinfo').read()
    names = {r.split(':')[0] for r in refusals(attack(machine, probe, ['cf-07']))}
    assert {'mount', 'setns', 'pivot_root', 'chroot', 'open_by_handle_at', 'clone3', 'unshare user namespace', 'clone into user namespace'} <= names
    assert open('/proc/self/mountinfo').read() == before


@pytest.mark.sanitize
@pytest.mark.attack('CF-08')
def test_only_files_of_the_manifest_are_executed(machine, probe):
    names = holding(attack(machine, probe, ['cf-08']))
    assert {'copied program is refused', 'script written by itself is refused', 'deleted file is refused', 'descriptor is refused',
            'loader does not run it'} <= set(names)


@pytest.mark.attack('CF-08')
def test_the_images_own_loader_runs_nothing_else(machine, probe):
    """A script's image has a loader and a shell. Neither executes what the program brought as data."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    jobs.written(machine.work, 'p.sh', '#!/bin/sh\ncat /job/probe >/tmp/copy && chmod 755 /tmp/copy || exit 1\n'
                 'for loader in /lib64/ld-*.so.* /lib/ld-*.so.*; do [ -e $loader ] && $loader /tmp/copy ran && echo RAN by loader; done\n'
                 '/tmp/copy ran && echo RAN; [ $? = 126 ] && echo refused; . /dev/null; echo end\n', 0o755)
    files = ['./probe', '/usr/bin/cat', '/usr/bin/chmod']
    machine.run(jobs.single(machine.work, './p.sh', files=files)).ok()
    assert machine.text() == 'refused\nend\n'


@pytest.mark.sanitize
@pytest.mark.attack('CF-09')
def test_dangerous_calls_are_refused(machine, probe):
    lines = attack(machine, probe, ['cf-09'])
    names = {r.split(':')[0] for r in refusals(lines)}
    assert {'io_uring_setup', 'bpf', 'userfaultfd', 'perf_event_open', 'keyctl', 'init_module', 'kexec_load'} <= names
    if os.uname().machine == 'x86_64':
        assert {'an i386 call kills', 'an x32 call kills'} <= set(holding(lines))


# ---- CF-10

SMALL = {'memory': '64MiB', 'scratch': '4MiB', 'output': '1MiB', 'processes': 16, 'cpu': '2s', 'wall': '20s'}


def bounded(machine, probe, args, limits, reason=None):
    """Either the program meets the limit and says so, or the run ends with LIMIT_EXCEEDED; the next run works in any case."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    ran = machine.run(jobs.single(machine.work, './probe', args, limits={**SMALL, **limits}), timeout=60)
    if reason:
        ran.refused(reason)
        assert 'P' in ran.stderr and 'STAGE_FAILED' in ran.stderr
    if ran.code:
        ran.refused('STAGE_FAILED')
        jobs.assert_untouched(machine)
        assert 'BROKEN' not in ran.stderr, ran.stderr
    else:
        assert 'holds' in machine.text() and 'BROKEN' not in machine.text()
    small = os.path.join(machine.home, 'after')
    machine.run(jobs.single(machine.work, './probe', ['cf-05']), out=small).ok()
    assert 'holds' in machine.text(out=small)
    return ran


@pytest.mark.sanitize
@pytest.mark.attack('CF-10')
def test_a_fork_bomb_is_bounded(machine, probe):
    assert bounded(machine, probe, ['cf-10-forks', 16], {}).code == 0
    assert re.search(r'^\d+ children, then Resource temporarily unavailable', machine.text())


@pytest.mark.sanitize
@pytest.mark.attack('CF-10')
def test_ten_gigabytes_of_memory_are_not_given(machine, probe):
    ran = bounded(machine, probe, ['cf-10-memory', 64], {})
    if ran.code:
        assert re.search('LIMIT_EXCEEDED|PROGRAM_FAILED', ran.stderr), str(ran)


@pytest.mark.sanitize
@pytest.mark.attack('CF-10')
def test_a_full_scratch_folder_is_an_error_of_the_program(machine, probe):
    assert bounded(machine, probe, ['cf-10-disk', 4], {}).code == 0
    assert re.search(r'^\d+ KiB, then No space left on device', machine.text())


@pytest.mark.sanitize
@pytest.mark.attack('CF-10')
def test_endless_output_ends_at_its_limit(machine, probe):
    bounded(machine, probe, ['cf-10-output'], {}, 'LIMIT_EXCEEDED')


@pytest.mark.sanitize
@pytest.mark.attack('CF-10')
def test_a_program_that_never_ends_is_ended(machine, probe):
    bounded(machine, probe, ['cf-10-forever'], {'wall': '2s'}, 'LIMIT_EXCEEDED')


@pytest.mark.attack('CF-10')
def test_a_program_that_never_waits_is_ended(machine, probe):
    bounded(machine, probe, ['cf-10-spin'], {'cpu': '1s'}, 'LIMIT_EXCEEDED')


@pytest.mark.attack('CF-10')
def test_endless_complaints_do_not_fill_the_host(machine, probe):
    """stderr is not an output: what is kept of it is bounded, and the run is not held up."""
    jobs.written(machine.work, 'p.sh', '#!/bin/sh\ni=0\nwhile [ $i -lt 20000 ]; do echo "complaint $i, as long as a line may well be" >&2; i=$((i+1)); done\n'
                 'echo done\n', 0o755)
    ran = machine.run(jobs.single(machine.work, './p.sh')).ok()
    assert machine.text() == 'done\n'
    assert len(ran.stderr) < 2_000_000


# ---- CF-11

SPEAKER = 'const char *word(void) { return "%s"; }\n'
PROGRAM = '#include <stdio.h>\nconst char *word(void);\nint main(void) { puts(word()); return 0; }\n'
# An interpreter that ignores its script: what it says is its own version.
INTERPRETER = '#include <stdio.h>\nint main(void) { puts("%s"); return 0; }\n'


def variants(machine, kind, work):
    """The name of the file that is replaced during runs, its two contents by the word they say, and the job's program."""
    if kind == 'program':
        texts = {w: f'#!/bin/sh\necho {w}\n'.encode() for w in ('alpha', 'omega')}
        return 'p.sh', texts, './p.sh'
    if kind == 'interpreter':
        texts = {}
        for word in ('alpha', 'omega'):
            with open(jobs.compile_text(work, f'say-{word}', INTERPRETER % word, '-static'), 'rb') as f:
                texts[word] = f.read()
        jobs.written(machine.work, 'p.say', f'#!{work}/interpreter\n', 0o755)
        return 'interpreter', texts, './p.say'
    texts = {}
    for word in ('alpha', 'omega'):
        built = jobs.compile_text(work, f'lib-{word}', SPEAKER % word, '-shared', '-fPIC', '-Wl,-soname,libword.so')
        with open(built, 'rb') as f:
            texts[word] = f.read()
    jobs.written(work, 'libword.so', texts['alpha'], 0o755)
    subprocess.run(['cc', '-O1', '-o', f'{work}/p', '-x', 'c', '-', f'-L{work}', '-l:libword.so', f'-Wl,-rpath,{work}'], input=PROGRAM.encode(), check=True)
    return 'libword.so', texts, os.path.join(work, 'p')


class Replacer(threading.Thread):
    """Replaces a file by rename, again and again, at random distances."""

    def __init__(self, path, texts, owner):
        super().__init__(daemon=True)
        self.path, self.texts, self.owner, self.over = path, texts, owner, threading.Event()
        self.pauses = random.Random(1)

    def put(self, text):
        new = self.path + '.new'
        with open(new, 'wb') as f:
            f.write(text)
        os.chmod(new, 0o755)
        if self.owner is not None:
            os.chown(new, self.owner, self.owner)
        os.rename(new, self.path)

    def run(self):
        while not self.over.is_set():
            for text in self.texts:
                self.put(text)
                self.over.wait(self.pauses.uniform(0.0, 0.06))

    def __enter__(self):
        self.put(self.texts[0])
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


@pytest.fixture
def elsewhere():
    """A folder outside /tmp, which inside an enclave is its own."""
    folder = tempfile.mkdtemp(prefix='troth-', dir='/var/tmp')
    yield folder
    shutil.rmtree(folder)


@pytest.mark.attack('CF-11')
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['program', 'library', 'interpreter'])
def test_what_ran_is_what_was_measured(box, elsewhere, kind, amount):
    """The file is replaced all the time. Each run either is refused, or its output is that of the file in its receipt."""
    work = box.work if kind == 'program' else elsewhere
    name, texts, program = variants(box, kind, work)
    path = os.path.join(work, name)
    inside = '/job/' + name if kind == 'program' else path
    digests = {jobs.sha384(data): word for word, data in texts.items()}
    ran = {'alpha': 0, 'omega': 0}
    refused = 0
    with Replacer(path, list(texts.values()), box.user):
        job = jobs.single(box.work, program)
        for turn in range(amount(10, 100)):
            out = os.path.join(box.home, f'out{turn}')
            done = box.run(job, out=out)
            if done.code:
                done.refused('MEASUREMENT_MISMATCH')
                jobs.assert_untouched(box, out)
                refused += 1
                continue
            entries = {e[0]: e for e in jobs.receipt(out).manifests[0][6]}
            found = entries.get(inside) or next(e for p, e in entries.items() if p.endswith('/' + name) and e[4])
            said = box.text(out=out).strip()
            assert digests[found[4]] == said, f'measured {digests[found[4]]}, ran {said}'
            ran[said] += 1
            shutil.rmtree(out)
    assert sum(ran.values()) + refused == amount(10, 100) and sum(ran.values()) > 0, (ran, refused)


# ---- CF-12

EVIL = r'''
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
unsigned la_version(unsigned v) { return v; }
__attribute__((constructor)) static void enter(void)
{
    char name[256] = {0}, line[300];
    if (readlink("/proc/self/exe", name, sizeof(name) - 1) < 0)
        return;
    int fd = open(MARKER, O_WRONLY | O_APPEND | O_CREAT, 0666);
    int len = snprintf(line, sizeof(line), "%s\n", name);
    if (fd >= 0 && write(fd, line, len) != len)
        abort();
    printf("EVIL\n");
}
'''


@pytest.mark.attack('CF-12')
@pytest.mark.parametrize('variable', ['LD_PRELOAD', 'LD_AUDIT'])
def test_the_callers_preload_reaches_neither_runtime_nor_program(box, variable):
    """A library that the caller's environment puts into every program: it gets no further than the caller's own troth."""
    marker = os.path.join(box.home, 'entered')
    evil = jobs.compile_text(box.home, 'evil', f'#define MARKER "{marker}"\n{EVIL}', '-shared', '-fPIC')
    jobs.written(box.work, 'rows', 'one\ntwo\n')
    for n, word in enumerate(['first', 'second']):
        job = jobs.pipeline(box.work, f'echo {word}; cat')
        box.run(job, {'rows': os.path.join(box.work, 'rows')}, env={variable: evil, **HOSTILE_ENVIRONMENT}, out=f'{box.out}{n}').ok()
        assert box.text(out=f'{box.out}{n}') == f'{word}\none\ntwo\n'
    with open(marker) as f:
        entered = {os.path.basename(line.strip()) for line in f}
    assert 'troth' in entered, 'the library was loaded nowhere, so this test shows nothing'
    assert not entered & {'troth-ap', 'troth-ire', 'sh', 'dash', 'cat'}, entered


@pytest.mark.attack('CF-12')
def test_the_callers_path_finds_nothing(machine):
    """Programs of the same names, first on PATH and in the current folder."""
    evil = os.path.join(machine.home, 'evil')
    for name in ('cat', 'sh', 'dash', *jobs.PROGRAMS, 'newuidmap'):
        jobs.written(evil, name, '#!/bin/sh\necho EVIL\ntouch ' + machine.home + '/evil-ran\n', 0o755)
    machine.exec('cat', more=['--input', '-'], input='sound\n', env={'PATH': f'{evil}:.:/usr/bin:/bin'}, cwd=evil).ok()
    outputs = [n for n in os.listdir(machine.out) if n != 'receipt.troth']
    assert len(outputs) == 1 and machine.text(outputs[0]) == 'sound\n'
    assert jobs.measured_digest(jobs.receipt(machine.out).manifests[0], os.path.realpath('/usr/bin/cat')) == jobs.sha384(open('/usr/bin/cat', 'rb').read())
    assert not os.path.exists(machine.home + '/evil-ran')


# ---- CF-13

def long_job(machine, probe):
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    return jobs.single(machine.work, './probe', ['cf-10-forever'], limits={'wall': '60s'})


def running_parts(machine):
    """troth-ap, troth-ire and the program of a run that has got as far as its program."""
    jobs.until(lambda: jobs.processes('probe'), 'the program runs')
    return {name: jobs.processes(name) for name in ('troth-ap', 'troth-ire', 'probe')}


def core_files(machine):
    return [p for p in jobs.tree_of(machine.home) if re.search(r'(^|/)core(\.\d+)?$', p)]


def dump(machine, prefix, pid):
    """gcore, and what it is made of: reading memory and the list of mappings. True when something came out."""
    target = os.path.join(machine.home, 'dumps', 'taken')
    subprocess.run([*prefix, 'gcore', '-o', target, str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    made = os.path.exists(f'{target}.{pid}')
    for place in ('mem', 'maps', 'environ', 'fd/0'):
        made |= subprocess.run([*prefix, 'head', '-c', '1', f'/proc/{pid}/{place}'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL).returncode == 0 and place != 'mem'
    return made


def neighbour(uid):
    return ['setpriv', f'--reuid={uid}', f'--regid={uid}', '--clear-groups', '--no-new-privs', '--']


@pytest.mark.attack('CF-13')
@pytest.mark.slow
def test_neighbours_cannot_dump_runtime_or_secure_processor(machine, probe):
    """The same user from outside, and another: gcore and /proc of troth-ap and troth-ire give nothing. The program itself is out of reach of
    another user, and, when root starts it, of everybody but root (isolation=uid); a same-uid process can reach it otherwise (isolation=weak)."""
    dumps = os.path.join(machine.home, 'dumps')
    os.mkdir(dumps)
    os.chmod(dumps, 0o777)
    os.chmod(machine.home, 0o755)
    root, others = os.geteuid() == 0, []
    if root:
        others.append(neighbour(jobs.ordinary_user() + 500))
    if machine.user is not None:
        others.append(machine.prefix)  # the same uid
    elif not root:
        others.append([])
    # That the attack works where it may: a process of the neighbour's own.
    own = subprocess.Popen([*others[0], 'sleep', '60'])
    try:
        jobs.until(lambda: os.readlink(f'/proc/{own.pid}/exe').endswith('sleep'), 'a process of its own')
        assert dump(machine, others[0], own.pid), 'the attack does not work on a process of its own'
    finally:
        own.kill()
        own.wait()
    with machine.running(long_job(machine, probe)) as child:
        parts = running_parts(machine)
        assert len(parts['troth-ap']) >= 1 and len(parts['troth-ire']) >= 1
        for prefix in others:
            same = prefix == machine.prefix or not prefix
            for name, pids in parts.items():
                for pid in pids:
                    if name != 'probe' or not same:
                        assert not dump(machine, prefix, pid), f'{name} was read by {prefix or "the same user"}'
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        child.wait(20)
    assert not core_files(machine)


@pytest.mark.sanitize
@pytest.mark.attack('CF-13')
def test_a_crash_leaves_no_core(machine, probe):
    lines = attack(machine, probe, ['cf-13'])
    assert {'an abort leaves no core', 'no core file'} <= set(holding(lines))
    for victim in ('troth-ire', 'troth-ap'):
        with machine.running(long_job(machine, probe), out=os.path.join(machine.home, victim)) as child:
            parts = running_parts(machine)
            for pid in parts[victim]:
                os.kill(pid, signal.SIGSEGV)
            _, error = child.communicate(timeout=30)
            jobs.assert_typed(child.returncode, error.decode())
        jobs.assert_untouched(machine, os.path.join(machine.home, victim))
    assert not core_files(machine)


# ---- CF-15

def groups_of(pid):
    """Control groups that a host with this number has made."""
    found = []
    for place, folders, _ in os.walk('/sys/fs/cgroup'):
        found += [os.path.join(place, f) for f in folders if f.startswith(f'troth-{pid}-')]
    return found


def ipc_objects():
    found = []
    for kind in ('shm', 'sem', 'msg'):
        with open(f'/proc/sysvipc/{kind}') as f:
            found += f.readlines()[1:]
    return found


@pytest.mark.sanitize
@pytest.mark.attack('CF-15')
def test_nothing_is_left_behind(machine, probe):
    """The probe leaves daemons that ignore signals and hold its output open, files, links and a FIFO."""
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    job = jobs.single(machine.work, './probe', ['cf-15'])
    before = open('/proc/self/mountinfo').read()
    machine.give_away()
    hosts = set()
    with machine.running(job) as child:
        while child.poll() is None:
            hosts |= set(jobs.processes('trothd'))
            select.select([], [], [], 0.005)
        out, error = child.communicate(timeout=30)
        assert child.returncode == 0, error.decode()
    assert 'holds    a file is left' in machine.text() and 'holds    a FIFO is left' in machine.text()
    assert sorted(os.listdir(machine.out)) == ['out.txt', 'receipt.troth']
    assert hosts, 'no host was seen'
    assert not conftest.gone(conftest.descendants(), 5), [conftest.describe(p) for p in conftest.descendants()]
    assert open('/proc/self/mountinfo').read() == before
    assert not [g for pid in hosts for g in groups_of(pid)]
    assert not [line for line in ipc_objects() if machine.user and str(machine.user) in line.split()]
    assert not os.listdir(os.path.join(machine.state, 'tmp')) if os.path.isdir(os.path.join(machine.state, 'tmp')) else True
    assert not os.path.exists(os.path.join(machine.state, 'socket'))
