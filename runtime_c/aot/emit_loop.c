/* Loops. One without calls takes rounds from the budget as an allowance, n, and gives back the rest. Where the text
 * tells for how many rounds it surely goes on, these are paid for at once, and a counter of rounds takes the place of
 * the allowance and of the loop's own condition. If then also all its accesses are found to be inside of the memory, a
 * copy of the loop without any checks runs: C compilers make vector code of that. Both are what the plain loop is, for
 * as many rounds; then its condition is asked. */
#include <stdio.h>

#include "count.h"

/* Small loops that count nothing pay for several jumps at once: one copy of the body each, and one that counts, for
 * when the allowance is nearly used up. */
enum { UNROLL_COPIES = 2, RUN_BYTES_MAX = 512 };

/* What is paid for beforehand outside of other loops, these do not see: it is not much. */
enum { OUTER_ROUNDS_MAX = 1024 };

static wr_aot_label *innermost(const wr_aot_body *body) { return wr_aot_label_at(body, body->labels.count - 1); }

/* ---- leaving ---- */

void wr_aot_leave_loops(wr_aot_body *body, size_t target) {
    for (size_t i = body->labels.count; i-- > target + 1;) {
        const wr_aot_label *label = wr_aot_label_at(body, i);
        if (label->pace == AOT_COUNTS) EMIT("    n += (int64_t)k%u << %u;\n", label->number, label->shift);
        if (label->pace == AOT_RUNS) {
            EMIT("    n += (int64_t)(k%u - t%u) << %u;\n", label->number, label->number, label->shift);
        }
    }
    if (body->copied != AOT_NO_LABEL && target < body->copied && body->prepaid != 0)
        EMIT("    n += %u;\n", body->prepaid);
    if (body->region != AOT_NO_LABEL && target < body->region) EMIT("    LOOP_END();\n");
}

/* ---- unrolled ---- */

static wr_status put_copy(wr_aot_body *body, const wr_aot_block *type, uint32_t number, uint8_t copy, uint8_t copies) {
    const size_t labels = body->labels.count;
    WR_TRY(wr_aot_push_label(body, AOT_LOOP, type));
    wr_aot_label *label = innermost(body);
    label->number = number;
    label->copy = copy;
    label->copies = copies;
    label->is_copy = true;
    body->copied = (uint32_t)labels;
    body->prepaid = copy != 0 ? copies + 1u - copy : 0;
    WR_TRY(wr_aot_translate_until(body, labels));
    if (!body->dead && copy != 0) EMIT("    n += %u;\n    goto X%u;\n", body->prepaid, number);
    body->copied = AOT_NO_LABEL;
    body->prepaid = 0;
    return body->status;
}

/* Back to where the loop's text begins. */
typedef struct place {
    wr_reader reader;
    uint32_t loop_at;
    size_t height;
} place;

static place here(const wr_aot_body *body) { return (place){body->reader, body->loop_at, body->stack.count}; }

static void go_back(wr_aot_body *body, const place *start) {
    body->reader = start->reader;
    body->loop_at = start->loop_at;
    body->dead = false;
    wr_aot_drop_to(body, start->height);
}

static wr_status put_unrolled(wr_aot_body *body, const wr_aot_block *type, uint8_t copies) {
    const place start = here(body);
    const uint32_t number = body->numbers++;
    bool is_left = false;
    EMIT("L%u:; /* loop @0x%x */\n    if (unlikely(n < %u)) goto S%u;\n    n -= %u;\n", number, body->offset, copies,
         number, copies);
    for (uint8_t copy = 1; copy <= copies + 1; copy++) {
        const bool counts = copy > copies;
        if (counts) EMIT("S%u:;\n", number);
        if (copy > 1 && !counts) EMIT("L%u_%u:;\n", number, copy);
        go_back(body, &start);
        WR_TRY(put_copy(body, type, number, counts ? 0 : copy, copies));
        is_left = is_left || !body->dead;
    }
    body->dead = !is_left;
    if (is_left) EMIT("X%u:;\n", number);
    return body->status;
}

/* How many jumps the loop in hand pays for at once; 0: it counts each. */
static uint8_t copies_of(const wr_aot_loop *loop, const wr_aot_block *type) {
    return loop->has_calls || loop->has_loops || type->param_count != 0 || loop->shift != 0 ? 0 : UNROLL_COPIES;
}

/* ---- counted ---- */

static void put_bound(wr_aot_body *body, const wr_aot_trips *trips, const wr_aot_form *form) {
    EMIT("%s", trips->is_flipped ? "~" : "");
    wr_aot_form_put(&body->text, form);
    EMIT("%s", trips->is_signed ? " ^ 0x80000000u" : "");
}

/* The variable NAME: rounds that are sure to be followed by another one; before that, what it depends on. */
static void put_terms(wr_aot_body *body, const wr_aot_trips *trips, const char *name, uint32_t number) {
    EMIT("    const uint32_t %sc%u = ", name, number);
    put_bound(body, trips, &trips->first);
    EMIT(";\n");
    EMIT("    const int32_t %se%u = (int32_t)%s", name, number, trips->is_flipped ? "-" : "");
    wr_aot_form_put(&body->text, &trips->step);
    EMIT(";\n");
    if (trips->is_below) {
        EMIT("    const uint64_t %sd%u = (uint64_t)(", name, number);
        put_bound(body, trips, &trips->limit);
        EMIT(")%s;\n", trips->with_limit ? " + 1" : "");
    }
}

static void put_rounds(wr_aot_body *body, const wr_aot_trips *trips, const char *name, uint32_t number) {
    EMIT("    uintptr_t %s%u = n > 0 ? %s(%sc%u, ", name, number, trips->is_below ? "rounds_below" : "rounds_nonzero",
         name, number);
    if (trips->is_below) EMIT("%sd%u, ", name, number);
    EMIT("%se%u) : 0;\n", name, number);
}

/* Rounds are not counted exactly where that takes a division. */
static bool repeats(const wr_aot_count *count) {
    return count->trips.step.count != 0 && count->trips.is_below && !count->has_exits && !count->is_nest;
}

/* Whether the round behind those is the last one. */
static void put_is_exact(wr_aot_body *body, const wr_aot_trips *trips, const char *name, uint32_t number) {
    EMIT("%sc%u + (uint32_t)%se%u * (uint32_t)%s%u", name, number, name, number, name, number);
    if (trips->is_below) {
        EMIT(" >= %sd%u", name, number);
    } else {
        EMIT(" == 0");
    }
}

static wr_status put_body(wr_aot_body *body, const wr_aot_block *type, const wr_aot_count *count, wr_aot_pace pace) {
    const size_t labels = body->labels.count;
    WR_TRY(wr_aot_push_label(body, AOT_LOOP, type));
    wr_aot_label *label = innermost(body);
    label->number = count->number;
    label->shift = count->shift;
    label->pace = pace;
    label->is_copy = true;
    return wr_aot_translate_until(body, labels);
}

bool wr_aot_loop_again(wr_aot_body *body, uint32_t depth, const char *condition) {
    const wr_aot_label *label = wr_aot_label_at(body, body->labels.count - 1 - depth);
    const uint32_t number = label->number;
    switch (label->pace) {
    case AOT_ASKS: return false;
    case AOT_COUNTS: EMIT("    if (k%u != 0) {\n    k%u--;\n    goto L%u_2;\n    }\n", number, number, number); break;
    case AOT_RUNS: EMIT("    }\n"); break;
    case AOT_NESTS: EMIT("    }\n"); return true;
    case AOT_REPEATS: EMIT("    if (%s) goto L%u_1;\n    goto X%u;\n", condition, number, number); return true;
    }
    EMIT("    if (%s) {\n    LOOP_JUMP(%u, 0x%x);\n    goto L%u;\n    }\n", condition, 1u << label->shift, body->offset,
         number);
    if (label->pace == AOT_RUNS) EMIT("    goto X%u;\n", number);
    return true;
}

/* ---- without checks ---- */

/* Inside of what the memory has from the beginning, whatever the operand. */
static bool is_inside(const wr_aot_body *body, const wr_aot_value *address, const wr_aot_memarg *arg, uint32_t bytes) {
    const wr_module *module = body->module;
    if (arg->memory < module->memory_imports || arg->offset > UINT32_MAX) return false;
    const wr_limit_pair *limits = &module->memories[arg->memory];
    return !limits->is64 && !limits->shared && wr_aot_most(address) + arg->offset + bytes <= limits->min << 16;
}

bool wr_aot_proven(wr_aot_body *body, const wr_aot_value *address, const wr_aot_memarg *arg, uint32_t bytes,
                   wr_aot_name *out) {
    const wr_aot_count *count = body->proven;
    if ((count != NULL && repeats(count)) || (count == NULL && is_inside(body, address, arg, bytes))) {
        *out = wr_aot_address(body, address, arg);
        return true;
    }
    for (uint32_t i = 0; count != NULL && i < count->access_count; i++) {
        const wr_aot_access *access = &count->accesses[i];
        if (access->offset != body->offset) continue;
        const uint32_t number = count->number, group = access->group;
        char inner[AOT_NAME_BYTES / 2] = "";
        if (count->groups[group].has_inner) {
            snprintf(inner, sizeof inner, " + i%u_%u * u%u", number, group, number);
        }
        snprintf(out->text, sizeof out->text, "p%u_%u + s%u_%u * t%u%s + %u", number, group, number, group, number,
                 inner, (unsigned)access->delta);
        return true;
    }
    return false;
}

static void put_step(wr_aot_body *body, const char *name, uint32_t number, uint32_t group, const wr_aot_form *step) {
    EMIT("    const intptr_t %s%u_%u = (int32_t)", name, number, group);
    wr_aot_form_put(&body->text, step);
    EMIT(";\n");
}

/* Where the groups begin and end, all rounds together. */
static void put_extents(wr_aot_body *body, const wr_aot_count *count) {
    const uint32_t number = count->number;
    for (uint32_t i = 0; i < count->group_count; i++) {
        const wr_aot_group *group = &count->groups[i];
        EMIT("    const uintptr_t p%u_%u = ", number, i);
        wr_aot_form_put(&body->text, &group->base);
        EMIT(";\n");
        put_step(body, "s", number, i, &group->step);
        if (group->has_inner) put_step(body, "i", number, i, &group->inner);
        EMIT("    const int64_t a%u_%u = (int64_t)s%u_%u * (int64_t)k%u", number, i, number, i, number);
        if (group->has_inner) {
            EMIT(", b%u_%u = (int64_t)i%u_%u * (int64_t)q%u;\n", number, i, number, i, number);
        } else {
            EMIT(", b%u_%u = 0;\n", number, i);
        }
        EMIT("    const int64_t lo%u_%u = (int64_t)p%u_%u + BELOW_0(a%u_%u) + BELOW_0(b%u_%u);\n", number, i, number, i,
             number, i, number, i);
        EMIT("    const int64_t hi%u_%u = (int64_t)p%u_%u + ABOVE_0(a%u_%u) + ABOVE_0(b%u_%u) + %u;\n", number, i,
             number, i, number, i, number, i, (unsigned)group->span);
    }
}

static void put_conditions(wr_aot_body *body, const wr_aot_count *count) {
    const uint32_t number = count->number;
    for (uint32_t i = 0; i < count->group_count; i++) {
        EMIT(" && lo%u_%u >= 0 && (uint64_t)hi%u_%u <= own->plain", number, i, number, i);
        for (uint32_t k = i + 1; count->is_parallel && k < count->group_count; k++) {
            if (!count->groups[i].stores && !count->groups[k].stores) continue;
            EMIT(" &&\n        (hi%u_%u <= lo%u_%u || hi%u_%u <= lo%u_%u)", number, i, number, k, number, k, number, i);
        }
    }
}

static wr_status put_proven(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count, wr_aot_pace pace) {
    const wr_aot_count *outer = body->proven;
    body->proven = count;
    WR_TRY(put_body(body, type, count, pace));
    body->proven = outer;
    EMIT("    }\n");
    return body->status;
}

static wr_status put_repeated(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const uint32_t number = count->number;
    EMIT("    const uintptr_t k%u = rounds_at_most(kc%u, kd%u, ke%u);\n", number, number, number, number);
    EMIT("    TOP_UP((uint64_t)k%u << %u, 0x%x);\n", number, count->shift, body->offset);
    put_extents(body, count);
    EMIT("    if (k%u != 0 && (int64_t)k%u << %u <= n", number, number, count->shift);
    put_conditions(body, count);
    EMIT(") {\n    n -= (int64_t)k%u << %u;\nL%u_1:;\n", number, count->shift, number);
    return put_proven(body, type, count, AOT_REPEATS);
}

static wr_status put_run(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const uint32_t number = count->number;
    put_rounds(body, &count->trips, "k", number);
    EMIT("    LIMIT(k%u, %u);\n", number, count->shift);
    if (count->is_nest) {
        put_terms(body, &count->inner_trips, "q", number);
        put_rounds(body, &count->inner_trips, "q", number);
        EMIT("    LIMIT_NEST(k%u, q%u, %u, 0x%x);\n", number, number, count->shift, body->offset);
    }
    put_extents(body, count);
    EMIT("    if (k%u != 0", number);
    if (count->is_nest) {
        EMIT(" && ");
        put_is_exact(body, &count->inner_trips, "q", number);
    }
    put_conditions(body, count);
    EMIT(") {\n");
    if (count->is_nest) {
        EMIT("    n -= (int64_t)((k%u + 1) * (q%u + 1) - 1) << %u;\n", number, number, count->shift);
    } else {
        EMIT("    n -= (int64_t)k%u << %u;\n", number, count->shift);
    }
    if (count->is_parallel) EMIT("    PARALLEL\n");
    EMIT("    for (uintptr_t t%u = 0, end = k%u + 1; t%u < end; t%u++) {\n", number, number, number, number);
    return put_proven(body, type, count, AOT_RUNS);
}

/* Whether a second copy pays: accesses next to each other, which vector code is made of. */
static bool is_dense(const wr_aot_count *count) {
    for (uint32_t i = 0; i < count->group_count; i++) {
        const wr_aot_group *group = &count->groups[i];
        const int64_t step = (int32_t)group->step.number;
        if (!wr_aot_form_is_number(&group->step)) return false;
        if ((uint64_t)(step < 0 ? -step : step) > group->span - group->first) return false;
    }
    return count->is_parallel;
}

static wr_status put_counted(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const place start = here(body);
    const uint32_t number = count->number = body->numbers++;
    const wr_aot_loop *loop = (const wr_aot_loop *)body->loops.items + body->loop_at - 1;
    count->shift = loop->shift;
    EMIT("L%u:; { /* loop @0x%x */\n", number, body->offset);
    put_terms(body, &count->trips, "k", number);
    if (count->is_provable && count->group_count != 0 && loop->size <= RUN_BYTES_MAX &&
        (count->is_nest || !loop->has_loops) && (repeats(count) || is_dense(count))) {
        wr_aot_outermost(body)->has_plain = true;
        wr_aot_outermost(body)->memories |= 1;
        EMIT("    {\n");
        WR_TRY((repeats(count) ? put_repeated : put_run)(body, type, count));
        EMIT("    }\n");
        go_back(body, &start);
    }
    put_rounds(body, &count->trips, "k", number);
    EMIT("    LIMIT(k%u, %u);\n", number, count->shift);
    if (loop->has_loops) EMIT("    MOST(k%u, %u);\n", number, OUTER_ROUNDS_MAX);
    EMIT("    n -= (int64_t)k%u << %u;\nL%u_2:;\n", number, count->shift, number);
    WR_TRY(put_body(body, type, count, AOT_COUNTS));
    EMIT("    }\nX%u:;\n", number);
    return body->status;
}

/* ---- any ---- */

static wr_status put_nested(wr_aot_body *body, const wr_aot_block *type) {
    const uint32_t number = body->proven->number;
    EMIT("    for (uintptr_t u%u = 0, end%u = q%u + 1; u%u < end%u; u%u++) {\n", number, number, number, number, number,
         number);
    return put_body(body, type, body->proven, AOT_NESTS);
}

static wr_status put_plain(wr_aot_body *body, const wr_aot_block *type, const wr_aot_loop *loop) {
    WR_TRY(wr_aot_push_label(body, AOT_LOOP, type));
    innermost(body)->shift = loop->shift;
    EMIT("L%u:; /* loop @0x%x */\n", innermost(body)->number, body->offset);
    return body->status;
}

static wr_status put_loop(wr_aot_body *body, const wr_aot_block *type, const wr_aot_loop *loop) {
    wr_aot_count count = {.is_counted = false};
    if (!loop->has_calls && type->param_count == 0 && type->result_count == 0 && loop->size <= AOT_COUNT_BYTES_MAX) {
        wr_aot_count_loop(body, body->reader, false, &count);
    }
    if (count.is_counted) return put_counted(body, type, &count);
    const uint8_t copies = copies_of(loop, type);
    return copies != 0 ? put_unrolled(body, type, copies) : put_plain(body, type, loop);
}

wr_status wr_aot_loop_block(wr_aot_body *body, const wr_aot_block *type) {
    const wr_aot_loop *loop = (const wr_aot_loop *)body->loops.items + body->loop_at++;
    const size_t labels = body->labels.count;
    if (body->proven != NULL) return put_nested(body, type);
    const bool opens_region = !loop->has_calls && body->region == AOT_NO_LABEL;
    if (opens_region) {
        body->region = (uint32_t)labels;
        body->has_region = true;
        EMIT("    LOOP_BEGIN();\n");
    }
    WR_TRY(put_loop(body, type, loop));
    if (!opens_region || body->labels.count != labels) return body->status; /* its end is still to come */
    body->region = AOT_NO_LABEL;
    if (!body->dead) EMIT("    LOOP_END();\n");
    return body->status;
}
