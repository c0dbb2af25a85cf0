#!/usr/bin/python3
"""Makes a folder of tests/golden with the programs of $TROTH_BIN; run by hand when a format is added.

    make_golden.py rotated DIR     the root rotates before the run and twice while it runs
    make_golden.py recovered DIR   the root rotated, was recovered by 2 of 3 keys, and rotates while the job runs

Both rotate once more and leave what is known of the root at the end (history) and the same with a HALT (history.halted).
"""
import os
import shutil
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'tests', 'system'), os.path.join(ROOT, 'tests')]
import hosts  # noqa: E402
import jobs  # noqa: E402
import test_rotation as rotation  # noqa: E402


def recoverable(home):
    machine = jobs.Machine(home)
    machine.keys = rotation.openssl_keys(os.path.join(home, 'keys'), 3)
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '2', *[public for _, public in machine.keys], '--grace', '1').ok()
    return machine


def slow_pipeline(machine):
    jobs.written(machine.work, 'slow.sh', '#!/bin/sh\nread -r key <&3\nwhile read -r x; do echo "$key $x"; sleep 0.4; done\n', 0o755)
    return jobs.write_job(machine.work, [
        jobs.enclave('A', './slow.sh', peers=['B'], files=['/usr/bin/sleep'], secrets=[{'name': 'key', 'fd': 3}]),
        jobs.enclave('B', '/usr/bin/cat', peers=['A', 'C']),
        jobs.enclave('C', '/usr/bin/cat', peers=['B'])], flow=jobs.PIPE,
        inputs=[{'role': 'rows', 'to': 'A'}, {'role': 'key', 'to': 'A', 'secret': 'key'}],
        outputs=[{'name': 'out', 'from': 'C', 'file': 'out.txt', 'statement': True}], name='slow')


def rotate(client):
    jobs.until(lambda: not client.root()[6], 'the epoch before is drained')
    client.rotate()


def run_while_rotating(machine, job, rows, sealed, times):
    """The secret is sealed under one epoch and released under a later one."""
    with hosts.service(machine, *rotation.OFTEN) as host:
        client = host.client()
        rotate(client)
        with machine.running(job, {'rows': rows}, more=('--sealed', f'key={sealed}')) as child:
            jobs.until(lambda: len(jobs.processes('sleep')) > 0 or child.poll() is not None, 'the pipeline runs')
            for _ in range(times):
                rotate(client)
            _, error = child.communicate(timeout=120)
            if child.returncode:
                sys.exit(error.decode())
        rotate(client)
        client.close()


def halt(machine, history, halted):
    candidate, signatures = os.path.join(machine.home, 'halt'), []
    machine.troth('root', 'halt', 'prepare', '--history', history, '--output', candidate).ok()
    for number in (0, 1):
        signatures.append(f'{candidate}.{number}')
        machine.troth('root', 'halt', 'sign', '--candidate', candidate, '--key', machine.keys[number][0], '--output', signatures[-1]).ok()
    machine.troth('root', 'halt', 'assemble', '--candidate', candidate, '--history', history, '--signature', *signatures, '--output', halted).ok()


def main(story, folder):
    home = tempfile.mkdtemp(prefix='troth-golden-')
    machine = recoverable(home)
    job = slow_pipeline(machine)
    rows = jobs.written(machine.work, 'rows', ''.join(f'{i}\n' for i in range(16)))
    key = jobs.written(machine.work, 'key', 'open-sesame\n')
    sealed, trust = os.path.join(home, 'key.sealed'), os.path.join(home, 'trust.json')
    inception = os.path.join(machine.state, 'inception.epoch')
    if story == 'recovered':
        with hosts.service(machine, *rotation.OFTEN) as host:
            client = host.client()
            rotate(client)
            rotate(client)
            client.close()
        rotation.recover(machine).ok()
    with open(key, 'rb') as f:
        sealed_bytes = machine.troth('seal', '--state', machine.state, '--job', job, '--enclave', 'A', '--as', 'key', '--root', inception,
                                     input=f.read()).ok().raw
    with open(sealed, 'wb') as f:
        f.write(sealed_bytes)
    publics = [a for _, public in machine.keys for a in ('--recovery', public)]
    machine.troth('trust', 'new', '--root', inception, *publics, '--reference', job, '--output', trust).ok()
    run_while_rotating(machine, job, rows, sealed, 2 if story == 'rotated' else 1)
    rotation.history(machine)
    os.makedirs(folder, exist_ok=True)
    for source, name in ((os.path.join(machine.out, 'receipt.troth'), 'receipt.troth'), (os.path.join(machine.out, 'out.txt'), 'out.txt'),
                         (trust, 'trust.json'), (rows, 'rows.txt'), (os.path.join(home, 'history'), 'history')):
        shutil.copyfile(source, os.path.join(folder, name))
    halt(machine, os.path.join(folder, 'history'), os.path.join(folder, 'history.halted'))
    shutil.rmtree(home)


if __name__ == '__main__':
    if len(sys.argv) != 3 or sys.argv[1] not in ('rotated', 'recovered'):
        sys.exit(__doc__)
    main(*sys.argv[1:])
