/* Follows the operands of a loop's instructions as sums of locals as they were when the round began. Whatever it does
 * not know ends the inquiry: then the loop is not counted. */
#include <string.h>

#include "count.h"

enum { STACK_MAX = 48, BLOCKS_MAX = 24, LOG_MAX = 128 };

/* An operand: a sum, or the comparison of two. */
typedef struct operand {
    uint8_t compare; /* opcode; 0: none */
    wr_aot_form a, b;
} operand;

typedef struct open_block {
    uint32_t height, results, logged;
} open_block;

typedef struct inquiry {
    const wr_aot_body *body;
    wr_aot_count *out;
    wr_reader reader;
    bool in_nest; /* this is the inner loop */
    bool failed, dead, has_closed, has_loops, has_exits;
    uint32_t dead_depth;
    uint32_t stack_count, block_count, log_count;
    uint32_t nested_end; /* accesses up to this offset have been noted */
    operand stack[STACK_MAX];
    open_block blocks[BLOCKS_MAX];
    uint8_t log[LOG_MAX]; /* locals that were assigned */
    wr_aot_form now[AOT_COUNT_LOCALS];
    uint8_t assignments[AOT_COUNT_LOCALS];
} inquiry;

/* ---- operands ---- */

static void push(inquiry *it, const operand *value) {
    if (it->stack_count == STACK_MAX) {
        it->failed = true;
    } else {
        it->stack[it->stack_count++] = *value;
    }
}

static void push_form(inquiry *it, const wr_aot_form *form) {
    const operand value = {.a = *form};
    push(it, &value);
}

static void push_unknown(inquiry *it) { push_form(it, &(wr_aot_form){0}); }

static operand pop(inquiry *it) {
    const uint32_t floor = it->block_count != 0 ? it->blocks[it->block_count - 1].height : 0;
    if (it->stack_count > floor) return it->stack[--it->stack_count];
    it->failed = true; /* an operand from in front of the loop */
    return (operand){0};
}

static wr_aot_form pop_form(inquiry *it) {
    const operand value = pop(it);
    return value.compare == 0 ? value.a : (wr_aot_form){0};
}

/* ---- locals ---- */

static void assign(inquiry *it, uint32_t local, const wr_aot_form *value) {
    wr_aot_count *out = it->out;
    if (it->log_count == LOG_MAX) {
        it->failed = true;
        return;
    }
    it->log[it->log_count++] = (uint8_t)local;
    out->assigned[local] = true;
    const wr_aot_form before = wr_aot_form_local(local);
    if (it->assignments[local] == 0 && it->block_count == 0) {
        out->steps[local] = wr_aot_form_add(value, &before, UINT32_MAX);
    } else {
        out->steps[local].is_known = false;
    }
    if (it->assignments[local] < 2) it->assignments[local]++;
    it->now[local] = *value;
}

/* What was assigned since then may have been, or not. */
static void forget_since(inquiry *it, uint32_t logged) {
    for (uint32_t i = logged; i < it->log_count; i++) it->now[it->log[i]].is_known = false;
}

/* An inner loop starts: what it assigns is not known from its second round on. */
static void forget_assigned_ahead(inquiry *it) {
    wr_reader ahead = it->reader;
    for (uint32_t depth = 1, code; depth != 0;) {
        wr_reader operands;
        uint32_t local;
        if (wr_aot_read_code(&ahead, &code) != WR_OK) break;
        operands = ahead;
        if (wr_aot_skip(&ahead, code) != WR_OK) break;
        if ((code >= 0x02 && code <= 0x04) || code == 0x1F) depth++;
        if (code == 0x0B) depth--;
        if ((code == 0x21 || code == 0x22) && wr_read_u32(&operands, &local) == WR_OK) {
            assign(it, local, &(wr_aot_form){0});
            it->out->steps[local].is_known = false;
        }
        if (it->failed) break;
    }
}

/* ---- accesses ---- */

static void note_access(inquiry *it, const wr_aot_access *access) {
    wr_aot_count *out = it->out;
    if (access->offset < it->nested_end && !access->is_inner) return;
    if (!access->at.is_known || access->displacement > INT32_MAX || out->access_count == AOT_COUNT_ACCESSES) {
        out->is_provable = false;
    } else {
        out->accesses[out->access_count++] = *access;
    }
}

static void do_access(inquiry *it, uint32_t code, uint32_t offset) {
    uint32_t align, memory = 0;
    wr_aot_access access = {.offset = offset, .bytes = wr_aot_access_bytes(code), .stores = code >= 0x36};
    if (wr_read_u32(&it->reader, &align) != WR_OK) it->failed = true;
    if ((align & 0x40) != 0 && wr_read_u32(&it->reader, &memory) != WR_OK) it->failed = true;
    if (wr_read_u64(&it->reader, &access.displacement) != WR_OK) it->failed = true;
    if (access.stores) (void)pop(it);
    access.at = pop_form(it);
    access.inner = wr_aot_form_number(0);
    if (memory != 0) access.at.is_known = false;
    note_access(it, &access);
    if (!access.stores) push_unknown(it);
}

/* ---- computing ---- */

static void do_arithmetic(inquiry *it, uint32_t code) {
    const wr_aot_form right = pop_form(it), left = pop_form(it), zero = wr_aot_form_number(0);
    wr_aot_form result = {0};
    switch (code) {
    case 0x6A: result = wr_aot_form_add(&left, &right, 1); break;
    case 0x6B: result = wr_aot_form_add(&left, &right, UINT32_MAX); break;
    case 0x6C:
        if (wr_aot_form_is_number(&right)) result = wr_aot_form_add(&zero, &left, right.number);
        if (wr_aot_form_is_number(&left)) result = wr_aot_form_add(&zero, &right, left.number);
        break;
    default:
        if (wr_aot_form_is_number(&right)) result = wr_aot_form_add(&zero, &left, UINT32_C(1) << (right.number & 31));
        break;
    }
    push_form(it, &result);
}

/* Opcodes of comparisons and their opposites. */
static uint8_t opposite(uint8_t compare) {
    static const uint8_t opposites[] = {0x47, 0x46, 0x4E, 0x4F, 0x4C, 0x4D, 0x4A, 0x4B, 0x48, 0x49};
    return opposites[compare - 0x46];
}

static void do_compare(inquiry *it, uint32_t code) {
    operand value = {0};
    if (code != 0x45) {
        value.compare = (uint8_t)code;
        value.b = pop_form(it);
        value.a = pop_form(it);
    } else {
        value = pop(it);
        if (value.compare != 0) {
            value.compare = opposite(value.compare);
        } else {
            value.compare = 0x46;
            value.b = wr_aot_form_number(0);
        }
    }
    push(it, &value);
}

static void do_local(inquiry *it, uint32_t code) {
    uint32_t local;
    if (wr_read_u32(&it->reader, &local) != WR_OK) it->failed = true;
    if (it->failed) return;
    if (code == 0x20) {
        push_form(it, &it->now[local]);
        return;
    }
    const wr_aot_form value = pop_form(it);
    if (!it->failed) assign(it, local, &value);
    if (code == 0x22) push_form(it, &value);
}

static void do_const(inquiry *it, uint32_t code) {
    int32_t number = 0;
    if (code == 0x41) {
        if (wr_read_s32(&it->reader, &number) != WR_OK) it->failed = true;
        const wr_aot_form form = wr_aot_form_number((uint32_t)number);
        push_form(it, &form);
    } else {
        if (wr_aot_skip(&it->reader, code) != WR_OK) it->failed = true;
        push_unknown(it);
    }
}

/* ---- control ---- */

/* What a round adds to a sum; not known where something else than counting changes it. */
static wr_aot_form step_of(const wr_aot_count *out, const wr_aot_form *form) {
    wr_aot_form step = wr_aot_form_number(0);
    step.is_known = form->is_known;
    for (uint32_t i = 0; i < form->count; i++) {
        step = wr_aot_form_add(&step, &out->steps[form->terms[i].local], form->terms[i].factor);
    }
    return step;
}

/* What a sum of the inner loop's beginning is in the outer one's round. */
static wr_aot_form seen_from_outside(const inquiry *it, const wr_aot_form *form) {
    wr_aot_form out = wr_aot_form_number(form->number);
    out.is_known = form->is_known;
    for (uint32_t i = 0; i < form->count; i++) {
        out = wr_aot_form_add(&out, &it->now[form->terms[i].local], form->terms[i].factor);
    }
    return out;
}

/* The inner loop of a nest: its accesses as seen from the outer loop. */
static void try_nest(inquiry *it) {
    wr_aot_count inner;
    wr_aot_count_loop(it->body, it->reader, true, &inner);
    if (!inner.is_counted || !inner.is_plain || !inner.is_provable) return;
    for (uint32_t i = 0; i < inner.access_count; i++) {
        wr_aot_access access = inner.accesses[i];
        const wr_aot_form step = step_of(&inner, &access.at);
        access.is_inner = true;
        access.at = seen_from_outside(it, &access.at);
        access.inner = seen_from_outside(it, &step);
        note_access(it, &access);
    }
    it->out->inner_trips = inner.trips;
    it->out->inner_trips.first = seen_from_outside(it, &inner.trips.first);
    it->out->inner_trips.limit = seen_from_outside(it, &inner.trips.limit);
    it->out->is_nest = true;
}

static void open(inquiry *it, uint32_t code) {
    wr_aot_block type;
    if (code == 0x04) (void)pop(it);
    if (wr_aot_read_block(it->body->module, &it->reader, &type) != WR_OK) it->failed = true;
    if (it->failed || type.param_count != 0 || it->block_count == BLOCKS_MAX) {
        it->failed = true;
        return;
    }
    const open_block block = {it->stack_count, type.result_count, it->log_count};
    if (code == 0x03) {
        const bool is_first = !it->has_loops && !it->in_nest && it->block_count == 0;
        it->has_loops = true;
        it->out->is_nest = false;
        if (is_first && type.result_count == 0) try_nest(it);
        wr_reader ahead = it->reader;
        for (uint32_t depth = 1, inner; it->out->is_nest && depth != 0;) {
            if (wr_aot_read_code(&ahead, &inner) != WR_OK || wr_aot_skip(&ahead, inner) != WR_OK) break;
            depth += ((inner >= 0x02 && inner <= 0x04) || inner == 0x1F) ? 1u : 0;
            depth -= inner == 0x0B ? 1u : 0;
        }
        if (it->out->is_nest) it->nested_end = wr_reader_offset(&ahead);
        forget_assigned_ahead(it);
    }
    it->blocks[it->block_count++] = block;
}

static void close(inquiry *it, uint32_t code) {
    open_block *block = &it->blocks[it->block_count - 1];
    forget_since(it, block->logged);
    it->stack_count = block->height;
    it->dead = false;
    if (code == 0x05) return;
    it->block_count--;
    for (uint32_t i = 0; i < block->results; i++) push_unknown(it);
}

/* A jump to the loop's beginning counts only as its last instruction. */
static void do_branch(inquiry *it, uint32_t code) {
    uint32_t depth, count = 0;
    operand condition = {0};
    if (code != 0x0C) condition = pop(it);
    if (code == 0x0E && wr_read_u32(&it->reader, &count) != WR_OK) it->failed = true;
    for (uint32_t i = 0; i <= count && !it->failed; i++) {
        if (wr_read_u32(&it->reader, &depth) != WR_OK) it->failed = true;
        if (depth > it->block_count) it->has_exits = true;
        if (depth != it->block_count) continue;
        if (code != 0x0D || it->block_count != 0) {
            it->failed = true;
        } else {
            it->has_closed = true;
            it->stack[0] = condition;
        }
    }
    it->dead = code != 0x0D;
    it->dead_depth = 0;
}

/* ---- instructions ---- */

static void do_other(inquiry *it, uint32_t code) {
    const uint32_t operands = wr_aot_simple_operands(code);
    if (operands == 0) {
        it->failed = true;
        return;
    }
    for (uint32_t i = 0; i < operands; i++) (void)pop(it);
    push_unknown(it);
}

static void do_parametric(inquiry *it, uint32_t code) {
    if (code == 0x1A || code == 0x24) {
        (void)pop(it);
    } else if (code == 0x23) {
        push_unknown(it);
    } else {
        for (uint32_t i = 0; i < 3; i++) (void)pop(it);
        push_unknown(it);
    }
    if (wr_aot_skip(&it->reader, code) != WR_OK) it->failed = true;
}

static void follow(inquiry *it, uint32_t code, uint32_t offset) {
    switch (code) {
    case 0x00:
    case 0x0F:
        it->dead = it->has_exits = true;
        it->dead_depth = 0;
        return;
    case 0x01: return;
    case 0x02:
    case 0x03:
    case 0x04: open(it, code); return;
    case 0x05:
    case 0x0B: close(it, code); return;
    case 0x0C:
    case 0x0D:
    case 0x0E: do_branch(it, code); return;
    case 0x1A:
    case 0x1B:
    case 0x1C:
    case 0x23:
    case 0x24: do_parametric(it, code); return;
    case 0x20:
    case 0x21:
    case 0x22: do_local(it, code); return;
    case 0x41:
    case 0x42:
    case 0x43:
    case 0x44: do_const(it, code); return;
    case 0x6A:
    case 0x6B:
    case 0x6C:
    case 0x74: do_arithmetic(it, code); return;
    default: break;
    }
    if (code >= 0x28 && code <= 0x3E) {
        do_access(it, code, offset);
    } else if (code >= 0x45 && code <= 0x4F) {
        do_compare(it, code);
    } else {
        do_other(it, code);
    }
}

static void skip_dead(inquiry *it, uint32_t code) {
    if ((code >= 0x02 && code <= 0x04) || code == 0x1F) {
        it->dead_depth++;
    } else if (code == 0x0B && it->dead_depth != 0) {
        it->dead_depth--;
    }
    if (wr_aot_skip(&it->reader, code) != WR_OK) it->failed = true;
}

/* Up to the end of the loop, which must be right behind the jump back. */
static void follow_all(inquiry *it) {
    while (!it->failed) {
        uint32_t code;
        const uint32_t offset = wr_reader_offset(&it->reader);
        if (wr_aot_read_code(&it->reader, &code) != WR_OK) it->failed = true;
        const bool ends = code == 0x0B || (code == 0x05 && it->dead_depth == 0);
        if (it->block_count == 0 && it->dead_depth == 0 && code == 0x0B) break;
        if (it->has_closed) it->failed = true;
        if (it->failed) return;
        if (it->dead && !(ends && it->dead_depth == 0)) {
            skip_dead(it, code);
        } else {
            follow(it, code, offset);
        }
    }
    if (!it->has_closed) it->failed = true;
}

/* ---- conclusions ---- */

static bool is_zero(const wr_aot_form *form) { return wr_aot_form_is_number(form) && form->number == 0; }

/* Steps that are sums of what changes itself are none. */
static void check_steps(wr_aot_count *out, uint32_t locals) {
    for (uint32_t i = 0; i < locals; i++) {
        wr_aot_form *step = &out->steps[i];
        for (uint32_t k = 0; k < step->count; k++) {
            if (out->assigned[step->terms[k].local]) step->is_known = false;
        }
    }
}

static bool find_trips(const inquiry *it, wr_aot_trips *trips) {
    const operand *condition = &it->stack[0];
    const wr_aot_form zero = wr_aot_form_number(0);
    const uint8_t compare = condition->compare;
    wr_aot_form left = condition->a, right = condition->b;
    *trips = (wr_aot_trips){0};
    if (compare == 0x46) return false;
    if (compare == 0 || compare == 0x47) {
        trips->first = compare == 0 ? left : wr_aot_form_add(&left, &right, UINT32_MAX);
        trips->limit = zero;
    } else {
        const uint8_t kind = (uint8_t)((compare - 0x48) / 2); /* <, >, <=, >= */
        if (kind % 2 != 0) {
            left = condition->b;
            right = condition->a;
        }
        const wr_aot_form left_step = step_of(it->out, &left);
        trips->is_below = true;
        trips->is_signed = compare % 2 == 0;
        trips->with_limit = kind >= 2;
        trips->is_flipped = is_zero(&left_step);
        trips->first = trips->is_flipped ? right : left;
        trips->limit = trips->is_flipped ? left : right;
    }
    const wr_aot_form still = step_of(it->out, &trips->limit);
    trips->step = step_of(it->out, &trips->first);
    return trips->step.is_known && (trips->step.count != 0 || trips->step.number != 0) && is_zero(&still);
}

/* Puts an access into the group it belongs to. */
static bool put_in_group(wr_aot_count *out, wr_aot_access *access) {
    const wr_aot_form step = step_of(out, &access->at), drift = step_of(out, &access->inner);
    uint32_t i = 0;
    if (!step.is_known || !is_zero(&drift)) return false;
    while (i < out->group_count && !(wr_aot_form_same_terms(&out->groups[i].base, &access->at) &&
                                     wr_aot_form_same_terms(&out->groups[i].inner, &access->inner) &&
                                     out->groups[i].inner.number == access->inner.number)) {
        i++;
    }
    if (i == AOT_COUNT_GROUPS) return false;
    wr_aot_group *group = &out->groups[i];
    if (i == out->group_count) {
        out->group_count++;
        *group = (wr_aot_group){.base = access->at, .step = step, .inner = access->inner};
    }
    group->stores = group->stores || access->stores;
    group->has_inner = group->has_inner || access->inner.count != 0 || access->inner.number != 0;
    if ((int32_t)(access->at.number - group->base.number) < 0) group->base.number = access->at.number;
    access->group = i;
    return true;
}

static void measure_groups(wr_aot_count *out) {
    for (uint32_t i = 0; i < out->group_count; i++) out->groups[i].first = UINT64_MAX;
    for (uint32_t i = 0; i < out->access_count; i++) {
        wr_aot_access *access = &out->accesses[i];
        wr_aot_group *group = &out->groups[access->group];
        access->delta = (uint64_t)(access->at.number - group->base.number) + access->displacement;
        if (access->delta < group->first) group->first = access->delta;
        if (access->delta + access->bytes > group->span) group->span = access->delta + access->bytes;
    }
}

/* Whether what a group stores is of the round alone. */
static bool is_apart(const wr_aot_group *group) {
    if (!group->stores) return true;
    const int64_t step = (int32_t)group->step.number;
    return wr_aot_form_is_number(&group->step) && !group->has_inner &&
           (uint64_t)(step < 0 ? -step : step) >= group->span - group->first;
}

static bool inner_is_the_same(const wr_aot_count *out) {
    const wr_aot_form *first = &out->inner_trips.first, *limit = &out->inner_trips.limit;
    const wr_aot_form a = step_of(out, first), b = step_of(out, limit);
    return is_zero(&a) && is_zero(&b) && wr_aot_form_is_number(&out->inner_trips.step);
}

static void conclude(inquiry *it, uint32_t locals) {
    wr_aot_count *out = it->out;
    check_steps(out, locals);
    if (it->failed || !find_trips(it, &out->trips)) return;
    out->is_counted = true;
    out->is_nest = out->is_nest && !it->has_exits && inner_is_the_same(out);
    out->has_exits = it->has_exits;
    out->is_plain = !it->has_exits && !it->has_loops;
    for (uint32_t i = 0; i < out->access_count && out->is_provable; i++) {
        out->is_provable = put_in_group(out, &out->accesses[i]);
    }
    if (it->in_nest) return;
    measure_groups(out);
    out->is_parallel = out->is_provable;
    for (uint32_t i = 0; i < out->group_count; i++) out->is_parallel = out->is_parallel && is_apart(&out->groups[i]);
}

void wr_aot_count_loop(const wr_aot_body *body, wr_reader reader, bool in_nest, wr_aot_count *out) {
    inquiry it = {.body = body, .out = out, .reader = reader, .in_nest = in_nest};
    const uint32_t locals = (uint32_t)body->locals.count;
    const wr_module *module = body->module;
    memset(out, 0, sizeof *out);
    if (locals > AOT_COUNT_LOCALS) return;
    for (uint32_t i = 0; i < locals; i++) {
        it.now[i] = wr_aot_form_local(i);
        out->steps[i] = wr_aot_form_number(0);
    }
    out->is_provable = module->memory_count != 0 && !module->memories[0].is64 && !module->memories[0].shared;
    follow_all(&it);
    conclude(&it, locals);
}
