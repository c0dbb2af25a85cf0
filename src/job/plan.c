#include "job/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/seccomp.h"
#include "crypto/x509.h"
#include "job/plan_hosts.h"
#include "policy/schema.h"
#include "wire/document.h"
#include "wire/text.h"

/*
 * Theory of operation. Read: the document becomes `draft` (strings and positions, nothing resolved). Resolve: each enclave's
 * closure and policy are found and its manifest filled, without peers; that gives the cores. Measure: peers are filled with
 * those cores, which gives the measurements; then the compiled job is put together and sorted.
 */

enum { PLAN_MEMORY = 64 << 20, MAX_ENCLAVES = 256 };
static const char JOB_FOLDER[] = "/job"; /* where the job's own folder appears inside an IRE */

struct draft {
	const struct document *document;
	struct job_plan *plan;
	char folder[PATH_SIZE]; /* of the job file, absolute */
	struct policy_table **policies; /* by stage */
	const struct node **stage_nodes;
};

/* ---- Small readers ------------------------------------------------------------------------------- */

static result alloc(struct job_plan *plan, size_t count, size_t size, void *out)
{
	void *at;
	TRY(arena_alloc(&plan->arena, count ? count : 1, size, &at));
	memcpy(out, &at, sizeof(at));
	return OK;
}

static result keep_text(struct job_plan *plan, const char *text, const char **out)
{
	return arena_string(&plan->arena, span_str(text), out);
}

static result within(struct draft *draft, const struct node *node, result failed)
{
	if (failed == OK || !node)
		return failed;
	return fail_within(failed, "%s:%u:%u", draft->document->name, node->line, node->column);
}

static result read_text(struct draft *draft, const struct node *node, const char **out)
{
	const char *text;
	TRY(node_text(draft->document, node, &text));
	return keep_text(draft->plan, text, out);
}

static result read_name(struct draft *draft, const struct node *node, const char **out)
{
	const char *text;
	TRY(node_text(draft->document, node, &text));
	if (!name_is_valid(text))
		return document_fail(draft->document, node, BAD_NAME, "'%s' is not a name of [A-Za-z0-9._-], at most 63", text);
	return keep_text(draft->plan, text, out);
}

static result read_list(struct draft *draft, const struct node *map, const char *field, const struct node **out)
{
	static const struct node nothing = {.kind = NODE_LIST};
	const struct node *node = node_field(map, field);
	*out = node ? node : &nothing;
	if ((*out)->kind != NODE_LIST)
		return document_fail(draft->document, node, BAD_TYPE, "'%s' must be a list", field);
	return OK;
}

/* "256MiB", "60s": a number and one of the units; `units` ends with a NULL name. */
struct unit {
	const char *name;
	uint64_t factor;
};
static const struct unit size_units[] = {
	{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static result read_quantity(struct draft *draft, const struct node *node, const struct unit *units, uint64_t *out)
{
	const char *text;
	TRY(node_text(draft->document, node, &text));
	char *rest;
	unsigned long long number = strtoull(text, &rest, 10);
	bool digits = text[0] >= '0' && text[0] <= '9';
	for (const struct unit *unit = units; digits && unit->name; unit++)
		if (strcmp(rest, unit->name) == 0 && number > 0 && number <= UINT64_MAX / 4 / unit->factor) {
			*out = number * unit->factor;
			return OK;
		}
	return document_fail(draft->document, node, BAD_VALUE, "'%s' is not an amount like %s", text,
		units == size_units ? "256MiB" : "60s");
}

/* ---- Enclaves: program, files, environment ------------------------------------------------------- */

static result read_limits(struct draft *draft, const struct node *map, struct manifest_limits *out)
{
	static const char *const fields[] = {"memory", "scratch", "output", "processes", "open_files", "cpu", "wall", NULL};
	*out = (struct manifest_limits){
		.memory = 1ULL << 30,
		.scratch = 256ULL << 20,
		.output = 1ULL << 30,
		.processes = 64,
		.open_files = 256,
		.cpu_ms = 600 * 1000,
		.wall_ms = 600 * 1000,
	};
	const struct node *node = node_field(map, "limits"), *field;
	if (!node)
		return OK;
	TRY(document_fields(draft->document, node, fields));
	uint64_t number;
	if ((field = node_field(node, "memory")))
		TRY(read_quantity(draft, field, size_units, &out->memory));
	if ((field = node_field(node, "scratch")))
		TRY(read_quantity(draft, field, size_units, &out->scratch));
	if ((field = node_field(node, "output")))
		TRY(read_quantity(draft, field, size_units, &out->output));
	if ((field = node_field(node, "cpu")))
		TRY(read_quantity(draft, field, time_units, &out->cpu_ms));
	if ((field = node_field(node, "wall")))
		TRY(read_quantity(draft, field, time_units, &out->wall_ms));
	if ((field = node_field(node, "processes"))) {
		TRY(node_uint(draft->document, field, 65536, &number));
		out->processes = (uint32_t)number;
	}
	if ((field = node_field(node, "open_files"))) {
		TRY(node_uint(draft->document, field, 65536, &number));
		out->open_files = (uint32_t)number;
	}
	return OK;
}

/* A path of the job file as it appears inside: "./x" and "x/y" lie below /job, others are the machine's own. */
static result inside_path(struct draft *draft, const char *text, const char **out)
{
	if (text[0] == '/')
		return keep_text(draft->plan, text, out);
	const char *rest = text;
	while (rest[0] == '.' && rest[1] == '/')
		rest += 2;
	if (strstr(rest, "..") != NULL || rest[0] == '\0')
		return fail(BAD_VALUE, "'%s' leaves the folder of the job; use an absolute path", text);
	char path[PATH_SIZE];
	if (snprintf(path, sizeof(path), "%s/%s", JOB_FOLDER, rest) >= (int)sizeof(path))
		return fail(TOO_LARGE, "'%s'", text);
	return keep_text(draft->plan, path, out);
}

static result add_program(struct draft *draft, struct job_stage *stage, const char *program)
{
	const char *path = program, *found;
	if (strchr(program, '/'))
		TRY(inside_path(draft, program, &path));
	TRY(closure_add_program(&stage->closure, path, &found));
	return keep_text(draft->plan, found, &stage->manifest.program);
}

static result add_file(struct draft *draft, struct job_stage *stage, const char *file)
{
	const char *path;
	/* A bare name is a file of the job's folder, unlike a bare program name. */
	TRY(inside_path(draft, file, &path));
	return closure_add_file(&stage->closure, path);
}

static result set_arguments(struct job_plan *plan, struct manifest *manifest, const char *const *arguments, size_t count)
{
	struct text_item *items;
	TRY(alloc(plan, count + 1, sizeof(*items), &items));
	items[0].text = manifest->program;
	for (size_t i = 0; i < count; i++)
		items[i + 1].text = arguments[i];
	manifest->arguments = items;
	manifest->argument_count = count + 1;
	return OK;
}

static result read_arguments(struct draft *draft, const struct node *map, struct manifest *manifest)
{
	const struct node *list;
	const char **texts;
	TRY(read_list(draft, map, "args", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*texts), &texts));
	for (size_t i = 0; i < list->count; i++)
		TRY(read_text(draft, &list->children[i], &texts[i]));
	return set_arguments(draft->plan, manifest, texts, list->count);
}

static result read_environment(struct draft *draft, const struct node *map, struct manifest *manifest)
{
	const struct node *env = node_field(map, "env");
	if (!env)
		return OK;
	if (env->kind != NODE_MAP)
		return document_fail(draft->document, env, BAD_TYPE, "'env' must be a map of names to values");
	struct manifest_variable *variables;
	TRY(alloc(draft->plan, env->count, sizeof(*variables), &variables));
	for (size_t i = 0; i < env->count; i++) {
		const struct node *node = &env->children[i];
		if (strchr(node->key, '=') || !node->key[0])
			return document_fail(draft->document, node, BAD_VALUE, "'%s' is not the name of a variable", node->key);
		TRY(keep_text(draft->plan, node->key, &variables[i].name));
		TRY(read_text(draft, node, &variables[i].value));
	}
	manifest->environment = variables;
	manifest->environment_count = env->count;
	return schema_sort(&manifest_variable_schema, variables, env->count);
}

static result read_permissions(struct draft *draft, const struct node *map, struct manifest *manifest)
{
	const struct node *list;
	struct text_item *items;
	TRY(read_list(draft, map, "permissions", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*items), &items));
	for (size_t i = 0; i < list->count; i++) {
		unsigned bit;
		TRY(read_name(draft, &list->children[i], &items[i].text));
		TRY(within(draft, &list->children[i], seccomp_permission_find(items[i].text, &bit)));
	}
	manifest->permissions = items;
	manifest->permission_count = list->count;
	return schema_sort(&text_item_schema, items, list->count);
}

static result read_secrets(struct draft *draft, const struct node *map, struct manifest *manifest)
{
	static const char *const fields[] = {"!name", "!fd", NULL};
	const struct node *list;
	struct manifest_secret *secrets;
	TRY(read_list(draft, map, "secrets", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*secrets), &secrets));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		uint64_t fd;
		TRY(document_fields(draft->document, node, fields));
		TRY(read_name(draft, node_field(node, "name"), &secrets[i].name));
		TRY(node_uint(draft->document, node_field(node, "fd"), 63, &fd));
		if (fd < 3)
			return document_fail(draft->document, node_field(node, "fd"), BAD_VALUE,
				"descriptors 0, 1 and 2 are stdin, stdout and stderr; use 3 to 63");
		secrets[i].fd = (uint8_t)fd;
		for (size_t j = 0; j < i; j++)
			if (secrets[j].fd == fd || strcmp(secrets[j].name, secrets[i].name) == 0)
				return document_fail(draft->document, node, JOB_INCONSISTENT,
					"a second secret with this name or descriptor");
	}
	manifest->secrets = secrets;
	manifest->secret_count = list->count;
	return schema_sort(&manifest_secret_schema, secrets, list->count);
}

static result read_outputs_of_stage(struct draft *draft, const struct node *map, struct manifest *manifest)
{
	static const char *const fields[] = {"!name", "!path", NULL};
	const struct node *list;
	struct manifest_output *outputs;
	TRY(read_list(draft, map, "outputs", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*outputs), &outputs));
	for (size_t i = 0; i < list->count; i++) {
		const struct node *node = &list->children[i];
		const char *path;
		char absolute[PATH_SIZE];
		TRY(document_fields(draft->document, node, fields));
		TRY(read_name(draft, node_field(node, "name"), &outputs[i].name));
		TRY(node_text(draft->document, node_field(node, "path"), &path));
		if (strcmp(outputs[i].name, "stdout") == 0)
			return document_fail(draft->document, node, JOB_INCONSISTENT, "'stdout' is the program's own output");
		if (strcmp(outputs[i].name, JOB_FABRIC) == 0)
			return document_fail(draft->document, node, JOB_INCONSISTENT, "'" JOB_FABRIC "' is what calls go through");
		TRY(path_join(absolute, "/tmp", path));
		if (strncmp(absolute, "/tmp/", 5) != 0)
			return document_fail(draft->document, node, BAD_VALUE, "outputs are files below /tmp");
		TRY(keep_text(draft->plan, absolute, &outputs[i].path));
	}
	manifest->outputs = outputs;
	manifest->output_count = list->count;
	return schema_sort(&manifest_output_schema, outputs, list->count);
}

/* ---- The fabric: programs that call or serve ----------------------------------------------------- */

static bool is_true(const struct node *node)
{
	return node && node->kind == NODE_SCALAR && node->text && strcmp(node->text, "true") == 0;
}

static bool node_is(const struct node *node, const char *text)
{
	return node && node->kind == NODE_SCALAR && node->text && strcmp(node->text, text) == 0;
}

/* Ahead of the flow's own turn: the descriptor belongs to what is measured. */
static bool is_on_a_call(const struct draft *draft, const char *name)
{
	const struct node *flow = node_field(draft->document->root, "flow");
	for (size_t i = 0; flow && flow->kind == NODE_LIST && i < flow->count; i++) {
		const struct node *edge = &flow->children[i];
		if (edge->kind == NODE_MAP && is_true(node_field(edge, "call")) &&
			(node_is(node_field(edge, "from"), name) || node_is(node_field(edge, "to"), name)))
			return true;
	}
	return false;
}

static result add_variable(struct job_plan *plan, struct manifest *manifest, const char *name, const char *value)
{
	struct manifest_variable *variables;
	TRY(alloc(plan, manifest->environment_count + 1, sizeof(*variables), &variables));
	for (size_t i = 0; i < manifest->environment_count; i++)
		variables[i] = manifest->environment[i];
	variables[manifest->environment_count] = (struct manifest_variable){name, value};
	manifest->environment = variables;
	manifest->environment_count++;
	return schema_sort(&manifest_variable_schema, variables, manifest->environment_count);
}

static result add_permission(struct job_plan *plan, struct manifest *manifest, const char *name)
{
	struct text_item *items;
	TRY(alloc(plan, manifest->permission_count + 1, sizeof(*items), &items));
	for (size_t i = 0; i < manifest->permission_count; i++)
		items[i] = manifest->permissions[i];
	items[manifest->permission_count++].text = name;
	manifest->permissions = items;
	return schema_sort(&text_item_schema, items, manifest->permission_count);
}

static result refuse_own_fabric(struct draft *draft, const struct node *map, const struct manifest *manifest)
{
	for (size_t i = 0; i < manifest->environment_count; i++)
		if (strcmp(manifest->environment[i].name, MANIFEST_FABRIC_VARIABLE) == 0)
			return document_fail(draft->document, node_field(map, "env"), JOB_INCONSISTENT,
				"'" MANIFEST_FABRIC_VARIABLE "' is set by `fabric`, not by `env`");
	for (size_t i = 0; i < manifest->permission_count; i++)
		if (strcmp(manifest->permissions[i].text, MANIFEST_FABRIC_PERMISSION) == 0)
			return document_fail(draft->document, node_field(map, "permissions"), JOB_INCONSISTENT,
				"permission 'fabric' comes with `fabric: N`, or with an edge that is a call");
	return OK;
}

/* `fabric: N`, or any edge that is a call: the program gets a descriptor to its runtime. */
static result read_fabric(struct draft *draft, const struct node *map, struct job_stage *stage)
{
	const struct node *node = node_field(map, "fabric");
	const char *kept;
	char text[8];
	uint64_t number = MANIFEST_FABRIC_FD;
	int fd;
	TRY(refuse_own_fabric(draft, map, &stage->manifest));
	if (!node && !is_on_a_call(draft, stage->name))
		return OK;
	for (size_t i = 0; i < stage->manifest.secret_count;)
		if (stage->manifest.secrets[i].fd == number) {
			number++;
			i = 0; /* they are in the order of their names */
		} else {
			i++;
		}
	if (node)
		TRY(node_uint(draft->document, node, 63, &number));
	snprintf(text, sizeof(text), "%u", (unsigned)number);
	TRY(keep_text(draft->plan, text, &kept));
	TRY(add_variable(draft->plan, &stage->manifest, MANIFEST_FABRIC_VARIABLE, kept));
	TRY(add_permission(draft->plan, &stage->manifest, MANIFEST_FABRIC_PERMISSION));
	return within(draft, node ? node : map, manifest_fabric(&stage->manifest, &fd));
}

static result take_closure(struct job_plan *plan, struct job_stage *stage)
{
	TRY(closure_finish(&stage->closure));
	stage->manifest.files = stage->closure.files;
	stage->manifest.file_count = stage->closure.file_count;
	stage->sources = stage->closure.sources;
	return keep_text(plan, closure_interpreter(&stage->closure), &stage->manifest.interpreter);
}

static result read_policy(struct draft *draft, const struct node *map, size_t at)
{
	struct job_stage *stage = &draft->plan->stages[at];
	const struct node *node = node_field(map, "policy");
	if (node->kind == NODE_SCALAR) {
		const char *text;
		char path[PATH_SIZE];
		TRY(node_text(draft->document, node, &text));
		TRY(path_join(path, draft->folder, text));
		TRY(policy_load_file(path, &draft->policies[at]));
	} else {
		CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY;
		CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
		TRY(policy_compile_node(draft->document, node, &one));
		struct span single = bytes_span(&one);
		TRY(policy_set_join(&single, 1, &set));
		TRY(policy_table_load(bytes_span(&set), &draft->policies[at]));
	}
	struct policy_view view;
	if (policy_find(draft->policies[at], SUBJECT_ENCLAVE, span_str(stage->name), &view) != OK)
		return document_fail(draft->document, node, NO_POLICY, "the policy is not one for enclave '%s'", stage->name);
	memcpy(stage->policy_digest, view.digest, SHA256_SIZE);
	memcpy(stage->manifest.policy_digest, view.digest, SHA256_SIZE);
	return arena_copy(&draft->plan->arena, view.compiled, &stage->policy);
}

static result new_stage(struct draft *draft, struct job_stage *stage)
{
	stage->manifest = (struct manifest){.v = 1, .name = stage->name, .backend = "process"};
	TRY(closure_new("", &stage->closure));
	return closure_map(&stage->closure, JOB_FOLDER, draft->folder);
}

static result read_stage(struct draft *draft, const struct node *map, size_t at)
{
	static const char *const fields[] = {"!name", "!program", "args", "env", "files", "!policy", "secrets", "outputs",
		"limits", "permissions", "fabric", "host", NULL};
	struct job_stage *stage = &draft->plan->stages[at];
	const struct node *files, *node;
	const char *program;
	TRY(document_fields(draft->document, map, fields));
	TRY(read_name(draft, node_field(map, "name"), &stage->name));
	for (size_t i = 0; i < at; i++)
		if (strcmp(draft->plan->stages[i].name, stage->name) == 0)
			return document_fail(draft->document, map, JOB_INCONSISTENT, "a second enclave '%s'", stage->name);
	draft->stage_nodes[at] = map;
	TRY(plan_hosts_stage(draft->document, map, draft->plan, stage));
	TRY(new_stage(draft, stage));
	TRY(node_text(draft->document, node_field(map, "program"), &program));
	TRY(within(draft, node_field(map, "program"), add_program(draft, stage, program)));
	TRY(read_list(draft, map, "files", &files));
	for (size_t i = 0; i < files->count; i++) {
		node = &files->children[i];
		const char *file;
		TRY(node_text(draft->document, node, &file));
		TRY(within(draft, node, add_file(draft, stage, file)));
	}
	TRY(take_closure(draft->plan, stage));
	TRY(read_arguments(draft, map, &stage->manifest));
	TRY(read_environment(draft, map, &stage->manifest));
	TRY(read_limits(draft, map, &stage->manifest.limits));
	TRY(read_permissions(draft, map, &stage->manifest));
	TRY(read_secrets(draft, map, &stage->manifest));
	TRY(read_outputs_of_stage(draft, map, &stage->manifest));
	TRY(read_fabric(draft, map, stage));
	return read_policy(draft, map, at);
}

/* ---- The compiled job ------------------------------------------------------------------------------ */

static const struct job_stage *stage_of(const struct job_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->stage_count; i++)
		if (strcmp(plan->stages[i].name, name) == 0)
			return &plan->stages[i];
	return NULL;
}

static bool is_external(const struct job_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->external_count; i++)
		if (strcmp(plan->externals[i].name, name) == 0)
			return true;
	return false;
}

static result need_stage(struct draft *draft, const struct node *node, const char *name, const struct job_stage **out)
{
	*out = stage_of(draft->plan, name);
	if (!*out)
		return document_fail(draft->document, node, UNKNOWN_ENCLAVE, "there is no enclave '%s'", name);
	return OK;
}

static result need_output(struct draft *draft, const struct node *node, const struct job_stage *stage, const char *output)
{
	if (strcmp(output, "stdout") == 0)
		return OK;
	for (size_t i = 0; i < stage->manifest.output_count; i++)
		if (strcmp(stage->manifest.outputs[i].name, output) == 0)
			return OK;
	return document_fail(draft->document, node, JOB_INCONSISTENT, "enclave '%s' has no output '%s'", stage->name, output);
}

static result read_optional_name(struct draft *draft, const struct node *map, const char *field, const char *otherwise,
	const char **out)
{
	const struct node *node = node_field(map, field);
	return node ? read_name(draft, node, out) : keep_text(draft->plan, otherwise, out);
}

/* A call has no output and input of its own: questions and answers pass through the descriptors of both programs. */
static result read_call(struct draft *draft, const struct node *map, struct job_edge *edge)
{
	const struct node *call = node_field(map, "call");
	if (call)
		TRY(node_bool(draft->document, call, &edge->call));
	const struct node *port = node_field(map, "output") ? node_field(map, "output") : node_field(map, "input");
	if (edge->call && port)
		return document_fail(draft->document, port, JOB_INCONSISTENT, "a call has neither output nor input");
	return OK;
}

static result check_call(struct draft *draft, const struct node *map, const struct job_edge *edge)
{
	if (!edge->call)
		return strcmp(edge->input, JOB_FABRIC) == 0 ?
			document_fail(draft->document, map, JOB_INCONSISTENT, "'" JOB_FABRIC "' is what calls go through") : OK;
	if (is_external(draft->plan, edge->from) || is_external(draft->plan, edge->to))
		return document_fail(draft->document, map, JOB_INCONSISTENT, "a call joins two enclaves of the job");
	if (strcmp(edge->from, edge->to) == 0)
		return document_fail(draft->document, map, JOB_INCONSISTENT, "enclave '%s' calls itself", edge->from);
	return OK;
}

static result read_edge(struct draft *draft, const struct node *map, struct job_edge *edge)
{
	static const char *const fields[] = {"name", "!from", "!to", "output", "input", "operation", "call", NULL};
	const struct job_stage *stage;
	TRY(document_fields(draft->document, map, fields));
	const struct node *from = node_field(map, "from"), *to = node_field(map, "to");
	TRY(read_call(draft, map, edge));
	TRY(read_name(draft, from, &edge->from));
	TRY(read_name(draft, to, &edge->to));
	TRY(read_optional_name(draft, map, "output", edge->call ? JOB_FABRIC : "stdout", &edge->output));
	TRY(read_optional_name(draft, map, "input", edge->call ? JOB_FABRIC : "stdin", &edge->input));
	TRY(read_optional_name(draft, map, "operation", "data", &edge->operation));
	TRY(check_call(draft, map, edge));
	char name[2 * NAME_MAX_LEN + 8];
	snprintf(name, sizeof(name), "%s-%s", edge->from, edge->to);
	name[NAME_MAX_LEN] = '\0';
	TRY(read_optional_name(draft, map, "name", name, &edge->name));
	if (is_external(draft->plan, edge->from) && is_external(draft->plan, edge->to))
		return document_fail(draft->document, map, JOB_INCONSISTENT, "an edge between two external peers");
	if (!is_external(draft->plan, edge->from)) {
		TRY(need_stage(draft, from, edge->from, &stage));
		if (!edge->call)
			TRY(need_output(draft, map, stage, edge->output));
	}
	if (!is_external(draft->plan, edge->to))
		TRY(need_stage(draft, to, edge->to, &stage));
	return OK;
}

static result read_edges(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job *job = &draft->plan->job;
	TRY(read_list(draft, root, "flow", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*job->edges), &job->edges));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_edge(draft, &list->children[i], &job->edges[i]));
		for (size_t j = 0; j < i; j++)
			if (strcmp(job->edges[j].name, job->edges[i].name) == 0)
				return document_fail(draft->document, &list->children[i], JOB_INCONSISTENT,
					"a second edge '%s'; give one of them a `name`", job->edges[i].name);
	}
	job->edge_count = list->count;
	return OK;
}

static result read_input(struct draft *draft, const struct node *map, struct job_input *input)
{
	static const char *const fields[] = {"!role", "!to", "input", "secret", NULL};
	const struct job_stage *stage;
	TRY(document_fields(draft->document, map, fields));
	TRY(read_name(draft, node_field(map, "role"), &input->role));
	TRY(read_name(draft, node_field(map, "to"), &input->enclave));
	TRY(need_stage(draft, node_field(map, "to"), input->enclave, &stage));
	const struct node *secret = node_field(map, "secret");
	if (!secret) {
		TRY(read_optional_name(draft, map, "input", "stdin", &input->input));
		return strcmp(input->input, JOB_FABRIC) == 0 ?
			document_fail(draft->document, map, JOB_INCONSISTENT, "'" JOB_FABRIC "' is what calls go through") : OK;
	}
	if (node_field(map, "input"))
		return document_fail(draft->document, map, JOB_INCONSISTENT, "an input is either `secret` or has an `input`");
	input->secret = true;
	TRY(read_name(draft, secret, &input->input));
	for (size_t i = 0; i < stage->manifest.secret_count; i++)
		if (strcmp(stage->manifest.secrets[i].name, input->input) == 0)
			return OK;
	return document_fail(draft->document, secret, JOB_INCONSISTENT, "enclave '%s' declares no secret '%s'", stage->name,
		input->input);
}

static result read_inputs(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job *job = &draft->plan->job;
	TRY(read_list(draft, root, "inputs", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*job->inputs), &job->inputs));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_input(draft, &list->children[i], &job->inputs[i]));
		for (size_t j = 0; j < i; j++)
			if (strcmp(job->inputs[j].role, job->inputs[i].role) == 0)
				return document_fail(draft->document, &list->children[i], JOB_INCONSISTENT, "a second input '%s'",
					job->inputs[i].role);
	}
	job->input_count = list->count;
	return OK;
}

static result read_output(struct draft *draft, const struct node *map, struct job_output *output)
{
	static const char *const fields[] = {"!name", "!from", "output", "file", "statement", "media_type", NULL};
	const struct job_stage *stage;
	const struct node *node;
	TRY(document_fields(draft->document, map, fields));
	TRY(read_name(draft, node_field(map, "name"), &output->name));
	TRY(read_name(draft, node_field(map, "from"), &output->enclave));
	TRY(need_stage(draft, node_field(map, "from"), output->enclave, &stage));
	TRY(read_optional_name(draft, map, "output", "stdout", &output->output));
	TRY(need_output(draft, map, stage, output->output));
	TRY(read_optional_name(draft, map, "file", output->name, &output->file));
	if (strcmp(output->file, "receipt.troth") == 0)
		return document_fail(draft->document, map, JOB_INCONSISTENT, "'receipt.troth' is the receipt's own name");
	if ((node = node_field(map, "statement")))
		TRY(node_bool(draft->document, node, &output->statement));
	if ((node = node_field(map, "media_type")))
		return read_text(draft, node, &output->media_type);
	return keep_text(draft->plan, "application/octet-stream", &output->media_type);
}

static result read_outputs(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job *job = &draft->plan->job;
	TRY(read_list(draft, root, "outputs", &list));
	TRY(alloc(draft->plan, list->count, sizeof(*job->outputs), &job->outputs));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_output(draft, &list->children[i], &job->outputs[i]));
		for (size_t j = 0; j < i; j++)
			if (strcmp(job->outputs[j].name, job->outputs[i].name) == 0 ||
				strcmp(job->outputs[j].file, job->outputs[i].file) == 0)
				return document_fail(draft->document, &list->children[i], JOB_INCONSISTENT,
					"a second output '%s' or file '%s'", job->outputs[i].name, job->outputs[i].file);
	}
	job->output_count = list->count;
	bool serves = false;
	for (size_t i = 0; i < job->edge_count; i++)
		serves |= job->edges[i].call;
	if (list->count == 0 && !serves)
		return document_fail(draft->document, root, JOB_INCONSISTENT, "the job has no outputs");
	return OK;
}

/* Above the leaf is only shown who needs it: it says which authority knows this host. */
static result read_show(struct draft *draft, const struct node *show, bool *out_path)
{
	const char *text = "leaf";
	if (show)
		TRY(node_text(draft->document, show, &text));
	*out_path = strcmp(text, "path") == 0;
	if (!*out_path && strcmp(text, "leaf") != 0)
		return document_fail(draft->document, show, JOB_INCONSISTENT, "show is \"leaf\" or \"path\"");
	return OK;
}

static result read_external(struct draft *draft, const struct node *map, struct job_peer *peer)
{
	static const char *const fields[] = {"!name", "!socket", "key", "ca", "uri", "show", NULL};
	const char *text;
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	const struct node *ca = node_field(map, "ca"), *key = ca ? ca : node_field(map, "key"), *uri = node_field(map, "uri"), *show = node_field(map, "show");
	TRY(document_fields(draft->document, map, fields));
	if (!key || (ca && node_field(map, "key")) || !ca != !uri)
		return document_fail(draft->document, map, JOB_INCONSISTENT,
			"an external peer has either `key`, the key that signed its certificate, or `ca`, an authority, and `uri`, whom that may vouch for");
	TRY(read_name(draft, node_field(map, "name"), &peer->name));
	TRY(node_text(draft->document, node_field(map, "socket"), &text));
	TRY(path_join(path, draft->folder, text));
	TRY(keep_text(draft->plan, path, &peer->socket));
	if (uri) {
		TRY(node_text(draft->document, uri, &text));
		if (certificate_check_uri(text) != OK)
			return document_fail(draft->document, uri, JOB_INCONSISTENT, "a name is of the form spiffe://HOST/ire/NAME");
		TRY(keep_text(draft->plan, text, &peer->uri));
	}
	TRY(read_show(draft, show, &peer->shown_path));
	TRY(node_text(draft->document, key, &text));
	TRY(path_join(path, draft->folder, text));
	TRY(within(draft, key, file_read(path, 64 * 1024, &pem)));
	return within(draft, key, key_from_pem(bytes_span(&pem), &peer->key));
}

static result read_externals(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job_plan *plan = draft->plan;
	TRY(read_list(draft, root, "externals", &list));
	TRY(alloc(plan, list->count, sizeof(*plan->externals), &plan->externals));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_external(draft, &list->children[i], &plan->externals[i]));
		plan->external_count = i + 1;
	}
	TRY(alloc(plan, list->count, sizeof(*plan->job.externals), &plan->job.externals));
	for (size_t i = 0; i < list->count; i++) {
		plan->job.externals[i].name = plan->externals[i].name;
		memcpy(plan->job.externals[i].spki, plan->externals[i].key.id, KEY_ID_SIZE);
		plan->job.externals[i].uri = plan->externals[i].uri;
		plan->job.externals[i].shown = plan->externals[i].shown_path ? "path" : NULL;
	}
	plan->job.external_count = list->count;
	return OK;
}

/* Each stdin and each named input is fed by one source; a second one would mix two streams. */
static result check_feeds(struct draft *draft, const struct node *root)
{
	const struct job *job = &draft->plan->job;
	for (size_t i = 0; i < job->edge_count + job->input_count; i++)
		for (size_t j = 0; j < i; j++) {
			bool edge_i = i < job->edge_count, edge_j = j < job->edge_count;
			const struct job_input *a = edge_i ? NULL : &job->inputs[i - job->edge_count];
			const struct job_input *b = edge_j ? NULL : &job->inputs[j - job->edge_count];
			const char *to_i = edge_i ? job->edges[i].to : a->enclave, *to_j = edge_j ? job->edges[j].to : b->enclave;
			const char *in_i = edge_i ? job->edges[i].input : a->input, *in_j = edge_j ? job->edges[j].input : b->input;
			bool secret_i = a && a->secret, secret_j = b && b->secret;
			if ((edge_i && job->edges[i].call) || (edge_j && job->edges[j].call))
				continue; /* many may call one */
			if (secret_i == secret_j && strcmp(to_i, to_j) == 0 && strcmp(in_i, in_j) == 0)
				return document_fail(draft->document, root, JOB_INCONSISTENT,
					"'%s' of enclave '%s' is fed twice; give one of the two another `input`", in_i, to_i);
		}
	return OK;
}

/* Under which name an enclave's records speak of what flows in, or of what flows out; NULL when it is not about `stage`. */
static const char *name_in(const struct job *job, size_t at, const char *stage)
{
	if (at < job->edge_count)
		return strcmp(job->edges[at].to, stage) == 0 ? job->edges[at].name : NULL;
	const struct job_input *input = &job->inputs[at - job->edge_count];
	if (strcmp(input->enclave, stage) != 0)
		return NULL;
	return input->secret ? input->input : input->role;
}

static const char *name_out(const struct job *job, size_t at, const char *stage)
{
	if (at < job->edge_count)
		return strcmp(job->edges[at].from, stage) == 0 ? job->edges[at].name : NULL;
	const struct job_output *output = &job->outputs[at - job->edge_count];
	return strcmp(output->enclave, stage) == 0 ? output->name : NULL;
}

/* Records name data by edge, role, secret and output: within one enclave each name is one thing. */
static result check_names(struct draft *draft, const struct node *root)
{
	const struct job *job = &draft->plan->job;
	for (size_t s = 0; s < draft->plan->stage_count; s++) {
		const char *stage = draft->plan->stages[s].name;
		for (int out = 0; out < 2; out++) {
			size_t count = job->edge_count + (out ? job->output_count : job->input_count);
			for (size_t i = 0; i < count; i++)
				for (size_t j = 0; j < i; j++) {
					const char *a = out ? name_out(job, i, stage) : name_in(job, i, stage);
					const char *b = out ? name_out(job, j, stage) : name_in(job, j, stage);
					if (a && b && strcmp(a, b) == 0)
						return document_fail(draft->document, root, JOB_INCONSISTENT,
							"two things that flow %s enclave '%s' are called '%s'; rename one", out ? "out of" : "into",
							stage, a);
				}
		}
	}
	return OK;
}

/* A program that waits for a secret which nothing gives would only fail at its launch. */
static result check_secrets(struct draft *draft)
{
	const struct job *job = &draft->plan->job;
	for (size_t s = 0; s < draft->plan->stage_count; s++) {
		const struct job_stage *stage = &draft->plan->stages[s];
		for (size_t i = 0; i < stage->manifest.secret_count; i++) {
			const char *name = stage->manifest.secrets[i].name;
			bool given = false;
			for (size_t n = 0; n < job->input_count; n++)
				given |= job->inputs[n].secret && strcmp(job->inputs[n].enclave, stage->name) == 0 &&
					strcmp(job->inputs[n].input, name) == 0;
			if (!given)
				return document_fail(draft->document, draft->stage_nodes[s], JOB_INCONSISTENT,
					"no input gives enclave '%s' its secret '%s'", stage->name, name);
		}
	}
	return OK;
}

/* ---- Reference sets that policies name --------------------------------------------------------------- */

/* Only where they are: a job is measured before the sets that list its enclaves can be signed. */
static result read_references(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job_plan *plan = draft->plan;
	TRY(read_list(draft, root, "references", &list));
	if (list->count > POLICY_MAX_REFERENCES)
		return document_fail(draft->document, list, TOO_LARGE, "%zu reference sets, more than %d", list->count, POLICY_MAX_REFERENCES);
	TRY(alloc(plan, list->count, sizeof(*plan->reference_paths), &plan->reference_paths));
	for (size_t i = 0; i < list->count; i++) {
		const char *text;
		char path[PATH_SIZE];
		TRY(node_text(draft->document, &list->children[i], &text));
		TRY(within(draft, &list->children[i], path_join(path, draft->folder, text)));
		TRY(keep_text(plan, path, &plan->reference_paths[i]));
	}
	plan->reference_count = list->count;
	return OK;
}

static result stage_names_set(const struct job_stage *stage, const struct policy_reference_view *set, bool *out)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(bytes_free) struct bytes joined = BYTES_EMPTY;
	struct policy_view view;
	struct policy_peer_view peer;
	struct policy_peer_reference named;
	TRY(policy_set_join(&stage->policy, 1, &joined));
	TRY(policy_table_load(bytes_span(&joined), &table));
	policy_at(table, 0, &view);
	for (size_t i = 0; i < view.peer_count; i++) {
		policy_peer(table, &view, i, &peer);
		if (policy_peer_reference(table, &peer, &named) && span_equal(named.author, set->author) && span_equal(named.set, set->set))
			*out = true;
	}
	return OK;
}

/* A set that no policy looks into was given by mistake: another author's, or of another name. */
static result check_named(const struct job_plan *plan, const struct policy_reference_view *set)
{
	bool named = false;
	for (size_t i = 0; i < plan->stage_count; i++)
		TRY(stage_names_set(&plan->stages[i], set, &named));
	if (named)
		return OK;
	char author[2 * KEY_ID_SIZE + 1];
	hex_encode(set->author, author);
	return fail(AUTHOR_UNKNOWN, "no policy of this job names set '%.*s' of author %s", (int)set->set.len, (const char *)set->set.data, author);
}

static void free_files(struct bytes (*files)[POLICY_MAX_REFERENCES])
{
	for (size_t i = 0; i < POLICY_MAX_REFERENCES; i++)
		bytes_free(&(*files)[i]);
}

result job_plan_references(const struct job_plan *plan, struct policy_references **out)
{
	CLEANUP(free_files) struct bytes files[POLICY_MAX_REFERENCES] = {{0}};
	CLEANUP(policy_references_cleanup) struct policy_references *references = NULL;
	struct span sets[POLICY_MAX_REFERENCES];
	struct policy_reference_view set;
	for (size_t i = 0; i < plan->reference_count; i++) {
		TRY(file_read(plan->reference_paths[i], REFERENCE_SET_MAX, &files[i]));
		sets[i] = bytes_span(&files[i]);
	}
	result loaded = policy_references_load(sets, plan->reference_count, &references);
	if (loaded != OK)
		return fail_within(loaded, "the job's reference sets");
	for (size_t i = 0; i < plan->reference_count; i++) {
		policy_references_at(references, i, &set);
		result named = check_named(plan, &set);
		if (named != OK)
			return fail_within(named, "'%s'", plan->reference_paths[i]);
	}
	*out = references;
	references = NULL; /* transferred */
	return OK;
}

/* ---- Peers, measurements, order -------------------------------------------------------------------- */

static result fill_peers(struct draft *draft, size_t at)
{
	struct job_plan *plan = draft->plan;
	struct job_stage *stage = &plan->stages[at];
	struct policy_view view;
	TRY(policy_find(draft->policies[at], SUBJECT_ENCLAVE, span_str(stage->name), &view));
	struct manifest_peer *peers;
	size_t count = 0;
	TRY(alloc(plan, view.peer_count, sizeof(*peers), &peers));
	for (size_t i = 0; i < view.peer_count; i++) {
		struct policy_peer_view peer;
		char name[NAME_MAX_LEN + 1] = "";
		policy_peer(draft->policies[at], &view, i, &peer);
		memcpy(name, peer.id.data, peer.id.len < NAME_MAX_LEN ? peer.id.len : NAME_MAX_LEN);
		const struct job_stage *other = stage_of(plan, name);
		if (!other && !is_external(plan, name))
			continue; /* allowed, but not part of this job */
		struct manifest_peer *out = &peers[count++];
		TRY(keep_text(plan, name, &out->name));
		if (other)
			memcpy(out->core, other->core, SHA384_SIZE);
		const struct plan_peer pair = {stage, other, draft->policies[at], &peer};
		TRY(plan_hosts_rule(plan, &pair, out));
	}
	stage->manifest.peers = peers;
	stage->manifest.peer_count = count;
	TRY(schema_sort(&manifest_peer_schema, peers, count));
	return plan_hosts_roots(plan, stage);
}

static result measure_stages(struct draft *draft)
{
	struct job_plan *plan = draft->plan;
	for (size_t i = 0; i < plan->stage_count; i++)
		TRY(manifest_core(&plan->stages[i].manifest, plan->stages[i].core));
	for (size_t i = 0; i < plan->stage_count; i++) {
		TRY(within(draft, draft->stage_nodes ? draft->stage_nodes[i] : NULL, fill_peers(draft, i)));
		TRY(manifest_encode(&plan->stages[i].manifest, &plan->stages[i].encoding));
		manifest_measurement(bytes_span(&plan->stages[i].encoding), plan->stages[i].measurement);
	}
	return OK;
}

static bool waits_for_unplaced(const struct job_plan *plan, const struct job_stage *stage, size_t placed)
{
	for (size_t e = 0; e < plan->job.edge_count; e++) {
		const struct job_edge *edge = &plan->job.edges[e];
		/* Who calls whom may go in circles: max_dac_depth bounds it. */
		if (edge->call || strcmp(edge->to, stage->name) != 0)
			continue;
		for (size_t i = placed; i < plan->stage_count; i++)
			if (strcmp(plan->stages[i].name, edge->from) == 0)
				return true;
	}
	return false;
}

/* Stages in the order of the flow; the policies of the draft move with them. */
static result order_stages(struct draft *draft)
{
	struct job_plan *plan = draft->plan;
	for (size_t placed = 0; placed < plan->stage_count; placed++) {
		size_t next = placed;
		while (next < plan->stage_count && waits_for_unplaced(plan, &plan->stages[next], placed))
			next++;
		if (next == plan->stage_count)
			return document_fail(draft->document, draft->stage_nodes[placed], CYCLIC_FLOW,
				"enclave '%s' is part of a circle, or waits for one", plan->stages[placed].name);
		struct job_stage stage = plan->stages[placed];
		struct policy_table *table = draft->policies[placed];
		const struct node *node = draft->stage_nodes[placed];
		plan->stages[placed] = plan->stages[next];
		draft->policies[placed] = draft->policies[next];
		draft->stage_nodes[placed] = draft->stage_nodes[next];
		plan->stages[next] = stage;
		draft->policies[next] = table;
		draft->stage_nodes[next] = node;
	}
	return OK;
}

/* Every enclave has something to do: it is fed or feeds, or gives an output. */
static result check_reachable(struct draft *draft)
{
	const struct job *job = &draft->plan->job;
	for (size_t s = 0; s < draft->plan->stage_count; s++) {
		const char *name = draft->plan->stages[s].name;
		bool gives = false;
		for (size_t i = 0; i < job->edge_count; i++)
			gives |= strcmp(job->edges[i].from, name) == 0 || (job->edges[i].call && strcmp(job->edges[i].to, name) == 0);
		for (size_t i = 0; i < job->output_count; i++)
			gives |= strcmp(job->outputs[i].enclave, name) == 0;
		if (!gives)
			return document_fail(draft->document, draft->stage_nodes[s], JOB_INCONSISTENT,
				"nothing comes out of enclave '%s': it has no edge and no output", name);
	}
	return OK;
}

static result compile(struct job_plan *plan)
{
	struct job *job = &plan->job;
	TRY(alloc(plan, plan->stage_count, sizeof(*job->enclaves), &job->enclaves));
	for (size_t i = 0; i < plan->stage_count; i++) {
		struct job_enclave *enclave = &job->enclaves[i];
		enclave->name = plan->stages[i].name;
		memcpy(enclave->core, plan->stages[i].core, SHA384_SIZE);
		memcpy(enclave->measurement, plan->stages[i].measurement, SHA384_SIZE);
		memcpy(enclave->policy_digest, plan->stages[i].policy_digest, SHA256_SIZE);
		enclave->host = plan->stages[i].host;
	}
	job->v = 1;
	job->enclave_count = plan->stage_count;
	TRY(schema_sort(&job_enclave_schema, job->enclaves, job->enclave_count));
	TRY(schema_sort(&job_edge_schema, job->edges, job->edge_count));
	TRY(schema_sort(&job_input_schema, job->inputs, job->input_count));
	TRY(schema_sort(&job_output_schema, job->outputs, job->output_count));
	TRY(schema_sort(&job_external_schema, job->externals, job->external_count));
	TRY(schema_encode(&job_schema, job, &plan->encoding));
	job_digest(bytes_span(&plan->encoding), plan->digest);
	return OK;
}

static result read_stages(struct draft *draft, const struct node *root)
{
	const struct node *list;
	struct job_plan *plan = draft->plan;
	TRY(read_list(draft, root, "enclaves", &list));
	if (list->count == 0 || list->count > MAX_ENCLAVES)
		return document_fail(draft->document, list->line ? list : root, JOB_INCONSISTENT, "a job has 1 to %d enclaves",
			MAX_ENCLAVES);
	TRY(alloc(plan, list->count, sizeof(*plan->stages), &plan->stages));
	TRY(alloc(plan, list->count, sizeof(*draft->policies), &draft->policies));
	TRY(alloc(plan, list->count, sizeof(*draft->stage_nodes), &draft->stage_nodes));
	for (size_t i = 0; i < list->count; i++) {
		plan->stage_count = i + 1; /* what was begun is freed with the plan */
		TRY(read_stage(draft, &list->children[i], i));
	}
	return OK;
}

static result read_job(struct draft *draft)
{
	static const char *const fields[] = {"!job", "!enclaves", "flow", "inputs", "outputs", "externals", "references", "hosts", NULL};
	const struct node *root = draft->document->root;
	TRY(document_fields(draft->document, root, fields));
	TRY(read_name(draft, node_field(root, "job"), &draft->plan->job.name));
	TRY(read_externals(draft, root));
	TRY(plan_hosts_read(draft->document, draft->folder, draft->plan));
	TRY(read_stages(draft, root));
	TRY(read_references(draft, root));
	TRY(read_edges(draft, root));
	TRY(read_inputs(draft, root));
	TRY(read_outputs(draft, root));
	TRY(check_feeds(draft, root));
	TRY(check_names(draft, root));
	TRY(check_reachable(draft));
	TRY(check_secrets(draft));
	TRY(within(draft, node_field(root, "hosts"), plan_hosts_check(draft->plan)));
	TRY(order_stages(draft));
	TRY(measure_stages(draft));
	return compile(draft->plan);
}

static void draft_free(struct draft *draft)
{
	for (size_t i = 0; draft->policies && i < draft->plan->stage_count; i++)
		policy_table_free(draft->policies[i]);
}

static result folder_of(const char *path, char out[static PATH_SIZE])
{
	char absolute[PATH_SIZE];
	if (!realpath(path, absolute))
		return fail_errno("'%s'", path);
	char *slash = strrchr(absolute, '/');
	*(slash == absolute ? slash + 1 : slash) = '\0';
	memcpy(out, absolute, sizeof(absolute));
	return OK;
}

static result load(const char *path, struct job_plan *plan)
{
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(draft_free) struct draft draft = {.document = &document, .plan = plan};
	TRY(folder_of(path, draft.folder));
	TRY(document_load(path, JOB_FILE_MAX, &document));
	return read_job(&draft);
}

result job_plan_load(const char *path, struct job_plan *out)
{
	struct job_plan plan = {.arena = arena_of(PLAN_MEMORY)};
	result loaded = load(path, &plan);
	if (loaded != OK) {
		job_plan_free(&plan);
		return loaded;
	}
	*out = plan;
	return OK;
}

/* ---- A single command ------------------------------------------------------------------------------- */

static result command_policy(struct draft *draft)
{
	/* It talks to nobody, so nobody is allowed. */
	static const char policy[] = "{\"enclave_id\":\"exec\",\"max_dac_depth\":1,\"required_attestation_level\":\"Level-1\"}";
	CLEANUP(document_free) struct document document = {0};
	TRY(document_parse("exec.json", span_str(policy), 1 << 20, &document));
	TRY(policy_load_document(&document, &draft->policies[0]));
	struct policy_view view;
	struct job_stage *stage = &draft->plan->stages[0];
	TRY(policy_find(draft->policies[0], SUBJECT_ENCLAVE, span_str(stage->name), &view));
	memcpy(stage->policy_digest, view.digest, SHA256_SIZE);
	memcpy(stage->manifest.policy_digest, view.digest, SHA256_SIZE);
	return arena_copy(&draft->plan->arena, view.compiled, &stage->policy);
}

static result command_stage(struct draft *draft, const struct job_command *command)
{
	struct job_plan *plan = draft->plan;
	struct job_stage *stage = &plan->stages[0];
	static const struct node no_fields = {.kind = NODE_MAP};
	stage->name = "exec";
	TRY(new_stage(draft, stage));
	TRY(add_program(draft, stage, command->argv[0]));
	for (size_t i = 0; command->files && command->files[i]; i++)
		TRY(add_file(draft, stage, command->files[i]));
	TRY(take_closure(plan, stage));
	size_t count = 0;
	const char **arguments;
	while (command->argv[count + 1])
		count++;
	TRY(alloc(plan, count, sizeof(*arguments), &arguments));
	for (size_t i = 0; i < count; i++)
		TRY(keep_text(plan, command->argv[i + 1], &arguments[i]));
	TRY(set_arguments(plan, &stage->manifest, arguments, count));
	TRY(read_limits(draft, &no_fields, &stage->manifest.limits));
	return command_policy(draft);
}

static result command_job(struct job_plan *plan, const struct job_command *command)
{
	struct job *job = &plan->job;
	job->name = "exec";
	TRY(alloc(plan, 1, sizeof(*job->inputs), &job->inputs));
	TRY(alloc(plan, 1, sizeof(*job->outputs), &job->outputs));
	job->inputs[0] = (struct job_input){.role = "stdin", .enclave = "exec", .input = "stdin"};
	job->input_count = command->with_stdin ? 1 : 0;
	job->outputs[0] = (struct job_output){.name = "stdout", .enclave = "exec", .output = "stdout", .file = "stdout",
		.media_type = "application/octet-stream"};
	job->output_count = 1;
	return OK;
}

static result load_command(const struct job_command *command, struct job_plan *plan)
{
	CLEANUP(draft_free) struct draft draft = {.plan = plan};
	snprintf(draft.folder, sizeof(draft.folder), "%s", command->folder);
	TRY(alloc(plan, 1, sizeof(*plan->stages), &plan->stages));
	TRY(alloc(plan, 1, sizeof(*draft.policies), &draft.policies));
	plan->stage_count = 1;
	TRY(command_stage(&draft, command));
	TRY(command_job(plan, command));
	TRY(measure_stages(&draft));
	return compile(plan);
}

result job_plan_command(const struct job_command *command, struct job_plan *out)
{
	struct job_plan plan = {.arena = arena_of(PLAN_MEMORY)};
	result loaded = load_command(command, &plan);
	if (loaded != OK) {
		job_plan_free(&plan);
		return loaded;
	}
	*out = plan;
	return OK;
}

void job_plan_free(struct job_plan *plan)
{
	for (size_t i = 0; i < plan->stage_count; i++) {
		bytes_free(&plan->stages[i].encoding);
		closure_free(&plan->stages[i].closure);
	}
	for (size_t i = 0; i < plan->external_count; i++)
		key_free(&plan->externals[i].key);
	bytes_free(&plan->encoding);
	arena_free(&plan->arena);
	*plan = (struct job_plan){0};
}

const struct job_stage *job_plan_stage(const struct job_plan *plan, const char *name)
{
	return stage_of(plan, name);
}
