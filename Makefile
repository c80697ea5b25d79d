# SPDX-License-Identifier: MIT
#
# The build of shmkv, for GNU make.  `make help` lists the targets.
#
#   build/              libshmkv.a, libshmkv.so.0, shmkv, shmkvd, and in obj/, tests/, examples/ the rest
#   build/VARIANT/      the same of a variant: make SANITIZE=address|thread|undefined, COVERAGE=1;
#                       address finds undefined behaviour too
#   bench/NAME          the benchmarks (of a variant: build/VARIANT/bench/NAME)
#
# What is in a directory is built: a new libshmkv/*.c, cli/*.c, daemon/*.c, bench/*.c, examples/*.c
# or tests/{test,torture,crash,fuzz}_*.c needs no change here.

CC ?= cc
CFLAGS ?= -O2 -g
LDFLAGS ?=
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
SANITIZE ?=
COVERAGE ?=
WERROR ?=
SECONDS ?= 60
FUZZ_SECONDS ?= 30
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

VERSION := $(shell sed -n 's/^\#define SHMKV_VERSION_STRING "\(.*\)"/\1/p' libshmkv/shmkv.h)
SONAME := libshmkv.so.0

# ---- variants ------------------------------------------------------------------------------------

ifneq ($(SANITIZE),)
OUT := build/$(SANITIZE)
BENCH := $(OUT)/bench
else ifneq ($(COVERAGE),)
OUT := build/coverage
BENCH := $(OUT)/bench
else
OUT := build
BENCH := bench
endif

VARIANT_address := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
VARIANT_thread := -fsanitize=thread -fno-omit-frame-pointer
VARIANT_undefined := -fsanitize=undefined -fno-sanitize-recover=all
VARIANT_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
VARIANT := $(if $(SANITIZE),$(or $(VARIANT_$(SANITIZE)),\
    $(error SANITIZE=$(SANITIZE) is unknown: address, thread or undefined))) \
    $(if $(COVERAGE),--coverage -O0)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes $(if $(WERROR),-Werror)
# gcc says of each fence that its thread sanitizer does not understand it.
ifeq ($(SANITIZE),thread)
WARNINGS += $(shell $(CC) -Werror -Wno-tsan -x c -fsyntax-only /dev/null 2>/dev/null && echo -Wno-tsan)
endif

# The empty definition agrees with a file's own "#define _GNU_SOURCE".
COMPILE = $(CC) -std=c17 $(WARNINGS) -D_GNU_SOURCE= -Ilibshmkv $(CPPFLAGS) $(CFLAGS) $(VARIANT) \
          -MMD -MP -c -o $@
LINK = $(CC) $(CFLAGS) $(VARIANT) -Wl,--as-needed $(LDFLAGS) -o $@
# Unsplit, the 128-bit products of the hash need so few registers that a get saves none on its way.
LIB_FLAGS := -fPIC -fno-semantic-interposition -fvisibility=hidden -ftls-model=initial-exec \
             -fno-split-wide-types
LIBS := -lpthread
TEST_LIBS := -lcmocka -lurcu
# The screen of `shmkv top`, if it can be had.
CURSES := $(shell printf '\043if __has_include(<curses.h>)\nyes\n\043endif\n' | \
    $(CC) $(CPPFLAGS) -E -P - 2>/dev/null)
CLI_FLAGS := $(if $(CURSES),-DSHMKV_CURSES)
CLI_LIBS ?= $(if $(CURSES),-lncurses -ltinfo)
BENCH_LIBS ?= -lm

# clang knows -fno-semantic-interposition only for some targets; it assumes it anyway.
ifneq ($(findstring clang,$(shell $(CC) --version 2>/dev/null)),)
LIB_FLAGS := $(filter-out -fno-semantic-interposition -fno-split-wide-types,$(LIB_FLAGS))
endif

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1)' $@)

# ---- files ---------------------------------------------------------------------------------------

objects = $(patsubst $(1)/%.c,$(OUT)/obj/$(2)/%.o,$(3))

LIB_C := $(wildcard libshmkv/*.c)
CLI_C := $(wildcard cli/*.c)
DAEMON_C := $(wildcard daemon/*.c)
BENCH_C := $(filter-out bench/lib_%,$(wildcard bench/*.c))
BENCH_LIB_C := $(wildcard bench/lib_*.c)
# Other stores to compare with: those whose headers are there.
HASH := \#
PEERS := redis memcached $(shell printf '$(HASH)if __has_include(<%s>)\n%s\n$(HASH)endif\n' \
    lmdb.h lmdb  tdb.h tdb  urcu/rculfhash.h lfht  tkrzw_langc.h tkrzw  rocksdb/c.h rocksdb | \
    $(CC) $(CPPFLAGS) -E -P - 2>/dev/null)
PEER_LIBS_lmdb := -llmdb
PEER_LIBS_tdb := -ltdb
PEER_LIBS_lfht := -lurcu-memb -lurcu-cds
PEER_LIBS_tkrzw := -ltkrzw
PEER_LIBS_rocksdb := -lrocksdb
PEER_LIB_C := $(wildcard bench/peers/lib_*.c)
EXAMPLE_C := $(wildcard examples/*.c)
SUPPORT_C := $(wildcard tests/support/*.c)
TEST_C := $(wildcard tests/test_*.c)
POINT_TEST_C := $(wildcard tests/torture_*.c tests/crash_*.c)
FUZZ_C := $(wildcard tests/fuzz_*.c)
FUZZ_PARTS_C := tests/support/image_seed.c tests/support/memory_file.c

LIB_O := $(call objects,libshmkv,lib,$(LIB_C))
POINTS_O := $(call objects,libshmkv,points,$(LIB_C))
CLI_O := $(call objects,cli,cli,$(CLI_C))
CLI_PARTS_O := $(filter-out %/main.o,$(CLI_O))
DAEMON_O := $(call objects,daemon,daemon,$(DAEMON_C))
DAEMON_PARTS_O := $(filter-out %/main.o,$(DAEMON_O))
BENCH_LIB_O := $(call objects,bench,bench,$(BENCH_LIB_C))
PEER_LIB_O := $(call objects,bench/peers,peers,$(PEER_LIB_C))
SUPPORT_O := $(call objects,tests,tests,$(SUPPORT_C))
SUPPORT_POINTS_O := $(call objects,tests,tests-points,$(SUPPORT_C))

LIB_A := $(OUT)/libshmkv.a
LIB_SO := $(OUT)/$(SONAME)
POINTS_A := $(OUT)/obj/libshmkv-points.a
CLI_A := $(if $(CLI_PARTS_O),$(OUT)/obj/cli.a)
DAEMON_A := $(if $(DAEMON_PARTS_O),$(OUT)/obj/daemon.a)
TOOL := $(if $(CLI_C),$(OUT)/shmkv)
SERVICE := $(if $(DAEMON_C),$(OUT)/shmkvd)
BENCH_BIN := $(patsubst bench/%.c,$(BENCH)/%,$(BENCH_C))
PEER_SO := $(PEERS:%=$(OUT)/peers/%.so)
EXAMPLE_BIN := $(patsubst examples/%.c,$(OUT)/examples/%,$(EXAMPLE_C))
TEST_BIN := $(patsubst tests/%.c,$(OUT)/tests/%,$(TEST_C))
POINT_TEST_BIN := $(patsubst tests/%.c,$(OUT)/tests/%,$(POINT_TEST_C))
FUZZ_BIN := $(patsubst tests/%.c,$(OUT)/tests/%,$(FUZZ_C))
FUZZ_PARTS_O := $(call objects,tests,tests,$(FUZZ_PARTS_C))
REPLAY_BIN := $(patsubst tests/fuzz_%.c,$(OUT)/tests/replay_%,$(FUZZ_C))

# ---- what most people want -----------------------------------------------------------------------

.PHONY: all
all: $(LIB_A) $(LIB_SO) $(TOOL) $(SERVICE) $(BENCH_BIN) $(PEER_SO) $(EXAMPLE_BIN) ## build everything but tests

# For the second make, which comes after the dependencies are there.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS)) $(if $(V),,-s)

.PHONY: check
check: ## build everything and run every test; ends with 'N passed, N failed'
	@scripts/deps.sh build check
	@scripts/deps.sh screen || echo 'check: going on without the screen of shmkv top'
	@+$(MAKE) --no-print-directory $(PARALLEL) -k all tests; built=$$?; \
	BUILT=$$built OUT=$(OUT) SANITIZE=$(SANITIZE) TORTURE_SECONDS=10 tests/run.sh \
	    $(TEST_BIN) $(REPLAY_BIN) $(wildcard tests/cli/*.sh tests/daemon/*.sh) \
	    $(POINT_TEST_BIN) \
	    tests/points.sh

.PHONY: check-asan check-tsan
check-asan: ## every test under AddressSanitizer and UBSan
	@+$(MAKE) --no-print-directory SANITIZE=address check

check-tsan: ## every test under ThreadSanitizer
	@+$(MAKE) --no-print-directory SANITIZE=thread check

# Modules that ask of the kernel only what qemu-user does: see tests/README.md.
AARCH64_TESTS := append batch bucket cleaner clock conf crc32c epoch error expire file \
    format futex hash index library lincheck modify process reap record resize units
# A range of 64 GiB, which a store reserves if it can get it, takes this emulator seconds.
EMULATOR := qemu-aarch64 -R 0x100000000

.PHONY: check-aarch64
check-aarch64: ## compile everything for aarch64, warnings are errors, and run the modules' tests under qemu
	@scripts/deps.sh build aarch64
	@+$(MAKE) --no-print-directory $(PARALLEL) -k OUT=build/aarch64 BENCH=build/aarch64/bench \
	    CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar WERROR=1 PEERS= CURSES= all tests; \
	BUILT=$$? OUT=build/aarch64 RUNNER='$(EMULATOR)' PATIENCE=$(or $(PATIENCE),5) tests/run.sh \
	    $(AARCH64_TESTS:%=build/aarch64/tests/test_%)

.PHONY: check-systemd
check-systemd: ## the package in a bare Debian, booted in a container: shmkvd under a real systemd; as root
	@scripts/deps.sh build systemd
	@+$(MAKE) --no-print-directory $(PARALLEL) deb >/dev/null
	@PATIENCE=$(or $(PATIENCE),5) tests/run.sh tests/systemd/boot.sh

.PHONY: demo
demo: ## load 1,000,000 keys, read them from several processes, print what it cost
	@scripts/deps.sh build
	@+$(MAKE) --no-print-directory $(PARALLEL) all
	@scripts/demo.sh

.PHONY: bench bench-quick bench-full bench-report
bench: bench-built ## run the benchmarks, about ten minutes; those that are done already are kept
	@bench/run.sh usual

bench-quick: bench-built ## one minute of them
	@bench/run.sh quick

bench-full: bench-built ## every question, as long as it takes
	@bench/run.sh full

bench-report: bench-built ## run what bench has not yet run, and write bench/RESULTS.md with pictures
	@bench/run.sh usual || echo 'bench: not all cells ended; the report says which'
	@bench/report.sh build/bench/usual

# The other stores are of use, not needed.
.PHONY: bench-built
bench-built:
	@scripts/deps.sh build
	@scripts/deps.sh bench || echo 'bench: going on without these'
	@+$(MAKE) --no-print-directory $(PARALLEL) all

.PHONY: bench-compaction
bench-compaction: $(BENCH)/compaction ## overwrite for ever at 60 to 90 % live: throughput and write amplification
	@$(BENCH)/compaction $(ARGS)

.PHONY: bench-churn
bench-churn: $(BENCH)/churn ## put, delete and expire values of 10 bytes to 1 MiB, 200 million times: memory stays flat
	@$(BENCH)/churn $(ARGS)

.PHONY: bench-cache
bench-cache: $(BENCH)/missratio ## miss ratios of a cache beside exact LRU and memcached
	@$(BENCH)/missratio $(BENCH_CACHE)

.PHONY: tests
tests: $(TEST_BIN) $(POINT_TEST_BIN) $(REPLAY_BIN) ## build the tests without running them

.PHONY: torture
torture: ## run the many-process tests, SECONDS=60 each
	@scripts/deps.sh build check
	@+$(MAKE) --no-print-directory $(PARALLEL) $(POINT_TEST_BIN)
	@OUT=$(OUT) SANITIZE=$(SANITIZE) TORTURE_SECONDS=$(SECONDS) tests/run.sh \
	    $(filter $(OUT)/tests/torture_%,$(POINT_TEST_BIN))

.PHONY: model
model: ## verify the protocols with Spin, and that each broken rule is found
	@scripts/deps.sh model
	@tests/model/run.sh

.PHONY: broken
broken: ## break rules of the design on purpose, and see the tests fail
	@scripts/deps.sh build check
	@tests/broken.sh

.PHONY: fuzz
fuzz: ## run the fuzzers, FUZZ_SECONDS=30 each
	@scripts/deps.sh build fuzz
	@+$(MAKE) --no-print-directory $(PARALLEL) SANITIZE=fuzz CC=clang fuzzers
	@OUT=build/fuzz SANITIZE=fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run.sh \
	    $(patsubst tests/%.c,build/fuzz/tests/%,$(FUZZ_C))

.PHONY: lint
lint: ## check format, floors, comments' tags, and what the static analysers say
	@scripts/deps.sh build check lint
	@scripts/lint.sh

.PHONY: format
format: ## rewrite the sources in the format that lint asks for
	@scripts/deps.sh lint
	@scripts/lint.sh --format

.PHONY: coverage
coverage: ## run the tests and print how much of the library they execute
	@scripts/deps.sh build check coverage
	@+$(MAKE) --no-print-directory COVERAGE=1 check
	@gcovr --root . --filter libshmkv/ --filter cli/ \
	    --txt build/coverage/coverage.txt build/coverage/obj
	@cat build/coverage/coverage.txt

.PHONY: deb
deb: all ## make a Debian package in build/
	@scripts/deps.sh deb
	@scripts/deb.sh $(VERSION)

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build $(patsubst bench/%.c,bench/%,$(BENCH_C))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.DEFAULT_GOAL := all

# ---- install -------------------------------------------------------------------------------------

INSTALL ?= install
MAN := $(wildcard man/*.[1-8])
MAN_FILES := $(foreach m,$(MAN),$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)))
BASH_COMPLETION := $(wildcard completions/*.bash)
ZSH_COMPLETION := $(wildcard completions/_*)
BASH_DIR := $(PREFIX)/share/bash-completion/completions
ZSH_DIR := $(PREFIX)/share/zsh/site-functions
COMPLETION_FILES := $(BASH_COMPLETION:completions/%.bash=$(BASH_DIR)/%) \
    $(ZSH_COMPLETION:completions/%=$(ZSH_DIR)/%)
UNIT_FILE := $(UNITDIR)/shmkvd.service
CONF_FILE := $(PREFIX)/share/doc/shmkv/shmkvd.conf

define install_as
	$(INSTALL) -D -m 644 $(1) $(DESTDIR)$(2)

endef
install_man = $(call install_as,$(1),$(MANDIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1)))

.PHONY: install
install: $(LIB_A) $(LIB_SO) $(TOOL) $(SERVICE) ## install under PREFIX=/usr/local, below DESTDIR
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 644 libshmkv/shmkv.h $(DESTDIR)$(INCLUDEDIR)/shmkv.h
	$(INSTALL) -m 644 $(LIB_A) $(DESTDIR)$(LIBDIR)/libshmkv.a
	$(INSTALL) -m 644 $(LIB_SO) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libshmkv.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' libshmkv.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/shmkv.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/shmkv.pc
	$(if $(TOOL),$(INSTALL) -m 755 $(TOOL) $(DESTDIR)$(BINDIR)/shmkv)
	$(INSTALL) -D -m 755 $(SERVICE) $(DESTDIR)$(SBINDIR)/shmkvd
	$(INSTALL) -D -m 644 daemon/shmkvd.conf $(DESTDIR)$(CONF_FILE)
	$(INSTALL) -d $(DESTDIR)$(UNITDIR)
	sed 's|@SBINDIR@|$(SBINDIR)|' daemon/shmkvd.service.in > $(DESTDIR)$(UNIT_FILE)
	chmod 644 $(DESTDIR)$(UNIT_FILE)
	$(foreach m,$(MAN),$(call install_man,$(m)))
	$(foreach c,$(BASH_COMPLETION),$(call install_as,$(c),$(BASH_DIR)/$(basename $(notdir $(c)))))
	$(foreach c,$(ZSH_COMPLETION),$(call install_as,$(c),$(ZSH_DIR)/$(notdir $(c))))
	$(if $(DESTDIR),,-ldconfig 2>/dev/null)

.PHONY: uninstall
uninstall: ## remove what install has put there
	rm -f $(addprefix $(DESTDIR),$(INCLUDEDIR)/shmkv.h $(LIBDIR)/libshmkv.a $(LIBDIR)/$(SONAME) \
	    $(LIBDIR)/libshmkv.so $(LIBDIR)/pkgconfig/shmkv.pc $(BINDIR)/shmkv $(MAN_FILES) \
	    $(SBINDIR)/shmkvd $(UNIT_FILE) $(CONF_FILE) \
	    $(COMPLETION_FILES))

# ---- rules ---------------------------------------------------------------------------------------

# Rewritten when the way to compile has changed, which makes everything compile again.
$(OUT)/obj/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(COMPILE) $(LIB_FLAGS) $(CLI_FLAGS))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(COMPILE) $(LIB_FLAGS) $(CLI_FLAGS))' > $@
.PHONY: FORCE
FORCE:

define compile
$(OUT)/obj/$(1)/%.o: $(2)/%.c $(OUT)/obj/flags
	@mkdir -p $$(@D)
	$$(call say,CC  )
	$$(Q)$$(COMPILE) $(3) $$<
endef
TEST_FLAGS := -Itests -Itests/support -Icli -Idaemon
$(eval $(call compile,lib,libshmkv,$(LIB_FLAGS)))
$(eval $(call compile,points,libshmkv,$(LIB_FLAGS) -DSHMKV_POINTS))
$(eval $(call compile,cli,cli,$(CLI_FLAGS)))
$(eval $(call compile,daemon,daemon,-Icli))
$(eval $(call compile,bench,bench))
$(eval $(call compile,peers,bench/peers,-fPIC -fvisibility=hidden))
$(eval $(call compile,examples,examples))
$(eval $(call compile,tests,tests,$(TEST_FLAGS)))
$(eval $(call compile,tests-points,tests,$(TEST_FLAGS) -DSHMKV_POINTS))

$(LIB_A): $(LIB_O)
$(POINTS_A): $(POINTS_O)
$(CLI_A): $(CLI_PARTS_O)
$(DAEMON_A): $(DAEMON_PARTS_O)
$(LIB_A) $(POINTS_A) $(CLI_A) $(DAEMON_A):
	@mkdir -p $(@D)
	$(call say,AR  )
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# nodelete: threads leave the store in a destructor, which must outlive a dlclose().
$(LIB_SO): $(LIB_O)
	$(call say,LINK)
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,-z,nodelete,-z,relro,-z,now \
	    $(if $(SANITIZE),,-Wl,-z,defs) $^ $(LIBS)
	$(Q)ln -sf $(SONAME) $(OUT)/libshmkv.so

$(OUT)/shmkv: $(CLI_O) $(LIB_A)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(LIBS) $(CLI_LIBS)

$(OUT)/shmkvd: $(DAEMON_O) $(CLI_A) $(LIB_A)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(LIBS)

$(BENCH_BIN): $(BENCH)/%: $(OUT)/obj/bench/%.o $(BENCH_LIB_O) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) -rdynamic $^ $(LIBS) $(BENCH_LIBS)

# What they use of bench/lib_*.c is the program's that loads them.
$(PEER_SO): $(OUT)/peers/%.so: $(OUT)/obj/peers/%.o $(PEER_LIB_O)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) -shared $^ $(PEER_LIBS_$*) -lpthread

$(EXAMPLE_BIN): $(OUT)/examples/%: $(OUT)/obj/examples/%.o $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(LIBS)

$(TEST_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/%.o $(SUPPORT_O) $(DAEMON_A) $(CLI_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(TEST_LIBS) $(LIBS) $(CLI_LIBS) -lm

$(POINT_TEST_BIN): $(OUT)/tests/%: $(OUT)/obj/tests-points/%.o $(SUPPORT_POINTS_O) $(POINTS_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(TEST_LIBS) $(LIBS) -lm

.PHONY: fuzzers
fuzzers: $(FUZZ_BIN)
$(FUZZ_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/%.o $(FUZZ_PARTS_O) $(DAEMON_A) $(CLI_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(LIBS) $(CLI_LIBS)

# The same without the fuzzer: it goes through the inputs that are kept.
$(REPLAY_BIN): $(OUT)/tests/replay_%: $(OUT)/obj/tests/fuzz_%.o $(OUT)/obj/tests/replay.o \
    $(FUZZ_PARTS_O) $(DAEMON_A) $(CLI_A) $(LIB_A)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) $^ $(LIBS) $(CLI_LIBS)

.SECONDARY:
-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)
