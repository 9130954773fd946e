/* SPDX-License-Identifier: GPL-2.0-only */
/* What the running kernel has of what clatch needs, and what this process may do. */
#ifndef CLATCH_KERNEL_H
#define CLATCH_KERNEL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum kernel_answer { KERNEL_NO, KERNEL_YES, KERNEL_UNKNOWN };

struct kernel_feature {
	const char *name;
	const char *why; /* what clatch needs it for */
	bool required;
	/* @detail: where, or how; may be left empty */
	enum kernel_answer (*probe)(const struct kernel_feature *feature, char detail[PATH_MAX]);
	int argument; /* of the probe */
	const char *symbol;
};

/* All features, ending with one without a name. */
extern const struct kernel_feature kernel_features[];
enum kernel_answer kernel_probe(const struct kernel_feature *feature, char detail[PATH_MAX]);
/* The answer for one feature, by its name. */
bool kernel_has(const char *name);

/* A required feature that is missing, or NULL. */
const struct kernel_feature *kernel_missing(void);

/*
 * The names of the capabilities that loading takes and this process lacks, with commas.  How many;
 * CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
 */
int kernel_missing_capabilities(char *names, size_t size);

bool kernel_locked_down(void); /* as "confidentiality": no reading of kernel memory */
int kernel_btf(void); /* 0 or -errno: can the kernel's types be read? */

#endif
