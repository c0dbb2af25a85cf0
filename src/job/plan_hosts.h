/*
 * The hosts of a job that runs on several (docs/JOB.md "Several hosts"): which root of trust each enclave runs under, what
 * that makes of the peers in its manifest, and where policies contradict it. A part of plan.c.
 *
 * Everything is read from the job file and from inception records beside it, so that anybody measures the same.
 */
#ifndef TROTH_JOB_PLAN_HOSTS_H
#define TROTH_JOB_PLAN_HOSTS_H

#include "job/plan.h"
#include "policy/table.h"
#include "wire/document.h"

/* `hosts:` of the job file into plan->job, sorted. `folder`: that relative paths start from. JOB_INCONSISTENT, BAD_NAME ... */
NODISCARD result plan_hosts_read(const struct document *document, const char *folder, struct job_plan *plan);

/* `host:` of one enclave, when it has one. UNKNOWN_HOST. */
NODISCARD result plan_hosts_stage(const struct document *document, const struct node *map, struct job_plan *plan,
	struct job_stage *stage);

/* One entry of a policy: a peer that is an enclave of this job, or not. */
struct plan_peer {
	const struct job_stage *stage, *other; /* other NULL: an external peer */
	const struct policy_table *policies;
	const struct policy_peer_view *view;
};

/*
 * The rot rule of one peer of the manifest: what the policy says, narrowed to the root of the peer's host where that is
 * another than the stage's own. POLICY_CONTRADICTS_HOSTS when an edge joins the two and the policy would refuse it.
 */
NODISCARD result plan_hosts_rule(struct job_plan *plan, const struct plan_peer *peer, struct manifest_peer *out);

/* Roots of what flows into a stage by way of its peers; fills manifest.roots. After its peers. HOST_UNNAMED. */
NODISCARD result plan_hosts_roots(struct job_plan *plan, struct job_stage *stage);

/* Every host has something to do. JOB_INCONSISTENT. */
NODISCARD result plan_hosts_check(const struct job_plan *plan);

#endif
