#include "root/host_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct head {
	struct root_identity identity; /* first: what holders have a pointer to */
	atomic_size_t holders;
	struct arena arena;
};

/* ---- Who we are now: immutable, counted ------------------------------------------------------------- */

static void head_release(struct head *head)
{
	if (!head || atomic_fetch_sub(&head->holders, 1) != 1)
		return;
	key_free(&head->identity.sign);
	arena_free(&head->arena);
	free(head);
}

void root_identity_release(const struct root_identity *const *identity)
{
	if (identity && *identity)
		head_release((struct head *)(uintptr_t)*identity);
}

const struct root_identity *root_host_hold(struct root_host *host)
{
	pthread_mutex_lock(&host->head_lock);
	struct head *head = host->head;
	if (head)
		atomic_fetch_add(&head->holders, 1);
	pthread_mutex_unlock(&host->head_lock);
	return head ? &head->identity : NULL;
}

/* The new head; whoever held the old one keeps it. */
static void put_head(struct root_host *host, struct head *head)
{
	pthread_mutex_lock(&host->head_lock);
	struct head *old = host->head;
	host->head = head;
	host->expected = (struct ipq_expected){head->identity.epoch.era, head->identity.epoch.epoch};
	pthread_mutex_unlock(&host->head_lock);
	head_release(old);
}

void host_head_free(struct root_host *host)
{
	head_release(host->head);
	host->head = NULL;
}

static result fill_in(struct head *head, struct span record, const char *trust_domain)
{
	struct root_identity *identity = &head->identity;
	TRY(arena_copy(&head->arena, record, &identity->epoch_record));
	TRY(epoch_open_inception(identity->epoch_record, &head->arena, &identity->epoch, identity->epoch_oid));
	TRY(key_from_point(SPAN_ARRAY(identity->epoch.sign_pk), &identity->sign));
	identity->inception = identity->epoch_record;
	identity->records = 1;
	memcpy(identity->rot_id, identity->epoch_oid, OID_SIZE);
	snprintf(identity->trust_domain, sizeof(identity->trust_domain), "%s", trust_domain);
	return OK;
}

result host_head_begin(struct root_host *host, struct span record, const char *trust_domain)
{
	struct head *head = calloc(1, sizeof(*head));
	if (!head)
		return fail(NO_MEMORY, "the head of the root");
	atomic_init(&head->holders, 1);
	head->arena = arena_of(256 * 1024);
	result filled = fill_in(head, record, trust_domain);
	if (filled != OK) {
		head_release(head);
		return filled;
	}
	put_head(host, head);
	return OK;
}

struct ipq_expected host_expected(struct root_host *host)
{
	pthread_mutex_lock(&host->head_lock);
	struct ipq_expected expected = host->expected;
	pthread_mutex_unlock(&host->head_lock);
	return expected;
}

bool host_moved_on(struct root_host *host, struct ipq_expected old)
{
	pthread_mutex_lock(&host->change_lock);
	struct ipq_expected now = host_expected(host);
	pthread_mutex_unlock(&host->change_lock);
	return now.era != old.era || now.epoch != old.epoch;
}

result root_host_records(struct root_host *host, size_t from, size_t to, struct arena *arena, struct span **out)
{
	void *list;
	TRY(arena_alloc(arena, to > from ? to - from : 1, sizeof(struct span), &list));
	pthread_mutex_lock(&host->head_lock);
	bool there = host->head && from <= to && to <= host->head->identity.records;
	if (there && to > from)
		*(struct span *)list = host->head->identity.inception;
	pthread_mutex_unlock(&host->head_lock);
	if (!there)
		return fail(BAD_VALUE, "records %zu to %zu of the root", from, to);
	*out = list;
	return OK;
}

/* ---- Who hears of changes ---------------------------------------------------------------------------- */

void root_host_subscribe(struct root_host *host, struct root_subscription *subscription)
{
	pthread_mutex_lock(&host->list_lock);
	subscription->next = host->subscriptions;
	host->subscriptions = subscription;
	pthread_mutex_unlock(&host->list_lock);
}

void root_host_unsubscribe(struct root_host *host, struct root_subscription *subscription)
{
	pthread_mutex_lock(&host->list_lock);
	for (struct root_subscription **at = &host->subscriptions; *at; at = &(*at)->next)
		if (*at == subscription) {
			*at = subscription->next;
			break;
		}
	pthread_mutex_unlock(&host->list_lock);
}
