// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which line of source each instruction of the loaded BPF programs comes from:
 *
 *   code ADDRESS BYTES PROGRAM    a function of the program, in kernel memory
 *   line ADDRESS FILE NUMBER      from here on, until the next line's, or the function's end
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_code(const struct bpf_prog_info *info)
{
	const __u64 *start = (void *)info->jited_ksyms;
	const __u32 *bytes = (void *)info->jited_func_lens;

	for (__u32 i = 0; i < info->nr_jited_ksyms; i++)
		printf("code %llx %u %s\n", start[i], bytes[i], info->name);
}

static void print_lines(const struct bpf_prog_info *info)
{
	struct btf *btf = btf__load_from_kernel_by_id(info->btf_id);
	const struct bpf_line_info *line = (void *)info->line_info;
	const __u64 *start = (void *)info->jited_line_info;

	if (!btf)
		err(1, "Couldn't read the BTF of '%s'", info->name);
	for (__u32 i = 0; i < info->nr_jited_line_info; i++)
		printf("line %llx %s %u\n", start[i],
		       btf__name_by_offset(btf, line[i].file_name_off),
		       BPF_LINE_INFO_LINE_NUM(line[i].line_col));
	btf__free(btf);
}

static __u64 room(__u32 count, __u32 size)
{
	void *memory = calloc(count + 1, size);

	if (!memory)
		err(1, "Couldn't allocate memory");
	return (unsigned long)memory;
}

/* How much there is of each, and then all of it. */
static void print_program(int fd)
{
	struct bpf_prog_info has = {}, info = {};
	__u32 size = sizeof(has);

	if (bpf_obj_get_info_by_fd(fd, &has, &size))
		err(1, "Couldn't ask for a program");
	info.nr_jited_ksyms = info.nr_jited_func_lens = has.nr_jited_ksyms;
	info.jited_ksyms = room(has.nr_jited_ksyms, sizeof(__u64));
	info.jited_func_lens = room(has.nr_jited_func_lens, sizeof(__u32));
	info.nr_line_info = info.nr_jited_line_info = has.nr_line_info;
	info.line_info_rec_size = sizeof(struct bpf_line_info);
	info.line_info = room(has.nr_line_info, sizeof(struct bpf_line_info));
	info.jited_line_info_rec_size = sizeof(__u64);
	info.jited_line_info = room(has.nr_line_info, sizeof(__u64));
	size = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		err(1, "Couldn't ask for the lines of '%s'", has.name);
	print_code(&info);
	if (info.nr_jited_line_info)
		print_lines(&info);
}

int main(void)
{
	__u32 id = 0;
	int fd;

	while (!bpf_prog_get_next_id(id, &id)) {
		fd = bpf_prog_get_fd_by_id(id);
		if (fd < 0)
			err(1, "Couldn't open program %u", id);
		print_program(fd);
		close(fd);
	}
	return 0;
}
