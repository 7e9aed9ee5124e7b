# SPDX-License-Identifier: MIT
#
# Makefile - builds, runs, tests and installs Vanilla; `make help` explains the targets
#
# Everything that is made lies under $(BUILD); sources are found by folder, so a new file needs no line here.
# Variables that are meant to be set: BUILD, CC, CFLAGS, LDFLAGS, SANITIZE, DESTDIR, PREFIX, LIBDIR.

BUILD   ?= build
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
VERSION := 0.1.0
ABI     := 0
SONAME  := libvanilla.so.$(ABI)

CC        := $(if $(filter default,$(origin CC)),gcc,$(CC))
CFLAGS    ?= -O2 -g
SANITIZE  ?=
CRASH     ?=
# A sanitizer puts red zones into every frame, so the limit on frames is for the plain build.
FRAME     := $(if $(SANITIZE),,-Wframe-larger-than=8192)
SAN_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla $(FRAME)
COMPILE    = $(CC) -std=gnu11 $(CFLAGS) $(WARNINGS) -fvisibility=hidden -fstack-clash-protection -fPIC \
	-D_GNU_SOURCE $(if $(CRASH),-DVN_CRASH_POINTS) $(SAN_FLAGS) -Iinclude -I. -MMD -MP
LINK       = $(CC) $(CFLAGS) $(SAN_FLAGS) -Wl,-z,now -Wl,--as-needed $(LDFLAGS)

LIB_SRC     := $(wildcard shm/*.c client/hub/*.c client/message/*.c client/net/*.c client/os/*.c)
BROKER_SRC  := $(wildcard broker/*.c)
EXAMPLE_SRC := $(wildcard client/examples/*.c)
UNIT_SRC    := $(wildcard tests/unit/*.c)
SYSTEM_SRC  := $(wildcard tests/system/*.c)
BENCH_SRC   := $(wildcard tests/bench/*.c)
FUZZ_SRC    := $(wildcard tests/fuzz/*.c)

OBJ         := $(BUILD)/obj
LIB_OBJ     := $(LIB_SRC:%.c=$(OBJ)/%.o)
CRASH_OBJ   := $(if $(CRASH),$(OBJ)/tests/crash/point.o)
BROKER_OBJ  := $(BROKER_SRC:%.c=$(OBJ)/%.o)
BROKER_REST := $(filter-out $(OBJ)/broker/main.o,$(BROKER_OBJ))
ARCHIVE     := $(BUILD)/libvanilla.a
SHARED      := $(if $(LIB_SRC),$(BUILD)/$(SONAME))
PROGRAM     := $(if $(BROKER_SRC),$(BUILD)/vanilla)
EXAMPLES    := $(EXAMPLE_SRC:client/examples/%.c=$(BUILD)/examples/%)
UNIT        := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
SYSTEM      := $(SYSTEM_SRC:tests/system/%.c=$(BUILD)/system/%)
BENCH       := $(BENCH_SRC:tests/bench/%.c=$(BUILD)/bench/%) $(BUILD)/bench/lane
LANE_OBJ    := $(patsubst %.c,$(OBJ)/%.o,$(wildcard tests/bench/lane/*.c))
FUZZ        := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/target/%)
FCONTEXT    := $(BUILD)/fcontext

LIBS        := -lcares -lck -lrt -lpthread
BROKER_LIBS := -ljansson -lconfuse -lncurses -ltinfo $(LIBS)
CHECK_LIBS  := -lcheck -lsubunit -lm $(BROKER_LIBS)

.PHONY: build run test test-long bench unstaged asan tsan mutant crash chaos lint install help clean unit system \
	fuzz fuzzers fuzz-targets
.DELETE_ON_ERROR:
.SECONDARY:

build: $(ARCHIVE) $(SHARED) $(PROGRAM) $(EXAMPLES)

run: build
	@mkdir -p -m 0700 $(BUILD)/run
	@echo 'talk to it:   nc -N 127.0.0.1 7000'
	@echo 'look at it:   $(BUILD)/vanilla ctl -s $(BUILD)/run/echo.sock show workers'
	@echo 'stop it:      Ctrl-C, or $(BUILD)/vanilla ctl -s $(BUILD)/run/echo.sock stop'
	@exec $(BUILD)/vanilla run -w 2 -s $(BUILD)/run/echo.sock -- $(BUILD)/examples/echo

test: build unit system mutant crash fuzzers $(BUILD)/chaos/load $(BUILD)/deps-test
	@BUILD=$(BUILD) CC=$(CC) tests/run lint unit bugs model mutant crash system chaos=short fuzz=3

test-long: build unit system mutant crash fuzzers $(BUILD)/chaos/load $(BUILD)/deps-test
	@BUILD=$(BUILD) CC=$(CC) tests/run lint unit=50 bugs model mutant=10 crash=5 system=5 chaos=long fuzz=25
	@$(MAKE) --no-print-directory asan tsan
	@for build in $(BUILD) $(BUILD)/asan; do VANILLA_HOSTILE_SECONDS=180 BUILD=$$build \
		TESTS=changes_all_the_time tests/run system || exit 1; done

bench: build unstaged $(BENCH) $(BUILD)/chaos/load $(BUILD)/system/again
	@BUILD=$(BUILD) tests/bench/run

# Without what times each request (shm/protocol.h), to measure what that costs.
unstaged:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/unstaged CFLAGS='$(CFLAGS) -DVN_STAGES=0' \
		$(BUILD)/unstaged/vanilla $(BUILD)/unstaged/examples/echo

# The same as in make test-long, alone; CHAOS=short is that of make test, VANILLA_CHAOS_SEED repeats one.
CHAOS ?= long
chaos: build unit system $(BUILD)/chaos/load
	@BUILD=$(BUILD) CC=$(CC) tests/run chaos=$(CHAOS)

# The sanitized builds are made by the same rules in folders of their own.
asan: $(BUILD)/deps-test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS='-O1 -g' \
		build unit system
	@BUILD=$(BUILD)/asan CC=$(CC) tests/run unit planted=asan system

tsan: $(BUILD)/deps-test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan SANITIZE=thread CFLAGS='-O1 -g' build unit system
	@BUILD=$(BUILD)/tsan CC=$(CC) tests/run unit planted=tsan

# Targets of libFuzzer, which is clang's, and of AFL++ where that is installed; each run is as long as asked.
FUZZ_SECONDS ?= 60
FUZZ_CFLAGS  := -O1 -g -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping

fuzzers: $(BUILD)/deps-test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang SANITIZE=address,undefined \
		CFLAGS='$(FUZZ_CFLAGS)' fuzz-targets

fuzz: fuzzers
	@if command -v afl-fuzz >/dev/null; then $(MAKE) --no-print-directory BUILD=$(BUILD)/afl \
		CC=afl-clang-fast SANITIZE=address,undefined CFLAGS='-O1 -g' fuzz-targets; fi
	@BUILD=$(BUILD) tests/fuzz/run $(FUZZ_SECONDS)

fuzz-targets: $(FUZZ)

# One lane, to be weakened at one place or another; for the thread sanitizer, and plain.
mutant: $(BUILD)/mutant/lane $(BUILD)/mutant/lane-tsan

# Where processes can be killed at each step of the protocol (shm/crash.h).
crash: $(BUILD)/deps-test
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/crash CRASH=1 $(addprefix $(BUILD)/crash/, \
		vanilla system/probe crash/link)

lint: $(BUILD)/deps-test
	@CC=$(CC) scripts/lint

unit: $(UNIT)
system: $(SYSTEM)

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 0755 $(BUILD)/vanilla $(DESTDIR)$(PREFIX)/bin/
	install -m 0644 include/vanilla.h $(DESTDIR)$(PREFIX)/include/
	install -m 0644 $(ARCHIVE) $(DESTDIR)$(LIBDIR)/
	install -m 0644 $(BUILD)/$(SONAME) $(DESTDIR)$(LIBDIR)/libvanilla.so.$(VERSION)
	ln -sf libvanilla.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libvanilla.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		scripts/vanilla.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/vanilla.pc

help:
	@echo 'make            build the broker, the library and the examples under $(BUILD)/'
	@echo 'make run        start the broker with two workers of the echo example on 127.0.0.1:7000'
	@echo 'make test       every test that a change must pass; ends with "N passed, N failed"'
	@echo 'make test-long  what takes longer: tests in loops, and both sanitizers'
	@echo 'make bench      what a request costs, beside a bare server without any library'
	@echo 'make asan       the unit and system tests with address and undefined behaviour sanitizers'
	@echo 'make tsan       the unit tests with the thread sanitizer'
	@echo 'make fuzz       fuzz targets for FUZZ_SECONDS (60) each, with libFuzzer, and with AFL++ if it is there'
	@echo 'make chaos      everything that can happen to workers, beneath clients that check every byte (CHAOS=long)'
	@echo 'make crash      the build in which processes can be killed at each step (tests/run crash)'
	@echo 'make mutant     the lane that is weakened on purpose (tests/run mutant)'
	@echo 'make lint       format, warnings, static analysis, and the rules of this project'
	@echo 'make install    into $$DESTDIR$$PREFIX ($(PREFIX)), libraries into $$DESTDIR$$LIBDIR ($(LIBDIR))'
	@echo 'make clean      remove $(BUILD)/'

clean:
	rm -rf $(BUILD)

# What must be installed first: looked at once per build folder, and again when the list changes.
$(BUILD)/deps-%: scripts/deps
	@scripts/deps $*
	@mkdir -p $(@D)
	@touch $@

# The three assembly objects of boost.context become part of our archive: its users link nothing of Boost.
# Newer versions of Boost hide these symbols from C, and the shared library would bring in libstdc++.
$(FCONTEXT)/ok: $(BUILD)/deps-build
	@mkdir -p $(@D)
	@archive=$$($(CC) -print-file-name=libboost_context.a); \
	if ! nm "$$archive" 2>/dev/null | grep -q ' T jump_fcontext$$'; then \
		echo "make: no usable jump_fcontext in $$archive: install libboost-context-dev" \
			"(a Boost before 1.87, later ones hide it from C)" >&2; exit 1; fi; \
	cd $(@D) && rm -f -- *.o && ar x "$$archive" \
		$$(nm -A "$$archive" | sed -n 's/^.*:\([^:]*\.o\):.* T [a-z]*_fcontext$$/\1/p' | sort -u)
	@touch $@

# On the library alone: what vanilla.h declares is what its symbol map exports, all else is hidden.
$(LIB_OBJ): COMPILE += -fno-semantic-interposition -include scripts/export.h

$(OBJ)/broker/page.o: broker/page.html

$(OBJ)/%.o: %.c Makefile | $(BUILD)/deps-build
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(ARCHIVE): $(LIB_OBJ) $(CRASH_OBJ) $(FCONTEXT)/ok
	@rm -f $@
	ar crs $@ $(LIB_OBJ) $(CRASH_OBJ) $(FCONTEXT)/*.o

$(BUILD)/$(SONAME): $(LIB_OBJ) $(FCONTEXT)/ok scripts/libvanilla.map
	$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=scripts/libvanilla.map \
		$(if $(SANITIZE),,-Wl,-z,defs) -o $@ $(LIB_OBJ) $(FCONTEXT)/*.o $(LIBS)

$(BUILD)/vanilla: $(BROKER_OBJ) $(ARCHIVE)
	$(LINK) -o $@ $(BROKER_OBJ) $(ARCHIVE) $(BROKER_LIBS)

$(BUILD)/examples/%: $(OBJ)/client/examples/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(ARCHIVE) $(LIBS)

$(BUILD)/system/%: $(OBJ)/tests/system/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(ARCHIVE) $(LIBS)

$(BUILD)/mutant/lane: $(OBJ)/tests/mutant/lane.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(ARCHIVE) $(LIBS)

$(BUILD)/mutant/lane-tsan: tests/mutant/lane.c $(wildcard shm/*.[ch]) | $(BUILD)/deps-test
	@mkdir -p $(@D)
	$(COMPILE) -O1 -fsanitize=thread -MF $@.d -o $@ $< shm/segment.c shm/bell.c -lpthread

$(BUILD)/crash/%: $(OBJ)/tests/crash/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(ARCHIVE) $(LIBS)

$(BUILD)/chaos/load: $(OBJ)/tests/chaos/load.o $(OBJ)/tests/chaos/script.o
	@mkdir -p $(@D)
	$(LINK) -o $@ $^

# Names are not looked up on the network because a fuzzer made them up.
$(BUILD)/target/options: LDFLAGS += -Wl,--wrap=getaddrinfo

$(BUILD)/target/%: $(OBJ)/tests/fuzz/%.o $(BROKER_REST) $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -fsanitize=fuzzer -o $@ $< $(BROKER_REST) $(ARCHIVE) $(BROKER_LIBS)

# A unit test whose name begins with broker_ has the broker's objects, all but its main.
$(BUILD)/unit/broker_%: $(OBJ)/tests/unit/broker_%.o $(BROKER_REST) $(ARCHIVE) $(BUILD)/deps-test
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(BROKER_REST) $(ARCHIVE) $(CHECK_LIBS)

$(BUILD)/unit/%: $(OBJ)/tests/unit/%.o $(ARCHIVE) $(BUILD)/deps-test
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(ARCHIVE) $(CHECK_LIBS)

# What the hub costs is measured through the shared library, beside the switch alone.
$(BUILD)/bench/hub: $(OBJ)/tests/bench/hub.o $(BUILD)/$(SONAME) $(FCONTEXT)/ok
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(FCONTEXT)/*.o $(BUILD)/$(SONAME) -Wl,-rpath,'$$ORIGIN/..'

# Lanes beside what else could carry their messages.
$(LANE_OBJ): | $(BUILD)/deps-bench

$(BUILD)/bench/lane: $(LANE_OBJ) $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $(LANE_OBJ) $(ARCHIVE) -lzmq -lnng $(LIBS)

# Threads and processes, beside the system's own and beside a lane.
$(BUILD)/bench/os: $(OBJ)/tests/bench/os.o $(OBJ)/tests/bench/lane/hub.o $(OBJ)/tests/bench/lane/link.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LIBS)

# The bare side of the bench and its load generator have no library of ours in them.
$(BUILD)/bench/%: $(OBJ)/tests/bench/%.o
	@mkdir -p $(@D)
	$(LINK) -o $@ $< -lpthread

$(OBJ)/tests/unit/%.o: | $(BUILD)/deps-test

-include $(shell test -d $(OBJ) && find $(OBJ) -name '*.d')
