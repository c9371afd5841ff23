# SPDX-License-Identifier: ISC
# Caronte: one non-recursive makefile. `make help` lists what it does.
#
# It calls itself only for the same tree in another build folder: $(BUILD)-asan and $(BUILD)-fuzz.
VERSION := 0.1.0
BUILD   ?= build
PYTHON  ?= /usr/bin/python3
ifeq ($(origin CC),default)
CC := gcc
endif

prefix     ?= /usr/local
sbindir    ?= $(prefix)/sbin
mandir     ?= $(prefix)/share/man
datadir    ?= $(prefix)/share/caronte
sysconfdir ?= /etc
systemdunitdir ?= $(prefix)/lib/systemd/system
docdir     ?= $(prefix)/share/doc/caronte
bashcompletiondir ?= $(prefix)/share/bash-completion/completions
DESTDIR    ?=

# Folders of the library.
MODULES := base config io smtp policy route xmllog shared tls dialog check runtime upstream \
           session door worker status master

# What menuconfig, defconfig and savedefconfig work on.
CONFIG    ?= $(or $(KCONFIG_CONFIG),.config)
DEFCONFIG ?= defconfig

FUZZ_SECONDS ?= 60

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

# ---- packages and flags -----------------------------------------------------------------------
# The first thing made is packages.mk: it sees to the packages that the build needs, and make then
# starts again with what they bring. Who asks for tests is told of theirs at once too, and not only
# when all is compiled.
PKGS := liburing libxml-2.0 libcap-ng libssl libcrypto libmicrohttpd jansson
needed := build \
          $(if $(filter-out check-e2e,$(filter check% tests asan fuzz,$(MAKECMDGOALS))),check) \
          $(if $(filter analyze,$(MAKECMDGOALS)),analyze)

$(BUILD)/packages.mk: tools/packages tools/need $(firstword $(MAKEFILE_LIST))
	@mkdir -p $(@D)
	@tools/need $(needed)
	@echo "PKG_CFLAGS := $$(pkg-config --cflags $(PKGS))" >$@.tmp
	@echo "PKG_LIBS := $$(pkg-config --libs $(PKGS))" >>$@.tmp
	@mv $@.tmp $@

ifneq ($(filter-out help clean layers tidy format format-check,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/packages.mk
endif

# Those of a group, once for each build folder: packages-check, packages-analyze, packages-e2e,
# packages-long, packages-run. Where one of the last three is missing, something is left out.
$(BUILD)/packages-%: tools/packages tools/need
	@mkdir -p $(@D)
	@tools/need $(if $(filter e2e long run,$*),--wanted) $*
	@touch $@

# Mail servers that the end-to-end tests start themselves; peers of the benchmarks, of which one
# comes from a newer Debian. Not both at a time: a package may be in both groups.
$(BUILD)/unpacked/.done: tools/packages tools/need
	@mkdir -p $(@D)
	@tools/need --unpack $(@D) unpack
	@touch $@
$(BUILD)/unpacked/.kernel: tools/packages tools/need | $(BUILD)/unpacked/.done
	@tools/need --unpack $(@D) kernel
	@touch $@
$(BUILD)/unpacked/.bench: tools/packages tools/need tools/unpack-newer | $(BUILD)/unpacked/.done
	@tools/need --unpack $(@D) bench
	@tools/unpack-newer $(@D) haproxy 3.2 forky
	@touch $@

OPT      ?= -O2 -g
SANITIZE ?=
CFLAGS   += -std=gnu11 $(OPT) -Wall -Wextra -Werror -Wconversion -fno-strict-aliasing \
            -fstack-protector-strong -fPIE $(SANITIZE)
CPPFLAGS += -D_GNU_SOURCE -DCARONTE_VERSION='"$(VERSION)"' -DCARONTE_SYSCONFDIR='"$(sysconfdir)"' \
            -Isrc -I$(BUILD)/gen $(PKG_CFLAGS)
LDFLAGS  += -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE)
LDLIBS   += $(PKG_LIBS) -lpthread -lm

# Files that change only when what is in them does: other flags compile again, another list of
# objects packs the library again.
define keep
$(BUILD)/$(1): FORCE
	@mkdir -p $$(@D)
	$$(file >$$@.now,$(2))
	@if cmp -s $$@.now $$@; then rm $$@.now; else mv $$@.now $$@; fi
endef
$(eval $(call keep,flags,$$(CC) $$(CPPFLAGS) $$(CFLAGS)))
$(eval $(call keep,objects,$$(OBJS)))
FORCE:

# ---- the table of settings, from the Kconfig tree ----------------------------------------------
KCONFIGS := Kconfig $(wildcard src/*/Kconfig)
SETTINGS := $(addprefix $(BUILD)/,gen/config/settings.h gen/config/settings.c man/caronte.conf.5 \
            caronte.conf)

$(SETTINGS) &: tools/gen-settings tools/caronte.conf.5.in $(KCONFIGS)
	$(say) GEN $(BUILD)/gen/config/settings.h
	$(Q)$(PYTHON) tools/gen-settings --header $(BUILD)/gen/config/settings.h \
		--table $(BUILD)/gen/config/settings.c --man $(BUILD)/man/caronte.conf.5 \
		--conf $(BUILD)/caronte.conf

# ---- objects, library, programs ----------------------------------------------------------------
SRCS := $(sort $(foreach m,$(MODULES),$(wildcard src/$(m)/*.c)))
LIB  := $(BUILD)/libcaronte.a
OBJS := $(SRCS:%.c=$(BUILD)/%.o) $(BUILD)/gen/config/settings.o

$(BUILD)/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/config/settings.h
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(OBJS) $(BUILD)/objects
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(OBJS)

# A program is all objects of its sources and what it uses of the library: $(1) name, $(2) sources.
define program
ifneq ($(2),)
PROGRAMS += $(BUILD)/$(1)
$(BUILD)/$(1): $(patsubst %.c,$(BUILD)/%.o,$(2)) $(LIB)
	$$(say) LD $$@
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endif
endef
PROGRAMS :=
$(eval $(call program,caronte,$(wildcard src/main.c)))
$(eval $(call program,caronte-sink,$(wildcard src/sink/*.c)))
$(eval $(call program,carontectl,$(wildcard src/ctl/*.c)))
$(eval $(call program,caronte-load,$(wildcard bench/*.c)))

all: $(PROGRAMS) $(BUILD)/man/caronte.conf.5 $(BUILD)/caronte.conf

# ---- tests -------------------------------------------------------------------------------------
# tests/KIND/test_X.c is a program of its own, linked with the other sources of its folder and the
# library. $(1) kind, $(2) prefix of the programs, $(3) what to link beside, $(4) instead of the
# library.
define tests
TESTS_$(1) := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/$(2)_*.c))
$(BUILD)/tests/$(1)/$(2)_%: $(BUILD)/tests/$(1)/$(2)_%.o $(patsubst %.c,$(BUILD)/%.o,$(filter-out \
		tests/$(1)/$(2)_%,$(wildcard tests/$(1)/*.c))) $(or $(4),$(LIB))
	$$(say) LD $$@
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $(3) $$(LDLIBS)
endef
# The dialog knows no socket, clock or configuration: it links without them.
DIALOG_OBJS := $(foreach m,base shared smtp policy xmllog dialog,\
               $(filter $(BUILD)/src/$(m)/%,$(OBJS)))
$(eval $(call tests,unit,test,-lcmocka))
$(eval $(call tests,dialog,test,-lcmocka,$(DIALOG_OBJS)))
$(eval $(call tests,engine,test,-lcmocka))
$(eval $(call tests,fuzz,fuzz,-fsanitize=fuzzer))
C_TESTS := $(TESTS_unit) $(TESTS_dialog) $(TESTS_engine)

# Test sources need the packages of the tests, before they compile.
$(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/*/*.c)): | $(BUILD)/packages-check

tests: all $(C_TESTS)

ASAN := $(BUILD)-asan
FUZZ := $(BUILD)-fuzz
sanitizers := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

build-asan: | $(BUILD)/packages-check
	$(Q)$(MAKE) BUILD=$(ASAN) SANITIZE='$(sanitizers)' tests

build-fuzz: | $(BUILD)/packages-check
	$(Q)$(MAKE) BUILD=$(FUZZ) CC=clang \
		SANITIZE='$(sanitizers) -fsanitize=fuzzer-no-link' fuzz-programs
fuzz-programs: $(TESTS_fuzz)

# Every source with the other compiler; the fuzz targets' library is its work too.
CLANG_OKS := $(patsubst %.c,$(BUILD)/clang/%.ok,$(SRCS) $(wildcard src/main.c src/sink/*.c \
             src/ctl/*.c bench/*.c tests/unit/*.c tests/dialog/*.c tests/engine/*.c))
$(BUILD)/clang/%.ok: %.c $(BUILD)/flags | $(BUILD)/gen/config/settings.h $(BUILD)/packages-check
	$(say) CLANG $<
	$(Q)mkdir -p $(@D)
	$(Q)clang $(CPPFLAGS) $(CFLAGS) -fsyntax-only -MMD -MP -MT $@ -MF $(@:.ok=.d) $<
	$(Q)touch $@
check-clang: $(CLANG_OKS)

check-man: $(BUILD)/man/caronte.conf.5 | $(BUILD)/packages-check
	$(say) MANDOC 'caronte.conf.5 doc/'
	$(Q)mandoc -T lint -W warning $^ $(wildcard doc/*.[1-8])

e2e-peers := $(BUILD)/packages-e2e $(BUILD)/unpacked/.done
run-tests  = $(PYTHON) tests/check --build $(BUILD)

check: layers tidy circles check-clang check-man tests build-asan build-fuzz | $(e2e-peers)
	$(Q)$(run-tests) --fuzz-seconds 3 unit dialog engine fuzz e2e asan
check-long: export CARONTE_LONG := 1
check-long: $(BUILD)/packages-long $(BUILD)/unpacked/.kernel
check-long: check
check-unit: tests
	$(Q)$(run-tests) unit dialog engine
check-e2e: all | $(e2e-peers)
	$(Q)$(run-tests) e2e
asan: build-asan | $(e2e-peers)
	$(Q)$(run-tests) asan
fuzz: build-fuzz
	$(Q)$(run-tests) --fuzz-seconds $(FUZZ_SECONDS) fuzz

run: all | $(BUILD)/packages-run
	$(Q)tools/run $(BUILD)

# BENCH= holds further arguments of bench/run.
bench: all $(BUILD)/unpacked/.bench $(BUILD)/packages-run
	$(Q)$(PYTHON) bench/run $(BENCH) $(BUILD)
bench-quick: all $(BUILD)/unpacked/.bench
	$(Q)$(PYTHON) bench/run --quick $(BENCH) $(BUILD)
bench-tls: all $(BUILD)/unpacked/.bench $(BUILD)/packages-run
	$(Q)$(PYTHON) bench/run --tls $(BENCH) $(BUILD)

# ---- checks of the sources ---------------------------------------------------------------------
C_FILES := $(wildcard src/*.[ch] src/*/*.[ch] tests/*/*.[ch] bench/*.[ch])

layers:
	$(say) LAYERS src
	$(Q)$(PYTHON) tools/layers

tidy:
	$(say) TIDY 'the tree'
	$(Q)$(PYTHON) tools/tidy

circles: all
	$(say) CIRCLES src
	$(Q)$(PYTHON) tools/circles $(BUILD)

format:
	@tools/need analyze
	clang-format -i $(C_FILES)
format-check:
	@tools/need analyze
	$(Q)clang-format --dry-run -Werror $(C_FILES)

# Checks of clang-tidy that find faults; those that are a matter of taste are left out.
TIDY_CHECKS := -*,clang-analyzer-*,bugprone-*,cert-err34-c,cert-fio38-c,misc-redundant-expression,$\
               performance-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,$\
               -bugprone-assignment-in-if-condition,-bugprone-narrowing-conversions,-bugprone-not-null-terminated-result,$\
               -bugprone-implicit-widening-of-multiplication-result,-performance-no-int-to-ptr,$\
               -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,$\
               -clang-analyzer-security.insecureAPI.strcpy
ANALYZED := $(wildcard src/*.c src/*/*.c)

analyze: format-check analyze-cppcheck $(ANALYZED:%.c=$(BUILD)/tidy/%.ok)
analyze-cppcheck: $(BUILD)/gen/config/settings.h | $(BUILD)/packages-analyze
	$(say) CPPCHK src
	$(Q)cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingInclude \
		--suppress=unknownMacro --suppress=ctunullpointer -D_GNU_SOURCE -Isrc \
		-I$(BUILD)/gen $(ANALYZED)
$(BUILD)/tidy/%.ok: %.c $(BUILD)/flags $(BUILD)/gen/config/settings.h | $(BUILD)/packages-analyze
	$(say) TIDY $<
	$(Q)mkdir -p $(@D)
	$(Q)clang-tidy --quiet --warnings-as-errors='*' --checks='$(TIDY_CHECKS)' $< -- \
		$(CPPFLAGS) $(CFLAGS) 2>$@.log || { cat $@.log; exit 1; }
	$(Q)touch $@

# ---- configuration -----------------------------------------------------------------------------
kconfig = KCONFIG_CONFIG='$(CONFIG)' $(PYTHON) -m

menuconfig:
	$(Q)$(kconfig) menuconfig
defconfig:
	$(Q)$(kconfig) alldefconfig
savedefconfig:
	$(Q)$(kconfig) savedefconfig --out '$(DEFCONFIG)'

# ---- installing --------------------------------------------------------------------------------
INSTALLED := $(filter-out %/caronte-load,$(PROGRAMS))

install: all
	install -d $(addprefix $(DESTDIR),$(sbindir) $(mandir)/man5 $(mandir)/man8 $(datadir) \
		$(sysconfdir)/caronte)
	install -m 755 $(INSTALLED) $(DESTDIR)$(sbindir)
	install -m 644 $(BUILD)/man/caronte.conf.5 $(DESTDIR)$(mandir)/man5
	$(if $(wildcard doc/*.5),install -m 644 $(wildcard doc/*.5) $(DESTDIR)$(mandir)/man5)
	install -m 644 $(filter-out %/caronte-load.8,$(wildcard doc/*.8)) $(DESTDIR)$(mandir)/man8
	install -d $(DESTDIR)$(docdir)
	install -m 644 doc/recipes.md $(DESTDIR)$(docdir)
	install -d $(DESTDIR)$(bashcompletiondir)
	install -m 644 completion/bash/caronte $(DESTDIR)$(bashcompletiondir)
	for name in carontectl caronte-sink; do \
		ln -sf caronte $(DESTDIR)$(bashcompletiondir)/$$name; done
	install -d $(DESTDIR)$(systemdunitdir)
	for unit in caronte.service caronte.socket; do \
		sed 's|/usr/local/sbin/|$(sbindir)/|; s|/etc/caronte/|$(sysconfdir)/caronte/|' \
			systemd/$$unit >$(DESTDIR)$(systemdunitdir)/$$unit || exit; done
	install -d $(DESTDIR)$(datadir)/fail2ban
	install -m 644 fail2ban/filter.conf fail2ban/jail.conf $(DESTDIR)$(datadir)/fail2ban
	install -m 644 $(wildcard src/xmllog/*.rng) $(DESTDIR)$(datadir)
	[ -e $(DESTDIR)$(sysconfdir)/caronte/caronte.conf ] || \
		install -m 644 $(BUILD)/caronte.conf $(DESTDIR)$(sysconfdir)/caronte/caronte.conf

clean:
	rm -rf $(BUILD) $(ASAN) $(FUZZ)

define HELP
make [all]         builds the programs and manual pages into $(BUILD)/
make run           starts Caronte and a sink, sends a message through, shows what became of it
make check         all tests, plain and under ASan and UBSan, a few seconds of fuzzing
make check-long    the same with every end-to-end test at full size, with both engines each time
make check-unit    unit, dialog and engine tests alone; check-e2e: the end-to-end tests alone
make asan          the tests under ASan and UBSan alone
make fuzz          every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)) seconds
make analyze       cppcheck, clang-tidy, and the layout as clang-format has it
make layers        checks that the folders of src/ include one another in one direction only,
                   and that io/stream.h alone touches connected sockets
make tidy          lengths, columns, where declarations stand, files that comments name
make circles       checks that no more than two files, of one folder of src/, call one another
make format        clang-format on all sources; format-check only says what it would change
make menuconfig    edits a configuration file: CONFIG=FILE ($(CONFIG))
make defconfig     writes a configuration file with every default: CONFIG=FILE ($(CONFIG))
make savedefconfig writes only what differs from the defaults: DEFCONFIG=FILE ($(DEFCONFIG))
make bench         measures Caronte and its peers, into $(BUILD)/bench-results (BENCH='--help')
make bench-quick   the same for the table of targets alone, in five minutes
make bench-tls     the same for TLS alone
make install       DESTDIR= prefix=$(prefix) sysconfdir=$(sysconfdir)
make clean         removes $(BUILD), $(ASAN) and $(FUZZ)

V=1 shows the commands; CC, OPT, SANITIZE and BUILD choose how it is built and where.
endef
help:
	$(info $(HELP))
	@:

.PHONY: all run check check-long check-unit check-e2e check-clang check-man asan fuzz analyze \
	analyze-cppcheck layers tidy circles format format-check menuconfig defconfig \
	savedefconfig bench bench-quick bench-tls install clean help tests build-asan build-fuzz \
	fuzz-programs FORCE

-include $(shell find $(addprefix $(BUILD)/,src tests bench gen clang) -name '*.d' 2>/dev/null)
