/* A ledger in a folder, or on a simulated disk, with the people of world.h. */
#ifndef TROTH_TESTS_LEDGER_HOUSE_H
#define TROTH_TESTS_LEDGER_HOUSE_H

#include "ledger/engine.h"

#include "world.h"

struct house {
	struct world w;
	char dir[64];
	struct ledger_engine_options options;
	struct ledger_engine *engine;
	struct ledger_recovery recovery;
};

/* Makes the ledger; its clock is w.time. `io` NULL: a new folder below /tmp. Not opened yet. */
void house_new(struct house *house, const struct store_io *io);
void house_open(struct house *house);
void house_close(struct house *house);
void house_free(struct house *house); /* closes; removes the folder */
void house_remove_folder(const char *dir);
/* How often something is tried: `full`, or what ./check --quick can wait for. */
size_t house_count(size_t full, size_t quick);

/* A cheap transaction that counts and is OK: an event of the processor's. Valid for a minute of the house's time. */
struct span house_event(struct house *house, uint32_t number);
struct ledger_receipt house_send(struct house *house, struct span tx);
enum reason house_send_type(struct house *house, enum person sender, enum transaction_type type, const void *body);

#endif
