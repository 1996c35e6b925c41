/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rollout: a model of orchestrator/rollout/rollout.c and of what run.c does with it, for spin.
 *
 * Two generations of two instances: 0 and 1 are the old side, 2 and 3 the new one. Every strategy,
 * and every order: replace, first start, stop, retire. Any instance crashes at any moment, four in
 * all; twice a table cannot be published; somebody aborts and quits, once, and promotes at any
 * moment; every deadline passes at any moment, whatever else could have happened.
 *
 * The model is written from rollout.h, not generated from rollout.c. What ties the two together is
 * transitions.h: each step of the model must be in it, as must be each of the real machine's in the
 * simulator and in test_rollout.c. Read through the C preprocessor: see tests/model/check.
 */

#define S_IDLE      0
#define S_PREPARING 1
#define S_STARTING  2
#define S_VERIFYING 3
#define S_GATING    4
#define S_SHIFTING  5
#define S_DWELLING   6
#define S_WAITING   7
#define S_SETTLING  8
#define S_BAKING    9
#define S_DELAYING  10
#define S_LEAVING   11
#define S_DRAINING  12
#define S_STOPPING  13
#define S_ENDED     14

#define E_BEGIN          0
#define E_PREPARED       1
#define E_PREPARE_FAILED 2
#define E_LISTENING      3
#define E_HEALTHY        4
#define E_NEW_FAILED     5
#define E_RESTORE_FAILED 6
#define E_OLD_GONE       7
#define E_GATE_PASSED    8
#define E_GATE_FAILED    9
#define E_GATE_UNSURE    10
#define E_SHIFTED        11
#define E_SHIFT_FAILED   12
#define E_PROMOTE        13
#define E_SETTLED        14
#define E_DELAYED        15
#define E_DEAF           16
#define E_LEFT           17
#define E_DRAINED        18
#define E_STOPPED        19
#define E_ABORT          20
#define E_QUIT           21
#define E_TIMER          22
#define E_NONE           23 /* the world moves, the machine does not */

#define BLUE_GREEN 0
#define ROLLING    1
#define CANARY     2
#define STOP_FIRST 3

#define OLD 0
#define NEW 1

#define GATE_SHIFT 0
#define GATE_STEP  1
#define GATE_LEAVE 2

/* What a handler leaves to be done, in order not to be written out in each. */
#define C_NONE     0
#define C_CYCLE    1
#define C_ASK      2
#define C_PASS     3
#define C_SHIFT    4
#define C_SETTLE   5
#define C_LEAVE    6
#define C_DRAIN    7
#define C_STOP     8
#define C_END      9
#define C_FAIL     10
#define C_TURN     11
#define C_WITHOUT  12
#define C_SHIFTED  13
#define C_SETTLED  14
#define C_STOPPED  15
#define C_DELAY    16

c_decl {
	static const struct {
		const char *name;
		unsigned char from, event, to;
	} known[] = {
#define T(from, event, to) {#from " " #event " " #to, S_##from, E_##event, S_##to},
#include "tests/model/transitions.h"
#undef T
	};
	static unsigned char taken[sizeof(known) / sizeof(known[0])];

	/* Whether the step is known; says so where it is taken for the first time. */
	static int is_known(int from, int event, int to)
	{
		for (unsigned long k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
			if (known[k].from != from || known[k].event != event || known[k].to != to)
				continue;
			if (!taken[k])
				printf("taken %lu %s\n", k, known[k].name);
			taken[k] = 1;
			return 1;
		}
		printf("unknown: state %d, event %d, state %d\n", from, event, to);
		return 0;
	}
};

/* ---- the policy ----------------------------------------------------------------------------- */

byte strategy;
byte surge, unavailable;
bool gates, bake, before_start, stays, delay, one_way;
bool has_old, has_new, retire;

/* ---- the machine ---------------------------------------------------------------------------- */

byte state = S_IDLE;
byte to = NEW;
byte wanted[2], alive[2];
byte batch, victims, stale;
byte step, point;
bool weighted; /* the table last published is a canary's */
bool turn, quit, shifted, all_shifted, committed, old_gone, open, killed;
bool failed, rolled_back;

/* ---- the world ------------------------------------------------------------------------------ */

bool there[4], dead[4], batched[4], passed[4], victim[4], unnamed[4], told[4];
bool serves[4], served[4]; /* it is to be named; it has been */
bool named[4], backup[4];  /* in the kernel's table */
bool ok;                   /* the last table has been published */
bool table_is_old;
byte crashes, failures;
bool aborted, quitted;

/* ---- of one step; all 0 in between ---------------------------------------------------------- */

byte before, event = E_NONE, next;
bool was_committed;
byte n, i, least, serving;
bool changed;

#define from_side     (1 - to)
#define side_of(k)    ((k) / 2)
#define is_forward    (to == NEW)
#define is_rolling    (strategy == ROLLING && has_old && has_new)
#define stops_first   (strategy == STOP_FIRST && has_old && has_new)
#define is_old_lost   (old_gone && !is_rolling && !stops_first)
#define is_last       (!has_new && !retire && !stays)
#define can_turn      (has_old && has_new && is_forward && !committed && !is_old_lost)
#define can_undo      (can_turn || (is_forward && !has_old && !committed))
#define is_complete   (alive[to] == wanted[to])
#define is_on_trial   (is_forward && alive[NEW] > 0 && !committed)
#define larger(a, b)  ((a) > (b) -> (a) : (b))
#define smaller(a, b) ((a) < (b) -> (a) : (b))
#define minus(a, b)   ((a) > (b) -> (a) - (b) : 0)

#define is_dead(k)    (there[k] && dead[k])
#define gone(k)       (!there[k] || dead[k])
#define has_batch(k)  (there[k] && batched[k])
#define batch_is_dead ((has_batch(0) && dead[0]) || (has_batch(1) && dead[1]) || \
		       (has_batch(2) && dead[2]) || (has_batch(3) && dead[3]))
#define victims_are_dead ((!victim[0] || dead[0]) && (!victim[1] || dead[1]) && \
			  (!victim[2] || dead[2]) && (!victim[3] || dead[3]))
#define live(k)       (there[k] && !dead[k] && !told[k])
#define new_failed    (is_forward && ((is_dead(2) && (!committed || batched[2])) || \
				      (is_dead(3) && (!committed || batched[3]))))

#define for_all(...)                    \
	i = 0;                          \
	do                              \
	:: i < 4 -> __VA_ARGS__; i++    \
	:: else -> i = 0; break         \
	od

inline clear(k)
{
	there[k] = false; dead[k] = false; batched[k] = false; passed[k] = false;
	victim[k] = false; unnamed[k] = false; told[k] = false; serves[k] = false;
	served[k] = false; named[k] = false; backup[k] = false
}

/* ---- what run.c does ------------------------------------------------------------------------ */

inline name_all()
{
	ok = true; table_is_old = false;
	for_all(named[i] = serves[i]; backup[i] = victim[i] && !unnamed[i] && served[i])
}

inline write_table()
{
	if
	:: failures < 2 -> failures++; ok = false; table_is_old = true
	:: name_all()
	fi
}

/* One instance after another: who never served, who is dead, any. */
inline choose(condition)
{
	for_all(
		if
		:: n > 0 && there[i] && side_of(i) == from_side && !victim[i] && (condition) ->
			victim[i] = true; serves[i] = false; n--
		:: else
		fi
	)
}

/* Who is to be named, and who not, from now on. */
inline mark()
{
	for_all(
		victim[i] = false; unnamed[i] = false;
		serves[i] = there[i] && (side_of(i) == to || served[i])
	);
	n = victims;
	choose(!served[i]);
	choose(dead[i]);
	choose(true);
	assert(n == 0);
	for_all(served[i] = served[i] || serves[i])
}

inline publish()
{
	/* "A slot is named only if its instance has passed its checks." */
	for_all(assert(!there[i] || side_of(i) != to || passed[i]));
	/* Nobody goes back to a side that is gone while the other one works. */
	assert(is_forward || is_rolling || stops_first || !old_gone || !(live(2) || live(3)));
	if
	:: can_undo && failures < 2 -> failures++; ok = false /* the one before stands */
	:: can_undo -> mark(); name_all()
	:: !can_undo -> mark(); write_table()
	fi
}

inline launch()
{
	for_all(
		if
		:: n > 0 && !there[i] && side_of(i) == to -> there[i] = true; batched[i] = true; n--
		:: else
		fi
	);
	assert(n == 0)
}

inline tell_victims()
{
	for_all(
		if
		:: victim[i] ->
			assert(open || (!named[i] && !backup[i] && !serves[i]));
			told[i] = true
		:: else
		fi
	)
}

/* ---- what remains to be done ---------------------------------------------------------------- */

inline do_cycle()
{
	n = wanted[to] - alive[to];
	if
	:: is_rolling ->
		serving = larger(wanted[OLD], wanted[NEW]) + surge;
		n = smaller(n, minus(serving, alive[OLD] + alive[NEW]));
		serving = 0
	:: stops_first && alive[from_side] > 0 -> n = 0
	:: else
	fi;
	if
	:: n > 0 ->
		state = S_STARTING; alive[to] = alive[to] + n; batch = n;
		launch()
	:: n == 0 && alive[from_side] > 0 -> next = C_SHIFT
	:: else -> next = C_END
	fi;
	n = 0
}

inline do_shift()
{
	state = S_SHIFTING;
	weighted = strategy == CANARY && has_old && has_new && is_forward && !old_gone && step == 0;
	if
	:: weighted -> victims = 0
	:: !weighted && (is_complete || stops_first) -> victims = alive[from_side]
	:: !weighted && !is_complete && !is_rolling && !stops_first -> victims = 0
	:: else ->
		least = larger(1, minus(smaller(wanted[OLD], wanted[NEW]), unavailable));
		serving = alive[OLD] + alive[NEW] - stale;
		victims = smaller(alive[from_side], stale + minus(serving, least));
		least = 0; serving = 0
	fi;
	publish()
}

inline do_shifted()
{
	if
	:: is_forward && has_new && !weighted && victims == alive[OLD] &&
	   (!stops_first || alive[NEW] > 0) -> all_shifted = true
	:: else
	fi;
	batch = 0;
	for_all(batched[i] = false);
	shifted = shifted || (is_forward && alive[NEW] > 0);
	if
	:: weighted -> state = S_DWELLING
	:: !weighted && victims > 0 && is_forward && is_old_lost -> next = C_LEAVE
	:: !weighted && victims > 0 && !(is_forward && is_old_lost) && is_last ->
		open = true; next = C_DELAY
	:: !weighted && victims > 0 && !(is_forward && is_old_lost) && !is_last ->
		next = C_SETTLE
	:: else ->
		if
		:: is_forward && is_complete && !committed -> committed = true
		:: else
		fi;
		next = C_CYCLE
	fi
}

/* Nobody of them is to get a new connection any more. */
inline unname()
{
	for_all(
		if
		:: victim[i] -> unnamed[i] = true; named[i] = false; backup[i] = false
		:: else
		fi
	);
	if
	:: !retire -> write_table()
	:: else
	fi
}

inline close_up()
{
	if
	:: open -> unname(); open = false
	:: else
	fi
}

inline do_leave()
{
	if
	:: is_forward && victims == alive[OLD] && !stops_first ->
		committed = true;
		/* "The old side leaves in full only after the new one has all connections." */
		assert(!has_new || serves[2] || serves[3])
	:: else
	fi;
	if
	:: !open -> unname()
	:: else
	fi;
	if
	:: stays -> next = C_DRAIN
	:: else -> state = S_LEAVING; tell_victims()
	fi
}

inline do_turn()
{
	assert(can_undo);
	failed = !shifted;
	rolled_back = shifted;
	next = (!shifted && ((victims == 0 && alive[OLD] == wanted[OLD]) ||
			     (stops_first && alive[OLD] == 0)) -> C_STOP : C_SHIFT);
	to = OLD; stale = batch; batch = 0; victims = 0; turn = false;
	if
	:: quit || one_way -> wanted[OLD] = alive[OLD]
	:: else
	fi;
	for_all(batched[i] = false);
	if
	:: next == C_STOP ->
		victims = alive[NEW];
		for_all(victim[i] = there[i] && side_of(i) == NEW);
		if
		:: victims == 0 -> next = C_CYCLE
		:: else
		fi
	:: else
	fi
}

inline do_without()
{
	for_all(
		if
		:: has_batch(i) -> clear(i)
		:: else
		fi
	);
	alive[to] = alive[to] - batch; wanted[to] = alive[to]; batch = 0;
	next = C_CYCLE
}

inline do_stopped()
{
	for_all(
		if
		:: victim[i] -> clear(i)
		:: else
		fi
	);
	alive[from_side] = alive[from_side] - victims;
	stale = minus(stale, victims);
	victims = 0;
	if
	:: turn -> next = C_TURN
	:: !turn && (alive[from_side] > 0 || !is_complete) -> next = C_CYCLE
	:: else -> next = C_END
	fi
}

inline do_next()
{
	do
	:: next == C_NONE -> break
	:: next == C_CYCLE -> next = C_NONE; do_cycle()
	:: next == C_ASK -> next = C_NONE;
		if
		:: is_on_trial && gates -> state = S_GATING
		:: else -> next = C_PASS
		fi
	:: next == C_PASS -> next = (point == GATE_LEAVE -> C_DELAY : C_SHIFT)
	:: next == C_DELAY ->
		if
		:: delay && !stays -> next = C_NONE; state = S_DELAYING
		:: else -> next = C_LEAVE
		fi
	:: next == C_SHIFT -> next = C_NONE; do_shift()
	:: next == C_SETTLE -> next = C_NONE; state = S_SETTLING
	:: next == C_LEAVE -> next = C_NONE; do_leave()
	:: next == C_DRAIN -> next = C_NONE; state = S_DRAINING
	:: next == C_STOP -> next = C_NONE; state = S_STOPPING; killed = false; tell_victims()
	:: next == C_END -> next = C_NONE; state = S_ENDED
	:: next == C_FAIL -> next = (can_undo -> C_TURN : C_NONE)
	:: next == C_TURN -> do_turn()
	:: next == C_WITHOUT -> do_without()
	:: next == C_SHIFTED -> next = C_NONE; do_shifted()
	:: next == C_SETTLED -> next = C_NONE;
		if
		:: is_on_trial && bake -> state = S_BAKING
		:: else -> point = GATE_LEAVE; next = C_ASK
		fi
	:: next == C_STOPPED -> next = C_NONE; do_stopped()
	od
}

/* ---- events --------------------------------------------------------------------------------- */

#define is_asking  (state == S_GATING || state == S_WAITING)
#define is_leaving (state == S_LEAVING || state == S_DRAINING || state == S_STOPPING)
#define is_batch   (state == S_STARTING || state == S_VERIFYING)
#define is_shifted_state (state == S_DWELLING || state == S_SETTLING || state == S_BAKING || \
			  state == S_DELAYING)
#define can_be_ordered (state != S_SHIFTING && state != S_ENDED)

inline choose_event()
{
	if
	:: state == S_IDLE -> event = E_BEGIN
	:: state == S_SHIFTING && ok -> event = E_SHIFTED
	:: state == S_SHIFTING && !ok -> event = E_SHIFT_FAILED
	:: state == S_PREPARING -> event = E_PREPARED
	:: state == S_PREPARING -> event = E_PREPARE_FAILED
	:: state == S_STARTING && !batch_is_dead -> event = E_LISTENING
	:: state == S_VERIFYING && !batch_is_dead -> event = E_HEALTHY
	:: is_batch && !is_forward && batch_is_dead -> event = E_RESTORE_FAILED
	:: (is_batch || is_asking || is_shifted_state) && new_failed -> event = E_NEW_FAILED
	:: is_leaving && new_failed && can_turn && !turn -> event = E_NEW_FAILED
	:: ((is_asking && point != GATE_SHIFT) || is_shifted_state) && is_forward && has_old &&
	   !old_gone && gone(0) && gone(1) -> event = E_OLD_GONE
	:: state == S_GATING -> event = E_GATE_PASSED
	:: state == S_GATING -> event = E_GATE_FAILED
	:: state == S_GATING -> event = E_GATE_UNSURE
	:: state == S_DWELLING || state == S_WAITING || state == S_BAKING -> event = E_PROMOTE
	:: state == S_SETTLING -> event = E_SETTLED
	:: state == S_DELAYING -> event = E_DELAYED
	:: state == S_LEAVING && open -> event = E_DEAF
	:: state == S_LEAVING -> event = E_LEFT
	:: state == S_DRAINING -> event = E_DRAINED
	:: state == S_STOPPING || (is_leaving && victims_are_dead) -> event = E_STOPPED
	:: can_be_ordered && !aborted -> aborted = true; event = E_ABORT
	:: can_be_ordered && !quitted -> quitted = true; event = E_QUIT
	:: state != S_IDLE && state != S_SHIFTING && state != S_ENDED -> event = E_TIMER
	:: there[0] && !dead[0] && state != S_SHIFTING && crashes < 4 -> dead[0] = true; crashes++
	:: there[1] && !dead[1] && state != S_SHIFTING && crashes < 4 -> dead[1] = true; crashes++
	:: there[2] && !dead[2] && state != S_SHIFTING && crashes < 4 -> dead[2] = true; crashes++
	:: there[3] && !dead[3] && state != S_SHIFTING && crashes < 4 -> dead[3] = true; crashes++
	fi
}

inline order(is_quit)
{
	if
	:: state == S_IDLE -> failed = true; to = (has_new -> OLD : NEW); next = C_END
	:: is_leaving ->
		if
		:: can_turn -> turn = true
		:: !can_turn && is_quit -> wanted[to] = alive[to]
		:: else
		fi
	:: state != S_IDLE && !is_leaving ->
		if
		:: can_undo -> next = C_TURN
		:: !can_undo && is_quit && batch > 0 -> next = C_WITHOUT
		:: !can_undo && is_quit && batch == 0 -> wanted[to] = alive[to]
		:: else
		fi
	fi
}

inline on_begin()
{
	if
	:: retire ->
		victims = alive[OLD];
		for_all(victim[i] = there[i]; unnamed[i] = there[i]);
		next = C_SETTLE
	:: !retire && has_new && before_start -> state = S_PREPARING
	:: else -> next = C_CYCLE
	fi
}

inline on_old_gone()
{
	old_gone = true;
	if
	:: state == S_DWELLING || (is_asking && point == GATE_STEP) -> next = C_SHIFT
	:: else -> next = C_LEAVE
	fi
}

inline on_promote()
{
	if
	:: state == S_DWELLING -> step++; point = GATE_STEP; next = C_ASK
	:: state == S_WAITING -> next = C_PASS
	:: state == S_BAKING -> point = GATE_LEAVE; next = C_ASK
	fi
}

inline on_timer()
{
	if
	:: is_batch -> next = (committed || !is_forward -> C_WITHOUT : C_FAIL)
	:: state == S_PREPARING || is_asking -> next = C_FAIL
	:: state == S_DWELLING -> next = C_FAIL /* a manual step's */
	:: state == S_DWELLING -> step++; point = GATE_STEP; next = C_ASK
	:: state == S_SETTLING -> next = C_SETTLED
	:: state == S_BAKING -> point = GATE_LEAVE; next = C_ASK
	:: state == S_DELAYING -> next = C_LEAVE
	:: state == S_LEAVING -> close_up(); next = C_DRAIN
	:: state == S_DRAINING -> next = C_STOP
	:: state == S_STOPPING && stops_first && !killed -> killed = true
	:: state == S_STOPPING && !(stops_first && !killed) -> next = C_STOPPED
	fi
}

inline on_new_failed()
{
	if
	:: is_leaving -> turn = true
	:: is_batch && committed -> next = C_WITHOUT
	:: else -> next = C_FAIL
	fi
}

inline handle()
{
	if
	:: event == E_BEGIN -> on_begin()
	:: event == E_PREPARED -> next = C_CYCLE
	:: event == E_PREPARE_FAILED -> next = C_FAIL
	:: event == E_LISTENING -> state = S_VERIFYING
	:: event == E_HEALTHY ->
		for_all(passed[i] = passed[i] || has_batch(i));
		point = GATE_SHIFT; next = C_ASK
	:: event == E_NEW_FAILED -> on_new_failed()
	:: event == E_RESTORE_FAILED -> next = C_WITHOUT
	:: event == E_OLD_GONE -> on_old_gone()
	:: event == E_GATE_PASSED -> next = C_PASS
	:: event == E_GATE_FAILED -> next = C_FAIL
	:: event == E_GATE_UNSURE -> state = S_WAITING
	:: event == E_SHIFTED -> next = C_SHIFTED
	:: event == E_SHIFT_FAILED ->
		if
		:: can_undo -> victims = 0; next = C_TURN
		:: else -> next = C_SHIFTED
		fi
	:: event == E_PROMOTE -> on_promote()
	:: event == E_SETTLED -> next = C_SETTLED
	:: event == E_DELAYED -> next = C_LEAVE
	:: event == E_DEAF -> close_up()
	:: event == E_LEFT -> close_up(); next = C_DRAIN
	:: event == E_DRAINED -> next = C_STOP
	:: event == E_STOPPED -> close_up(); next = (state == S_STOPPING -> C_STOPPED : C_STOP)
	:: event == E_ABORT -> order(false)
	:: event == E_QUIT -> quit = true; order(true)
	:: event == E_TIMER -> on_timer()
	:: else
	fi
}

/* ---- invariants ----------------------------------------------------------------------------- */

#define n_of(a)    (a[0] + a[1] + a[2] + a[3])
#define is_late    (event == E_TIMER && (before == S_PREPARING || before == S_STARTING || \
			before == S_VERIFYING || before == S_GATING || before == S_WAITING))
#define s_live(k)  (serves[k] && !dead[k])
#define holds(k)   ((named[k] || backup[k]) && live(k))
#define is_hole(k) (named[k] && dead[k])

inline check()
{
	/* The machine counts what is there. */
	assert(alive[OLD] == there[0] + there[1]);
	assert(alive[NEW] == there[2] + there[3]);
	assert(batch == n_of(batched));
	assert(state == S_SHIFTING || victims == n_of(victim));
	/* Never more alive, never fewer in service. */
	assert(!is_rolling || n_of(there) <= 2 + surge);
	assert(!is_rolling || state == S_ENDED ||
	       n_of(serves) >= larger(1, minus(smaller(wanted[OLD], wanted[NEW]), unavailable)));
	assert(!has_old || !has_new || stops_first || n_of(serves) > 0);
	/* What cannot run twice does not. */
	assert(!stops_first || alive[OLD] == 0 || alive[NEW] == 0);
	/* Nobody who is told to go is named, or is to be. */
	for_all(assert(!told[i] || open || (!serves[i] && !named[i] && !backup[i])));
	/* They are all that is left, and are told to leave before they are refused anything. */
	assert(!open || (is_last && (state == S_DELAYING || state == S_LEAVING)));
	for_all(assert(!open || !victim[i] || backup[i] || table_is_old));
	for_all(assert((!named[i] && !backup[i]) || passed[i]));
	/* Some table names a live slot, unless all whom it names have ended by themselves. */
	assert(!has_old || !has_new ||
	       !(s_live(0) || s_live(1) || s_live(2) || s_live(3)) ||
	       holds(0) || holds(1) || holds(2) || holds(3) ||
	       (table_is_old && (stops_first || is_hole(0) || is_hole(1) || is_hole(2) ||
				 is_hole(3))));
	/* A deadline never means "go on", and past COMMIT there is no way back. */
	assert(!is_late || was_committed || !is_forward);
	assert(!was_committed || (committed && is_forward));
	/* Only what is known happens. */
	if
	:: changed ->
		c_code { now.changed = is_known(now.before, now.event, now.state); };
		assert(changed)
	:: else
	fi
}

inline check_end()
{
	assert(!has_new || failed || rolled_back || (all_shifted && committed));
	assert(!rolled_back || shifted);
	assert(!failed || !shifted);
	assert(!turn);
	assert(alive[from_side] == 0 || (before == S_IDLE && event != E_BEGIN));
	assert(event == E_ABORT || event == E_QUIT || is_complete)
}

/* ---- all there is --------------------------------------------------------------------------- */

inline choose_policy()
{
	if
	:: has_old = true; has_new = true
	:: has_new = true
	:: has_old = true
	:: has_old = true; retire = true
	fi;
	if
	:: strategy = BLUE_GREEN
	:: has_old && has_new -> strategy = CANARY
	:: has_old && has_new -> strategy = STOP_FIRST
	:: has_old && has_new -> strategy = STOP_FIRST; one_way = true
	:: has_old && has_new -> strategy = ROLLING; surge = 1
	:: has_old && has_new -> strategy = ROLLING; unavailable = 1
	:: has_old && has_new -> strategy = ROLLING; surge = 1; unavailable = 1
	:: has_old && has_new -> strategy = ROLLING; unavailable = 2
	:: has_old && has_new -> strategy = ROLLING; surge = 2; unavailable = 2
	fi;
	if
	:: has_new && strategy != STOP_FIRST -> gates = true
	:: true
	fi;
	if
	:: has_new && strategy != STOP_FIRST -> bake = true
	:: true
	fi;
	if
	:: has_new && !one_way -> before_start = true
	:: true
	fi;
	if
	:: stays = true
	:: true
	fi;
	if
	:: delay = true
	:: true
	fi;
	wanted[OLD] = (has_old -> 2 : 0);
	alive[OLD] = wanted[OLD];
	wanted[NEW] = (has_new -> 2 : 0);
	for_all(
		if
		:: has_old && side_of(i) == OLD ->
			there[i] = true; passed[i] = true; served[i] = !retire;
			serves[i] = !retire; named[i] = !retire
		:: else
		fi
	)
}

init {
	atomic { choose_policy() };
	do
	:: state == S_ENDED -> break
	:: else ->
		atomic {
			before = state;
			was_committed = committed;
			choose_event();
			handle();
			do_next();
			/* An order that is only noted, or comes too late. */
			changed = event != E_NONE &&
				  !(state == before && (event == E_ABORT || event == E_QUIT ||
							event == E_NEW_FAILED));
			check();
			if
			:: state == S_ENDED -> check_end()
			:: else
			fi;
			before = 0; event = E_NONE; changed = false; was_committed = false
		}
	od
}

ltl ends { <>(state == S_ENDED) }
