# SPDX-License-Identifier: GPL-2.0-only
# make            build/clatch-loader, the BPF object inside, and its manual pages
# make install    both, bash completion, the updown script, and the files for systemd, OCI runtimes and
#                 Kubernetes, under PREFIX (/usr/local) in DESTDIR
# make SANITIZE=1 the same with address and undefined behaviour sanitizers, in build/asan
# make fuzz       feeds the parsers what fuzzers think of, each for FUZZ_SECONDS (300)
# make V=1        shows the commands

VERSION := 0.1.0
BUILD ?= build$(if $(SANITIZE),/asan)

CLANG ?= clang
BPFTOOL ?= $(firstword $(shell command -v bpftool) /usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n' $(1) $(patsubst $(CURDIR)/%,%,$(2));
endif

comma := ,
LIBRARIES := libbpf libelf zlib libmnl json-c inih libsystemd libcap libcrypto
SANITIZERS := $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer)

CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Iinclude -Iloader -D_GNU_SOURCE \
	-DCLATCH_VERSION='"$(VERSION)"' $(SANITIZERS) $(library_cflags) $(CFLAGS)
ALL_LDLIBS = $(LDFLAGS) $(library_libs) $(LDLIBS)
library_cflags := $(shell $(PKG_CONFIG) --cflags $(LIBRARIES))
library_libs := $(shell $(PKG_CONFIG) --libs $(LIBRARIES))

# clang's BPF target does not look where Debian keeps <asm/types.h>.
machine := $(shell uname -m)
bpf_arch := $(patsubst x86_64,x86,$(patsubst aarch64,arm64,$(machine)))
multiarch := $(shell $(CC) -print-multiarch)
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Iinclude -Ibpf \
	-I/usr/include/$(multiarch) -D__TARGET_ARCH_$(bpf_arch)

bpf_objects := $(foreach name,clatch gateway,$(BUILD)/$(name)_plain.bpf.o $(BUILD)/$(name)_helper.bpf.o)
sources := $(sort $(wildcard loader/*.c))
objects := $(sources:%.c=$(BUILD)/%.o)
pages := $(patsubst docs/%.scd,$(BUILD)/%,$(sort $(wildcard docs/*.scd)))
unit_tests := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/*.c)))
fuzzers := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
formatted = $(wildcard bpf/*.[ch] include/*.h include/clatch/*.h loader/*.[ch] tests/unit/*.[ch] \
	tests/fuzz/*.[ch] tests/program/*.c)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all clean check unit fuzz demo bench fmt install

all: $(BUILD)/clatch-loader $(pages)

$(BUILD)/clatch-loader: $(objects)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/loader/%.o: loader/%.c Makefile
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The same source twice: the loader takes the one that the kernel can run (bpf/kernel.h).
%_plain.full.o: BPF_CFLAGS += -DPLAIN_LOADS=1
%_helper.full.o: BPF_CFLAGS += -DPLAIN_LOADS=0
$(BUILD)/clatch_%.full.o: bpf/clatch.bpf.c Makefile
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gateway_%.full.o: bpf/gateway.bpf.c Makefile
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

# bpftool's linker keeps BTF and leaves the rest of the debug information behind.
$(BUILD)/%.bpf.o: $(BUILD)/%.full.o
	$(call say,BPFLINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $<

$(BUILD)/loader/object.o: $(bpf_objects)
$(BUILD)/loader/object.o: ALL_CFLAGS += -DBPF_OBJECTS='"$(BUILD)"'

$(BUILD)/tests/unit/%: tests/unit/%.c $(filter-out %/main.o,$(objects)) Makefile
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d -o $@ $(filter-out Makefile,$^) \
		$(ALL_LDLIBS) -lcmocka

$(pages): $(BUILD)/%: docs/%.scd
	$(call say,PAGE,$@)
	$(Q)mkdir -p $(@D)
	$(Q)scdoc <$< >$@

PREFIX ?= /usr/local
target := $(DESTDIR)$(PREFIX)
install: all
	$(Q)install -D $(BUILD)/clatch-loader $(target)/sbin/clatch-loader
	$(Q)install -D scripts/updown $(target)/libexec/clatch/updown
	$(Q)install -D -m 644 scripts/completion $(target)/share/bash-completion/completions/clatch-loader
	$(Q)for page in $(pages); do \
		install -D -m 644 -t $(target)/share/man/man$${page##*.} $$page || exit; done
	$(Q)for header in $(wildcard include/clatch.h); do \
		install -D -m 644 -t $(target)/include $$header || exit; done
	$(Q)$(call configure,clatch.service,lib/systemd/system/clatch.service)
	$(Q)$(call configure,clatch-oci-hook.json,share/containers/oci/hooks.d/clatch.json)
	$(Q)$(call configure,clatch-unit.conf,share/clatch/clatch-unit.conf)
	$(Q)$(call configure,clatch-bpfprogram.conf,share/clatch/clatch-bpfprogram.conf)
	$(Q)install -D -m 644 -t $(target)/share/clatch integration/clatch-daemonset.yaml

# Of integration/, with the places where things are installed.
configure = install -D -m 644 /dev/null $(target)/$(2) && sed -e 's|@LOADER@|$(PREFIX)/sbin/clatch-loader|' \
	-e 's|@SHARE@|$(PREFIX)/share/clatch|' integration/$(1).in >$(target)/$(2)

unit: $(unit_tests)
	$(Q)status=0; for test in $^; do $$test || status=1; done; exit $$status

FUZZ_SECONDS ?= 300
FUZZ_CFLAGS := -O1 -g -fsanitize=fuzzer$(comma)address$(comma)undefined -fno-sanitize-recover=all

# The example of a program that uses include/clatch.h; the tests run it.
$(BUILD)/latched: tests/program/latched.c include/clatch.h
	$(call say,CC,$@)
	$(Q)$(CC) -O2 -Wall -Wextra -Iinclude -o $@ $<

# What each needs beside itself.
$(BUILD)/fuzz/vici: loader/vici.c loader/vici_message.c
$(BUILD)/fuzz/vici_message: loader/vici_message.c
$(BUILD)/fuzz/sad_message: loader/sad_message.c loader/addr.c
$(BUILD)/fuzz/spd_message: loader/spd_message.c loader/addr.c
$(BUILD)/fuzz/certificate: loader/certificate.c loader/dn.c
$(BUILD)/fuzz/policy: $(addprefix loader/,policy.c policy_key.c policy_print.c names.c addr.c \
	duration.c filter.c parts.c cli.c)

$(fuzzers): $(BUILD)/fuzz/%: tests/fuzz/fuzz_%.c $(wildcard include/*.h include/clatch/*.h loader/*.h)
	$(call say,FUZZER,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(ALL_CFLAGS) $(FUZZ_CFLAGS) -o $@ $(filter %.c,$^) $(ALL_LDLIBS)

# New inputs go to build/fuzz/NAME.corpus; one that is a finding to build/fuzz/NAME-crash-….
.PHONY: $(fuzzers:=.run)
fuzz: $(fuzzers:=.run)
$(fuzzers:=.run): %.run: %
	$(Q)mkdir -p $<.corpus
	$(Q)$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
		-print_final_stats=1 -artifact_prefix=$<- $<.corpus tests/fuzz/corpus/$(notdir $<)

check:
	$(Q)scripts/setup
	$(Q)$(MAKE) all $(BUILD)/latched
	$(Q)tests/run

demo:
	$(Q)scripts/demo

bench:
	$(Q)scripts/bench

fmt:
	$(Q)clang-format -i $(formatted)

# Not all of build/: the kernels that the tests boot are unpacked there too.
clean:
	$(Q)rm -rf $(BUILD)/clatch-loader $(pages) $(BUILD)/clatch_* $(BUILD)/gateway_* $(BUILD)/loader $(BUILD)/tests $(BUILD)/fuzz \
		$(BUILD)/asan

-include $(objects:.o=.d) $(unit_tests:=.d) $(bpf_objects:.bpf.o=.full.d)
