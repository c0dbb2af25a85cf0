/* troth doctor: one page on what this machine can prove, why, and what would raise it. Tries things; changes nothing. */
#include "cmd/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/isolate.h"
#include "enclave/tier.h"
#include "job/uid_pool.h"
#include "wire/json.h"

struct device {
	const char *path, *name;
	bool there;
};

struct findings {
	struct tier_report tier;
	result tried; /* of tier_detect */
	char why[512];
	bool is_root;
	struct utsname kernel;
	struct device tpm, sev, tdx, kvm;
	unsigned level; /* that a receipt made here reaches */
	size_t refused;
};

static struct device look(const char *path, const char *name)
{
	return (struct device){path, name, access(path, F_OK) == 0};
}

static void examine(uid_t uid, struct findings *out)
{
	out->is_root = isolate_is_root();
	out->tried = tier_detect(out->is_root ? uid : 0, false, &out->tier);
	/* What tier N lacks here is told beside a tier L that works. */
	struct tier_report weaker;
	bool refused = out->tried == OK && strcmp(out->tier.tier, "none") == 0;
	if (refused && tier_detect(out->is_root ? uid : 0, true, &weaker) == OK && strcmp(weaker.tier, "L") == 0) {
		memcpy(weaker.missing, out->tier.missing, sizeof(weaker.missing));
		out->tier = weaker;
	}
	snprintf(out->why, sizeof(out->why), "%s", out->tried == OK ? out->tier.missing : failure_text());
	if (out->tried != OK)
		out->tier = (struct tier_report){.tier = "none", .isolation = "none", .limits = "?", .secret_memory = "?"};
	if (uname(&out->kernel) != 0)
		snprintf(out->kernel.release, sizeof(out->kernel.release), "?");
	out->tpm = look("/dev/tpmrm0", "TPM 2.0");
	out->sev = look("/dev/sev-guest", "SEV-SNP guest");
	out->tdx = look("/dev/tdx_guest", "TDX guest");
	out->kvm = look("/dev/kvm", "KVM");
	for (size_t i = 0; i < out->tier.denial_count; i++)
		out->refused += out->tier.denials[i].refused;
	bool confined = strcmp(out->tier.tier, "none") != 0 && out->refused == out->tier.denial_count;
	out->level = confined && !out->tier.instrumented ? 1 : 0;
}

/* What would raise level or confinement here; NULL-terminated. */
static size_t advice(const struct findings *found, const char *out[static 9])
{
	size_t count = 0;
	if (strcmp(found->tier.tier, "none") == 0)
		out[count++] = "tier N: allow user namespaces (the reason above names the switch), or run as root";
	if (strcmp(found->tier.tier, "L") == 0)
		out[count++] = "tier N instead of L: allow user namespaces (the reason above names the switch); until then start hosts with "
			       "--confinement L, which only policies with min_confinement: L accept";
	if (!found->is_root && strcmp(found->tier.tier, "none") != 0)
		out[count++] = "isolation=uid instead of weak: run the host as root, so that each enclave gets a uid of its own";
	if (strncmp(found->tier.limits, "cgroup", 6) != 0)
		out[count++] = "limits by control group instead of rlimits: run as root, or have a cgroup v2 delegated";
	if (strcmp(found->tier.secret_memory, "memfd_secret") != 0)
		out[count++] = "keys in memfd_secret: a kernel from 5.14 on; before 6.5 with secretmem.enable=1 on its command line";
	if (found->tier.landlock_abi == 0)
		out[count++] = "Landlock as a second wall: a kernel with it, and lsm=...,landlock on its command line";
	if (found->tier.instrumented)
		out[count++] = "Level-1: a release build; this one is instrumented and counts as Level-0";
	out[count++] = found->tpm.there ? "Level-2: a root made with `troth host init --wrap tpm --tpm /dev/tpmrm0`, then `troth tpm enrol` (docs/TPM.md)"
					: "Level-2: a TPM 2.0 (/dev/tpmrm0), and a root made with it (docs/TPM.md)";
	out[count++] = "Level-3: a SEV-SNP or TDX guest; using it comes with a later version";
	return count;
}

static result print_json(const struct findings *found)
{
	const char *raises[9];
	size_t count = advice(found, raises);
	json_t *denials = json_array(), *list = json_array();
	for (size_t i = 0; i < found->tier.denial_count; i++) {
		const struct tier_denial *denial = &found->tier.denials[i];
		json_array_append_new(denials,
			json_pack("{s:s, s:s, s:b}", "name", denial->name, "mechanism", denial->mechanism, "refused", denial->refused));
	}
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(raises[i]));
	json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:i, s:b, s:b, s:s, s:s, s:b, s:b, s:b, s:b, s:o, s:o}", "level",
		(int)found->level, "tier", found->tier.tier, "isolation", found->tier.isolation, "limits", found->tier.limits,
		"secret_memory", found->tier.secret_memory, "landlock_abi", found->tier.landlock_abi, "root", found->is_root,
		"instrumented", found->tier.instrumented, "kernel", found->kernel.release, "missing", found->why, "tpm", found->tpm.there,
		"sev_guest", found->sev.there, "tdx_guest", found->tdx.there, "kvm", found->kvm.there, "denials", denials, "raises", list);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_people(const struct findings *found)
{
	static const char *const levels[] = {
		"Level-0: what runs here is not confined as it must be, so a receipt proves nothing about it",
		"Level-1: a receipt proves what ran, trusting this host's root user, kernel and `trothd host`",
	};
	const char *raises[9];
	printf("This machine reaches %s.\n\n", levels[found->level]);
	printf("  confinement   tier %s, isolation %s; %zu of %zu forbidden things were refused when tried\n", found->tier.tier,
		found->tier.isolation, found->refused, found->tier.denial_count);
	for (size_t i = 0; i < found->tier.denial_count; i++)
		if (!found->tier.denials[i].refused)
			printf("                NOT refused: %s (should be by: %s)\n", found->tier.denials[i].name,
				found->tier.denials[i].mechanism);
	if (found->why[0])
		printf("                %s\n", found->why);
	printf("  limits        %s\n", found->tier.limits);
	printf("  keys in       %s\n", found->tier.secret_memory);
	if (found->tier.landlock_abi > 0)
		printf("  Landlock      ABI %d\n", found->tier.landlock_abi);
	else
		printf("  Landlock      absent\n");
	printf("  kernel        %s%s\n", found->kernel.release, found->tier.instrumented ? "; this build is instrumented" : "");
	const struct device *devices[] = {&found->tpm, &found->sev, &found->tdx, &found->kvm};
	for (size_t i = 0; i < COUNT_OF(devices); i++)
		printf("  %-13s %s\n", devices[i]->name, devices[i]->there ? devices[i]->path : "absent");
	printf("\nWhat would raise it:\n");
	size_t count = advice(found, raises);
	for (size_t i = 0; i < count; i++)
		printf("  - %s\n", raises[i]);
}

static result examine_and_print(const char *first_uid, bool json)
{
	static struct findings found;
	char *end;
	unsigned long uid = strtoul(first_uid, &end, 10);
	if (*end || uid == 0 || uid > UINT32_MAX)
		return fail(USAGE, "--first-uid %s", first_uid);
	examine((uid_t)uid, &found);
	if (json)
		return print_json(&found);
	print_people(&found);
	return OK;
}

int verb_doctor(int argc, char **argv)
{
	const char *first_uid = "612000";
	const struct option_row rows[] = {
		{"first-uid", OPTION_TEXT, &first_uid, "UID", "as root: a uid that nothing else uses (612000)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "doctor",
		.usage = "",
		.description = "Says which confinement and which attestation level this machine reaches, found by trying what must be "
			       "refused, and\n"
			       "what would raise it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = examine_and_print(first_uid, options.json);
	return verb_end(done, argc, argv);
}
