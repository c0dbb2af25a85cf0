/*
 * The event loop of a process: a thin layer over libevent that speaks `result`, owns its watches and stops
 * between events. One loop belongs to one thread. A callback may free its own watch and any other one.
 */
#ifndef TROTH_BASE_LOOP_H
#define TROTH_BASE_LOOP_H

#include "base/result.h"

struct loop;
struct loop_watch;

enum loop_event { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_TIMER = 4, LOOP_SIGNAL = 8 };

/* `events`: what happened (enum loop_event); `number`: the descriptor or the signal, -1 for a timer. */
typedef void loop_callback(void *arg, int number, unsigned events);

NODISCARD result loop_new(struct loop **out);
void loop_free(struct loop *loop); /* accepts NULL; frees the watches that are left */
void loop_cleanup(struct loop **at); /* for CLEANUP */

/* Calls back each time the descriptor (borrowed; close it only after the watch) is ready for LOOP_READ | LOOP_WRITE. */
NODISCARD result loop_watch_fd(struct loop *loop, int fd, unsigned events, loop_callback *callback, void *arg, struct loop_watch **out);
/* Changes what a descriptor's watch waits for; 0 pauses it. */
NODISCARD result loop_watch_change(struct loop_watch *watch, unsigned events);
/* After `ms`, and then every `ms` if `repeat`. A single-shot watch must still be freed. */
NODISCARD result loop_timer(struct loop *loop, uint64_t ms, bool repeat, loop_callback *callback, void *arg, struct loop_watch **out);
NODISCARD result loop_timer_again(struct loop_watch *watch, uint64_t ms); /* starts a single-shot timer anew */
NODISCARD result loop_signal(struct loop *loop, int signal, loop_callback *callback, void *arg, struct loop_watch **out);
void loop_watch_free(struct loop_watch *watch); /* accepts NULL */

/* Runs until loop_stop, or until nothing is left to wait for. */
NODISCARD result loop_run(struct loop *loop);
/* Handles what is ready now, waiting at most `ms` for the first event (0: does not wait). */
NODISCARD result loop_turn(struct loop *loop, uint64_t ms);
/* Ends loop_run after the running callback. From a callback only. */
void loop_stop(struct loop *loop);

#endif
