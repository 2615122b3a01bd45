/* Loops. One without calls takes rounds from the budget as an allowance, n, and gives back the rest. Where the text
 * tells for how many rounds it surely goes on, these are paid for at once, and a counter of rounds takes the place of
 * the allowance and of the loop's own condition. If then also all its accesses are found to be inside of the memory, a
 * copy of the loop without any checks runs: C compilers make vector code of that. Both are what the plain loop is, for
 * as many rounds; then its condition is asked. Other small loops are written twice and count every second jump. */
#include <stdio.h>

#include "count.h"

/* A copy without checks; for fewer rounds than that it does not pay. */
enum { RUN_BYTES_MAX = 512, RUN_ROUNDS_MIN = 4 };

/* What is written otherwise than as it is, all together: compiling a module shall not take much longer for it. */
enum { LOOP_BYTES = 32, LOOP_BYTES_MAX = 4096 };

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
    if (body->region != AOT_NO_LABEL && target < body->region) EMIT("    LOOP_END();\n");
}

/* ---- limits ---- */

static bool in_region(const wr_aot_body *body) { return body->region != AOT_NO_LABEL; }

void wr_aot_put_late(wr_aot_body *body, uint32_t number) {
    EMIT("    if (0) {\nT%u:\n    %s;\n    COUNT_AGAIN();\n    goto L%u;\n    }\n", number,
         in_region(body) ? "n = tick_slowly(x, late, chain)" : "enter_slowly(x, fp, late, chain)", number);
}

/* ---- twice ---- */

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

static wr_status put_half(wr_aot_body *body, const wr_aot_block *type, uint32_t number, uint8_t half) {
    const size_t labels = body->labels.count;
    WR_TRY(wr_aot_push_label(body, AOT_LOOP, type));
    wr_aot_label *label = innermost(body);
    label->number = number;
    label->half = half;
    label->is_copy = true;
    return wr_aot_translate_until(body, labels);
}

/* Only the second half of a pair counts, for both. With fuel, each jump, so then the first one is never run. */
static wr_status put_pair(wr_aot_body *body, const wr_aot_block *type) {
    const place start = here(body);
    const uint32_t number = body->numbers++;
    EMIT("L%u:; /* loop @0x%x */\n    if (unlikely(n == 0)) goto L%u_2;\nL%u_1:;\n", number, body->offset, number,
         number);
    WR_TRY(put_half(body, type, number, 1));
    const bool is_left = !body->dead;
    if (is_left) EMIT("    goto X%u;\n", number);
    go_back(body, &start);
    EMIT("L%u_2:;\n", number);
    WR_TRY(put_half(body, type, number, 2));
    wr_aot_put_late(body, number);
    if (is_left) EMIT("X%u:;\n", number);
    body->dead = body->dead && !is_left;
    return body->status;
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
    EMIT("    uintptr_t %s%u = %s(%sc%u, ", name, number, trips->is_below ? "rounds_below" : "rounds_nonzero", name,
         number);
    if (trips->is_below) EMIT("%sd%u, ", name, number);
    EMIT("%se%u);\n", name, number);
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
    case AOT_RETRIES:
        EMIT("    if (%s) {\n    LOOP_JUMP(%u, %u, 0x%x);\n    goto L%u_2;\n    }\n", condition, 1u << label->shift,
             number, body->offset, number);
        return true;
    case AOT_COUNTS: EMIT("    if (k%u != 0) {\n    k%u--;\n    goto L%u_2;\n    }\n", number, number, number); break;
    case AOT_RUNS: EMIT("    }\n"); break;
    case AOT_NESTS: EMIT("    }\n"); return true;
    case AOT_REPEATS: EMIT("    if (%s) goto L%u_1;\n    goto X%u;\n", condition, number, number); return true;
    }
    EMIT("    if (%s) {\n    LOOP_JUMP(%u, %u, 0x%x);\n    goto L%u;\n    }\n", condition, 1u << label->shift, number,
         body->offset, number);
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
    EMIT("    {\n    const uintptr_t k%u = rounds_at_most(kc%u, kd%u, ke%u);\n", number, number, number, number);
    EMIT("    TOP_UP((uint64_t)k%u << %u, 0x%x);\n", number, count->shift, body->offset);
    put_extents(body, count);
    EMIT("    if (k%u != 0 && (int64_t)k%u << %u <= n", number, number, count->shift);
    put_conditions(body, count);
    EMIT(") {\n    n -= (int64_t)k%u << %u;\nL%u_1:;\n", number, count->shift, number);
    WR_TRY(put_proven(body, type, count, AOT_REPEATS));
    EMIT("    }\n");
    return body->status;
}

static wr_status put_run(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const uint32_t number = count->number;
    EMIT("    {\n");
    put_rounds(body, &count->trips, "k", number);
    EMIT("    LIMIT(k%u, %u);\n", number, count->shift);
    if (count->is_nest) {
        put_terms(body, &count->inner_trips, "q", number);
        put_rounds(body, &count->inner_trips, "q", number);
        EMIT("    LIMIT_NEST(k%u, q%u, %u, 0x%x);\n", number, number, count->shift, body->offset);
    }
    put_extents(body, count);
    EMIT("    if (k%u >= %u", number, count->is_nest ? 1 : RUN_ROUNDS_MIN);
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
    WR_TRY(put_proven(body, type, count, AOT_RUNS));
    EMIT("    }\n");
    return body->status;
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

static bool has_run(const wr_aot_count *count, const wr_aot_loop *loop) {
    return count->is_provable && count->group_count != 0 && loop->size <= RUN_BYTES_MAX &&
           (count->is_nest || !loop->has_loops) && (repeats(count) || is_dense(count));
}

/* The copy without checks, and one for when these would be needed. */
static wr_status put_proven_or_not(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const place start = here(body);
    wr_aot_outermost(body)->has_plain = true;
    wr_aot_outermost(body)->memories |= 1;
    WR_TRY((repeats(count) ? put_repeated : put_run)(body, type, count));
    go_back(body, &start);
    EMIT("L%u_2:;\n", count->number);
    return put_body(body, type, count, AOT_RETRIES);
}

static wr_status put_paid(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count) {
    const uint32_t number = count->number;
    put_rounds(body, &count->trips, "k", number);
    EMIT("    LIMIT(k%u, %u);\n    n -= (int64_t)k%u << %u;\nL%u_2:;\n", number, count->shift, number, count->shift,
         number);
    return put_body(body, type, count, AOT_COUNTS);
}

static wr_status put_counted(wr_aot_body *body, const wr_aot_block *type, wr_aot_count *count, bool runs) {
    const uint32_t number = count->number = body->numbers++;
    EMIT("L%u:; { /* loop @0x%x */\n", number, body->offset);
    put_terms(body, &count->trips, "k", number);
    WR_TRY((runs ? put_proven_or_not : put_paid)(body, type, count));
    EMIT("    }\n");
    wr_aot_put_late(body, number);
    EMIT("X%u:;\n", number);
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

/* Whether another loop may be written in a way that takes compilers several times as long as a plain one. */
static bool is_affordable(wr_aot_emit *emit, const wr_aot_loop *loop) {
    const uint32_t bytes = loop->size + LOOP_BYTES;
    if (emit->loop_bytes + bytes > LOOP_BYTES_MAX) return false;
    emit->loop_bytes += bytes;
    return true;
}

static wr_status put_loop(wr_aot_body *body, const wr_aot_block *type, const wr_aot_loop *loop) {
    wr_aot_count count = {.is_counted = false};
    const bool is_small = !loop->has_loops && loop->shift == 0;
    if (loop->has_calls || type->param_count != 0 || loop->size > AOT_COUNT_BYTES_MAX) {
        return put_plain(body, type, loop);
    }
    if (type->result_count == 0) wr_aot_count_loop(body, body->reader, false, &count);
    count.shift = loop->shift;
    const bool runs = count.is_counted && has_run(&count, loop);
    if ((!runs && !is_small) || !is_affordable(body->emit, loop)) return put_plain(body, type, loop);
    return count.is_counted ? put_counted(body, type, &count, runs) : put_pair(body, type);
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
