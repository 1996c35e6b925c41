/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instance_internal: what the parts of an instance share. They are one module, and nobody else
 * includes this. Each part uses only parts that stand above it in this list:
 *
 *	instance_phase.c    the phase, and the questions that it answers
 *	instance_basics.c   telling the service, failing, sending orders
 *	instance_losses.c   endpoints that are not served any more
 *	instance_ports.c    local ports of commands
 *	instance_exec.c     checks by a command
 *	instance_checks.c   health checks
 *	instance_twins.c    sockets of the wrong family
 *	instance_sockets.c  sockets in their slots
 *	instance_advice.c   what is wrong with its sockets, and what to do about it
 *	instance_lost.c     what can be done after the agent was lost
 *	instance_adopt.c    another agent for its server
 *	instance_count.c    queues and connections (uses none of the others)
 *	instance_orders.c   what it is told: to its agent, or done here if that is lost
 *	instance_reports.c  what its agent tells, and that it is gone
 *	instance_start.c    the cgroup, the programs on it, and the agent
 *	instance.c          taking over, and the end
 */
#pragma once

#include "orchestrator/instance/instance.h"

/* ---- instance_phase.c ------------------------------------------------------------------------ */

/* Nothing else changes the phase. Asserts that @phase is later than the one it is in. */
void instance_enter(struct instance *instance, enum instance_phase phase);

/* ---- instance_basics.c ----------------------------------------------------------------------- */

/* Something has become true: tell the service to look. */
void instance_changed(struct instance *instance);
void instance_note(struct instance *instance, enum event_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Keeps the reason, unless there is an earlier one, and ends the checks. The instance enters
 * INSTANCE_FAILED, unless it is in that phase or a later one already.
 */
void instance_fail(struct instance *instance, const char *reason);

/* What its server wrote last, as the report has it. */
void instance_take_tail(struct instance *instance, const struct report *report);

struct order;
/*
 * To its agent. -ENOTCONN: it is lost; -ESRCH: the instance has stopped. Any other failure is
 * logged.
 */
int instance_order(struct instance *instance, const struct order *what);

/* ---- instance_losses.c ----------------------------------------------------------------------- */

/* Its sockets, its phase or its server may have changed: is each endpoint served? */
void instance_look_losses(struct instance *instance);

/* Its server is another one, or is none. @had: each endpoint has had a socket of it nevertheless.
 */
void instance_forget_losses(struct instance *instance, bool had);

/*
 * A socket of endpoint @k cannot be steered. Counts until its losses[k].unsteered is cleared. @why
 * begins with its address.
 */
void instance_unsteered(struct instance *instance, size_t k, const char *why);

/* ---- instance_ports.c ------------------------------------------------------------------------ */

/* The instance has other sockets than before: ports that are pinned to it lead to these. */
void instance_retarget_ports(struct instance *instance);

/* It ends: none is pinned to it any more. */
void instance_leave_ports(struct instance *instance);

/* ---- instance_exec.c ------------------------------------------------------------------------- */

/* How its check is run by a command; the userdata is the instance. */
extern const struct probe_exec_host instance_exec_host;

/* ---- instance_checks.c ----------------------------------------------------------------------- */

/* The instance has other sockets than before: the checks go on with these. */
void instance_retarget_checks(struct instance *instance);

/* Are they asked? */
bool instance_is_checked(const struct instance *instance);

/* Begin those of endpoint @k, or end them. */
void instance_check_endpoint(struct instance *instance, size_t k);
void instance_uncheck_endpoint(struct instance *instance, size_t k);

/* No server runs: what earlier answers said of it says nothing of the next one. */
void instance_forget_verdicts(struct instance *instance);
/* The same of endpoint @k alone. */
void instance_forget_verdicts_of(struct instance *instance, size_t k);

/* A verdict, or something that the agent told, may have changed its health. */
void instance_look_health(struct instance *instance);

/* Its server was started again: it is to be healthy within the configured time. */
void instance_expect_health(struct instance *instance);

/* The server is another process now: answers of the last one do not count any more. */
void instance_restart_checks(struct instance *instance);

/* ---- instance_twins.c ------------------------------------------------------------------------ */

/* Is it bound to an endpoint's address, but of the other family? */
bool instance_is_twin(const struct instance *instance, const struct report_socket *socket);

/*
 * If the server has bound sockets of the wrong family for an endpoint, and none of the right one:
 * have the endpoint opened anew if nobody serves there. Else the instance fails: -EXDEV. Returns 1
 * if no socket can join yet; then the agent reports once more.
 */
int instance_meet_twins(struct instance *instance, const struct report *report, const int *fds,
			struct error *err);

/* Have the agent report its sockets, though nothing has changed. */
void instance_tell_sockets(struct instance *instance);

/* ---- instance_sockets.c ---------------------------------------------------------------------- */

/*
 * The agent's whole set of sockets, with a descriptor for each. New ones join their endpoints;
 * those that are gone become unused.
 */
void instance_take_sockets(struct instance *instance, const struct report *report, const int *fds,
			   size_t n_fds);

/* Its agent is lost: those of its sockets that do not listen any more become unused. */
void instance_drop_silent(struct instance *instance);

/* Free every slot. */
void instance_release_all(struct instance *instance);

/* ---- instance_advice.c ----------------------------------------------------------------------- */

/*
 * Its server has just ended: which file that it wants for itself it did not get, and what to do, by
 * its last words. "": they do not say so. @sockets: look for a unix socket only. Returns @ret.
 */
char *instance_advise_file(const struct instance *i, bool sockets,
			   char ret[static ADVICE_TEXT_MAX]);

/* Its server has ended, as @report says, because an address was in use: why? Returns @ret. */
char *instance_advise_in_use(const struct instance *instance, const struct report *report,
			     char ret[static ADVICE_TEXT_MAX]);

/* ---- instance_lost.c ------------------------------------------------------------------------- */

/*
 * No process of it is left: shut down those of its sockets that a process has which has got away.
 */
void instance_shut_orphans(struct instance *instance);

/* 1: a process of it is left; 0: none is; negative errno: the kernel could not be asked. */
int instance_populated(const struct instance *instance);

/* Its agent is gone. From now on it is looked at regularly, to see when its processes are gone. */
void instance_watch_lost(struct instance *instance);

/* Its server is @pid now, as its agent says; 0: there is none. */
void instance_know_pid(struct instance *instance, pid_t pid);

/*
 * Send @signal to the server's main process: by the pidfd, so never to one that has its pid by now.
 */
void instance_signal_main(struct instance *instance, int signal);

/* Send @signal to its server, which the agent would have done. 0: none. */
void instance_signal_lost(struct instance *instance, int signal);

/* The deadline of leaving or stopping is @deadline_ms (monotonic). Look at once, then often. */
void instance_hurry_lost(struct instance *instance, uint64_t deadline_ms);

/* ---- instance_adopt.c ------------------------------------------------------------------------ */

struct agentlink_callbacks;
/*
 * Its agent was killed: start another one that goes on with its server. Returns 0, and it is not
 * lost any more; or a negative errno, of which @err says why no other can take over.
 */
int instance_adopt(struct instance *instance, const struct agentlink_callbacks *callbacks,
		   struct error *err);

/* It has an agent anew, which has said @hello. @before: the one that was found dead; 0: it is told.
 */
void instance_note_agent(struct instance *instance, const struct report *hello, pid_t before);

/*
 * The new agent has said @hello. Returns whether orders that were given before must be given again,
 * because the agent that was killed has not heard them.
 */
bool instance_adopted(struct instance *instance, const struct report *hello);

/* The same of one that had hung up, and has said @hello again: of orders given since and before. */
bool instance_rejoined(struct instance *instance, const struct report *hello);

/* ---- instance_orders.c ----------------------------------------------------------------------- */

/* To its agent, once more: it has not heard it. */
void instance_order_leave(struct instance *instance);
void instance_order_stop(struct instance *instance);

/* ---- instance_reports.c ---------------------------------------------------------------------- */

#define INSTANCE_KEPT_UNKNOWN UINT64_MAX /* .kept_set: an earlier daemon's */

extern const struct agentlink_callbacks instance_link_callbacks;

void instance_take_hello(struct instance *instance, const struct report *report, const int *fds,
			 size_t n_fds);

/* ---- instance_start.c ------------------------------------------------------------------------ */

/* Its processes are those in its cgroup; without a cgroup those below its agent. */
int instance_know_processes(struct instance *instance, pid_t agent, struct error *err);
