/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_internal: what the files of the shell share. From the bottom to the top they are:
 *
 *	run_base.c    timers, reasons, names
 *	run_drain.c   what becomes of the victims' connections
 *	run_tell.c    tells steps; notes why a rollout is undone
 *	run_result.c  how it has ended
 *	run_look.c    sees which event has happened
 *	run_act.c     carries out the machine's actions
 *	run.c         events through the machine; life
 *
 * Each uses those above it in this list only. Nobody else includes this.
 */
#pragma once

#include "orchestrator/rollout/run.h"

/* ---- run_base.c ----------------------------------------------------------------------------- */

/* Feed the machine ROLLOUT_TIMER at @at_ms; 0: not any more. */
void run_set_deadline(struct run *run, uint64_t at_ms);

/*
 * For what can only be looked at. run_poll_begin(): look again in a millisecond; each run_poll()
 * after that: in twice as long, up to an interval that is the present state's.
 */
void run_poll_begin(struct run *run);
void run_poll(struct run *run);

void run_poke(struct run *run);

/* If the service ends (.drain.end_ms), does the present state have no longer than that? */
bool run_ends_with_service(const struct run *run);

void run_set_reason(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* drain.idle_timeout of the victims. */
uint64_t run_idle_timeout_ms(const struct run *run);

/* ---- run_drain.c ---------------------------------------------------------------------------- */

/*
 * New connections go elsewhere. What a victim cuts that dies before it is told to leave counts,
 * too.
 */
void run_drain_note(struct run *run);

/* The victims are in no table any more: the connections that they have now are to end. */
void run_drain_begin(struct run *run);

/*
 * A look has found @busy connections. True: there are none. A server that dies while it is looked
 * at has a part of them only, so a first look that finds none is not believed.
 */
bool run_drain_see(struct run *run, uint64_t busy);

/* Note what has become of them. The victims must still be there. */
void run_drain_end(struct run *run, bool at_deadline);

/* Do the victims wait for a time that the operator has set, whoever is connected? */
bool run_delay_is_fixed(const struct run *run);

/* The same in words, and for an event. */
void run_drain_describe(const struct run *run, char *ret, size_t size);
void run_drain_event(const struct run *run, struct event *ret);

/* ---- run_tell.c ----------------------------------------------------------------------------- */

/* Tell that @step has ended; !@ok: the rollout is undone for run->reason. */
void run_tell_step(struct run *run, enum rollout_state step, bool ok);

/* Tell that it waits for a person from now on. */
void run_tell_waiting(struct run *run);

/* Tell that it waits before the drain signal, and for what. */
void run_tell_delaying(struct run *run);

/* Note why @event undoes the rollout, before the machine takes it. */
void run_note_failure(struct run *run, enum rollout_event event);

/*
 * What the agent of .blamed has answered; @whole: as far as it is known by now. If the server had
 * ended by itself before it was told to go, that is why the rollout is undone.
 */
void run_take_words(struct run *run, bool whole);

/* ---- run_look.c ----------------------------------------------------------------------------- */

/* The event that has happened and that the present state waits for; -1: none. */
int run_look(struct run *run);

/* ---- run_act.c ------------------------------------------------------------------------------ */

/* Carry out @action. Returns its result as an event, or -1: it has none yet. */
int run_act(struct run *run, const struct rollout_action *action);

/* Do not wait for before_start or for gates any more. */
void run_cancel_questions(struct run *run);
