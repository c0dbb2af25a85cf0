/*
 * A PKCS#11 module for tests: passes everything on to the real one (FAULTY_REAL), but for what the file FAULTY_CONTROL
 * says: one line "FUNCTION ACTION TIMES". Each login, and each attempt of the attacks that FAULTY_ATTACK asks for, is
 * written to the file FAULTY_LOG, as a module of an attacker would.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out);

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST ours;

static void note(const char *what, const char *outcome)
{
	const char *path = getenv("FAULTY_LOG");
	char line[160];
	if (!path)
		return;
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	int len = snprintf(line, sizeof(line), "%s %s\n", what, outcome);
	if (fd >= 0 && len > 0 && write(fd, line, (size_t)len) == len)
		close(fd);
}

/* The action that the control file asks of this function now; "" for none. A changed file counts anew. */
static const char *action_for(const char *function)
{
	static char before[128], text[128], action[64];
	static long used;
	char name[64] = "";
	long times = 0;
	const char *path = getenv("FAULTY_CONTROL");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	memset(text, 0, sizeof(text));
	ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (fd >= 0)
		close(fd);
	if (len <= 0)
		return "";
	if (strcmp(before, text) != 0)
		used = 0;
	memcpy(before, text, sizeof(before));
	if (sscanf(text, "%63s %63s %ld", name, action, &times) != 3 || strcmp(name, function) != 0 || used >= times)
		return "";
	used++;
	return action;
}

static int exchanged; /* another token lies in the slot */

/* A hexadecimal action is a result; "hang" and "crash" are what they say. 0: go on. */
static CK_RV fault(const char *action)
{
	if (strcmp(action, "hang") == 0)
		for (;;)
			pause();
	if (strcmp(action, "crash") == 0)
		abort();
	if (strcmp(action, "exchanged") == 0) {
		exchanged = 1;
		return CKR_DEVICE_REMOVED;
	}
	return strncmp(action, "0x", 2) == 0 ? strtoul(action, NULL, 16) : CKR_OK;
}

static CK_RV faulty_sign(CK_SESSION_HANDLE session, unsigned char *data, unsigned long len, unsigned char *out, unsigned long *out_len)
{
	const char *action = action_for("C_Sign");
	CK_RV rv = fault(action);
	if (rv == CKR_OK)
		rv = real->C_Sign(session, data, len, out, out_len);
	else
		(void)real->C_Sign(session, data, len, out, out_len); /* ends the operation */
	if (strcmp(action, "flip") == 0)
		out[5] ^= 1;
	if (strcmp(action, "short") == 0)
		*out_len = 63;
	if (strcmp(action, "long") == 0)
		*out_len = 64000;
	return rv;
}

static CK_RV faulty_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, unsigned long len)
{
	CK_RV rv = fault(action_for("C_Login"));
	if (rv == CKR_OK)
		rv = real->C_Login(session, user, pin, len);
	note("C_Login", rv == CKR_OK ? "ok" : rv == CKR_PIN_INCORRECT ? "wrong" : "failed");
	return rv;
}

static CK_RV faulty_find(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, unsigned long count)
{
	CK_RV rv = fault(action_for("C_FindObjectsInit"));
	note("C_FindObjectsInit", "");
	return rv == CKR_OK ? real->C_FindObjectsInit(session, template, count) : rv;
}

static CK_RV faulty_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	const char *action = action_for("C_GetTokenInfo");
	CK_RV rv = fault(action);
	if (rv == CKR_OK)
		rv = real->C_GetTokenInfo(slot, info);
	if (strcmp(action, "final") == 0)
		info->flags |= CKF_USER_PIN_FINAL_TRY;
	if (strcmp(action, "locked") == 0)
		info->flags |= CKF_USER_PIN_LOCKED;
	if (exchanged)
		memcpy(info->serialNumber, "0000000000000000", 16);
	if (strcmp(action, "odd") == 0)
		memset(info->label, 0xff, 32);
	return rv;
}

static CK_RV faulty_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, unsigned long count)
{
	const char *action = action_for("C_GetAttributeValue");
	CK_RV rv = fault(action);
	if (rv == CKR_OK)
		rv = real->C_GetAttributeValue(session, object, attributes, count);
	if (strcmp(action, "extractable") == 0 && attributes[0].type == CKA_EXTRACTABLE && attributes[0].ulValueLen == 1)
		*(CK_BBOOL *)attributes[0].pValue = CK_TRUE;
	if (strcmp(action, "huge") == 0)
		attributes[0].ulValueLen = 1UL << 40;
	return rv;
}

/* ---- what a module of an attacker would try ---- */

static void tried(const char *what, long outcome)
{
	note(what, outcome < 0 ? "refused" : "DONE");
}

static void attack(const char *folder)
{
	char path[512];
	tried("internet", socket(AF_INET, SOCK_STREAM, 0));
	tried("packet", socket(AF_PACKET, SOCK_RAW, 0));
	snprintf(path, sizeof(path), "%s/outside", folder);
	tried("write", open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	snprintf(path, sizeof(path), "%s/hidden/secret", folder);
	tried("hidden", open(path, O_RDONLY | O_CLOEXEC));
	snprintf(path, sizeof(path), "%s/visible", folder);
	tried("visible", open(path, O_RDONLY | O_CLOEXEC));
	tried("exec", syscall(SYS_execve, "/bin/true", NULL, NULL));
	tried("ptrace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	tried("kill", kill(-1, 0));
	tried("namespace", unshare(CLONE_NEWUSER));
	tried("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	tried("uid", setuid(0));
}

static CK_RV faulty_initialize(void *args)
{
	const char *folder = getenv("FAULTY_ATTACK");
	if (folder)
		attack(folder);
	return real->C_Initialize(args);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
	const char *path = getenv("FAULTY_REAL");
	void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	CK_C_GetFunctionList get = NULL;
	void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
	memcpy(&get, &symbol, sizeof(get));
	if (!get || get(&real) != CKR_OK)
		return CKR_GENERAL_ERROR;
	ours = *real;
	ours.C_Sign = faulty_sign;
	ours.C_Login = faulty_login;
	ours.C_FindObjectsInit = faulty_find;
	ours.C_GetTokenInfo = faulty_token_info;
	ours.C_GetAttributeValue = faulty_attributes;
	ours.C_Initialize = faulty_initialize;
	*out = &ours;
	return CKR_OK;
}
