/* Names of operands and where they are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../wasm/numeric.h"
#include "count.h"

enum { CLASS_I32, CLASS_I64, CLASS_F32, CLASS_F64, CLASS_V128, CLASS_COUNT };
static const char letters[] = "ijfdv";
static const char *const ctypes[] = {"uint32_t", "uint64_t", "float", "double", "v128"};

static int class_of(wr_vt type) {
    switch (type) {
    case WR_VT_I32: return CLASS_I32;
    case WR_VT_F32: return CLASS_F32;
    case WR_VT_F64: return CLASS_F64;
    case WR_VT_V128: return CLASS_V128;
    default: return CLASS_I64; /* references are in 64 bits too */
    }
}

const char *wr_aot_ctype(wr_vt type) { return ctypes[class_of(type)]; }

wr_aot_name wr_aot_temp(wr_aot_body *body, wr_vt type, size_t height) {
    wr_aot_name name = {""};
    if (body->temps.count <= height) {
        wr_status status = wr_vec_reserve(&body->emit->engine->heap, &body->temps, height + 1 - body->temps.count, 1);
        if (status != WR_OK) {
            body->status = status;
            return name;
        }
        memset((uint8_t *)body->temps.items + body->temps.count, 0, height + 1 - body->temps.count);
        body->temps.count = (uint32_t)height + 1;
    }
    ((uint8_t *)body->temps.items)[height] |= (uint8_t)(1 << class_of(type));
    snprintf(name.text, sizeof name.text, "%c%zu", letters[class_of(type)], height);
    return name;
}

/* NaN has no text that keeps its bits. */
static void constant_text(wr_aot_name *name, const wr_aot_value *value) {
    const uint32_t low = (uint32_t)value->bits;
    const double number = value->type == WR_VT_F32 ? (double)wr_from_bits_f32(low) : wr_from_bits_f64(value->bits);
    const bool finite = number - number == 0;
    switch (class_of(value->type)) {
    case CLASS_I32:
        snprintf(name->text, sizeof name->text, low > 9999 ? "0x%" PRIx32 "u" : "%" PRIu32 "u", low);
        return;
    case CLASS_F32:
        if (finite) {
            snprintf(name->text, sizeof name->text, "(%af)", number);
        } else {
            snprintf(name->text, sizeof name->text, "wr_from_bits_f32(0x%" PRIx32 "u)", low);
        }
        return;
    case CLASS_F64:
        if (finite) {
            snprintf(name->text, sizeof name->text, "(%a)", number);
        } else {
            snprintf(name->text, sizeof name->text, "wr_from_bits_f64(0x%" PRIx64 "ull)", value->bits);
        }
        return;
    default:
        snprintf(name->text, sizeof name->text, value->bits > 9999 ? "0x%" PRIx64 "ull" : "%" PRIu64 "ull",
                 value->bits);
    }
}

static wr_aot_name text_of(wr_aot_body *body, const wr_aot_value *value, size_t height) {
    wr_aot_name name = {""};
    if (value->place == AOT_TEMP) return wr_aot_temp(body, value->type, height);
    if (value->place == AOT_LOCAL) {
        snprintf(name.text, sizeof name.text, "l%" PRIu32, value->local);
    } else {
        constant_text(&name, value);
    }
    return name;
}

wr_aot_name wr_aot_number(wr_aot_body *body, const wr_aot_value *value) {
    size_t height = (size_t)(value->place == AOT_TEMP ? value->local : 0); /* a popped temporary knows its height */
    return text_of(body, value, height);
}

static wr_aot_name exact(const wr_aot_body *body, const wr_aot_value *value, wr_aot_name number) {
    wr_aot_name out;
    if (value->loose == 0) return number;
    const char *kind = value->type == WR_VT_V128                       ? "lanes_canon"
                       : body->proven != NULL && body->proven->is_nest ? "flat_canon"
                                                                       : "wr_canon";
    snprintf(out.text, sizeof out.text, "%s_f%u(%.40s)", kind, value->loose, number.text);
    return out;
}

wr_aot_name wr_aot_text(wr_aot_body *body, const wr_aot_value *value) {
    return exact(body, value, wr_aot_number(body, value));
}

wr_aot_name wr_aot_text_at(wr_aot_body *body, size_t height) {
    const wr_aot_value *value = wr_aot_value_at(body, height);
    return exact(body, value, text_of(body, value, height));
}

wr_aot_value *wr_aot_value_at(const wr_aot_body *body, size_t height) {
    return (wr_aot_value *)body->stack.items + height;
}

wr_aot_value wr_aot_pop(wr_aot_body *body) {
    if (body->stack.count == 0) { /* cannot be: the module is valid */
        body->status = WR_BAD_STATE;
        return (wr_aot_value){.type = WR_VT_I32, .place = AOT_CONST};
    }
    wr_aot_value value = *wr_aot_value_at(body, --body->stack.count);
    if (value.place == AOT_TEMP) value.local = (uint32_t)body->stack.count;
    if (body->flushed > body->stack.count) body->flushed = (uint32_t)body->stack.count;
    return value;
}

uint32_t wr_aot_next_slot(const wr_aot_body *body) {
    if (body->stack.count == 0) return (uint32_t)body->code->info_slot + WR_INFO_SLOTS;
    const wr_aot_value *top = wr_aot_value_at(body, body->stack.count - 1);
    return top->slot + wr_vt_slots(top->type);
}

void wr_aot_push_value(wr_aot_body *body, const wr_aot_value *value) {
    wr_status status = wr_vec_reserve(&body->emit->engine->heap, &body->stack, 1, sizeof *value);
    if (status != WR_OK) {
        body->status = status;
        return;
    }
    uint32_t slot = wr_aot_next_slot(body);
    wr_aot_value *top = wr_aot_value_at(body, body->stack.count++);
    *top = *value;
    top->slot = slot;
}

wr_aot_name wr_aot_push(wr_aot_body *body, wr_vt type) {
    const wr_aot_value value = {.type = type, .place = AOT_TEMP};
    wr_aot_push_value(body, &value);
    return wr_aot_temp(body, type, body->stack.count - 1);
}

void wr_aot_settle(wr_aot_body *body, size_t height) {
    wr_aot_value *value = wr_aot_value_at(body, height);
    if (value->place == AOT_TEMP) return;
    wr_aot_name from = text_of(body, value, height), to = wr_aot_temp(body, value->type, height);
    EMIT("    %s = %s;\n", to.text, from.text);
    value->place = AOT_TEMP;
}

void wr_aot_fix(wr_aot_body *body, size_t height) {
    wr_aot_value *value = wr_aot_value_at(body, height);
    wr_aot_settle(body, height);
    if (value->loose == 0) return;
    EMIT("    %s = %s;\n", wr_aot_temp(body, value->type, height).text, wr_aot_text_at(body, height).text);
    value->loose = 0;
}

void wr_aot_settle_locals(wr_aot_body *body) {
    for (size_t i = body->flushed; i < body->stack.count; i++) {
        if (wr_aot_value_at(body, i)->place == AOT_LOCAL) wr_aot_settle(body, i);
    }
    body->flushed = (uint32_t)body->stack.count;
}

void wr_aot_use_of(wr_aot_body *user, bool is_type, uint32_t index) {
    wr_aot_body *body = wr_aot_outermost(user);
    const wr_aot_use *uses = body->used.items;
    for (size_t i = 0; i < body->used.count; i++) {
        if (uses[i].is_type == is_type && uses[i].index == index) return;
    }
    wr_status status = wr_vec_reserve(&body->emit->engine->heap, &body->used, 1, sizeof(wr_aot_use));
    if (status != WR_OK) {
        body->status = status;
        return;
    }
    ((wr_aot_use *)body->used.items)[body->used.count++] = (wr_aot_use){is_type, index};
}

enum { PRESERVE_SCAN_MAX = 64 };

void wr_aot_preserve(wr_aot_body *body, uint32_t local) {
    if (body->stack.count - body->flushed > PRESERVE_SCAN_MAX) { /* keeps this pass linear */
        wr_aot_settle_locals(body);
        return;
    }
    for (size_t i = body->flushed; i < body->stack.count; i++) {
        const wr_aot_value *value = wr_aot_value_at(body, i);
        if (value->place == AOT_LOCAL && value->local == local) wr_aot_settle(body, i);
    }
}

void wr_aot_drop_to(wr_aot_body *body, size_t height) {
    body->stack.count = (uint32_t)height;
    if (body->flushed > height) body->flushed = (uint32_t)height;
}

static const char *const members[] = {"u64", "u64", "f32", "f64", ""};

void wr_aot_put_slot(wr_aot_body *body, const char *frame, uint32_t slot, wr_vt type, const char *value) {
    int class = class_of(type);
    if (class == CLASS_V128) {
        EMIT("    put128(&%s[%u], %s);\n", frame, slot, value);
    } else {
        EMIT("    %s[%u].%s = %s;\n", frame, slot, members[class], value);
    }
}

void wr_aot_get_slot(wr_aot_body *body, const char *frame, uint32_t slot, wr_vt type, const char *to) {
    int class = class_of(type);
    if (class == CLASS_V128) {
        EMIT("    %s = get128(&%s[%u]);\n", to, frame, slot);
    } else {
        EMIT("    %s = %s[%u].%s;\n", to, frame, slot, class == CLASS_I32 ? "u32" : members[class]);
    }
}
