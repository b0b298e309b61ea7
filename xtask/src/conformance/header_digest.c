/* Loaded into libiscsi's test-tool in front of libiscsi (LD_PRELOAD): whatever the tool asks for, the login offers
 * HeaderDigest=CRC32C alone. The tool has no option for it: it sets "None,CRC32C" after it has read the URL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <iscsi/iscsi.h>
#include <stdio.h>
#include <stdlib.h>

int iscsi_set_header_digest(struct iscsi_context *iscsi, enum iscsi_header_digest asked)
{
	static int (*libiscsi)(struct iscsi_context *, enum iscsi_header_digest);

	(void)asked;
	if (libiscsi == NULL) {
		*(void **)&libiscsi = dlsym(RTLD_NEXT, "iscsi_set_header_digest");
		if (libiscsi == NULL) {
			fprintf(stderr, "xtask: no libiscsi behind this library\n");
			exit(2);
		}
		/* The harness looks for this line: without it, the run has proved nothing about digests. */
		fprintf(stderr, "xtask: HeaderDigest=CRC32C asked\n");
	}
	return libiscsi(iscsi, ISCSI_HEADER_DIGEST_CRC32C);
}
