/* SPDX-License-Identifier: BSD-2-Clause */
#include "common/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fields.h"
#include "common/notify_path.h"
#include "common/processes.h"
#include "common/write_all.h"

/*
 * Three lines, each a JSON object: what is below, the hello, the launch specification. JSON has no
 * newline outside of strings if it is compact, and none inside.
 */
#define LINES     3
#define FIRST_MAX 4096
#define TEXT_MAX  (FIRST_MAX + PROTOCOL_MESSAGE_MAX + PROTOCOL_SPEC_MAX + LINES)

#define VERSION 1

#define NEW ".new" /* is being written */

int handover_path(const char *socket_path, char ret[static PATHS_MAX])
{
	size_t n = strlen(socket_path);

	if (n > 5 && strcmp(socket_path + n - 5, ".sock") == 0)
		n -= 5;
	return snprintf(ret, PATHS_MAX, "%.*s.handover", (int)n, socket_path) < PATHS_MAX
		       ? 0
		       : -ENAMETOOLONG;
}

void handover_remove(const char *socket_path)
{
	char path[PATHS_MAX], new[PATHS_MAX + 8];

	if (!socket_path[0] || handover_path(socket_path, path) < 0)
		return;
	notify_path_remove(socket_path);
	snprintf(new, sizeof(new), "%s" NEW, path);
	(void)unlink(new);
	(void)unlink(path);
}

void handover_done(struct handover *handover)
{
	if (handover)
		launch_spec_done(&handover->spec);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* 64-bit numbers travel as text: jansson's integers are signed. */
static json_t *number(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

#define BOOT_ID_MAX 40

static void read_boot_id(char ret[static BOOT_ID_MAX])
{
	cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, BOOT_ID_MAX - 1);

	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

static int encode_first(const struct handover *h, char **ret_text, size_t *ret_length)
{
	cleanup(json_decref) json_t *object = NULL;
	char boot_id[BOOT_ID_MAX];

	read_boot_id(boot_id);
	object = json_pack("{s:i, s:s, s:o, s:o, s:o, s:i, s:b, s:s, s:o, s:o}", "version", VERSION,
			   "boot_id", boot_id, "agent_started", number(h->agent_started), "started",
			   number(h->started), "deadline_ms", number(h->deadline_ms), "signal",
			   h->signal, "daemonises", h->daemonises, "notify_socket", h->notify_name,
			   "stdout", number(h->pipes[0]), "stderr", number(h->pipes[1]));
	return object ? fields_dump(object, FIRST_MAX, ret_text, ret_length) : -ENOMEM;
}

static int read_all(int fd, size_t max, char **ret_text, size_t *ret_length)
{
	cleanup_free char *text = malloc(max + 1);
	size_t length = 0;
	ssize_t n = 1;

	if (!text)
		return -ENOMEM;
	while (n != 0 && length <= max) {
		n = pread(fd, text + length, max + 1 - length, (off_t)length);
		if (n < 0 && errno != EINTR)
			return -errno;
		length += n > 0 ? (size_t)n : 0;
	}
	if (length > max)
		return -EMSGSIZE;
	text[length] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

static int write_line(int fd, const char *text, size_t length)
{
	int r = write_all(fd, text, length);

	return r < 0 ? r : write_all(fd, "\n", 1);
}

static int write_lines(int fd, const struct handover *handover, int spec_fd)
{
	cleanup_free char *first = NULL, *hello = NULL, *spec = NULL;
	size_t n_first, n_hello, n_spec;
	int r;

	r = encode_first(handover, &first, &n_first);
	if (r == 0)
		r = report_encode(&handover->hello, &hello, &n_hello);
	if (r == 0)
		r = read_all(spec_fd, PROTOCOL_SPEC_MAX, &spec, &n_spec);
	if (r == 0)
		r = write_line(fd, first, n_first);
	if (r == 0)
		r = write_line(fd, hello, n_hello);
	return r < 0 ? r : write_line(fd, spec, n_spec);
}

/* A reader gets the old file or the new one, whenever the writer is killed. */
int handover_write(const char *path, const struct handover *handover, int spec_fd,
		   struct error *err)
{
	cleanup_close int fd = -1;
	char new[PATHS_MAX + 8];
	int r;

	snprintf(new, sizeof(new), "%s" NEW, path);
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, -errno, "%s", new);
	r = write_lines(fd, handover, spec_fd);
	if (r == 0 && rename(new, path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	(void)unlink(new);
	return error_set(err, r, "%s", path);
}

/* ---- reading -------------------------------------------------------------------------------- */

static int take_number(const json_t *object, const char *name, uint64_t *ret, struct error *err)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text || !*text || text[strspn(text, "0123456789")])
		return error_text(err, -EBADMSG, "\"%s\" is not a number in a string", name);
	*ret = strtoull(text, NULL, 10);
	return 0;
}

static int decode_first(const char *text, size_t length, struct handover *ret, struct error *err)
{
	cleanup(json_decref) json_t *object = NULL;
	char boot_id[BOOT_ID_MAX];
	json_int_t version;
	const char *name;
	int r;

	r = fields_load(text, length, FIRST_MAX, &object, err);
	if (r < 0)
		return r;
	version = json_integer_value(json_object_get(object, "version"));
	if (version != VERSION)
		return error_text(err, -EBADMSG,
				  "it has format %lld, and this version of baton reads %d",
				  (long long)version, VERSION);
	read_boot_id(boot_id);
	name = json_string_value(json_object_get(object, "boot_id"));
	if (!name || strcmp(name, boot_id) != 0)
		return error_text(err, -ENOENT, "it is of an earlier boot");
	r = take_number(object, "agent_started", &ret->agent_started, err);
	if (r == 0)
		r = take_number(object, "started", &ret->started, err);
	if (r == 0)
		r = take_number(object, "deadline_ms", &ret->deadline_ms, err);
	if (r == 0)
		r = take_number(object, "stdout", &ret->pipes[0], err);
	if (r == 0)
		r = take_number(object, "stderr", &ret->pipes[1], err);
	ret->signal = (int)json_integer_value(json_object_get(object, "signal"));
	ret->daemonises = json_is_true(json_object_get(object, "daemonises"));
	name = json_string_value(json_object_get(object, "notify_socket"));
	snprintf(ret->notify_name, sizeof(ret->notify_name), "%s", name ? name : "");
	return r;
}

static int decode_lines(const char *text, struct handover *ret, struct error *err)
{
	const char *lines[LINES];
	size_t lengths[LINES];
	int r;

	for (size_t k = 0; k < LINES; k++) {
		lines[k] = text;
		lengths[k] = strcspn(text, "\n");
		if (text[lengths[k]] != '\n')
			return error_text(err, -EBADMSG, "it has %zu lines, not %d", k, LINES);
		text += lengths[k] + 1;
	}
	r = decode_first(lines[0], lengths[0], ret, err);
	if (r == 0)
		r = report_decode(lines[1], lengths[1], &ret->hello, err);
	if (r == 0 && ret->hello.type != REPORT_HELLO)
		r = error_text(err, -EBADMSG, "its second line is no hello");
	return r < 0 ? r : launch_spec_decode(lines[2], lengths[2], &ret->spec, err);
}

int handover_read_fd(int fd, struct handover *ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;
	int r = read_all(fd, TEXT_MAX, &text, &length);

	*ret = (struct handover){};
	if (r < 0)
		return error_set(err, r, "what the last agent has written down");
	r = decode_lines(text, ret, err);
	return r < 0 ? error_prefix(err, r, "what the last agent has written down") : 0;
}

int handover_read(const char *path, struct handover *ret, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	*ret = (struct handover){};
	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	r = handover_read_fd(fd, ret, err);
	return r < 0 ? error_prefix(err, r, "%s", path) : 0;
}

/* ---- is there something? -------------------------------------------------------------------- */

static bool any_in_cgroup(const struct handover *handover)
{
	cleanup(processes_free) struct processes *processes = NULL;

	return handover->spec.cgroup && processes_new(handover->spec.cgroup, 0, &processes) == 0 &&
	       processes_any(processes) > 0;
}

bool handover_is_alive(const struct handover *handover)
{
	enum agent_state state = handover->hello.state;
	uint64_t started;

	if (state == AGENT_STOPPED || state == AGENT_FAILED)
		return false;
	if (handover->hello.pid > 0 && processes_started(handover->hello.pid, &started) == 0 &&
	    started == handover->started)
		return true;
	return state >= AGENT_LEAVING && any_in_cgroup(handover);
}
