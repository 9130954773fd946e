# SPDX-License-Identifier: GPL-2.0-only
# make            build/clatch-loader, the BPF object inside
# make SANITIZE=1 the same with address and undefined behaviour sanitizers, in build/asan
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
LIBRARIES := libbpf libelf zlib libmnl json-c libsystemd libcap
SANITIZERS := $(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer)

CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Iinclude -Iloader -I$(BUILD) -D_GNU_SOURCE \
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

sources := $(sort $(wildcard loader/*.c))
objects := $(sources:%.c=$(BUILD)/%.o)
unit_tests := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/*.c)))
formatted = $(wildcard bpf/*.[ch] include/*.h include/clatch/*.h loader/*.[ch] tests/unit/*.[ch])

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all clean check unit demo bench fmt

all: $(BUILD)/clatch-loader

$(BUILD)/clatch-loader: $(objects)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/loader/%.o: loader/%.c Makefile | $(BUILD)/clatch.skel.h
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/clatch.full.bpf.o: bpf/clatch.bpf.c Makefile
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

# bpftool's linker keeps BTF and leaves the rest of the debug information behind.
$(BUILD)/clatch.bpf.o: $(BUILD)/clatch.full.bpf.o
	$(call say,BPFLINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $<

$(BUILD)/clatch.skel.h: $(BUILD)/clatch.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name clatch_bpf >$@

$(BUILD)/tests/unit/%: tests/unit/%.c $(filter-out %/main.o,$(objects)) Makefile
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -MF $@.d -o $@ $(filter-out Makefile,$^) \
		$(ALL_LDLIBS) -lcmocka

unit: $(unit_tests)
	$(Q)status=0; for test in $^; do $$test || status=1; done; exit $$status

check:
	$(Q)scripts/setup
	$(Q)$(MAKE) all
	$(Q)tests/run

demo:
	$(Q)scripts/demo

bench:
	$(Q)scripts/bench

fmt:
	$(Q)clang-format -i $(formatted)

# Not all of build/: the kernels that the tests boot are unpacked there too.
clean:
	$(Q)rm -rf $(BUILD)/clatch-loader $(BUILD)/clatch.* $(BUILD)/loader $(BUILD)/tests $(BUILD)/asan

-include $(objects:.o=.d) $(unit_tests:=.d) $(BUILD)/clatch.full.bpf.d
