#include "job/live_jobs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

enum { MAX_JOBS = 64, REQUEST_MEMORY = 8 << 20 };

enum job_state { JOB_STARTING = 1, JOB_UP, JOB_ENDED };

struct live_job {
	struct live_jobs *jobs;
	struct arena arena; /* of the request */
	struct service_ire_run request;
	pthread_t thread;
	struct fd stop; /* eventfd */
	char name[NAME_MAX_LEN + 1];
	uint8_t run_id[RUN_ID_SIZE];
	enum job_state state;
	bool stopping; /* somebody waits for its thread */
	unsigned waiting; /* for it to be up; it lives at least as long */
	result ended;
	struct flow_failure failure;
	char text[FLOW_TEXT_MAX];
};

struct live_jobs {
	struct flow_host host;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct live_job *rows[MAX_JOBS];
};

result live_jobs_new(const struct flow_host *host, struct live_jobs **out)
{
	struct live_jobs *jobs = calloc(1, sizeof(*jobs));
	if (!jobs)
		return fail(NO_MEMORY, "jobs that stay");
	jobs->host = *host;
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->changed, NULL);
	*out = jobs;
	return OK;
}

static void job_free(struct live_job *job)
{
	fd_close(&job->stop);
	arena_free(&job->arena);
	free(job);
}

/* ---- The thread of one job -------------------------------------------------------------------------- */

static void enter(struct live_job *job, enum job_state state)
{
	pthread_mutex_lock(&job->jobs->lock);
	job->state = state;
	pthread_cond_broadcast(&job->jobs->changed);
	pthread_mutex_unlock(&job->jobs->lock);
}

static void is_up(void *ctx, const char *name, const uint8_t run_id[static RUN_ID_SIZE])
{
	struct live_job *job = ctx;
	memcpy(job->run_id, run_id, RUN_ID_SIZE);
	log_info("enclaves of a job stay", LOG_TEXT("job", name), LOG_TEXT("name", job->name));
	enter(job, JOB_UP);
}

static void *job_main(void *arg)
{
	struct live_job *job = arg;
	const struct flow_stay stay = {job->stop.n, job, is_up};
	job->ended = flow_stay(&job->jobs->host, &job->request.run, &stay, &job->failure);
	snprintf(job->text, sizeof(job->text), "%s", job->ended == OK ? "" : failure_text());
	if (job->ended != OK)
		log_warning("a job that stayed has ended", LOG_TEXT("name", job->name), LOG_TEXT("reason", reason_name(job->ended)),
			LOG_TEXT("text", job->text));
	enter(job, JOB_ENDED);
	return NULL;
}

/* ---- The list; all of this with the lock held --------------------------------------------------------- */

/* Takes out those that have ended by themselves. */
static void sweep(struct live_jobs *jobs)
{
	for (size_t i = 0; i < MAX_JOBS; i++) {
		struct live_job *job = jobs->rows[i];
		if (!job || job->state != JOB_ENDED || job->stopping || job->waiting)
			continue;
		pthread_join(job->thread, NULL);
		jobs->rows[i] = NULL;
		job_free(job);
	}
}

static struct live_job *find(struct live_jobs *jobs, const char *name)
{
	for (size_t i = 0; i < MAX_JOBS; i++)
		if (jobs->rows[i] && strcmp(jobs->rows[i]->name, name) == 0)
			return jobs->rows[i];
	return NULL;
}

static struct live_job *find_run(struct live_jobs *jobs, const uint8_t run_id[static RUN_ID_SIZE])
{
	for (size_t i = 0; i < MAX_JOBS; i++)
		if (jobs->rows[i] && jobs->rows[i]->state == JOB_UP && memcmp(jobs->rows[i]->run_id, run_id, RUN_ID_SIZE) == 0)
			return jobs->rows[i];
	return NULL;
}

static result place(struct live_jobs *jobs, struct live_job *job)
{
	sweep(jobs);
	if (find(jobs, job->name))
		return fail(IRE_STAYS_ALREADY, "'%s'", job->name);
	for (size_t i = 0; i < MAX_JOBS; i++) {
		if (jobs->rows[i])
			continue;
		if (pthread_create(&job->thread, NULL, job_main, job) != 0)
			return fail(NO_MEMORY, "a thread for a job");
		jobs->rows[i] = job;
		return OK;
	}
	return fail(BUSY, "%d jobs stay already", MAX_JOBS);
}

/* Waits for the thread without the lock, then forgets the job. */
static void finish(struct live_jobs *jobs, struct live_job *job)
{
	uint64_t one = 1;
	job->stopping = true;
	pthread_cond_broadcast(&jobs->changed);
	if (write(job->stop.n, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_warning("a job could not be told to stop", LOG_TEXT("name", job->name));
	pthread_mutex_unlock(&jobs->lock);
	pthread_join(job->thread, NULL);
	pthread_mutex_lock(&jobs->lock);
	for (size_t i = 0; i < MAX_JOBS; i++)
		if (jobs->rows[i] == job)
			jobs->rows[i] = NULL;
	while (job->waiting)
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	job_free(job);
}

/* ---- Starting --------------------------------------------------------------------------------------- */

/* The job's own name, unless another is given: the last part of its path is what a person would type. */
static result name_job(struct live_job *job)
{
	if (job->request.name[0]) {
		snprintf(job->name, sizeof(job->name), "%s", job->request.name);
	} else {
		const char *slash = strrchr(job->request.run.job, '/'), *base = slash ? slash + 1 : job->request.run.job;
		snprintf(job->name, sizeof(job->name), "%.*s", (int)strcspn(base, "."), base);
	}
	return name_is_valid(job->name) ? OK : fail(BAD_NAME, "'%s'; give it a --name", job->name);
}

static result job_new(struct live_jobs *jobs, struct span request, struct live_job **out)
{
	struct span kept;
	struct live_job *job = calloc(1, sizeof(*job));
	if (!job)
		return fail(NO_MEMORY, "a job that stays");
	job->jobs = jobs;
	job->state = JOB_STARTING;
	job->arena = arena_of(REQUEST_MEMORY);
	job->stop = fd_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	result made = job->stop.n < 0 ? fail_errno("eventfd") : arena_copy(&job->arena, request, &kept);
	if (made == OK)
		made = schema_decode(&service_ire_run_schema, kept, &job->arena, &job->request);
	if (made == OK)
		made = name_job(job);
	if (made != OK) {
		job_free(job);
		return made;
	}
	*out = job;
	return OK;
}

static result wait_until_up(struct live_jobs *jobs, struct live_job *job, struct arena *arena, struct service_ire_up *out,
	struct flow_failure *out_failure)
{
	job->waiting++;
	while (job->state == JOB_STARTING && !job->stopping)
		pthread_cond_wait(&jobs->changed, &jobs->lock);
	job->waiting--;
	pthread_cond_broadcast(&jobs->changed);
	if (job->stopping)
		return fail(RUN_ABORTED, "it was stopped while it started");
	if (job->state == JOB_ENDED && job->ended != OK) {
		*out_failure = job->failure;
		return fail(job->ended, "%s", job->text);
	}
	memcpy(out->run_id, job->run_id, RUN_ID_SIZE);
	return arena_string(arena, span_str(job->name), &out->name);
}

result live_jobs_start(struct live_jobs *jobs, struct span request, struct arena *arena, struct service_ire_up *out,
	struct flow_failure *out_failure)
{
	struct live_job *job;
	TRY(job_new(jobs, request, &job));
	pthread_mutex_lock(&jobs->lock);
	result placed = place(jobs, job);
	if (placed != OK)
		job_free(job);
	else
		placed = wait_until_up(jobs, job, arena, out, out_failure);
	pthread_mutex_unlock(&jobs->lock);
	return placed;
}

/* ---- List and stop ------------------------------------------------------------------------------------ */

result live_jobs_list(struct live_jobs *jobs, struct arena *arena, struct service_ires *out)
{
	struct live_row *rows;
	size_t count;
	void *memory;
	TRY(live_list(jobs->host.live, arena, &rows, &count));
	TRY(arena_alloc(arena, count + 1, sizeof(*out->rows), &memory));
	*out = (struct service_ires){memory, count};
	for (size_t i = 0; i < count; i++) {
		struct service_ire *ire = &out->rows[i];
		*ire = (struct service_ire){.name = rows[i].name, .job = rows[i].job, .stays = rows[i].stays, .since = rows[i].since, .group = ""};
		memcpy(ire->run_id, rows[i].run_id, RUN_ID_SIZE);
		pthread_mutex_lock(&jobs->lock);
		const struct live_job *job = find_run(jobs, ire->run_id);
		result copied = job ? arena_string(arena, span_str(job->name), &ire->group) : OK;
		pthread_mutex_unlock(&jobs->lock);
		TRY(copied);
	}
	return OK;
}

static struct live_job *find_of_enclave(struct live_jobs *jobs, const struct service_ires *ires, const char *name)
{
	for (size_t i = 0; i < ires->count; i++)
		if (strcmp(ires->rows[i].name, name) == 0 && find_run(jobs, ires->rows[i].run_id))
			return find_run(jobs, ires->rows[i].run_id);
	return NULL;
}

static uint64_t stop_all(struct live_jobs *jobs)
{
	uint64_t count = 0;
	for (size_t i = 0; i < MAX_JOBS; i++) {
		if (!jobs->rows[i] || jobs->rows[i]->stopping)
			continue;
		finish(jobs, jobs->rows[i]);
		count++;
	}
	return count;
}

result live_jobs_stop(struct live_jobs *jobs, const char *name, uint64_t *out_count)
{
	CLEANUP(arena_free) struct arena arena = arena_of(REQUEST_MEMORY);
	struct service_ires ires;
	TRY(live_jobs_list(jobs, &arena, &ires));
	pthread_mutex_lock(&jobs->lock);
	sweep(jobs);
	struct live_job *job = name ? find(jobs, name) : NULL;
	if (name && !job)
		job = find_of_enclave(jobs, &ires, name);
	result found = !name || (job && !job->stopping) ? OK : fail(IRE_NOT_STAYING, "'%s'", name);
	if (found == OK && name) {
		finish(jobs, job);
		*out_count = 1;
	} else if (found == OK) {
		*out_count = stop_all(jobs);
	}
	pthread_mutex_unlock(&jobs->lock);
	return found;
}

void live_jobs_free(struct live_jobs *jobs)
{
	if (!jobs)
		return;
	pthread_mutex_lock(&jobs->lock);
	(void)stop_all(jobs);
	pthread_mutex_unlock(&jobs->lock);
	pthread_cond_destroy(&jobs->changed);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}
