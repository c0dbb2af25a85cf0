#!/usr/bin/python3
"""Whole runs through the release programs: jobs against their bare pipelines, start-up, verification, memory, idle wake-ups.

    bench/job.py --bin FOLDER [--json FILE] [--quick]

Called by bench/run. The floor of a run is the same programs in a pipe, without anything around them; where its own processor time went
is a note. Rows have the form of bench.h.
"""
import argparse, json, os, re, signal, socket, statistics, subprocess, sys, tempfile, threading, time
from contextlib import contextmanager

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAYROLL = os.path.join(ROOT, 'examples/payroll')
SQL = ['CREATE TABLE payroll(employee INTEGER, department TEXT, salary_cents INTEGER, hours INTEGER)', '.import --csv /dev/stdin payroll',
       '.mode list', '.separator ,', '.headers on',
       'SELECT department, count(*) AS employees, sum(salary_cents) AS salary_cents, sum(hours) AS hours FROM payroll GROUP BY department ORDER BY department']


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = open(args.json, 'a', encoding='utf-8') if args.json else None
        print(f'job\n{"name":34} {"value":>12} {"unit":6} {"floor":>12} {"x floor":>8} {"peer":>12} {"x peer":>8}  peer name')

    def row(self, name, value, unit, floor=None, peer=None, peer_name=None):
        ratio = lambda other: f' {other:12.1f} {value / other:8.2f}' if other else f' {"-":>12} {"-":>8}'
        print(f'{name:34} {value:12.1f} {unit:6}{ratio(floor)}{ratio(peer)}  {peer_name or ""}', flush=True)
        if self.out:
            number = lambda v: None if v is None else round(v, 3)
            row = {'name': name, 'value': number(value), 'unit': unit, 'floor': number(floor), 'peer': number(peer), 'peer_name': peer_name}
            self.out.write(json.dumps(row) + '\n')
            self.out.flush()

    def note(self, text):
        print(f'  {text}', flush=True)

    def troth(self, *args, **more):
        done = subprocess.run([os.path.join(self.args.bin, 'troth'), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                              **{'stdin': subprocess.DEVNULL, **more})
        if done.returncode:
            sys.exit(f'troth {" ".join(args)}: {done.stderr.decode(errors="replace")}')
        return done.stdout

    def timed(self, call, times):
        """Median of the milliseconds."""
        values = []
        for _ in range(times):
            began = time.monotonic()
            call()
            values.append((time.monotonic() - began) * 1000)
        return statistics.median(values)


@contextmanager
def host(bench, state):
    """A host service in the foreground, ready to serve."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([os.path.join(bench.args.bin, 'trothd'), 'host', '--state', state, '--ready-fd', str(theirs.fileno()), '--log-level', 'error'],
                             pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()
    try:
        if not ours.recv(1):
            sys.exit('the host did not start')
        yield child.pid
    finally:
        ours.close()
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def field(pid, file, name):
    with open(f'/proc/{pid}/{file}', encoding='ascii', errors='replace') as f:
        return int(re.search(rf'^{name}:\s+(\d+)', f.read(), re.M).group(1))


def children(pid):
    """pid and everything below it: {pid: name}."""
    parent, name = {}, {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{entry}/stat', encoding='ascii', errors='replace') as f:
                head, tail = f.read().rsplit(')', 1)
            with open(f'/proc/{entry}/cmdline', encoding='utf-8', errors='replace') as f:
                name[int(entry)] = f.read().split('\0')[0].rsplit('/', 1)[-1]
        except OSError:
            continue  # it ended meanwhile
        parent[int(entry)] = int(tail.split()[1])
    found, more = {pid}, True
    while more:
        more = {child for child, of in parent.items() if of in found} - found
        found |= more
    return {child: name[child] for child in found if child in name}


def cpu_of(call):
    """Wall and processor milliseconds of a call and of all children it waited for."""
    before, began = os.times(), time.monotonic()
    call()
    wall, after = time.monotonic() - began, os.times()
    return wall * 1000, (after.children_user + after.children_system - before.children_user - before.children_system) * 1000


def pipeline(commands, source, target):
    """The bare pipeline: the same programs and nothing else."""
    with open(source, 'rb') as data, open(target, 'wb') as out:
        running, before = [], data
        for number, command in enumerate(commands):
            last = number == len(commands) - 1
            # A session each, as enclaves have: the kernel's scheduler shares a busy machine among sessions.
            running.append(subprocess.Popen(command, stdin=before, stdout=out if last else subprocess.PIPE, start_new_session=True,
                                            env={'LC_ALL': 'C', 'PATH': os.environ['PATH']}))
            if number:
                before.close()
            before = running[-1].stdout
        for child in running:
            if child.wait(300):
                sys.exit(f'{child.args[0]} ended with {child.returncode}')


def side_by_side(ours, bare, times):
    """Interleaved, so that both see the same machine. Medians of (wall, processor) of each."""
    mine, theirs = [], []
    for _ in range(times):
        theirs.append(cpu_of(bare))
        mine.append(cpu_of(ours))
    middle = lambda rows: [statistics.median(column) for column in zip(*rows)]
    return middle(mine), middle(theirs)


def payroll(bench, work, state, rows, times):
    data, key, sealed, trust, out = (os.path.join(work, name) for name in ('rows.enc', 'rows.key', 'rows.sealed', 'trust.json', 'payroll'))
    job, inception = os.path.join(PAYROLL, 'job.yaml'), os.path.join(state, 'inception.epoch')
    subprocess.run([os.path.join(PAYROLL, 'generate'), '--seed', '1', '--rows', str(rows), '--out', data, '--key', key], check=True, stdout=subprocess.DEVNULL)
    with open(key, 'rb') as stdin, open(sealed, 'wb') as stdout:
        stdout.write(bench.troth('seal', '--state', state, '--job', job, '--enclave', 'IRE-A', '--as', 'rows-key', '--root', inception, stdin=stdin))
    bench.troth('trust', 'new', '--root', inception, '--recovery', os.path.join(work, 'recovery.pub'), '--reference', job, '--output', trust)
    run = lambda: bench.troth('run', job, '--state', state, '--input', f'rows={data}', '--sealed', f'rows-key={sealed}', '--output', out, '--replace', '--quiet')
    with open(os.path.join(PAYROLL, 'check.awk'), encoding='utf-8') as f:
        check = f.read().replace('"/tmp/rejects.csv"', json.dumps(os.path.join(work, 'rejects.csv')))
    commands = [['openssl', 'enc', '-d', '-aes-256-ctr', '-pbkdf2', '-pass', f'file:{key}'], ['awk', check],
                ['sqlite3', '-batch', '-bail', '-init', '/dev/null', ':memory:', *SQL], ['awk', '-f', os.path.join(PAYROLL, 'total.awk')]]
    bare = os.path.join(work, 'bare.csv')
    ours, floor = side_by_side(run, lambda: pipeline(commands, data, bare), times)
    with open(bare, 'rb') as a, open(os.path.join(out, 'summary.csv'), 'rb') as b:
        if a.read() != b.read():
            sys.exit('the bare pipeline gives another summary')
    bench.row('job.payroll', ours[0], 'ms', floor[0])
    bench.row('job.payroll.over-per-stage', (ours[0] - floor[0]) / 3, 'ms')
    bench.note(f'processor: {ours[1]:.0f} ms, bare {floor[1]:.0f} ms; {rows} rows, 3 stages, the host starts and ends with the run')
    receipt = os.path.join(out, 'receipt.troth')
    verify = lambda: bench.troth('verify', receipt, '--trust', trust, '--output', os.path.join(out, 'summary.csv'))
    bench.row('job.payroll.verify', bench.timed(verify, 5 * times), 'ms', bench.timed(lambda: bench.troth('version'), 5 * times))
    bench.note('floor of verify: a start of the program that does nothing')


def passthrough(bench, work, state, size, times):
    data, job, out, bare = (os.path.join(work, name) for name in ('data', 'cat.yaml', 'cat', 'bare'))
    with open(data, 'wb') as f:
        block = os.urandom(1 << 20)
        for _ in range(size >> 20):
            f.write(block)
    bench.troth('job', 'new', 'cat | cat', '--stdin', '--output', job)
    run = lambda: bench.troth('run', job, '--state', state, '--input', f'input={data}', '--output', out, '--replace', '--quiet')
    commands = [['cat'], ['cat']]
    ours, floor = side_by_side(run, lambda: pipeline(commands, data, bare), times)
    # Commitments cost two HMAC-SHA256 per stage and byte: what the machine's SHA-256 alone needs, in the parallel of the two stages.
    speed = subprocess.run(['openssl', 'speed', '-mr', '-seconds', '1', '-bytes', '61440', '-evp', 'sha256'], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r'^\+F:\d+:[^:]+:([\d.]+)', speed, re.M).group(1))
    bench.row('job.cat-cat', ours[0], 'ms', floor[0])
    bench.row('job.cat-cat.rate', size / 1e6 / (ours[0] / 1000), 'MB/s', size / 1e6 / (floor[0] / 1000))
    bench.row('job.cat-cat.processor', ours[1], 'ms', floor[1] + 4 * size / rate * 1000)
    bench.note(f'{size >> 20} MiB through 2 stages; floor of the processor time: bare ({floor[1]:.0f} ms) and 4 SHA-256 of all data (commitments)')


def start_up(bench, work, times):
    numbers = iter(range(10000))

    def init():
        bench.troth('host', 'init', '--state', os.path.join(work, f'init-{next(numbers)}'), '--recovery', '1', os.path.join(work, 'recovery.pub'))
    bench.row('start.host-init', bench.timed(init, times), 'ms')
    state = os.path.join(work, 'init-0')
    bench.row('start.host-to-first-attest', bench.timed(lambda: bench.troth('host', 'status', '--state', state), times), 'ms')

    def serve():
        with host(bench, state):
            pass
    bench.row('start.host-serve-and-stop', bench.timed(serve, times), 'ms')


def launch(bench, work, state, times):
    """One IRE through the running host: until the host tells that its program runs, and to the receipt."""
    receipt = os.path.join(work, 'exec.troth')
    with host(bench, state):
        whole = lambda: bench.troth('exec', '--state', state, '--receipt', receipt, '--replace', '--', '/bin/true')

        def first_word():
            child = subprocess.Popen([os.path.join(bench.args.bin, 'troth'), 'exec', '--state', state, '--receipt', receipt, '--replace', '--',
                                      '/bin/sh', '-c', 'echo started >&2'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            began = time.monotonic()
            if child.stderr.readline() != b'started\n':
                sys.exit('the program did not say that it runs')
            started.append((time.monotonic() - began) * 1000)
            child.stderr.read()
            if child.wait(60):
                sys.exit(f'troth exec ended with {child.returncode}')
        started = []
        for _ in range(3 * times):
            first_word()
        bench.row('start.ire-to-running', statistics.median(started), 'ms')
        bare = bench.timed(lambda: subprocess.run(['/bin/true'], check=True), 5 * times)
        bench.row('start.ire-to-receipt', bench.timed(whole, 3 * times), 'ms', bare)


def follow_memory(pid, stop, largest):
    while not stop.is_set():
        for child, name in children(pid).items():
            try:
                largest[name] = max(largest.get(name, 0), field(child, 'status', 'VmHWM'))
            except (OSError, AttributeError):
                continue  # ended, or a kernel thread
        stop.wait(0.02)


def wakeups(groups, seconds):
    """Per second, of all threads of the processes of each group."""
    count = lambda pids: {task: field(f'{pid}/task/{task}', 'status', 'voluntary_ctxt_switches') for pid in pids for task in os.listdir(f'/proc/{pid}/task')}
    before = {name: count(pids) for name, pids in groups.items()}
    time.sleep(seconds)
    after = {name: count(pids) for name, pids in groups.items()}
    # A thread that has ended meanwhile takes its count along.
    return {name: sum(now - before[name].get(task, 0) for task, now in after[name].items()) / seconds for name in groups}


def footprint(bench, work, state, seconds):
    job, fifo = os.path.join(work, 'cat.yaml'), os.path.join(work, 'data')
    with host(bench, state) as pid:
        bench.troth('host', 'status', '--state', state)
        # The secure processor is two processes: itself, and the parent in front of its namespace.
        idle = {'trothd': [pid], 'troth-ap': [child for child, name in children(pid).items() if name == 'troth-ap']}
        for name, pids in idle.items():
            memory = {kind: sum(field(one, 'status', kind) for one in pids) / 1024 for kind in ('VmRSS', 'RssAnon', 'RssFile')}
            largest = max(field(one, 'status', 'VmRSS') for one in pids) / 1024
            bench.row(f'idle.{name}.rss', largest, 'MiB')
            bench.note(f'{name}: {len(pids)} process(es), {memory["RssAnon"]:.1f} MiB anonymous and {memory["RssFile"]:.1f} MiB of files in all')
        for name, rate in wakeups(idle, seconds).items():
            bench.row(f'idle.{name}.wake-ups', rate, '/s')
        stop, largest = threading.Event(), {}
        follower = threading.Thread(target=follow_memory, args=(pid, stop, largest))
        follower.start()
        bench.troth('run', job, '--state', state, '--input', f'input={fifo}', '--output', os.path.join(work, 'cat'), '--replace', '--quiet')
        stop.set()
        follower.join()
        for name in ('trothd', 'troth-ap', 'troth-ire'):
            bench.row(f'run.{name}.rss-peak', largest.get(name, 0) / 1024, 'MiB')


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument('--bin', required=True)
    ask.add_argument('--json')
    ask.add_argument('--quick', action='store_true')
    args = ask.parse_args()
    args.bin = os.path.abspath(args.bin)
    bench = Bench(args)
    times = 1 if args.quick else 5
    with tempfile.TemporaryDirectory(prefix='troth-bench-') as work:
        key, public, state = (os.path.join(work, name) for name in ('recovery.key', 'recovery.pub', 'state'))
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(['openssl', 'pkey', '-in', key, '-pubout', '-out', public], check=True)
        start_up(bench, work, times)
        bench.troth('host', 'init', '--state', state, '--recovery', '1', public)
        launch(bench, work, state, times)
        payroll(bench, work, state, 10000 if args.quick else 300000, times)
        passthrough(bench, work, state, (20 if args.quick else 200) << 20, times)
        footprint(bench, work, state, 3 if args.quick else 20)


if __name__ == '__main__':
    main()
