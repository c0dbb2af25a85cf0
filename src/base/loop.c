#include "base/loop.h"

#include "base/log.h"

#include <event2/event.h>
#include <stdlib.h>

struct loop {
	struct event_base *base;
	struct event *turn_end; /* bounds the wait of loop_turn */
	struct loop_watch *watches;
};

struct loop_watch {
	struct loop *loop;
	struct event *event;
	loop_callback *callback;
	void *arg;
	struct loop_watch *next;
	struct loop_watch **at; /* what points here */
};

static void log_libevent(int severity, const char *message)
{
	log_at_(severity >= EVENT_LOG_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "event loop", LOG_TEXT("text", message));
}

static void on_turn_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	if (!config)
		return NULL;
	struct event_base *base = NULL;
	/* One loop belongs to one thread; the environment must not choose how Troth waits. */
	if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

result loop_new(struct loop **out)
{
	CLEANUP(loop_cleanup) struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop)
		return fail(NO_MEMORY, "an event loop");
	event_set_log_callback(log_libevent);
	loop->base = new_base();
	if (!loop->base)
		return fail(IO_ERROR, "an event loop cannot be made; is the limit of open files reached?");
	loop->turn_end = evtimer_new(loop->base, on_turn_end, NULL);
	if (!loop->turn_end)
		return fail(NO_MEMORY, "an event loop");
	*out = loop;
	loop = NULL; /* transferred */
	return OK;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (loop->watches)
		loop_watch_free(loop->watches);
	if (loop->turn_end)
		event_free(loop->turn_end);
	if (loop->base)
		event_base_free(loop->base);
	free(loop);
}

void loop_cleanup(struct loop **at)
{
	loop_free(*at);
}

static unsigned events_of(short what)
{
	return (what & EV_READ ? (unsigned)LOOP_READ : 0) | (what & EV_WRITE ? (unsigned)LOOP_WRITE : 0) |
		(what & EV_TIMEOUT ? (unsigned)LOOP_TIMER : 0) | (what & EV_SIGNAL ? (unsigned)LOOP_SIGNAL : 0);
}

/* The callback may free the watch: nothing of it is touched afterwards. */
static void on_event(evutil_socket_t fd, short what, void *arg)
{
	const struct loop_watch *watch = arg;
	watch->callback(watch->arg, (int)fd, events_of(what));
}

static short flags_of(unsigned events)
{
	return (short)(EV_PERSIST | (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0));
}

static result add_event(struct event *event, const uint64_t *ms)
{
	struct timeval after = {0};
	if (ms) {
		after.tv_sec = (time_t)(*ms / 1000);
		after.tv_usec = (suseconds_t)(*ms % 1000 * 1000);
	}
	if (event_add(event, ms ? &after : NULL) < 0)
		return fail_errno("waiting for an event");
	return OK;
}

static result new_watch(
	struct loop *loop, int number, short flags, const uint64_t *ms, loop_callback *callback, void *arg, struct loop_watch **out)
{
	struct loop_watch *watch = calloc(1, sizeof(*watch));
	if (!watch)
		return fail(NO_MEMORY, "a watch");
	watch->loop = loop;
	watch->callback = callback;
	watch->arg = arg;
	watch->event = event_new(loop->base, number, flags, on_event, watch);
	watch->next = loop->watches;
	watch->at = &loop->watches;
	if (loop->watches)
		loop->watches->at = &watch->next;
	loop->watches = watch;
	bool idle = ms == NULL && (flags & (EV_READ | EV_WRITE | EV_SIGNAL)) == 0;
	result added = !watch->event ? fail(NO_MEMORY, "a watch") : idle ? OK : add_event(watch->event, ms);
	if (added != OK) {
		loop_watch_free(watch);
		return added;
	}
	*out = watch;
	return OK;
}

result loop_watch_fd(struct loop *loop, int fd, unsigned events, loop_callback *callback, void *arg, struct loop_watch **out)
{
	return new_watch(loop, fd, flags_of(events), NULL, callback, arg, out);
}

result loop_watch_change(struct loop_watch *watch, unsigned events)
{
	int fd = (int)event_get_fd(watch->event);
	event_del(watch->event);
	if (event_assign(watch->event, watch->loop->base, fd, flags_of(events), on_event, watch) < 0)
		return fail(INTERNAL, "changing a watch");
	return events ? add_event(watch->event, NULL) : OK;
}

result loop_timer(struct loop *loop, uint64_t ms, bool repeat, loop_callback *callback, void *arg, struct loop_watch **out)
{
	return new_watch(loop, -1, repeat ? EV_PERSIST : 0, &ms, callback, arg, out);
}

result loop_timer_again(struct loop_watch *watch, uint64_t ms)
{
	return add_event(watch->event, &ms);
}

result loop_signal(struct loop *loop, int signal, loop_callback *callback, void *arg, struct loop_watch **out)
{
	return new_watch(loop, signal, EV_SIGNAL | EV_PERSIST, NULL, callback, arg, out);
}

void loop_watch_free(struct loop_watch *watch)
{
	if (!watch)
		return;
	*watch->at = watch->next;
	if (watch->next)
		watch->next->at = watch->at;
	if (watch->event)
		event_free(watch->event);
	free(watch);
}

result loop_run(struct loop *loop)
{
	return event_base_dispatch(loop->base) < 0 ? fail_errno("running the event loop") : OK;
}

result loop_turn(struct loop *loop, uint64_t ms)
{
	if (ms)
		TRY(add_event(loop->turn_end, &ms));
	int ran = event_base_loop(loop->base, ms ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
	event_del(loop->turn_end);
	return ran < 0 ? fail_errno("running the event loop") : OK;
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}
