"""The tiers behind ./check. Each tier builds what it needs, runs tests, and every count printed comes from a run that happened.

A tier is a function that appends Result rows to a Report. At the end the report prints each failure, each skip with its reason from
tests/skips.tsv (a skip without one counts as a failure), and the line `N passed, N failed, N skipped`.
"""
import argparse, fnmatch, glob, json, os, re, shutil, signal, subprocess, sys, tempfile, time, traceback
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = os.cpu_count() or 1
# A finding of a sanitizer ends the program.
SANITIZERS = {'ASAN_OPTIONS': 'exitcode=99:detect_leaks=1', 'UBSAN_OPTIONS': 'exitcode=99:print_stacktrace=1:halt_on_error=1',
              'TSAN_OPTIONS': 'exitcode=99:halt_on_error=1'}
sys.path.insert(0, os.path.join(ROOT, 'tests'))
import attacks  # noqa: E402  (the table of adversary ids)


@dataclass
class Result:
    id: str
    outcome: str  # passed, failed, skipped
    seconds: float = 0.0
    detail: str = ''


class Report:
    def __init__(self):
        self.results = []
        self.skips = read_skips()
        self.started = time.monotonic()

    def add(self, *args, **named):
        self.results.append(Result(*args, **named))

    def tier(self, name, function, *args):
        """Runs one tier and prints its counts, its time and its five slowest tests."""
        print(f'== {name}', flush=True)
        first, began = len(self.results), time.monotonic()
        try:
            function(self, *args)
        except Exception:  # what breaks the runner is a failure of its tier, and the others still run
            self.add(f'{name}: the tier itself', 'failed', detail=traceback.format_exc())
        mine = self.results[first:]
        for result in mine:
            self.judge_skip(result)
        for result in mine:
            if result.outcome == 'failed':
                print(f'FAILED {result.id}\n' + indent(result.detail))
        slowest = sorted((r for r in mine if r.seconds >= 0.05), key=lambda r: -r.seconds)[:5]
        print(f'   {name}: {counts(mine)} in {time.monotonic() - began:.1f} s'
              + ''.join(f'\n     {r.seconds:6.1f} s  {r.id}' for r in slowest), flush=True)

    def judge_skip(self, result):
        if result.outcome == 'skipped' and not self.reasons(result):
            result.outcome = 'failed'
            result.detail = 'skipped without an entry in tests/skips.tsv\n' + result.detail

    def reasons(self, result):
        """Patterns that excuse a skip. An id may start with the flavour it ran in (asan/unit/...); a pattern without it excuses all of them."""
        names = (result.id, re.sub(r'^(asan|tsan|coverage|unprivileged)/', '', result.id))
        return [pattern for pattern in self.skips if any(fnmatch.fnmatchcase(name, pattern) for name in names)]

    def close(self):
        skipped = [r for r in self.results if r.outcome == 'skipped']
        for pattern, reason in self.skips.items():
            count = sum(pattern in self.reasons(r) for r in skipped)
            if count:
                print(f'skipped {count} × {pattern}: {reason}')
        failed = [r for r in self.results if r.outcome == 'failed']
        for result in failed:
            print(f'failed: {result.id}')
        if not self.results:
            print('no test ran; a tier that finds nothing to run proves nothing')
        out = os.environ.get('TROTH_COUNTS')
        if out:  # .ci/run sums several runs
            with open(out, 'a') as f:
                f.write(' '.join(str(n) for n in tally(self.results)) + '\n')
        print(f'{time.monotonic() - self.started:.0f} s in all')
        print(counts(self.results), flush=True)
        return 1 if failed or not self.results else 0


def tally(results):
    return tuple(sum(r.outcome == o for r in results) for o in ('passed', 'failed', 'skipped'))


def counts(results):
    return '%d passed, %d failed, %d skipped' % tally(results)


def indent(text, most=60):
    lines = text.rstrip().split('\n')
    if len(lines) > most:
        lines = lines[:10] + [f'... {len(lines) - most} lines ...'] + lines[10 - most:]
    return '\n'.join('    ' + line for line in lines)


def read_skips():
    skips = {}
    with open(os.path.join(ROOT, 'tests', 'skips.tsv'), encoding='utf-8') as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.startswith('#'):
                pattern, _, reason = line.rstrip('\n').partition('\t')
                if not reason.strip():
                    sys.exit(f'tests/skips.tsv:{number}: an entry is PATTERN<tab>REASON')
                skips[pattern] = reason.strip()
    return skips


def run(command, timeout, env=None, cwd=ROOT):
    """Runs a command in a group of its own and ends the whole group when the time is over. Returns (code, output)."""
    child = subprocess.Popen(command, cwd=cwd, env=env or os.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
    try:
        output, _ = child.communicate(timeout=timeout)
        return child.returncode, output
    except BaseException as cause:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        if isinstance(cause, subprocess.TimeoutExpired):
            return -1, output + f'\nended after {timeout} s'
        raise


def build(report, flavour, units=None):
    """Only a build that fails is a row: it ends its tier. What is built is no test."""
    began = time.monotonic()
    command = ['tools/build', '--quiet'] + (['--units', *units] if units is not None else []) + ['--', flavour]
    code, output = run(command, 1200)
    if code:
        report.add(f'build:{flavour}', 'failed', time.monotonic() - began, output)
    elif time.monotonic() - began > 1:
        print(f'   built {flavour} in {time.monotonic() - began:.1f} s', flush=True)
    return code == 0


def tests_of(flavour):
    path = os.path.join(ROOT, 'build', flavour, 'meson-info', 'intro-tests.json')
    with open(path) as f:
        return json.load(f)


# ---- results of programs that print TAP or cmocka's own lines

TAP = re.compile(r'^(ok|not ok) \d+(?: -)? ?([^#\n]*?)\s*(#\s*(?:skip|SKIP)\b.*)?$', re.M)
CMOCKA = re.compile(r'^\[\s+(OK|FAILED|ERROR|SKIPPED)\s+\] (\w+)$', re.M)


def rows_of(output):
    """(name, outcome) of each test in what a test program printed."""
    rows = {}
    for verdict, name, skip in TAP.findall(output):
        name = name or skip.split(None, 2)[-1].lstrip('#').strip()  # cmocka: `ok 3 # SKIP name`
        rows[name] = 'skipped' if skip else 'passed' if verdict == 'ok' else 'failed'
    if not rows:
        for verdict, name in CMOCKA.findall(output):
            # cmocka lists failures and skips a second time in its summary.
            outcome = {'OK': 'passed', 'SKIPPED': 'skipped'}.get(verdict, 'failed')
            rows[name] = outcome if rows.get(name) != 'failed' else 'failed'
    return list(rows.items())


def add_program(report, prefix, code, output, seconds):
    """Adds the rows of one test program; a program that ends badly is a failure whatever its rows say."""
    rows = rows_of(output)
    for name, outcome in rows:
        detail = output if outcome == 'failed' else ''
        report.add(f'{prefix}:{name}', outcome, seconds / max(len(rows), 1), detail)
    failed = any(outcome == 'failed' for _, outcome in rows)
    if code == 77 and not rows:
        report.add(prefix, 'skipped', seconds, output)
    elif code and not failed:
        report.add(f'{prefix}:exit', 'failed', seconds, f'exit status {code}\n{output}')
    elif not rows:
        report.add(prefix, 'passed', seconds)


def run_units(report, flavour, folders=(), only=None, wrap=()):
    """Unit tests and corpus replays of one build, by meson test; the rows come from what each binary printed."""
    names = [t['name'] for t in tests_of(flavour)
             if (not folders or t['name'] in folders or {s.split(':')[-1] for s in t['suite']} & set(folders))
             and (only is None or only(t['name']))]
    if not names:
        return
    folder = os.path.join(ROOT, 'build', flavour)
    log = os.path.join(folder, 'meson-logs', f'testlog-check-{os.getpid()}')
    env = dict(os.environ, **SANITIZERS)
    env['PATH'] = '/usr/bin:/bin:' + env.get('PATH', '')
    command = ['meson', 'test', '-C', folder, '--no-rebuild', '--quiet', '--num-processes', str(CORES), '--logbase', os.path.basename(log)]
    if os.environ.get('TROTH_LONG'):
        command += ['--timeout-multiplier', '20']
    elif flavour != 'release':
        command += ['--timeout-multiplier', '5']
    if wrap:
        command += ['--wrap', ' '.join(wrap)]
    code, output = run(command + names, 3000, env)
    entries = []
    for path in glob.glob(log + '*.json'):  # a wrapper's name becomes part of it
        with open(path) as f:
            entries += [json.loads(line) for line in f]
    for path in glob.glob(log + '*'):
        os.unlink(path)
    for entry in entries:
        name = entry['name'].split(' / ')[-1]
        text = (entry.get('stdout') or '') + (entry.get('stderr') or '')
        verdict = {'OK': 0, 'SKIP': 77}.get(entry['result'], entry.get('returncode') or 1)
        if entry['result'] == 'TIMEOUT':
            text += '\nended: out of time'
        where = '' if flavour == 'release' else flavour + '/'
        add_program(report, where + ('' if name.startswith('fuzz-') else 'unit/') + name.replace('fuzz-', 'fuzz/', 1), verdict, text, entry['duration'])
    if len(entries) != len(names):
        report.add(f'unit:{flavour}: every binary reports', 'failed', detail=f'{len(entries)} of {len(names)} reported\n{output}')


def run_layers(report):
    began = time.monotonic()
    code, output = run(['tests/layers'], 60)
    add_program(report, 'layers', code, output, time.monotonic() - began)


# ---- pytest

def run_pytest(report, name, places, marks=None, programs=None, workers=CORES, timeout=3000, env=None, command_prefix=(), root=ROOT):
    """System tests. Each row is one test of the junit file; the exit status of pytest itself is checked too."""
    places = [p for p in places if glob.glob(os.path.join(root, p, '**', 'test_*.py'), recursive=True) or os.path.isfile(os.path.join(root, p))]
    if not places:
        return
    with tempfile.TemporaryDirectory(prefix='troth-check-') as scratch:
        os.chmod(scratch, 0o777)
        junit = os.path.join(scratch, 'junit.xml')
        command = [*command_prefix, '/usr/bin/python3', '-B', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--tb=short', '--color=no',
                   f'--junitxml={junit}', '-o', 'junit_family=xunit1']
        if workers > 1:
            command += ['-n', str(workers), '--dist', 'load']
        if marks:
            command += ['-m', marks]
        variables = dict(os.environ, TROTH_BIN=programs or os.path.join(root, 'build'), PYTHONDONTWRITEBYTECODE='1', **SANITIZERS, **(env or {}))
        # Plugins of another Python on the machine have no say in these tests.
        variables.pop('PYTHONPATH', None)
        code, output = run(command + places, timeout, variables, cwd=root)
        if code == 5:  # nothing selected
            return
        rows = list(xml.parse(junit).iter('testcase')) if os.path.exists(junit) else []
        for case in rows:
            test = f'{case.get("file") or case.get("classname").replace(".", "/") + ".py"}::{case.get("name")}'
            failure = case.find('failure') if case.find('failure') is not None else case.find('error')
            skip = case.find('skipped')
            outcome = 'failed' if failure is not None else 'skipped' if skip is not None else 'passed'
            text = (failure.text or failure.get('message') or '') if failure is not None else skip.get('message') if skip is not None else ''
            # A test that fails and then fails to clean up has two rows; both are told.
            report.add(test, outcome, float(case.get('time') or 0), text or '')
        if code not in (0, 1) or (code == 1 and not any(r.outcome == 'failed' for r in report.results[-len(rows):])) or not rows:
            report.add(f'{name}: pytest', 'failed', detail=f'exit status {code}\n{output}')


# ---- tiers

def quick(report, folders):
    if not build(report, 'release', folders if folders else None):
        return
    run_units(report, 'release', folders)
    for folder in folders:
        if not any(r.id.startswith(f'unit/{folder}') for r in report.results):
            print(f'   src/{folder} has no unit tests yet')
    run_layers(report)


def smoke(report):
    run_pytest(report, 'smoke', ['tests/repository'])
    run_pytest(report, 'smoke', ['tests/system'], marks='smoke')


def system(report):
    run_pytest(report, 'system', ['tests/repository', 'tests/system', 'tests/outside'])


def attack_table(report):
    """Each id has a row, each named test exists and ran in this very run."""
    attacks.judge(report, {r.id: r.outcome for r in report.results})


def sanitize(report):
    if build(report, 'asan'):
        run_units(report, 'asan')
        run_pytest(report, 'sanitize', ['tests/system'], marks='sanitize', programs=os.path.join(ROOT, 'build', 'asan', 'bin'))


def tsan(report):
    if build(report, 'tsan', []):
        # Address randomisation of new kernels moves mappings to where ThreadSanitizer keeps its shadow.
        fixed = ['setarch', os.uname().machine, '-R']
        wrap = fixed if subprocess.run([*fixed, 'true'], stderr=subprocess.DEVNULL).returncode == 0 else []
        run_units(report, 'tsan', only=lambda name: not name.startswith('fuzz-'), wrap=wrap)


def fuzz(report, seconds):
    """libFuzzer on every target, as many at a time as there are cores, SECONDS of wall clock in all."""
    if not build(report, 'fuzz'):
        return
    folder = os.path.join(ROOT, 'build', 'fuzz')
    with open(os.path.join(folder, 'meson-info', 'intro-targets.json')) as f:
        targets = sorted(t['filename'][0] for t in json.load(f) if t['name'].startswith('fuzz-') and t['type'] == 'executable')
    if not targets:
        return
    # clang's programs are built here: what they say of the ledger's stories is compared with what the others say.
    first = len(report.results)
    run_pytest(report, 'clang', ['tests/system/test_ledger_differential.py'], marks='sanitize', programs=os.path.join(folder, 'bin'))
    for result in report.results[first:]:
        result.id = 'clang/' + result.id
    each = max(2, int(seconds * CORES / len(targets)))
    crashes = os.path.join(folder, 'crashes')
    os.makedirs(crashes, exist_ok=True)
    waiting, running = list(targets), {}
    while waiting or running:
        while waiting and len(running) < CORES:
            target = waiting.pop(0)
            name = os.path.basename(target)[len('fuzz-'):]
            grown, seeds = os.path.join(folder, 'corpus', name), os.path.join(ROOT, 'fuzz', 'corpus', name)
            os.makedirs(grown, exist_ok=True)
            log = open(os.path.join(folder, f'{name}.log'), 'w+')
            command = [target, f'-max_total_time={each}', '-timeout=10', '-rss_limit_mb=1024', '-print_final_stats=1', '-close_fd_mask=1',
                       f'-artifact_prefix={crashes}/{name}-', grown, *([seeds] if os.path.isdir(seeds) else [])]
            child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                     env=dict(os.environ, **SANITIZERS))
            running[child] = (name, log, time.monotonic())
        # Wait for whichever ends first; a fuzzer ends by itself, and one that does not is ended.
        pid, status = os.waitpid(-1, os.WNOHANG)
        late = [c for c, (_, _, began) in running.items() if time.monotonic() - began > each + 60]
        for child in late:
            os.killpg(child.pid, signal.SIGKILL)
        if pid == 0:
            time.sleep(0.2)
            continue
        child = next((c for c in running if c.pid == pid), None)
        if child is None:
            continue
        name, log, began = running.pop(child)
        log.seek(0)
        output = log.read()
        log.close()
        code = os.waitstatus_to_exitcode(status)
        ran = re.search(r'stat::number_of_executed_units: (\d+)', output)
        artefacts = re.findall(r'Test unit written to (\S+)', output)
        tail = '\n'.join(output.split('\n')[-60:])
        report.add(f'fuzz-run/{name}', 'failed' if code or not ran else 'passed', time.monotonic() - began,
                   f'exit status {code}; input kept: {" ".join(artefacts) or "none"}\n{tail}')
        print(f'     {name}: {ran.group(1) if ran else "?"} inputs in {each} s', flush=True)


def proverif_program():
    named = os.environ.get('PROVERIF')
    return named if named and os.access(named, os.X_OK) else shutil.which('proverif')


def expectation(path, weak):
    """What the queries of a ProVerif model must give. A comment `(* expect: true false *)` says it for each in turn, or with one word for all:
    all true, or at least one false. Without it: all true, and of a weakened model at least one false."""
    with open(path, encoding='utf-8') as f:
        stated = re.search(r'\(\*\s*expect:\s*([a-z ]+?)\s*\*\)', f.read())
    return stated.group(1).split() if stated else ['false' if weak else 'true']


def fulfilled(wanted, got):
    if wanted == ['true']:
        return bool(got) and set(got) == {'true'}
    if wanted == ['false']:
        return 'false' in got
    return got == wanted


def models_proverif(report):
    paths = sorted(glob.glob(os.path.join(ROOT, 'model', '*.pv')))
    program = proverif_program()

    def judge(path):
        name = os.path.basename(path)
        weak = '.weak-' in name
        if program is None:
            return Result(f'model/{name}', 'skipped', detail='ProVerif is not a Debian package; put it on PATH or name it in PROVERIF')
        began = time.monotonic()
        code, output = run([program, path], 900)
        # A line in brackets comments on the one before it.
        got = [('true' if 'is true' in line else 'false' if 'is false' in line else 'unknown')
               for line in output.split('\n') if line.startswith('RESULT ') and not line.startswith('RESULT (')]
        wanted = expectation(path, weak)
        if weak and 'false' not in wanted:
            return Result(f'model/{name}', 'failed', detail='a weakened model in which nothing may fail proves nothing')
        good = code == 0 and fulfilled(wanted, got)
        return Result(f'model/{name}', 'passed' if good else 'failed', time.monotonic() - began, f'expected {wanted}, got {got}\n' + output[-4000:])

    with ThreadPoolExecutor(CORES) as pool:
        report.results += pool.map(judge, paths)
    # A model without a weakened variant could be true for no reason.
    for path in paths:
        name = os.path.basename(path)
        if '.weak-' not in name:
            variants = [p for p in paths if os.path.basename(p).startswith(name.split('.')[0] + '.weak-')]
            report.add(f'model/{name}: has a weakened variant', 'passed' if variants else 'failed', detail='none found')


def models_spin(report):
    paths = sorted(glob.glob(os.path.join(ROOT, 'model', '*.pml')))
    for path in paths:
        name = os.path.basename(path)
        weak = '.weak-' in name
        with open(path, encoding='utf-8') as f:
            text = f.read()
        options = {kind: rest.split() for kind, rest in re.findall(r'^\s*(?:/?\*|//)\s*(spin|cc|pan):\s*(.*?)\s*(?:\*/)?$', text, re.M)}
        claims = re.findall(r'^\s*ltl\s+(\w+)\s*\{', text, re.M)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix='troth-spin-') as scratch:
            steps = [['spin', '-a', *options.get('spin', []), path], ['gcc', '-O2', '-w', *options.get('cc', []), '-o', 'pan', 'pan.c']]
            runs = [['./pan', *(['-a', '-N', claim] if claim else []), *options.get('pan', ['-m1000000'])] for claim in claims or [None]]
            output, errors, bad = '', [], False
            for step in steps:
                code, out = run(step, 300, cwd=scratch)
                output += out
                if code:
                    bad = True
                    break
            for step in [] if bad else runs:
                code, out = run(step, 900, cwd=scratch)
                output += out
                found = re.search(r'errors: (\d+)', out)
                incomplete = 'max search depth too small' in out or 'Search not completed' in out and found and found.group(1) == '0'
                errors.append(int(found.group(1)) if found else None)
                bad = bad or not found or incomplete
        good = not bad and (any(errors) if weak else not any(errors))
        report.add(f'model/{name}', 'passed' if good else 'failed', time.monotonic() - began,
                   ('a weakened model in which nothing fails proves nothing\n' if weak else '') + output[-4000:])
        if not weak:
            variants = [p for p in paths if os.path.basename(p).startswith(name.split('.')[0] + '.weak-')]
            report.add(f'model/{name}: has a weakened variant', 'passed' if variants else 'failed', detail='none found')


def models(report):
    models_spin(report)
    models_proverif(report)


def coverage(report):
    if not build(report, 'coverage'):
        return
    folder = os.path.join(ROOT, 'build', 'coverage')
    for path in glob.glob(os.path.join(folder, '**', '*.gcda'), recursive=True):
        os.unlink(path)
    run_units(report, 'coverage')
    run_pytest(report, 'coverage', ['tests/system'], marks='sanitize', programs=os.path.join(folder, 'bin'))
    with tempfile.NamedTemporaryFile(suffix='.json') as summary:
        code, output = run(['gcovr', '--root', ROOT, '--filter', os.path.join(ROOT, 'src/'), '--object-directory', folder,
                            '--gcov-ignore-parse-errors', '--json-summary', summary.name, folder], 600)
        covered = None
        if code == 0:
            with open(summary.name) as f:
                covered = json.load(f)
    report.add('coverage: measured', 'passed' if covered else 'failed', detail=output)
    if covered:
        for file in sorted(covered['files'], key=lambda f: f['filename']):
            print(f'   {file["line_percent"]:5.1f} %  {file["line_covered"]:5} of {file["line_total"]:5}  {file["filename"]}')
        print(f'line coverage of src/: {covered["line_percent"]} %')


def unprivileged(report):
    """The IRE suite once more as a user who owns nothing: root is allowed too much to show what an ordinary user meets."""
    if os.geteuid() != 0:
        run_pytest(report, 'unprivileged', ['tests/system'], marks='ire')
        return
    if not build(report, 'release'):
        return
    user = 61000 + os.getpid() % 1000
    with tempfile.TemporaryDirectory(prefix='troth-user-') as home:
        tree = os.path.join(home, 'troth')
        tracked = subprocess.run(['git', 'ls-files', '-z', 'tests', 'examples', 'tools', 'docs', 'src/base/reason.def'], cwd=ROOT, capture_output=True, text=True).stdout
        for path in filter(None, tracked.split('\0')):
            if os.path.lexists(os.path.join(ROOT, path)):
                os.makedirs(os.path.dirname(os.path.join(tree, path)), exist_ok=True)
                shutil.copy2(os.path.join(ROOT, path), os.path.join(tree, path), follow_symlinks=False)
        os.makedirs(os.path.join(tree, 'build'))
        for path in glob.glob(os.path.join(ROOT, 'build', 'troth*')):
            shutil.copy2(path, os.path.join(tree, 'build'))
        os.makedirs(os.path.join(home, 'tmp'))
        for folder, folders, files in os.walk(home):
            for name in ['.', *folders, *files]:
                os.lchown(os.path.join(folder, name), user, user)
        prefix = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups', '--no-new-privs', '--']
        first = len(report.results)
        run_pytest(report, 'unprivileged', ['tests/system'], marks='ire', command_prefix=prefix, root=tree,
                   env={'HOME': home, 'TMPDIR': os.path.join(home, 'tmp'), 'USER': 'nobody', 'LOGNAME': 'nobody'})
        for result in report.results[first:]:
            result.id = 'unprivileged/' + result.id


def main():
    ask = argparse.ArgumentParser(prog='./check', description='Runs the tests of Troth. Without a tier: everything on the release build.')
    ask.add_argument('--quick', action='store_true', help='unit and engine tests, corpus replay, layers, one smoke job (of FOLDERs: no job)')
    ask.add_argument('--long', action='store_true', help='everything, with full counts')
    ask.add_argument('--sanitize', action='store_true', help='AddressSanitizer and UBSan: unit tests and system tests that Level-0 is enough for')
    ask.add_argument('--tsan', action='store_true', help='ThreadSanitizer: unit tests')
    ask.add_argument('--fuzz', type=int, metavar='SECONDS', help='libFuzzer, SECONDS in all')
    ask.add_argument('--models', action='store_true', help='Spin and ProVerif models and their weakened variants')
    ask.add_argument('--coverage', action='store_true', help='line coverage of src/')
    ask.add_argument('--unprivileged', action='store_true', help='the IRE tests as a user who owns nothing')
    ask.add_argument('folders', nargs='*', metavar='FOLDER', help='with --quick: only these folders of src/')
    args = ask.parse_args()
    known = sorted(d for d in os.listdir(os.path.join(ROOT, 'src')) if os.path.isdir(os.path.join(ROOT, 'src', d)))
    folders = [f.strip('/').split('/')[-1] for f in args.folders]
    if folders and not args.quick:
        ask.error('folders go with --quick')
    if set(folders) - set(known):
        ask.error(f'no such folder of src/: {" ".join(sorted(set(folders) - set(known)))} (there are: {" ".join(known)})')

    report = Report()
    special = args.sanitize or args.tsan or args.fuzz is not None or args.models or args.coverage or args.unprivileged
    if args.quick:
        os.environ['TROTH_QUICK'] = '1'  # crash tests try fewer crashes
        report.tier('quick', quick, folders)
        if not folders:
            report.tier('smoke', smoke)
    elif args.long or not special:
        if args.long:
            os.environ['TROTH_LONG'] = '1'
        report.tier('quick', quick, [])
        report.tier('system', system)
        report.tier('attacks', attack_table)
    if args.sanitize:
        report.tier('sanitize', sanitize)
    if args.tsan:
        report.tier('tsan', tsan)
    if args.fuzz is not None:
        report.tier('fuzz', fuzz, args.fuzz)
    if args.models:
        report.tier('models', models)
    if args.coverage:
        report.tier('coverage', coverage)
    if args.unprivileged:
        report.tier('unprivileged', unprivileged)
    return report.close()


if __name__ == '__main__':
    sys.exit(main())
