/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * run_internal: what the parts of a run share. They are one module: run.c (events through the
 * machine, timers, life), run_look.c (what has become true), run_act.c (the machine's actions),
 * run_tell.c (what is told). Nobody else includes this.
 */
#pragma once

#include "orchestrator/rollout/run.h"

/* ---- run_look.c ------------------------------------------------------------------------------
 */

/* The event that the present state waits for and that has become true; -1: none has. */
int run_look(struct run *run);

/* drain.idle_timeout of the victims. */
uint64_t run_idle_timeout_ms(const struct run *run);

/* ---- run_act.c -------------------------------------------------------------------------------
 */

/* Returns the event that the action's result is, or -1. */
int run_act(struct run *run, const struct rollout_action *action);

/* What before_start or the gates say is not wanted any more. */
void run_cancel_questions(struct run *run);

/* ---- run.c -----------------------------------------------------------------------------------
 */

/* Feed the machine ROLLOUT_TIMER at @at_ms. */
void run_set_deadline(struct run *run, uint64_t at_ms);

/* Look again soon, and from then on regularly, while something can only be looked at. */
void run_poll(struct run *run);

/* ---- run_tell.c ------------------------------------------------------------------------------
 */

/* A step has ended: well, or with the reason for which the rollout is undone. */
void run_tell_step(struct run *run, enum rollout_state step, bool ok);

/* It begins to wait for somebody. */
void run_tell_waiting(struct run *run);

/* Why it is undone, as far as that can be seen only now. */
void run_note_failure(struct run *run, enum rollout_event event);

void run_set_reason(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
