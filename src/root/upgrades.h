/*
 * What may come next (docs/UPGRADE.md): the authors whose reference sets count here, the newest version seen of each of their
 * sets, and the programs of Troth itself that those sets allow. The secure processor keeps one inside its state, the host one
 * beside its pins; both follow the same rules, and neither believes the other's.
 *
 * Decides, does no I/O. A set is taken whole or not at all.
 */
#ifndef TROTH_ROOT_UPGRADES_H
#define TROTH_ROOT_UPGRADES_H

#include "object/reference.h"

enum { UPGRADE_MAX_AUTHORS = 8, UPGRADE_MAX_SETS = 16, UPGRADE_MAX_PROGRAMS = 48, UPGRADES_MAX = 8 * 1024 };
enum upgrade_program { UPGRADE_AP = 0, UPGRADE_HOST = 1, UPGRADE_IRE = 2, UPGRADE_PROGRAMS };
const char *upgrade_program_name(enum upgrade_program program); /* "troth-ap", "trothd", "troth-ire": names of entries */

struct upgrade_author {
	uint8_t id[KEY_ID_SIZE];
};
/* The newest version of one set. */
struct upgrade_set {
	uint8_t author[KEY_ID_SIZE];
	char name[REFERENCE_NAME_MAX + 1];
	uint64_t version;
	uint8_t oid[OID_SIZE];
};
struct upgrade_row {
	uint8_t set; /* place in `sets` */
	uint8_t program;
	uint32_t svn;
	uint8_t digest[SHA384_SIZE];
};

struct upgrades {
	struct upgrade_author authors[UPGRADE_MAX_AUTHORS];
	size_t author_count;
	struct upgrade_set sets[UPGRADE_MAX_SETS];
	size_t set_count;
	struct upgrade_row rows[UPGRADE_MAX_PROGRAMS];
	size_t row_count;
	uint32_t min_svn[UPGRADE_PROGRAMS]; /* the highest that a set ever asked for: it does not fall */
};

/* Empty bytes are an empty one. */
NODISCARD result upgrades_decode(struct span bytes, struct upgrades *out);
NODISCARD result upgrades_encode(const struct upgrades *upgrades, struct bytes *out);

bool upgrades_knows(const struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE]);

/*
 * Takes in a set: its author is enrolled, or is now when `enrol`. The same set again changes nothing. Gives the set, borrowed
 * from `bytes` and `arena`. On a failure nothing changes.
 * AUTHOR_UNKNOWN, REFERENCE_OLD (a lower version, or another set of the same version), REFERENCE_EXPIRED, TOO_LARGE, and
 * those of reference_set_open.
 */
NODISCARD result upgrades_take(struct upgrades *upgrades, struct span bytes, bool enrol, uint64_t now_ms, struct arena *arena,
	struct reference_set *out_set);

/* Whether a program of Troth with this digest may run. REFERENCE_MISSING, SVN_TOO_LOW. */
NODISCARD result upgrades_allow(const struct upgrades *upgrades, enum upgrade_program program,
	const uint8_t digest[static SHA384_SIZE]);

/* The newest version seen of a set; 0: none. */
uint64_t upgrades_floor(const struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE], const char *name);

#endif
