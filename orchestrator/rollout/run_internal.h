/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_internal: what the parts of a run share. They are one module, from the bottom to the top:
 *
 *	run_base.c    timers, reasons
 *	run_tell.c    what is told: steps, failures
 *	run_result.c  how it has ended
 *	run_look.c    what has become true
 *	run_act.c     carries out the machine's actions
 *	run.c         events through the machine; life
 *
 * Each uses those above it in this list only. Nobody else includes this.
 */
#pragma once

#include "orchestrator/rollout/run.h"

/* ---- run_base.c ------------------------------------------------------------------------------
 */

/* Feed the machine ROLLOUT_TIMER at @at_ms; 0: not any more. */
void run_set_deadline(struct run *run, uint64_t at_ms);

/* Look again soon, and from then on regularly, while something can only be looked at. */
void run_poll(struct run *run);

void run_poke(struct run *run);

void run_set_reason(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* drain.idle_timeout of the victims. */
uint64_t run_idle_timeout_ms(const struct run *run);

/* ---- run_tell.c ------------------------------------------------------------------------------
 */

/* @step has ended: @ok, or the rollout is undone for run->reason. */
void run_tell_step(struct run *run, enum rollout_state step, bool ok);

/* It begins to wait for somebody. */
void run_tell_waiting(struct run *run);

/* Note why @event undoes the rollout, as far as that can be seen only now. */
void run_note_failure(struct run *run, enum rollout_event event);

/*
 * What the agent of .blamed has answered; @whole: as far as it is known by now. If the server had
 * ended by itself before it was told to go, that is why the rollout is undone.
 */
void run_take_words(struct run *run, bool whole);

/* ---- run_look.c ------------------------------------------------------------------------------
 */

/* The event that the present state waits for and that has become true; -1: none has. */
int run_look(struct run *run);

/* How many connections the victims have, without those that have been idle for @idle_ms. */
uint64_t run_still_open(struct run *run, uint64_t idle_ms);

/* ---- run_act.c -------------------------------------------------------------------------------
 */

/* Returns the event that the action's result is, or -1. */
int run_act(struct run *run, const struct rollout_action *action);

/* What before_start or the gates say is not wanted any more. */
void run_cancel_questions(struct run *run);
