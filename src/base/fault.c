#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

bool fault_any_armed;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	const char *point; /* NULL: every point */
	unsigned countdown;
	int error;
	bool persistent;
	unsigned fired;
} armed;

void fault_arm(const char *point, unsigned countdown, int error, bool persistent)
{
	pthread_mutex_lock(&lock);
	armed.point = point;
	armed.countdown = countdown;
	armed.error = error;
	armed.persistent = persistent;
	armed.fired = 0;
	__atomic_store_n(&fault_any_armed, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
}

unsigned fault_disarm(void)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&fault_any_armed, false, __ATOMIC_RELEASE);
	unsigned fired = armed.fired;
	armed.fired = 0;
	pthread_mutex_unlock(&lock);
	return fired;
}

/* One hit of an armed point: does the step fail? */
static bool count_down(void)
{
	if (armed.countdown > 1) {
		armed.countdown--;
		return false;
	}
	bool fires = armed.countdown == 1 || armed.persistent;
	armed.countdown = 0;
	if (fires)
		armed.fired++;
	return fires;
}

bool fault_hit_slow(const char *point)
{
	pthread_mutex_lock(&lock);
	bool fires = fault_any_armed && (!armed.point || strcmp(armed.point, point) == 0) && count_down();
	int error = armed.error;
	pthread_mutex_unlock(&lock);
	if (!fires)
		return false;
	if (error == FAULT_KILL)
		(void)raise(SIGKILL);
	errno = error;
	return true;
}
