// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "cgroup.h"
#include "cleanup.h"
#include "kernel.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"

int kernel_btf(void)
{
	return access(BTF_FILE, R_OK) ? -errno : 0;
}

bool kernel_locked_down(void)
{
	FILE *file = fopen("/sys/kernel/security/lockdown", "re");
	char line[128] = "";

	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	return strstr(line, "[confidentiality]");
}

int kernel_missing_capabilities(char *names, size_t size)
{
	static const struct {
		cap_value_t value;
		const char *name;
		bool in_sys_admin;
	} needed[] = {
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN", false },
		{ CAP_BPF, "CAP_BPF", true },
		{ CAP_PERFMON, "CAP_PERFMON", true },
	};
	cap_t own = cap_get_proc();
	cap_flag_value_t has, admin = CAP_CLEAR;
	int missing = 0;

	*names = '\0';
	cap_get_flag(own, CAP_SYS_ADMIN, CAP_EFFECTIVE, &admin);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		has = CAP_CLEAR;
		cap_get_flag(own, needed[i].value, CAP_EFFECTIVE, &has);
		if (has == CAP_SET || (needed[i].in_sys_admin && admin == CAP_SET))
			continue;
		snprintf(names + strlen(names), size - strlen(names), "%s%s", missing++ ? ", " : "",
			 needed[i].name);
	}
	cap_free(own);
	return missing;
}

/* A probe loads or makes what it asks for: without the capabilities it always fails. */
static bool may_probe(void)
{
	char names[64];

	return !kernel_missing_capabilities(names, sizeof(names));
}

static enum kernel_answer answer(int probed)
{
	if (!may_probe())
		return KERNEL_UNKNOWN;
	if (probed < 0)
		return KERNEL_UNKNOWN;
	return probed ? KERNEL_YES : KERNEL_NO;
}

static enum kernel_answer probe_btf(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	(void)feature;
	if (kernel_btf())
		return KERNEL_NO;
	strcpy(detail, BTF_FILE);
	return KERNEL_YES;
}

static enum kernel_answer probe_mount(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	return mount_find(feature->symbol, detail) ? KERNEL_NO : KERNEL_YES;
}

static enum kernel_answer probe_program(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	(void)detail;
	return answer(libbpf_probe_bpf_prog_type(feature->argument, NULL));
}

static enum kernel_answer probe_map(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	(void)detail;
	return answer(libbpf_probe_bpf_map_type(feature->argument, NULL));
}

static enum kernel_answer probe_helper(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	(void)detail;
	return answer(libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SKB, feature->argument, NULL));
}

/* Is this function in the kernel itself? */
static enum kernel_answer probe_function(const struct kernel_feature *feature,
					 char detail[PATH_MAX])
{
	struct btf *btf = btf__load_vmlinux_btf();
	int id;

	(void)detail;
	if (libbpf_get_error(btf))
		return KERNEL_UNKNOWN;
	id = btf__find_by_name_kind(btf, feature->symbol, BTF_KIND_FUNC);
	btf__free(btf);
	return id > 0 ? KERNEL_YES : KERNEL_NO;
}

static bool file_contains(const char *path, const char *text)
{
	FILE *file = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (file && !found && getline(&line, &size, file) >= 0)
		found = strstr(line, text);
	if (file)
		fclose(file);
	return found;
}

/* ESP is a module in most kernels, loaded with the first SA. */
static enum kernel_answer probe_esp(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	const char *module = feature->argument == AF_INET ? "esp4" : "esp6";
	char path[PATH_MAX], text[32];
	struct utsname name;

	snprintf(text, sizeof(text), "%s ", module);
	if (file_contains("/proc/modules", text)) {
		strcpy(detail, "module, loaded");
		return KERNEL_YES;
	}
	if (probe_function(feature, detail) == KERNEL_YES) {
		strcpy(detail, "built in");
		return KERNEL_YES;
	}
	uname(&name);
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", name.release);
	snprintf(text, sizeof(text), "/%s.ko", module);
	if (!file_contains(path, text))
		return KERNEL_NO;
	strcpy(detail, "module, not loaded");
	return KERNEL_YES;
}

static enum kernel_answer probe_xfrm(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);

	(void)feature, (void)detail;
	return fd < 0 ? KERNEL_NO : KERNEL_YES;
}

static enum kernel_answer probe_lockdown(const struct kernel_feature *feature,
					 char detail[PATH_MAX])
{
	(void)feature;
	if (!kernel_locked_down())
		return KERNEL_YES;
	strcpy(detail, "lockdown is \"confidentiality\"");
	return KERNEL_NO;
}

const struct kernel_feature kernel_features[] = {
	{ "btf", "to find the fields of the kernel's structures (CONFIG_DEBUG_INFO_BTF)", true,
	  probe_btf, 0, NULL },
	{ "kernel_memory", "to read SAs in kernel memory (lockdown forbids it)", true,
	  probe_lockdown, 0, NULL },
	{ "cgroup2", "to guard the processes of a cgroup", true, probe_mount, 0, "cgroup2" },
	{ "bpffs", "to keep the programs when clatch-loader ends", true, probe_mount, 0, "bpf" },
	{ "cgroup_skb", "to check the packets of sockets", true, probe_program,
	  BPF_PROG_TYPE_CGROUP_SKB, NULL },
	{ "sock_ops", "to see TCP connections begin and end", true, probe_program,
	  BPF_PROG_TYPE_SOCK_OPS, NULL },
	{ "cgroup_sock_addr", "to see UDP's connect()", true, probe_program,
	  BPF_PROG_TYPE_CGROUP_SOCK_ADDR, NULL },
	{ "cgroup_sock", "to see sockets closed", true, probe_program, BPF_PROG_TYPE_CGROUP_SOCK,
	  NULL },
	{ "sched_cls", "to check packets without a socket on devices", true, probe_program,
	  BPF_PROG_TYPE_SCHED_CLS, NULL },
	{ "ringbuf", "to report events", true, probe_map, BPF_MAP_TYPE_RINGBUF, NULL },
	{ "sk_storage", "to know a UDP socket's latch", true, probe_map, BPF_MAP_TYPE_SK_STORAGE,
	  NULL },
	{ "timer", "to merge events and to end latches", true, probe_helper, BPF_FUNC_timer_init,
	  NULL },
	{ "loop", "to go through rules and SAs", true, probe_helper, BPF_FUNC_loop, NULL },
	{ "xfrm_netlink", "to fill the SA table (CONFIG_XFRM_USER)", true, probe_xfrm, 0, NULL },
	{ "plain_loads", "to read packets faster (bpf_rdonly_cast)", false, probe_function, 0,
	  "bpf_rdonly_cast" },
	{ "esp4", "for IPsec itself, over IPv4", false, probe_esp, AF_INET, "esp_output" },
	{ "esp6", "for IPsec itself, over IPv6", false, probe_esp, AF_INET6, "esp6_output" },
	{},
};

enum kernel_answer kernel_probe(const struct kernel_feature *feature, char detail[PATH_MAX])
{
	*detail = '\0';
	return feature->probe(feature, detail);
}

bool kernel_has(const char *name)
{
	const struct kernel_feature *feature = kernel_features;
	char detail[PATH_MAX];

	while (feature->name && strcmp(feature->name, name))
		feature++;
	return feature->name && kernel_probe(feature, detail) == KERNEL_YES;
}

const struct kernel_feature *kernel_missing(void)
{
	const struct kernel_feature *feature;
	char detail[PATH_MAX];

	for (feature = kernel_features; feature->name; feature++)
		if (feature->required && kernel_probe(feature, detail) == KERNEL_NO)
			return feature;
	return NULL;
}
