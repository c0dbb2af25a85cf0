#!/bin/sh
# IRE-A: takes the encrypted payroll on stdin and the key on descriptor 3, gives the well-formed rows on stdout and counts
# the others in /tmp/rejects.csv. An ordinary script: it knows nothing of Troth.
set -eu
openssl enc -d -aes-256-ctr -pbkdf2 -pass file:/dev/fd/3 | awk -f /job/check.awk
