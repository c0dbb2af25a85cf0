#!/usr/bin/python3
"""Recomputes the measurement of an isolated runtime environment from files, from docs/PROTOCOL.manifest alone. It shares no
code with Troth.

    measure_manifest.py MANIFEST [--root FOLDER] [--map INSIDE=FOLDER]...

MANIFEST is the encoding, e.g. one element of `troth inspect --section manifests --raw`. Of its files only the paths are
believed: type, mode, size, content and link target come from below --root (default /), or for paths below INSIDE from FOLDER
(a job's own folder: --map /job=FOLDER). Prints JSON {name, measurement, core, claimed, differing}: `claimed` is what the
manifest itself hashes to, `differing` names the files that are not as it says. Exit 0 when the two measurements are the same.
"""
import argparse
import hashlib
import json
import os
import stat
import sys

import cbor2

REGULAR, LINK, FOLDER = 1, 2, 3
FILES, PEERS = 6, 18


def encode(item):
    """Deterministic CBOR of what a manifest holds: integers, bytes, text, lists, maps with ascending small keys, null."""
    return cbor2.dumps(item, canonical=True)


def sha384_of_file(path):
    digest = hashlib.sha384()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.digest()


def entry_of(path, outside):
    """The manifest's row for a path, read from the disk."""
    status = os.lstat(outside)
    if stat.S_ISLNK(status.st_mode):
        return [path, LINK, 0o777, 0, None, os.readlink(outside)]
    if stat.S_ISDIR(status.st_mode):
        return [path, FOLDER, 0o555, 0, None, None]
    mode = 0o555 if status.st_mode & 0o111 else 0o444
    return [path, REGULAR, mode, status.st_size, sha384_of_file(outside), None]


class Places:
    def __init__(self, root, maps):
        self.root = root
        self.maps = [m.split('=', 1) for m in maps]

    def outside(self, path):
        for inside, folder in self.maps:
            if path.startswith(inside + '/'):
                return os.path.join(folder, path[len(inside) + 1:])
        return os.path.join(self.root, path.lstrip('/'))


def measure(manifest, places):
    """(measurement, core, paths that differ) of a decoded manifest whose files are read anew."""
    rows, differing = [], []
    for claimed in manifest[FILES]:
        path = claimed[0]
        try:
            row = entry_of(path, places.outside(path))
        except OSError:
            row = [path, 0, 0, 0, None, None]
        # A link that the closure made itself (for a library outside the loader's folders) is on no disk: it is what it says.
        if row[1] == 0 and claimed[1] == LINK:
            row = claimed
        rows.append(row)
        if row != claimed:
            differing.append(path)
    again = dict(manifest)
    again[FILES] = sorted(rows, key=encode)
    core = {key: value for key, value in again.items() if key != PEERS}
    return hashlib.sha384(encode(again)).hexdigest(), hashlib.sha384(encode(core)).hexdigest(), differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('manifest')
    parser.add_argument('--root', default='/')
    parser.add_argument('--map', action='append', default=[])
    options = parser.parse_args()
    with open(options.manifest, 'rb') as f:
        data = f.read()
    manifest = cbor2.loads(data)
    measurement, core, differing = measure(manifest, Places(options.root, options.map))
    claimed = hashlib.sha384(data).hexdigest()
    print(json.dumps({'name': manifest[2], 'measurement': measurement, 'core': core, 'claimed': claimed, 'differing': differing}))
    return 0 if measurement == claimed else 1


if __name__ == '__main__':
    sys.exit(main())
