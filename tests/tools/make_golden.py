#!/usr/bin/python3
"""Makes a folder of tests/golden with the programs of $TROTH_BIN; run by hand when a format is added.

    make_golden.py rotated DIR     the root rotates before the run and twice while it runs
    make_golden.py recovered DIR   the root rotated, was recovered by 2 of 3 keys, and rotates while the job runs
    make_golden.py calls DIR       a chain of four: B asks A, A asks C, C asks D, each before it answers
    make_golden.py hosts DIR       two hosts: each root rotated before, and rotates while the job runs; beside the history of the
                                   coordinator's root that of the other one (history.other, history.other.halted)
    make_golden.py tpm-head DIR    no receipt but a chain whose host proves its history by a simulated TPM, over the nonce 02, and one
                                   of before, over 01; the root rotates in between

All but the calls and this rotate once more and leave what is known of the root at the end (history) and the same with a HALT (history.halted).
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'tests', 'system'), os.path.join(ROOT, 'tests')]
import hosts  # noqa: E402
import jobs  # noqa: E402
import networks  # noqa: E402
import test_rotation as rotation  # noqa: E402
import test_tpm  # noqa: E402
import test_tpm_head  # noqa: E402


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


CALLS = r'''
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <troth/troth.h>

static int ask(struct troth *t, const char *peer, const char *question, size_t len)
{
	void *answer;
	if (troth_call(t, peer, "", question, len, &answer, &len) != TROTH_OK)
		return 1;
	printf("%.*s\n", (int)len, (char *)answer);
	free(answer);
	return 0;
}

static int serve(struct troth *t, const char *next)
{
	struct troth_incoming call;
	while (troth_accept(t, &call) == TROTH_OK) {
		void *data, *more = NULL;
		size_t len;
		char answer[512];
		if (troth_read_all(t, call.handle, 256, &data, &len) != TROTH_OK ||
			(next && troth_call(t, next, "", data, len, &more, &len) != TROTH_OK))
			return 1;
		snprintf(answer, sizeof(answer), "<%s>", (char *)(more ? more : data));
		if (troth_respond(t, call.handle, answer, strlen(answer)) != TROTH_OK)
			return 1;
		free(data);
		free(more);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct troth *t;
	char question[200] = "";
	if (troth_open(&t) != TROTH_OK)
		return 2;
	if (argc == 3)
		return ask(t, argv[2], question, fread(question, 1, sizeof(question) - 1, stdin));
	return serve(t, argc == 2 ? argv[1] : NULL);
}
'''


def calls(folder):
    home = tempfile.mkdtemp(prefix='troth-golden-')
    machine = jobs.Machine(home)
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery').ok()
    source = jobs.written(machine.work, 'calls.c', CALLS)
    subprocess.run(['cc', '-static', '-O1', '-D_GNU_SOURCE', '-I', os.path.join(ROOT, 'include'), '-o', os.path.join(machine.work, 'calls'), source,
                    os.path.join(ROOT, 'src', 'libtroth', 'libtroth.c')], check=True)
    chain = ['B', 'A', 'C', 'D']
    peers = {name: chain[max(at - 1, 0):at] + chain[at + 1:at + 2] for at, name in enumerate(chain)}
    arguments = {'B': ['ask', 'A'], 'A': ['C'], 'C': ['D'], 'D': []}
    job = jobs.write_job(machine.work, [jobs.enclave(n, './calls', arguments[n], peers=peers[n]) for n in chain],
                         flow=[{'from': a, 'to': b, 'operation': 'ask', 'call': True} for a, b in zip(chain, chain[1:])],
                         inputs=[{'role': 'question', 'to': 'B'}], outputs=[{'name': 'answer', 'from': 'B', 'file': 'answer.txt', 'statement': True}],
                         name='calls')
    question, trust = jobs.written(machine.work, 'question', 'who was it'), os.path.join(home, 'trust.json')
    machine.troth('run', job, '--state', machine.state, '--input', f'question={question}', '--output', machine.out).ok()
    machine.troth('trust', 'new', '--root', os.path.join(machine.state, 'inception.epoch'), '--reference', job, '--output', trust).ok()
    os.makedirs(folder, exist_ok=True)
    for path, name in ((os.path.join(machine.out, 'receipt.troth'), 'receipt.troth'), (os.path.join(machine.out, 'answer.txt'), 'answer.txt'),
                       (trust, 'trust.json'), (question, 'question.txt')):
        shutil.copyfile(path, os.path.join(folder, name))
    shutil.rmtree(home)


def tpm_head(folder):
    home = tempfile.mkdtemp(prefix='troth-golden-')
    tpm = test_tpm.Tpm(os.path.join(home, 'tpm'))
    machine = jobs.Machine(home)
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{tpm.socket}', '--tpm-head').ok()
    machine.enrolment = os.path.join(home, 'enrolment')
    test_tpm.enrol(machine, tpm, '--allow-synthetic').ok()
    with hosts.service(machine):
        earlier, _ = test_tpm_head.fetched(machine, '01', 'earlier')
        machine.troth('root', 'rotate', '--state', machine.state).ok()
        chain, _ = test_tpm_head.fetched(machine, '02')
    trust = test_tpm_head.believe(machine, os.path.join(home, 'trust.json'), '--tpm', machine.enrolment, '--allow-synthetic', '--require-tpm-head')
    tpm.stop()
    os.makedirs(folder, exist_ok=True)
    for path, name in ((chain, 'chain'), (earlier, 'chain.earlier'), (trust, 'trust.json')):
        shutil.copyfile(path, os.path.join(folder, name))
    shutil.rmtree(home)


def recoverable_by_keys(machine):
    machine.keys = rotation.openssl_keys(os.path.join(machine.home, 'keys'), 3)
    machine.give_away()
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '2', *[public for _, public in machine.keys], '--grace', '5').ok()


def job_of(folder, north, south):
    """rows and a secret -> A (north) -> B (south) -> out.txt"""
    os.makedirs(folder)
    for host in (north, south):
        with open(host.inception, 'rb') as f:
            jobs.written(folder, f'{host.name}.epoch', f.read())
    jobs.written(folder, 'slow.sh', '#!/bin/sh\nread -r key <&3\nwhile read -r x; do echo "$key $x"; sleep 0.4; done\n', 0o755)
    a = jobs.enclave('A', './slow.sh', files=['/usr/bin/sleep'], secrets=[{'name': 'key', 'fd': 3}], host='north')
    b = jobs.enclave('B', '/usr/bin/cat', host='south')
    a['policy'] = jobs.policy('A', ['B'], rot_ids=[south.rot])
    b['policy'] = jobs.policy('B', ['A'], rot_ids=[north.rot])
    path = jobs.write_job(folder, [a, b], flow=[{'from': 'A', 'to': 'B', 'operation': 'rows'}],
                          inputs=[{'role': 'rows', 'to': 'A'}, {'role': 'key', 'to': 'A', 'secret': 'key'}],
                          outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt', 'statement': True}], name='two-hosts')
    with open(path) as f:
        job = json.load(f)
    job['hosts'] = [{'name': h.name, 'root': f'{h.name}.epoch'} for h in (north, south)]
    jobs.written(folder, os.path.basename(path), json.dumps(job))
    return path


def two_hosts(folder):
    home = tempfile.mkdtemp(prefix='troth-golden-')
    jobs.Machine.init = recoverable_by_keys
    network = networks.Networks()
    pair = []
    for name in ('north', 'south'):
        os.makedirs(os.path.join(home, name))
        pair.append(networks.Host(home, name, network))
    north, south = pair
    clients = []
    for host in pair:
        host.start(*rotation.OFTEN)
        clients.append(host.service.client())
        rotate(clients[-1])
    north.enrol(south).ok()
    south.enrol(north).ok()
    job = job_of(os.path.join(home, 'job'), north, south)
    rows = jobs.written(home, 'rows', ''.join(f'{i}\n' for i in range(40)))
    sealed, trust = os.path.join(home, 'key.sealed'), os.path.join(home, 'trust.json')
    with open(sealed, 'wb') as f:
        f.write(north.troth('seal', '--job', job, '--enclave', 'A', '--as', 'key', '--root', north.inception, input=b'open-sesame\n').ok().raw)
    publics = [a for host in pair for _, public in host.machine.keys for a in ('--recovery', public)]
    north.machine.troth('trust', 'new', '--root', north.inception, '--root', south.inception, *publics, '--reference', job, '--output', trust).ok()
    join = north.background('join', job, '--from', 'south', '--input', f'rows={rows}', '--sealed', f'key={sealed}')
    run = south.background('run', job)
    jobs.until(lambda: len(jobs.processes('sleep')) > 1 or join.poll() is not None, 'the pipeline runs', 30)
    for client in clients:
        rotate(client)
    ran, joined = networks.ended(run, 90), networks.ended(join, 90)
    if ran[0] or joined[0]:
        sys.exit(f'{ran} {joined} {north.service.error} {south.service.error}')
    for client in clients:
        rotate(client)
        client.close()
    os.makedirs(folder, exist_ok=True)
    for host, name in ((south, 'history'), (north, 'history.other')):
        rotation.history(host.machine)
        shutil.copyfile(os.path.join(host.machine.home, 'history'), os.path.join(folder, name))
        halt(host.machine, os.path.join(folder, name), os.path.join(folder, f'{name}.halted'))
        host.stop()
    network.close()
    for source, name in ((os.path.join(south.machine.out, 'receipt.troth'), 'receipt.troth'), (os.path.join(south.machine.out, 'out.txt'), 'out.txt'),
                         (trust, 'trust.json'), (rows, 'rows.txt')):
        shutil.copyfile(source, os.path.join(folder, name))
    shutil.rmtree(home)


def main(story, folder):
    if story == 'calls':
        calls(folder)
        return
    if story == 'tpm-head':
        return tpm_head(folder)
    if story == 'hosts':
        return two_hosts(folder)
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
    if len(sys.argv) != 3 or sys.argv[1] not in ('rotated', 'recovered', 'calls', 'hosts', 'tpm-head'):
        sys.exit(__doc__)
    main(*sys.argv[1:])
