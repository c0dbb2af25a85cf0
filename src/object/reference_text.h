/*
 * Reference sets as people write them: JSON or YAML (docs/UPGRADE.md "Source form"). Errors name line and column.
 *
 *	name: payroll
 *	version: 3
 *	not_before: 2026-11-21T00:00:00Z
 *	not_after: 2027-11-21T00:00:00Z
 *	entries:
 *	  - name: wages
 *	    min_svn: 2
 *	    rows:
 *	      - {svn: 2, measurement: "96 hex digits"}
 */
#ifndef TROTH_OBJECT_REFERENCE_TEXT_H
#define TROTH_OBJECT_REFERENCE_TEXT_H

#include "object/reference.h"

enum { REFERENCE_TEXT_MAX = 1 << 20 };

/* The parsed set, without author; texts and lists live in `arena`. Checked as reference_set_check does, with position. */
NODISCARD result reference_text_parse(const char *name, struct span text, struct arena *arena, struct reference_set *out);

/* The same form, as JSON. */
NODISCARD result reference_text_write(const struct reference_set *set, struct bytes *out);

#endif
