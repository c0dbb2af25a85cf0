/*
 * What every --json output needs beside jansson: bytes as hex, times as text, one way of printing. Objects keep
 * the order in which their fields were set. Each constructor gives a new reference, NULL when memory ran out,
 * as jansson's own do, and so can stand inside json_pack.
 */
#ifndef TROTH_WIRE_JSON_H
#define TROTH_WIRE_JSON_H

#include "base/result.h"
#include "base/span.h"

#include <jansson.h>
#include <stdio.h>

json_t *json_hex(struct span bytes);
json_t *json_time(uint64_t wall_ms); /* "2026-11-21T15:47:31.123Z" */

/* One value and a newline, flushed: indented for people on a terminal, compact otherwise. IO_ERROR, DISK_FULL. */
NODISCARD result json_print(FILE *to, const json_t *json);

#endif
