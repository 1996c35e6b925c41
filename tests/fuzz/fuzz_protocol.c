/* SPDX-License-Identifier: BSD-2-Clause */
/* Between batond and its agents, and from servers to agents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/notify.h"
#include "common/handover.h"
#include "common/protocol.h"
#include "tests/fuzz/fuzz.h"

/* What is sent on is understood, and says the same. */
static void must_come_back(const struct report *report)
{
	char *text = NULL, *again = NULL;
	struct report back;
	struct error err;
	size_t n, n_again;

	if (report_encode(report, &text, &n) < 0)
		return;
	FUZZ_MUST(report_decode(text, n, &back, &err) == 0);
	FUZZ_MUST(report_encode(&back, &again, &n_again) == 0);
	FUZZ_MUST(n == n_again && memcmp(text, again, n) == 0);
	free(text);
	free(again);
}

void fuzz_report(const uint8_t *data, size_t size)
{
	struct report report;
	struct error err;
	int r = report_decode((const char *)data, size, &report, &err);

	FUZZ_MUST(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	FUZZ_MUST((unsigned)report.type < _REPORT_TYPE_COUNT);
	FUZZ_MUST((unsigned)report.state < _AGENT_STATE_COUNT);
	FUZZ_MUST(report.n_sockets <= PROTOCOL_SOCKETS_MAX);
	for (size_t i = 0; i < report.n_sockets; i++)
		FUZZ_MUST(report.sockets[i].endpoint < PROTOCOL_LISTEN_MAX);
	FUZZ_MUST(report.n_strangers <= PROTOCOL_STRANGERS_MAX);
	FUZZ_MUST(report.pid >= 0 && report.agent_pid >= 0);
	FUZZ_MUST(strnlen(report.text, sizeof(report.text)) < sizeof(report.text));
	FUZZ_MUST(strnlen(report.tail, sizeof(report.tail)) < sizeof(report.tail));
	must_come_back(&report);
}

void fuzz_order(const uint8_t *data, size_t size)
{
	struct order order, back;
	struct error err;
	char *text = NULL;
	size_t n;
	int r = order_decode((const char *)data, size, &order, &err);

	FUZZ_MUST(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	FUZZ_MUST((unsigned)order.type < _ORDER_TYPE_COUNT);
	FUZZ_MUST(order.signal >= 0 && order.signal <= 64);
	if (order_encode(&order, &text, &n) < 0)
		return;
	FUZZ_MUST(order_decode(text, n, &back, &err) == 0);
	FUZZ_MUST(back.type == order.type && back.signal == order.signal);
	free(text);
}

static void check_spec(const struct launch_spec *spec)
{
	FUZZ_MUST(spec->n_listen <= PROTOCOL_LISTEN_MAX);
	FUZZ_MUST(spec->n_groups <= PROTOCOL_GROUPS_MAX);
	FUZZ_MUST((unsigned)spec->mode < _SOCKETS_COUNT);
	FUZZ_MUST(spec->service && spec->argv && spec->argv[0] && spec->environment);
	FUZZ_MUST(spec->executable[0] == '/' && spec->directory[0] == '/');
	FUZZ_MUST(!spec->cgroup || spec->cgroup[0] == '/');
}

void fuzz_spec(const uint8_t *data, size_t size)
{
	struct launch_spec spec, back;
	struct error err;
	char *text = NULL;
	size_t n;
	int r = launch_spec_decode((const char *)data, size, &spec, &err);

	FUZZ_MUST(r == 0 || r == -EBADMSG);
	if (r < 0)
		return;
	check_spec(&spec);
	if (launch_spec_encode(&spec, &text, &n) == 0) {
		FUZZ_MUST(launch_spec_decode(text, n, &back, &err) == 0);
		launch_spec_done(&back);
		free(text);
	}
	launch_spec_done(&spec);
}

/* A file of another boot is not looked at any further: so it is made one of this. */
static void make_of_this_boot(char *text)
{
	static char id[37];
	char *at = strstr(text, "\"boot_id\":\"");
	FILE *file;

	if (!id[0]) {
		file = fopen("/proc/sys/kernel/random/boot_id", "re");
		FUZZ_MUST(file && fread(id, 1, 36, file) == 36);
		fclose(file);
	}
	if (at && strlen(at) >= 11 + 36)
		memcpy(at + 11, id, 36);
}

void fuzz_handover(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct handover handover = {};
	struct error err;

	make_of_this_boot(text);
	if (handover_read(fuzz_file((uint8_t *)text, size), &handover, &err) == 0) {
		check_spec(&handover.spec);
		(void)handover_is_alive(&handover);
	}
	handover_done(&handover);
	fuzz_folder_done();
	free(text);
}

void fuzz_notify(const uint8_t *data, size_t size)
{
	struct notify_message message;

	notify_parse((const char *)data, size, &message);
	FUZZ_MUST(message.main_pid >= 0);
	if (message.has_status)
		fuzz_must_be_clean(message.status, strnlen(message.status, sizeof(message.status)),
				   1);
}
