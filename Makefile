# SPDX-License-Identifier: BSD-2-Clause
#
#   make deps demo     install what is needed, build, watch five swaps under load
#   make deps check    install what is needed, build, run every test
#   make test T=table  build and run the tests of one module
#
# Variables: V=1 shows commands; WERROR=1 makes warnings errors; SANITIZE=1 builds with the address
# and undefined-behaviour sanitizers; BUILD=DIR builds elsewhere; DESTDIR and PREFIX for install.

VERSION  := 0.1.0
PREFIX   ?= /usr/local
LIBDIR   ?= $(PREFIX)/lib
UNITDIR  ?= $(PREFIX)/lib/systemd/system
SANITIZE ?= 0
WERROR   ?= 0
V        ?= 0
BUILD    ?= $(if $(filter 1,$(SANITIZE)),build/asan,build)

CC      := gcc
CLANG   ?= clang
CXX     := g++
GO      ?= go
BPFTOOL ?= $(or $(shell PATH=$$PATH:/usr/sbin:/sbin command -v bpftool 2>/dev/null),bpftool)
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' $(1) $(2))

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wconversion \
	    -Wformat=2 -Wno-format-truncation -Wundef -Wpointer-arith $(if $(filter 1,$(WERROR)),-Werror)
HARDENING := -fstack-protector-strong -fPIE
LINKFLAGS  = $(LDFLAGS) -Wl,-z,relro,-z,now
ifeq ($(SANITIZE),1)
SANFLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
else
HARDENING += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-clash-protection \
	     $(if $(filter x86_64,$(shell uname -m)),-fcf-protection)
endif
CFLAGS  ?= -O2 -g
ALL_CFLAGS = -std=gnu17 $(CFLAGS) $(WARNINGS) $(SANFLAGS) $(HARDENING) \
	     -D_GNU_SOURCE -DBATON_VERSION='"$(VERSION)"' -I. -I$(BUILD) -MMD -MP
# v3: atomic operations that return a value (Linux 5.12).
BPF_CFLAGS := -O2 -g -Wall -Wextra $(if $(filter 1,$(WERROR)),-Werror) -target bpf -mcpu=v3 \
	      -I. -I/usr/include/$(shell uname -m)-linux-gnu

# Texts for people are cut at the size of their buffer on purpose: no -Wformat-truncation.

# main.c of each program is outside its library, so that tests can link the rest.
library_of = $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(1)/main.c,$(wildcard $(1)/*.c)))
LIB_COMMON       := $(BUILD)/libcommon.a
LIB_PURE         := $(BUILD)/libpure.a
# One for each folder of orchestrator/, from the top down; "daemon" has the files of no folder.
FLOORS           := daemon doctor api view service rollout instance health release steer config event host
LIB_ORCHESTRATOR := $(FLOORS:%=$(BUILD)/liborchestrator-%.a)
LIB_AGENT        := $(BUILD)/libagent.a
LIB_CLI          := $(BUILD)/libcli.a
LIB_BENCH        := $(BUILD)/libbench.a
LIB_SIM          := $(BUILD)/libsim.a
LIB_FUZZ         := $(BUILD)/libfuzz.a
PROGRAMS := $(BUILD)/batond $(BUILD)/baton-agent $(BUILD)/baton
EXTRAS   := $(BUILD)/bench/hammer $(BUILD)/bench/tiers $(BUILD)/examples/server $(BUILD)/examples/libbaton_server
SKELETONS := $(patsubst ebpf/%.bpf.c,$(BUILD)/ebpf/%.skel.h,$(wildcard ebpf/*.bpf.c))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*/test_*.c))

# What decides and computes: no system call, clock or log, and of the libraries none. Their tests
# need neither clang nor bpftool.
PURE := $(addprefix common/,address advice backoff clean duration error expand fields vector wanted_files) \
	$(addprefix orchestrator/,rollout/rollout rollout/choose steer/table steer/positions steer/classic steer/crossing \
		service/hold service/restarts service/flood service/waiting_line health/health health/answer health/explain health/grpc \
		health/proxy_header api/api_places api/api_turns) \
	$(addprefix agent/,lifecycle)
test_of = $(BUILD)/tests/unit/$(notdir $(patsubst %/,%,$(dir $(1))))/test_$(notdir $(1))
PURE_TESTS := $(foreach m,$(PURE),$(filter $(call test_of,$m) $(call test_of,$m)_%,$(UNIT_TESTS)))

LIBS_COMMON       := -ljansson
LIBS_ORCHESTRATOR := -lsystemd -lbpf -lelf -lcrypto -lmnl -lcurl -lmicrohttpd $(LIBS_COMMON)
LIBS_AGENT        := -lsystemd -lmnl $(LIBS_COMMON)
LIBS_CLI          := -lcurl $(LIBS_COMMON)

.PHONY: always all deps deps-servers deps-tools server-programs unit-tests test one-test check check-layout check-unit messages ceilings \
	check-integration check-servers matrix asan fuzz fuzzers soak simulate simulate-mutants model faults demo bench bench-quick coverage \
	analyze format info install clean compile_commands.json
.DELETE_ON_ERROR:
.SECONDARY:

# The number after .so is that of the binary interface: it changes when a program that was linked
# with an older library would not run.
LIBBATON_VERSION := 0.1.0
LIBBATON_SONAME  := libbaton.so.0
LIBBATON_SO      := $(BUILD)/libbaton.so.$(LIBBATON_VERSION)
LIBBATON := $(BUILD)/libbaton.a $(LIBBATON_SO) $(BUILD)/libbaton.header
LIBBATON_OBJECTS := $(patsubst %.c,$(BUILD)/obj/libbaton/%.o,$(wildcard agent/libbaton/*.c) \
		    common/address.c common/clock.c common/error.c)

# Preloaded by test_faults.py, so without sanitizers, whatever the rest has.
INTERPOSER := $(BUILD)/tests/faults/interpose.so

# Counts system calls for tests/integration/counts.py.
CALLS := $(BUILD)/tests/counts/calls.bpf.o

all: $(PROGRAMS) $(LIBBATON) $(EXTRAS) $(INTERPOSER) $(CALLS)

# Everything that building, "make check" and "make demo" need.
deps: deps-servers

deps-servers:
	$(Q)tests/deps --servers

# What "make coverage" and "make analyze" need beside that.
deps-tools:
	$(Q)tests/deps --tools

# ---- programs and libraries ------------------------------------------------------------------

$(BUILD)/batond: $(BUILD)/obj/orchestrator/main.o $(LIB_ORCHESTRATOR) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -pie -o $@ $< $(call group,$(filter %.a,$^)) $(LIBS_ORCHESTRATOR)

$(BUILD)/baton-agent: $(BUILD)/obj/agent/main.o $(LIB_AGENT) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -pie -o $@ $^ $(LIBS_AGENT)

$(BUILD)/baton: $(BUILD)/obj/cli/main.o $(LIB_CLI) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -pie -o $@ $^ $(LIBS_CLI)

$(BUILD)/bench/hammer: $(BUILD)/obj/bench/hammer.o $(LIB_BENCH) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -o $@ $^ $(LIBS_COMMON)

$(BUILD)/bench/tiers: $(BUILD)/obj/bench/tiers.o $(LIB_ORCHESTRATOR) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -o $@ $< $(call group,$(filter %.a,$^)) $(LIBS_ORCHESTRATOR)

$(BUILD)/examples/%: $(BUILD)/obj/examples/%.o
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -o $@ $^

$(LIB_COMMON): $(call library_of,common)
$(BUILD)/liborchestrator-daemon.a: $(call library_of,orchestrator)
$(foreach f,$(filter-out daemon,$(FLOORS)),\
	$(eval $(BUILD)/liborchestrator-$f.a: $$(call library_of,orchestrator/$f)))
$(LIB_AGENT): $(call library_of,agent)
$(LIB_PURE): $(PURE:%=$(BUILD)/obj/%.o)
$(LIB_CLI): $(call library_of,cli)
$(LIB_FUZZ): $(filter-out %/fuzz_entry.o,$(call library_of,tests/fuzz))
$(LIB_BENCH): $(filter-out $(BUILD)/obj/bench/hammer.o $(BUILD)/obj/bench/tiers.o,$(call library_of,bench))

# Rollouts as they are, and the agents' machine. What they call of other modules is played by
# tests/sim under the same names.
SIM_REAL := $(addprefix orchestrator/,rollout/rollout rollout/choose rollout/run rollout/run_base \
		rollout/run_act rollout/run_look rollout/run_drain rollout/run_tell \
		rollout/run_result \
		instance/instance_set instance/instance_phase event/event \
		config/config_signal) \
	    agent/lifecycle $(addprefix common/,address backoff duration error vector)
$(LIB_SIM): $(call library_of,tests/sim) $(SIM_REAL:%=$(BUILD)/obj/%.o)
# tests/sim/witness.c sees what passes.
SIM_WRAP := -Wl,--wrap=rollout_step,--wrap=run_act

# Whatever the order of the archives.
group = -Wl,--start-group $(1) -Wl,--end-group

# Thin: an archive only names its objects, and the linker says which of them it took.
$(BUILD)/lib%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcsT $@ $^

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# What is compiled with other flags than last time is compiled again. FLAGS and BPF_FLAGS are set
# here, since ALL_CFLAGS in a recipe has what a target adds to it.
FLAGS     := $(CC) $(ALL_CFLAGS) $(LINKFLAGS)
BPF_FLAGS := $(CLANG) $(BPF_CFLAGS)
$(BUILD)/flags $(BUILD)/bpf-flags: always
	$(Q)mkdir -p $(@D)
	$(Q)echo '$($(if $(filter %/flags,$@),FLAGS,BPF_FLAGS))' > $@.now
	$(Q)if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

# Only these include skeletons.
$(filter-out $(PURE:%=$(BUILD)/obj/%.o),$(call library_of,orchestrator/steer)) \
	$(call library_of,orchestrator/doctor): | $(SKELETONS)
$(filter-out $(PURE_TESTS:$(BUILD)/%=$(BUILD)/obj/%.o),$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/unit/steer/*.c tests/unit/doctor/*.c))): \
	| $(SKELETONS)

$(INTERPOSER): tests/faults/interpose.c
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 -g $(filter-out -Wmissing-prototypes,$(WARNINGS)) -D_GNU_SOURCE -fPIC -shared -o $@ $< -ldl

# ---- libbaton, for servers --------------------------------------------------------------------

# As position independent code, and with everything hidden but what agent/baton.h declares: also
# in the static library, whose objects are joined so that their own names can be made local.
$(BUILD)/obj/libbaton/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

$(BUILD)/obj/libbaton.o: $(LIBBATON_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LD) -r -o $@ $^ && objcopy --localize-hidden $@

$(BUILD)/libbaton.a: $(BUILD)/obj/libbaton.o
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(LIBBATON_SO): $(LIBBATON_OBJECTS) agent/libbaton/libbaton.map
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -shared -Wl,-soname,$(LIBBATON_SONAME) -o $@ \
		-Wl,--version-script,agent/libbaton/libbaton.map $(LIBBATON_OBJECTS)
	$(Q)ln -sf $(@F) $(BUILD)/$(LIBBATON_SONAME)
	$(Q)ln -sf $(LIBBATON_SONAME) $(BUILD)/libbaton.so

# Other people's compilers read the header: C99, and C++ without its library, which may be absent.
$(BUILD)/libbaton.header: agent/baton.h
	$(call say,HEADER,$<)
	$(Q)for language in 'c -std=c99' 'c++ -nostdinc++ -std=c++98'; do \
		printf '#include "agent/baton.h"\nstruct baton_options o = BATON_OPTIONS_INIT;\n' | \
		$(CLANG) -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only -x $$language - || exit; \
	done
	$(Q)touch $@

# As a user's would be compiled and linked.
$(BUILD)/obj/examples/libbaton_server.o: private ALL_CFLAGS += -idirafter agent
$(BUILD)/examples/libbaton_server: $(BUILD)/libbaton.a
$(filter $(BUILD)/tests/unit/agent/test_libbaton%,$(UNIT_TESTS)): $(BUILD)/libbaton.a

# They start it.
$(filter $(BUILD)/tests/unit/agent/test_agent_%,$(UNIT_TESTS)): | $(BUILD)/baton-agent

# ---- BPF -------------------------------------------------------------------------------------

$(BUILD)/ebpf/%.bpf.o: ebpf/%.bpf.c $(BUILD)/bpf-flags
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(CALLS): tests/counts/calls.bpf.c $(BUILD)/bpf-flags
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/ebpf/%.skel.h: $(BUILD)/ebpf/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)(echo '#pragma GCC system_header'; $(if $(wildcard ebpf/$*.h),echo '#include "ebpf/$*.h"';) \
		$(BPFTOOL) gen skeleton $< name $*_bpf) > $@

# ---- tests -----------------------------------------------------------------------------------

# A test that defines a function itself does not get it from a library: that is how a module is
# replaced by a fake. A test depends on the objects that it was linked with (its .link.d), not on
# whole libraries: an edit of one module links again only what uses it.
link_test = $(CC) $(ALL_CFLAGS) $(LINKFLAGS) -Wl,-t -o $@ $< $(call group,$(1)) $(2) -lcmocka -lm > $@.linked && \
	sed -n 's|^\($(BUILD)/obj/.*\.o\)$$|$@: \1\n\1:|p' $@.linked > $@.link.d && rm $@.linked

# A test links with the floor of its folder and those below it; LINKS_view has what the tests in
# tests/unit/view link with. So a test of host/ needs no skeleton, hence neither clang nor bpftool.
LINKS_common   := host
LINKS_host     := host
LINKS_config   := config $(LINKS_host)
LINKS_release  := release $(LINKS_config)
LINKS_steer    := steer $(LINKS_config)
LINKS_health   := health $(LINKS_steer)
LINKS_event    := event rollout $(LINKS_config)
LINKS_instance := instance event release $(LINKS_health)
# What is told is looked at as JSON: so these link with view/, which is above them.
LINKS_rollout  := view rollout $(LINKS_instance)
LINKS_service  := api view service rollout $(LINKS_instance)
LINKS_view     := $(LINKS_service)
LINKS_api      := $(LINKS_service)
LINKS_doctor   := doctor $(LINKS_steer)
LINKS_agent    := instance host
LINKS_cli      :=
LINKS_bench    :=
LINKS_sim      :=
LINKS_fuzz     := $(LINKS_service)
TEST_LIBS_agent := $(LIB_AGENT)
TEST_LIBS_cli   := $(LIB_CLI)
TEST_LIBS_bench := $(LIB_BENCH)
TEST_LIBS_fuzz  := $(LIB_FUZZ) $(LIB_AGENT)
test_libraries = $(TEST_LIBS_$(1)) $(LINKS_$(1):%=$(BUILD)/liborchestrator-%.a) $(LIB_COMMON)

$(PURE_TESTS): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o | $(LIB_PURE) $(LIB_COMMON)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(call link_test,$(LIB_PURE) $(LIB_COMMON),-ljansson)

# $(1): a folder of tests/unit
define test_folder
$(BUILD)/tests/unit/$(1)/%: $(BUILD)/obj/tests/unit/$(1)/%.o | $(call test_libraries,$(1))
	$$(call say,LINK,$$@)
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(call link_test,$$(filter %/libbaton.a,$$^) $(call test_libraries,$(1)),$(LIBS_ORCHESTRATOR))
endef
$(foreach f,$(notdir $(patsubst %/,%,$(sort $(dir $(wildcard tests/unit/*/test_*.c))))),\
	$(eval $(call test_folder,$f)))

$(BUILD)/tests/sim/simulate: $(BUILD)/obj/tests/sim/main.o $(LIB_SIM)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) $(SIM_WRAP) -o $@ $^

# What it plays has the names of what is real.
$(BUILD)/tests/unit/sim/test_simulate: $(BUILD)/obj/tests/unit/sim/test_simulate.o $(LIB_SIM)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) $(SIM_WRAP) -o $@ $^ -lcmocka

# It is run.
$(BUILD)/tests/unit/sim/test_model: | $(BUILD)/tests/sim/simulate

# Servers that replace themselves, for tests/run servers:$(BUILD) and bench/instead only.
PROGRAMS_FOLDER := tests/servers/programs
SERVER_PROGRAMS := $(addprefix $(BUILD)/tests/servers/,epoll asio fork_exec go)
CXXFLAGS = -std=c++17 $(filter-out -std=% -Wstrict-prototypes -Wmissing-prototypes,$(ALL_CFLAGS))
server-programs: $(SERVER_PROGRAMS)

$(BUILD)/tests/servers/epoll: $(BUILD)/obj/$(PROGRAMS_FOLDER)/epoll.o
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINKFLAGS) -o $@ $^

$(BUILD)/tests/servers/%: $(PROGRAMS_FOLDER)/%.cc $(BUILD)/flags
	$(call say,CXX,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS) -DASIO_STANDALONE $(LINKFLAGS) -pthread -MF $@.d -o $@ $<

# Without modules, a network, a home or a C compiler.
$(BUILD)/tests/servers/go: $(PROGRAMS_FOLDER)/go/main.go
	$(call say,GO,$@)
	$(Q)mkdir -p $(@D)
	$(Q)env GO111MODULE=off GOFLAGS= CGO_ENABLED=0 GOPATH=$(abspath $(BUILD))/go/path \
		GOCACHE=$(abspath $(BUILD))/go/cache $(GO) build -o $@ $<

# By its name, too: a file that is only another one's prerequisite is not made again if it is missing.
unit-tests: $(UNIT_TESTS) $(BUILD)/tests/sim/simulate

# Each target for FUZZ_SECONDS, with clang's libFuzzer and the sanitizers. What it finds is in
# build/fuzz/found; what it learns is in build/fuzz/corpus. make fuzz T=config: one of them.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(shell sed -n 's/^\tX(\([a-z]*\)).*/\1/p' tests/fuzz/fuzz.h)
fuzz:
	$(Q)$(MAKE) --no-print-directory BUILD=build/fuzz CC=$(CLANG) WERROR=0 HARDENING= \
		SANFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer \
		-fno-sanitize-recover=undefined' CFLAGS='-O1 -g -Wno-unknown-warning-option' fuzzers
	$(Q)tests/fuzz/run build/fuzz $(FUZZ_SECONDS) $(or $(T),$(FUZZ_TARGETS))

# Everything that happens to a batond in years, for SOAK_SECONDS; "make check" does it for two minutes.
SOAK_SECONDS ?= 3600
soak: all
	$(Q)SOAK_SECONDS=$(SOAK_SECONDS) SOAK_REPORT=$(abspath $(BUILD))/soak.txt TEST_TIMEOUT=$$((2 * $(SOAK_SECONDS) + 300)) \
		tests/run integration:$(BUILD) test_soak
	$(Q)cat $(BUILD)/soak.txt

fuzzers: $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/entry/%.o: tests/fuzz/fuzz_entry.c $(BUILD)/flags
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DFUZZ_TARGET=fuzz_$* -c -o $@ $<

$(BUILD)/fuzz/%: $(BUILD)/fuzz/entry/%.o $(call test_libraries,fuzz)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(LINKFLAGS) -o $@ $< $(call group,$(call test_libraries,fuzz)) \
		$(LIBS_ORCHESTRATOR)

# A make that was not told how many commands to run at a time runs as many as there are processors.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# Everything: where the code lies, what it says, unit tests with sanitizers, integration tests without and with
# them, real servers in every mode. One total.
check:
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory WERROR=1 check-layout all server-programs
	$(Q)$(MAKE) $(PARALLEL) --no-print-directory WERROR=1 SANITIZE=1 all unit-tests
	$(Q)tests/run --jobs 3 --idle 3 layout:build messages:build unit:build/asan integration:build \
		integration:build/asan servers:build

# Which module uses which: no arrow up, no ring, pure modules pure (see tests/layout/check).
LAYOUT_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard agent/*.c bench/*.c cli/*.c common/*.c \
		  examples/*.c orchestrator/*.c orchestrator/*/*.c)) $(LIBBATON_OBJECTS)
check-layout: $(LAYOUT_OBJECTS)
	$(Q)tests/layout/check $(BUILD) --pure '$(PURE)'

# Every text that a user can see, by kind: make messages KIND=refusal
messages:
	$(Q)tests/messages/list $(if $(KIND),'$(KIND)')

check-unit:
	$(Q)$(MAKE) --no-print-directory WERROR=1 SANITIZE=1 unit-tests
	$(Q)tests/run --jobs 4 unit:build/asan

# The tests of one module: make test T=table. T may also be a test program, a folder of tests/unit,
# or a part of a test's name. Only what these tests need is built.
test:
	$(if $(T),,$(error say which: make test T=table))
	$(Q)$(MAKE) --no-print-directory WERROR=1 SANITIZE=1 one-test

ifneq ($(filter one-test,$(MAKECMDGOALS)),)
ONE_TEST := $(shell tests/run unit:$(BUILD) --of '$(T)' --programs)
$(if $(ONE_TEST),,$(error nothing to run))
endif
one-test: $(ONE_TEST)
	$(Q)tests/run --jobs 4 unit:$(BUILD) --of '$(T)'

# What things cost in calls, runs and pages (tests/integration/counts.py), counted and recorded anew.
ceilings: all
	$(Q)BATON_RECORD_CEILINGS=1 tests/run integration:$(BUILD) \
		$(or $(T),test_counts. test_path. test_many. test_idle.)

check-integration: all
	$(Q)tests/run integration:$(BUILD)

# nginx, haproxy, caddy, gunicorn, node and python3, swapped under load in every mode they can do.
check-servers: all server-programs
	$(Q)tests/run servers:$(BUILD)

# Every process killed and stopped at every step of a rollout, against docs/fault-matrix.md (needs root):
# make matrix JOBS=4 CELLS='tier=ebpf step=bake,drain'
JOBS  ?= 4
CELLS ?=
matrix: all
	$(Q)python3 -B tests/integration/test_fault_matrix.py $(BUILD) --jobs $(JOBS) $(CELLS)

asan:
	$(Q)$(MAKE) --no-print-directory SANITIZE=1 all unit-tests
	$(Q)tests/run unit:build/asan integration:build/asan

# Random worlds for real rollouts and the agents' machine: make simulate STEPS=1000000 SEED=42
STEPS ?= 10000000
SEED  ?=
simulate: $(BUILD)/tests/sim/simulate
	$(Q)$< --steps $(STEPS) $(if $(SEED),--seed $(SEED))

# Shows that the simulator finds bugs.
simulate-mutants:
	$(Q)CC="$(CC)" REAL="$(SIM_REAL:%=%.c)" WRAP="$(SIM_WRAP)" tests/sim/mutants $(BUILD)/mutants

# Every state of the rollout's model.
model: $(BUILD)/tests/sim/simulate
	$(Q)tests/model/check $(BUILD)/model $<

# Every call of a rollout that can fail, one after the other, in batond and in agents, on each tier: about
# one to three hours on two cores. FAULTS=17: each 17th.
FAULTS ?= 1
faults: all
	$(Q)BATON_FAULTS=$(FAULTS) TEST_TIMEOUT=36000 tests/run --jobs 2 integration:$(BUILD) test_faults.

demo: all
	$(Q)examples/demo $(BUILD)

# Everything that is measured, into bench/results: half an hour, on a machine that does nothing else. Or in two
# minutes, to see that it works. Each program under bench/ also runs by itself.
bench: all server-programs
	$(Q)bench/all $(BUILD) full

bench-quick: all server-programs
	$(Q)bench/all $(BUILD) quick

# ---- the rest --------------------------------------------------------------------------------

format:
	$(Q)clang-format -i $$(git ls-files '*.c' '*.cc' '*.h')

# How much of the product the unit tests reach; the pages are in build/coverage/html. A few tests fail
# here, since gcov writes from processes whose output or rights they look at: what counts is "make
# check-unit".
COVERAGE := build/coverage
lcov = lcov --quiet $(1) 2> $(COVERAGE)/lcov.log || { cat $(COVERAGE)/lcov.log; exit 1; }
coverage:
	$(Q)tests/deps --tools --check
	$(Q)$(MAKE) --no-print-directory BUILD=$(COVERAGE) SANITIZE=0 CFLAGS='-O0 -g --coverage' unit-tests
	$(Q)find $(COVERAGE)/obj -name '*.gcda' -delete
	$(Q)GCOV_ERROR_FILE=/dev/null tests/run --jobs 2 unit:$(COVERAGE) > $(COVERAGE)/tests.log; \
		tail -n 1 $(COVERAGE)/tests.log
	$(Q)$(call lcov,--capture --directory $(COVERAGE)/obj --base-directory . --no-external \
		--output-file $(COVERAGE)/all.info)
	$(Q)$(call lcov,--extract $(COVERAGE)/all.info $(foreach f,agent cli common orchestrator,'$(CURDIR)/$f/*') \
		--output-file $(COVERAGE)/product.info)
	$(Q)genhtml --quiet --prefix $(CURDIR) --output-directory $(COVERAGE)/html $(COVERAGE)/product.info
	$(Q)lcov --summary $(COVERAGE)/product.info | sed -n 's/^ *lines[.]*/lines/p'

# clang-tidy over every source but the tests'; each warning is an error. FILES=... for some only.
FILES ?= $(wildcard agent/*.c agent/libbaton/*.c bench/*.c cli/*.c common/*.c examples/*.c \
	 orchestrator/*.c orchestrator/*/*.c tests/sim/*.c)
analyze: $(SKELETONS)
	$(Q)tests/deps --tools --check
	$(Q)tests/analyze/check "$(subst ",\",$(filter-out -D_FORTIFY_SOURCE=%,$(filter -std=% -D% -I%,$(ALL_CFLAGS)))) -idirafter agent" $(FILES)

# Verifier statistics of the BPF programs (needs root).
info: $(SKELETONS)
	$(Q)for o in $(SKELETONS:.skel.h=.bpf.o); do tests/verifier-info $$o; done

install: $(PROGRAMS) $(LIBBATON)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/libexec/baton
	install -m 755 $(BUILD)/baton $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BUILD)/batond $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(BUILD)/baton-agent $(DESTDIR)$(PREFIX)/libexec/baton/
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(PREFIX)/share/man/man3
	install -m 644 agent/baton.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(BUILD)/libbaton.a $(LIBBATON_SO) $(DESTDIR)$(LIBDIR)/
	ln -sf libbaton.so.$(LIBBATON_VERSION) $(DESTDIR)$(LIBDIR)/$(LIBBATON_SONAME)
	ln -sf $(LIBBATON_SONAME) $(DESTDIR)$(LIBDIR)/libbaton.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		agent/libbaton/libbaton.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libbaton.pc
	install -m 644 docs/man/libbaton.3 $(DESTDIR)$(PREFIX)/share/man/man3/
	install -m 755 packaging/systemd/systemd-stop $(DESTDIR)$(PREFIX)/libexec/baton/
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(PREFIX)/share/doc/baton
	sed 's|@PREFIX@|$(PREFIX)|' packaging/systemd/baton.service.in > $(DESTDIR)$(UNITDIR)/baton.service
	install -m 644 README.md SECURITY.md $(DESTDIR)$(PREFIX)/share/doc/baton/

compile_commands.json:
	$(Q)bear -- $(MAKE) -B all unit-tests

clean:
	rm -rf build compile_commands.json

# Of sources that are gone nothing is left: neither objects in archives nor programs that need them.
MADE  := $(shell find $(BUILD)/obj $(BUILD)/tests $(BUILD)/ebpf -name '*.[do]' 2>/dev/null)
NAMES := $(patsubst libbaton/%,%,$(patsubst $(BUILD)/obj/%.o,%,$(filter $(BUILD)/obj/%.o,$(MADE))))
GONE  := $(filter-out libbaton $(basename $(wildcard $(NAMES:=.c))),$(NAMES))
ifneq ($(GONE),)
$(shell rm -f $(BUILD)/lib*.a $(foreach g,$(GONE),$(addprefix $(BUILD)/obj/,$g.o $g.d libbaton/$g.o libbaton/$g.d) \
	$(BUILD)/$g $(BUILD)/$g.link.d))
endif
-include $(wildcard $(filter %.d,$(MADE)))
# A program of which it is not known what it was linked with is linked again.
$(filter-out $(patsubst %.link.d,%,$(filter %.link.d,$(MADE))),$(filter-out %/test_simulate,$(UNIT_TESTS))): FORCE
FORCE:
