#include "job/plan_hosts.h"

#include <stdio.h>

#include "base/file.h"
#include "object/epoch_chain.h"
#include "wire/text.h"

enum { ROOT_FILE_MAX = 64 << 20 };

static result alloc(struct job_plan *plan, size_t count, size_t size, void *out)
{
	void *at;
	TRY(arena_alloc(&plan->arena, count ? count : 1, size, &at));
	memcpy(out, &at, sizeof(at));
	return OK;
}

static result keep_name(const struct document *document, const struct node *node, struct job_plan *plan, const char **out)
{
	const char *text;
	TRY(node_text(document, node, &text));
	if (!name_is_valid(text))
		return document_fail(document, node, BAD_NAME, "'%s' is not a name of [A-Za-z0-9._-], at most 63", text);
	return arena_string(&plan->arena, span_str(text), out);
}

/* ---- Reading ------------------------------------------------------------------------------------------ */

static bool is_digits(const char *text)
{
	return strlen(text) == 2 * OID_SIZE && strspn(text, "0123456789abcdef") == 2 * OID_SIZE;
}

static result root_of_file(const char *path, uint8_t out[static OID_SIZE])
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct epoch_chain *chain = NULL;
	TRY(file_read(path, ROOT_FILE_MAX, &bytes));
	TRY(epoch_chain_of_history(bytes_span(&bytes), &chain));
	memcpy(out, epoch_chain_rot_id(chain), OID_SIZE);
	epoch_chain_free(chain);
	return OK;
}

/* 64 hex digits, or a file with the root's inception record or history. */
static result read_root(const struct document *document, const struct node *node, const char *folder, uint8_t out[static OID_SIZE])
{
	const char *text;
	char path[PATH_SIZE];
	TRY(node_text(document, node, &text));
	if (is_digits(text))
		return node_hex(document, node, out, OID_SIZE);
	TRY(path_join(path, folder, text));
	result read = root_of_file(path, out);
	return read == OK ? OK : fail_within(read, "%s:%u:%u: root '%s'", document->name, node->line, node->column, text);
}

static result read_host(const struct document *document, const struct node *node, const char *folder, struct job_plan *plan,
	struct job_host *out)
{
	static const char *const fields[] = {"!name", "!root", NULL};
	TRY(document_fields(document, node, fields));
	TRY(keep_name(document, node_field(node, "name"), plan, &out->name));
	return read_root(document, node_field(node, "root"), folder, out->rot_id);
}

result plan_hosts_read(const struct document *document, const char *folder, struct job_plan *plan)
{
	struct job *job = &plan->job;
	const struct node *list = node_field(document->root, "hosts");
	if (!list)
		return OK;
	if (list->kind != NODE_LIST || list->count == 0)
		return document_fail(document, list, BAD_TYPE, "'hosts' must be a list of at least one host; leave it out for a job of one host");
	TRY(alloc(plan, list->count, sizeof(*job->hosts), &job->hosts));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_host(document, &list->children[i], folder, plan, &job->hosts[i]));
		job->host_count = i + 1;
		result checked = job_check_hosts(job);
		if (checked != OK)
			return fail_within(checked, "%s:%u:%u", document->name, list->children[i].line, list->children[i].column);
	}
	return schema_sort(&job_host_schema, job->hosts, job->host_count);
}

result plan_hosts_stage(const struct document *document, const struct node *map, struct job_plan *plan, struct job_stage *stage)
{
	const struct node *node = node_field(map, "host");
	if (!node)
		return OK;
	TRY(keep_name(document, node, plan, &stage->host));
	if (!job_host_find(&plan->job, stage->host))
		return document_fail(document, node, UNKNOWN_HOST, "there is no host '%s' under 'hosts'", stage->host);
	return OK;
}

result plan_hosts_check(const struct job_plan *plan)
{
	for (size_t i = 0; i < plan->job.host_count; i++) {
		bool used = false;
		for (size_t s = 0; s < plan->stage_count; s++)
			used |= plan->stages[s].host && strcmp(plan->stages[s].host, plan->job.hosts[i].name) == 0;
		if (!used)
			return fail(JOB_INCONSISTENT, "nothing runs on host '%s'; give an enclave this `host`, or leave it out",
				plan->job.hosts[i].name);
	}
	return OK;
}

/* ---- Peers ------------------------------------------------------------------------------------------------ */

/* NULL: that of the host which coordinates. */
static const uint8_t *root_of(const struct job_plan *plan, const struct job_stage *stage)
{
	const struct job_host *host = stage->host ? job_host_find(&plan->job, stage->host) : NULL;
	return host ? host->rot_id : NULL;
}

static bool is_together(const struct job_stage *a, const struct job_stage *b)
{
	return a->host == b->host || (a->host && b->host && strcmp(a->host, b->host) == 0);
}

static bool has_edge(const struct job_plan *plan, const char *a, const char *b)
{
	for (size_t i = 0; i < plan->job.edge_count; i++) {
		const struct job_edge *edge = &plan->job.edges[i];
		if ((strcmp(edge->from, a) == 0 && strcmp(edge->to, b) == 0) || (strcmp(edge->from, b) == 0 && strcmp(edge->to, a) == 0))
			return true;
	}
	return false;
}

static bool is_listed(const struct plan_peer *peer, const uint8_t *rot_id)
{
	for (size_t i = 0; i < peer->view->rot_count; i++)
		if (memcmp(policy_peer_rot(peer->policies, peer->view, i).data, rot_id, OID_SIZE) == 0)
			return true;
	return false;
}

/* As the policy has it: the only rule there is in a job of one host. */
static result rule_of_policy(struct job_plan *plan, const struct plan_peer *peer, struct manifest_peer *out)
{
	size_t count = peer->view->rot_count;
	out->rot_rule = count ? PEER_ROT_LISTED : PEER_ROT_SAME;
	TRY(alloc(plan, count, sizeof(*out->rot_ids), &out->rot_ids));
	out->rot_id_count = count;
	for (size_t i = 0; i < count; i++)
		memcpy(out->rot_ids[i].bytes, policy_peer_rot(peer->policies, peer->view, i).data, OID_SIZE);
	return OK;
}

static result contradicts(const struct plan_peer *peer, const uint8_t *rot_id)
{
	char digits[2 * OID_SIZE + 1];
	if (!rot_id)
		return fail(POLICY_CONTRADICTS_HOSTS,
			"the policy of '%s' lets in '%s' under its own root only, and the job lets '%s' run elsewhere; give '%s' a `host` and "
			"name its root in rot_ids",
			peer->stage->name, peer->other->name, peer->other->name, peer->other->name);
	hex_encode(span_of(rot_id, OID_SIZE), digits);
	return fail(POLICY_CONTRADICTS_HOSTS,
		"the policy of '%s' does not let in '%s' under root %s, which is that of its host '%s'; name it in rot_ids", peer->stage->name,
		peer->other->name, digits, peer->other->host);
}

/* Would the policy let this peer in from where the job lets it run? */
static result check_policy(const struct job_plan *plan, const struct plan_peer *peer)
{
	const uint8_t *root = root_of(plan, peer->other);
	bool together = is_together(peer->stage, peer->other), same = peer->view->rot_count == 0;
	if (!has_edge(plan, peer->stage->name, peer->other->name))
		return OK;
	if (same)
		return together ? OK : contradicts(peer, root);
	return !root || is_listed(peer, root) ? OK : contradicts(peer, root);
}

result plan_hosts_rule(struct job_plan *plan, const struct plan_peer *peer, struct manifest_peer *out)
{
	const uint8_t *root = peer->other ? root_of(plan, peer->other) : NULL;
	if (!peer->other || plan->job.host_count == 0)
		return rule_of_policy(plan, peer, out);
	TRY(check_policy(plan, peer));
	if (!root || is_together(peer->stage, peer->other) || !is_listed(peer, root))
		return rule_of_policy(plan, peer, out);
	TRY(alloc(plan, 1, sizeof(*out->rot_ids), &out->rot_ids));
	out->rot_rule = PEER_ROT_LISTED;
	out->rot_id_count = 1;
	memcpy(out->rot_ids[0].bytes, root, OID_SIZE);
	return OK;
}

/* ---- Roots behind those of the peers ---------------------------------------------------------------------- */

static bool is_known_root(const struct job_plan *plan, const struct job_stage *stage, const uint8_t *root)
{
	const uint8_t *own = root_of(plan, stage);
	const struct manifest *manifest = &stage->manifest;
	if (own && memcmp(own, root, OID_SIZE) == 0)
		return true;
	for (size_t i = 0; i < manifest->peer_count; i++)
		for (size_t r = 0; r < manifest->peers[i].rot_id_count; r++)
			if (memcmp(manifest->peers[i].rot_ids[r].bytes, root, OID_SIZE) == 0)
				return true;
	for (size_t i = 0; i < manifest->root_count; i++)
		if (memcmp(manifest->roots[i].bytes, root, OID_SIZE) == 0)
			return true;
	return false;
}

/* Data of `from` reach `stage`, if only through others. */
static bool flows_into(const struct job_plan *plan, const struct job_stage *from, const struct job_stage *stage, bool *reached)
{
	bool grown = true;
	memset(reached, 0, plan->stage_count);
	reached[from - plan->stages] = true;
	while (grown) {
		grown = false;
		for (size_t i = 0; i < plan->job.edge_count; i++) {
			const struct job_stage *a = job_plan_stage(plan, plan->job.edges[i].from), *b = job_plan_stage(plan, plan->job.edges[i].to);
			if (!a || !b)
				continue;
			/* Answers flow back. */
			bool forth = reached[a - plan->stages] && !reached[b - plan->stages];
			bool back = plan->job.edges[i].call && reached[b - plan->stages] && !reached[a - plan->stages];
			reached[b - plan->stages] |= forth;
			reached[a - plan->stages] |= back;
			grown |= forth || back;
		}
	}
	return reached[stage - plan->stages];
}

static bool is_peer(const struct job_stage *stage, const char *name)
{
	for (size_t i = 0; i < stage->manifest.peer_count; i++)
		if (strcmp(stage->manifest.peers[i].name, name) == 0)
			return true;
	return false;
}

static result add_root(const struct job_plan *plan, struct job_stage *stage, const struct job_stage *from)
{
	const uint8_t *root = root_of(plan, from);
	if (!root && (is_together(stage, from) || is_peer(stage, from->name)))
		return OK;
	if (!root)
		return fail(HOST_UNNAMED, "data of '%s' reach '%s' on another host, which must know the root that they come from; give '%s' a `host`",
			from->name, stage->name, from->name);
	if (!is_known_root(plan, stage, root))
		memcpy(stage->manifest.roots[stage->manifest.root_count++].bytes, root, OID_SIZE);
	return OK;
}

result plan_hosts_roots(struct job_plan *plan, struct job_stage *stage)
{
	bool *reached;
	if (plan->job.host_count == 0)
		return OK;
	TRY(alloc(plan, plan->stage_count, sizeof(*reached), &reached));
	TRY(alloc(plan, plan->job.host_count, sizeof(*stage->manifest.roots), &stage->manifest.roots));
	for (size_t i = 0; i < plan->stage_count; i++)
		if (&plan->stages[i] != stage && flows_into(plan, &plan->stages[i], stage, reached))
			TRY(add_root(plan, stage, &plan->stages[i]));
	return schema_sort(&digest32_schema, stage->manifest.roots, stage->manifest.root_count);
}
