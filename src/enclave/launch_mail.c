#include "enclave/launch_mail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Held by who posted it and, until it is answered, by the mailbox. */
struct letter {
	struct letter *next;
	enum control_type type, reply;
	struct bytes body;
	bool sent;
	/* Under `lock`, which both holders may use after the mailbox has gone. */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned holders;
	bool has_ended;
	result outcome;
	char text[CONTROL_TEXT_MAX];
	struct bytes answer;
};

result mailbox_init(struct mailbox *box)
{
	*box = (struct mailbox){0};
	if (pthread_mutex_init(&box->lock, NULL) != 0)
		return fail(NO_MEMORY, "a mailbox");
	box->is_set_up = true;
	return OK;
}

static void let_go(struct letter *letter)
{
	pthread_mutex_lock(&letter->lock);
	unsigned left = --letter->holders;
	pthread_mutex_unlock(&letter->lock);
	if (left > 0)
		return;
	pthread_cond_destroy(&letter->ended);
	pthread_mutex_destroy(&letter->lock);
	bytes_free(&letter->body);
	bytes_free(&letter->answer);
	free(letter);
}

void letter_free(struct letter *letter)
{
	if (letter)
		let_go(letter);
}

/* The mailbox gives up its hold. */
static void answer(struct letter *letter, result outcome, const char *text, struct bytes *body)
{
	pthread_mutex_lock(&letter->lock);
	letter->has_ended = true;
	letter->outcome = outcome;
	snprintf(letter->text, sizeof(letter->text), "%s", text);
	if (body) {
		letter->answer = *body;
		*body = BYTES_EMPTY;
	}
	pthread_cond_broadcast(&letter->ended);
	pthread_mutex_unlock(&letter->lock);
	let_go(letter);
}

void mailbox_close(struct mailbox *box, const char *why)
{
	if (!box->is_set_up)
		return;
	pthread_mutex_lock(&box->lock);
	struct letter *letter = box->first;
	box->first = NULL;
	box->closed = true;
	pthread_mutex_unlock(&box->lock);
	while (letter) {
		struct letter *next = letter->next;
		answer(letter, ENCLAVE_STOPPED, why, NULL);
		letter = next;
	}
}

void mailbox_free(struct mailbox *box)
{
	if (!box->is_set_up)
		return;
	mailbox_close(box, "it has ended");
	pthread_mutex_destroy(&box->lock);
	box->is_set_up = false;
}

static result letter_new(enum control_type type, const void *body, enum control_type reply, struct letter **out)
{
	pthread_condattr_t monotonic;
	struct letter *letter = calloc(1, sizeof(*letter));
	if (!letter)
		return fail(NO_MEMORY, "a letter");
	letter->type = type;
	letter->reply = reply;
	letter->holders = 2;
	result encoded = schema_encode(control_schema(type), body, &letter->body);
	if (encoded != OK) {
		free(letter);
		return encoded;
	}
	pthread_mutex_init(&letter->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&letter->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*out = letter;
	return OK;
}

result mailbox_post(struct mailbox *box, enum control_type type, const void *body, enum control_type reply, struct letter **out)
{
	struct letter *letter;
	TRY(letter_new(type, body, reply, &letter));
	pthread_mutex_lock(&box->lock);
	bool closed = box->closed;
	struct letter **end = &box->first;
	while (*end)
		end = &(*end)->next;
	if (!closed)
		*end = letter;
	pthread_mutex_unlock(&box->lock);
	if (closed)
		answer(letter, ENCLAVE_STOPPED, "it has ended", NULL);
	*out = letter;
	return OK;
}

static struct timespec deadline_of(int timeout_ms)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += timeout_ms / 1000;
	at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	return at;
}

result letter_wait(struct letter *letter, int timeout_ms, struct bytes *out)
{
	struct timespec until = deadline_of(timeout_ms);
	int waited = 0;
	result outcome = TIMED_OUT;
	char text[CONTROL_TEXT_MAX] = "the enclave's runtime did not answer";
	pthread_mutex_lock(&letter->lock);
	while (!letter->has_ended && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&letter->ended, &letter->lock, &until);
	if (letter->has_ended) {
		outcome = letter->outcome;
		snprintf(text, sizeof(text), "%s", letter->text);
		if (outcome == OK) {
			*out = letter->answer;
			letter->answer = BYTES_EMPTY;
		}
	}
	pthread_mutex_unlock(&letter->lock);
	return outcome == OK ? OK : fail((enum reason)outcome, "%s", text);
}

/* Posting goes on meanwhile: only this thread takes letters out, so one stays where it is. */
static struct letter *next_unsent(struct mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	struct letter *letter = box->first;
	while (letter && letter->sent)
		letter = letter->next;
	pthread_mutex_unlock(&box->lock);
	return letter;
}

result mailbox_send(struct mailbox *box, int control, int timeout_ms)
{
	for (struct letter *letter; (letter = next_unsent(box));) {
		letter->sent = true;
		TRY(control_send_encoded(control, letter->type, bytes_span(&letter->body), timeout_ms));
	}
	return OK;
}

result mailbox_take(struct mailbox *box, const struct control_message *message, bool *out_taken)
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	*out_taken = false;
	pthread_mutex_lock(&box->lock);
	struct letter **at = &box->first;
	while (*at && !((*at)->sent && (*at)->reply == message->type))
		at = &(*at)->next;
	struct letter *letter = *at;
	if (letter)
		*at = letter->next;
	pthread_mutex_unlock(&box->lock);
	if (!letter)
		return OK;
	*out_taken = true;
	result copied = bytes_copy(message->body, &body);
	answer(letter, copied, "", &body);
	return copied;
}
