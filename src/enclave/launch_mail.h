/*
 * Questions to a runtime that lives. A launch belongs to one thread; others post letters here, and the launch's own thread
 * sends them when the runtime is ready for them, and brings back what it answers. Letters of one kind of reply are answered
 * in their order.
 *
 * The mailbox is part of its launch. A letter outlives it: whoever posted one waits for its end, frees it, and needs the
 * launch no more. Every letter gets an answer: the runtime's, or ENCLAVE_STOPPED when the launch ends first.
 */
#ifndef TROTH_ENCLAVE_LAUNCH_MAIL_H
#define TROTH_ENCLAVE_LAUNCH_MAIL_H

#include <pthread.h>

#include "enclave/control.h"

struct letter;

struct mailbox {
	pthread_mutex_t lock;
	struct letter *first; /* in the order of posting; ends when answered */
	bool closed;
	bool is_set_up;
};

NODISCARD result mailbox_init(struct mailbox *box);
/* Answers what is left with ENCLAVE_STOPPED and that text; takes nothing more. */
void mailbox_close(struct mailbox *box, const char *why);
void mailbox_free(struct mailbox *box); /* closed before */

/* Any thread. `body` is a structure of the schema of `type`. The caller frees the letter. */
NODISCARD result mailbox_post(struct mailbox *box, enum control_type type, const void *body, enum control_type reply, struct letter **out);
/* Waits. The encoding of the reply's body; the caller frees it. ENCLAVE_STOPPED, TIMED_OUT. */
NODISCARD result letter_wait(struct letter *letter, int timeout_ms, struct bytes *out);
void letter_free(struct letter *letter); /* accepts NULL */

/* The launch's thread: sends what has not been sent yet. */
NODISCARD result mailbox_send(struct mailbox *box, int control, int timeout_ms);
/* The launch's thread: *out_taken when the message answers a letter. */
NODISCARD result mailbox_take(struct mailbox *box, const struct control_message *message, bool *out_taken);

#endif
