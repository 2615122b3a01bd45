/* From a module to C. Function bodies have been validated when they get here, so this pass only keeps what it needs to
 * name values: a stack of typed operands, each a temporary variable, a local variable it still equals, or a constant.
 * Temporaries are named by type and height on the operand stack (i3, d0), so that every path to a label leaves its
 * values in the same variables. The C compiler does the rest. */
#ifndef WR_AOT_EMIT_H
#define WR_AOT_EMIT_H
#include "../wasm/module.h"
#include "../wasm/reader.h"
#include "text.h"

/* Expressions of the opcode tables become text for any target: a constant is as wide there as it is here. */
#undef UINT64_C
#define UINT64_C(N) N##ULL

typedef enum wr_aot_place { AOT_TEMP, AOT_LOCAL, AOT_CONST } wr_aot_place;

typedef struct wr_aot_value {
    wr_vt type;
    wr_aot_place place;
    uint32_t slot;  /* where the interpreter would have it */
    uint32_t local; /* AOT_LOCAL */
    uint32_t spare; /* an i32 is at most UINT32_MAX less this */
    uint8_t loose;  /* float lanes of so many bits that mean the canonical NaN where they have any other; 0: exact */
    uint64_t bits;  /* AOT_CONST */
} wr_aot_value;

/* The last comparison of order of signed integers; code 0: none. */
typedef struct wr_aot_compared {
    uint32_t code;
    wr_aot_value left, right;
    size_t end; /* of the text then */
} wr_aot_compared;

typedef enum wr_aot_kind { AOT_FUNC, AOT_BLOCK, AOT_LOOP, AOT_IF, AOT_ELSE } wr_aot_kind;

typedef struct wr_aot_block {
    const wr_vt *params, *results;
    uint32_t param_count, result_count;
    wr_vt single; /* the result where results is NULL and result_count 1 */
} wr_aot_block;

/* How a loop with rounds that were counted beforehand goes on. */
typedef enum wr_aot_pace {
    AOT_ASKS,   /* it does not count beforehand */
    AOT_COUNTS, /* k rounds to go */
    AOT_RETRIES, /* with checks, as those would be needed that a copy without does not have */
    AOT_RUNS,   /* round t of a loop whose accesses cannot trap */
    AOT_NESTS,  /* ditto, inside of such a loop */
    AOT_REPEATS /* its accesses cannot trap either, but it asks each time */
} wr_aot_pace;

typedef struct wr_aot_label {
    wr_aot_kind kind;
    wr_aot_block type;
    uint32_t number;
    uint32_t height; /* operands below the parameters */
    bool reached;    /* something jumps to its end */
    uint8_t half;    /* LOOP: of a pair of copies, 1 or 2; 0: there is one */
    bool is_copy;
    wr_aot_pace pace;
    uint8_t shift;   /* LOOP: a jump back takes so many from the allowance, as a power of 2 */
} wr_aot_label;

/* A table or type that a function has a variable for. */
typedef struct wr_aot_use {
    bool is_type;
    uint32_t index;
} wr_aot_use;

enum { AOT_NO_LABEL = UINT32_MAX };

/* What is known of a loop before it is translated. */
typedef struct wr_aot_loop {
    bool has_calls;
    bool has_loops;
    uint32_t size;  /* bytes of its body, in which divisions count for more than they have */
    uint8_t shift;  /* of what a jump back takes from the allowance: long bodies count more often */
} wr_aot_loop;

/* An inlined call: where it is, and in which other one. */
typedef struct wr_aot_chain {
    uint32_t offset;
    uint32_t outer;
} wr_aot_chain;

typedef struct wr_aot_emit {
    wr_engine *engine;
    const wr_module *module;
    const uint8_t *bytes;
    size_t len;
    wr_text bodies;
    wr_text thunks;
    bool *is_reachable; /* per function: has an entry, because something other than a direct call gets to it */
    bool *type_has_thunk;
    bool *has_tail; /* per defined function: it may end in a tail call */
    bool has_tails; /* one of them may */
    bool *is_leaf;  /* per defined function: it calls nothing, and is not large */
    bool writes_tables;
    bool uses_simd[0x114]; /* per function of emit_simd.c */
    bool has_vectors;
    uint32_t loop_bytes; /* of loops that were written otherwise than as they are */
    wr_reader *codes;   /* per defined function: its locals and instructions */
    bool *is_plain;     /* ditto: small and simple enough to be inlined */
    uint32_t *most_slots; /* per wr_type.id: the largest frame of a function of that type */
    uint32_t type_ids;    /* of the module's types, all below this */
    wr_vec chains;      /* wr_aot_chain, from 1 */
    wr_error *error;
} wr_aot_emit;

typedef struct wr_aot_body {
    wr_aot_emit *emit;
    const wr_module *module;
    const wr_code *code;
    const wr_type *type;
    uint32_t index;
    wr_reader reader;
    wr_vec locals;  /* wr_vt */
    wr_vec stack;   /* wr_aot_value */
    wr_vec labels;  /* wr_aot_label */
    wr_vec temps;   /* uint8_t per height: which types are used there */
    wr_vec loops;   /* wr_aot_loop, in their order */
    wr_vec loose;   /* uint8_t per local: what it is in wr_aot_value, throughout */
    wr_text text;
    wr_status status;
    uint32_t offset;   /* of the instruction in hand */
    uint32_t flushed;  /* operands below stand for no local */
    uint32_t numbers;  /* labels so far */
    uint32_t loop_at;  /* loops so far */
    uint32_t region;   /* label of the loop that counts for itself, or AOT_NO_LABEL */
    bool has_region;
    struct wr_aot_body *outer; /* it is inlined into */
    uint32_t level;            /* how deep */
    uint32_t chain;            /* as in emit->chains */
    uint32_t result;           /* inlined: number of its result and of the label behind it */
    uint32_t inlined_bytes;    /* of the outermost: what was inlined into it so far */
    const struct wr_aot_count *proven; /* the loop in hand, if its accesses cannot trap */
    wr_aot_compared compared;
    uint32_t unweighed; /* instructions that have not been counted as work */
    bool dead;
    uint32_t dead_depth;
    uint32_t memories; /* bits: those it touches */
    wr_vec used;       /* wr_aot_use: what else it loads once */
    bool has_calls, has_cells, has_plain;
} wr_aot_body;

/* scan.c. Opcodes: a byte, or 0xFC00 + number, 0xFE00 + number, WR_CODE_SIMD + number. */
wr_status wr_aot_read_code(wr_reader *reader, uint32_t *code);
wr_status wr_aot_skip(wr_reader *reader, uint32_t code);
wr_status wr_aot_read_block(const wr_module *module, wr_reader *reader, wr_aot_block *out);
wr_status wr_aot_read_type(const wr_module *module, wr_reader *reader, wr_vt *out);
/* Fills body->loops. */
wr_status wr_aot_scan_loops(wr_aot_body *body);
/* Fills body->loose. */
wr_status wr_aot_scan_floats(wr_aot_body *body);

/* emit_value.c */
#define AOT_NAME_BYTES 64
typedef struct wr_aot_name {
    char text[AOT_NAME_BYTES];
} wr_aot_name;
const char *wr_aot_ctype(wr_vt type);
wr_aot_name wr_aot_temp(wr_aot_body *body, wr_vt type, size_t height);
/* Of an operand that was just popped: all its bits; or only what it is as a number, where any NaN is as good. */
wr_aot_name wr_aot_text(wr_aot_body *body, const wr_aot_value *value);
wr_aot_name wr_aot_number(wr_aot_body *body, const wr_aot_value *value);
wr_aot_name wr_aot_text_at(wr_aot_body *body, size_t height);
wr_aot_value wr_aot_pop(wr_aot_body *body);
/* Makes the next operand and returns the variable it is in. */
wr_aot_name wr_aot_push(wr_aot_body *body, wr_vt type);
void wr_aot_push_value(wr_aot_body *body, const wr_aot_value *value);
uint32_t wr_aot_next_slot(const wr_aot_body *body);
wr_aot_value *wr_aot_value_at(const wr_aot_body *body, size_t height);
void wr_aot_settle(wr_aot_body *body, size_t height); /* into its temporary */
void wr_aot_fix(wr_aot_body *body, size_t height);    /* ditto, with all its bits */
void wr_aot_settle_locals(wr_aot_body *body);
void wr_aot_preserve(wr_aot_body *body, uint32_t local);
void wr_aot_drop_to(wr_aot_body *body, size_t height);
/* fp[slot] = value; and back */
void wr_aot_put_slot(wr_aot_body *body, const char *frame, uint32_t slot, wr_vt type, const char *value);
void wr_aot_get_slot(wr_aot_body *body, const char *frame, uint32_t slot, wr_vt type, const char *to);
#define EMIT(...) wr_text_add(&body->text, __VA_ARGS__)

void wr_aot_use_of(wr_aot_body *body, bool is_type, uint32_t index);

/* emit_control.c */
wr_aot_label *wr_aot_label_at(const wr_aot_body *body, size_t index);
wr_status wr_aot_push_label(wr_aot_body *body, wr_aot_kind kind, const wr_aot_block *type);
wr_status wr_aot_control(wr_aot_body *body, uint32_t code);
void wr_aot_die(wr_aot_body *body);
void wr_aot_return(wr_aot_body *body);
void wr_aot_branch(wr_aot_body *body, uint32_t depth);

/* emit_loop.c */
wr_status wr_aot_loop_block(wr_aot_body *body, const wr_aot_block *type);
/* A jump back as the last instruction of a loop that counts beforehand; false: it is not one. */
bool wr_aot_loop_again(wr_aot_body *body, uint32_t depth, const char *condition);
/* Where a jump back goes on for which the limits are to be looked at: late is its offset. */
void wr_aot_put_late(wr_aot_body *body, uint32_t number);
/* Pays back the rounds of loops that are left before their end, and of the region. */
void wr_aot_leave_loops(wr_aot_body *body, size_t target);

/* Until only this many labels are open. (emit_body.c) */
wr_status wr_aot_translate_until(wr_aot_body *body, size_t labels);
uint32_t wr_aot_most(const wr_aot_value *value); /* what an i32 is at most, as far as the last instructions tell */
uint32_t wr_aot_simple_operands(uint32_t code);              /* 0: not one of them */
/* Whether a float constant may be NaN; infinities count as well, they are rare. */
bool wr_aot_may_be_nan(wr_vt type, uint64_t bits);
/* wr_aot_value.loose of what an instruction computes. */
uint8_t wr_aot_simple_loose(uint32_t code);
uint8_t wr_aot_simd_loose(uint32_t code);
uint8_t wr_aot_loose_of(const char *expr); /* of the table's row */
uint32_t wr_aot_access_bytes(uint32_t code);
wr_status wr_aot_simple(wr_aot_body *body, uint32_t code);   /* emit_simple.c; NOT_FOUND: not one of them */
wr_status wr_aot_memory(wr_aot_body *body, uint32_t code);   /* emit_memory.c */
wr_status wr_aot_table(wr_aot_body *body, uint32_t code);    /* emit_table.c */
wr_status wr_aot_call(wr_aot_body *body, uint32_t code);     /* emit_call.c */
wr_status wr_aot_simd(wr_aot_body *body, uint32_t code);     /* emit_simd.c */
wr_status wr_aot_atomic(wr_aot_body *body, uint32_t code);   /* emit_atomic.c */
void wr_aot_simd_functions(const wr_aot_emit *emit, wr_text *out);

typedef struct wr_aot_memarg {
    uint32_t memory;
    uint64_t offset;
} wr_aot_memarg;
wr_status wr_aot_read_memarg(wr_aot_body *body, wr_aot_memarg *out);
/* The expression of the effective address; traps first where it is too large. */
wr_aot_name wr_aot_address(wr_aot_body *body, const wr_aot_value *address, const wr_aot_memarg *arg);
/* Ditto of an access that needs no check; false: it is not one. (emit_loop.c) */
bool wr_aot_proven(wr_aot_body *body, const wr_aot_value *address, const wr_aot_memarg *arg, uint32_t bytes,
                   wr_aot_name *out);

/* Whether a table never has anything but the functions that the module puts into it, all its own; then *slots is what
 * their frames take if they are of the type, UINT32_MAX: not all the same. (emit_table.c) */
bool wr_aot_is_fixed(const wr_aot_emit *emit, uint32_t table, const wr_type *type, uint32_t *slots);

/* A call as the callee's body; false: it is not one to inline. (emit_inline.c) */
bool wr_aot_is_inlined(const wr_aot_body *body, uint32_t index);
wr_status wr_aot_inline(wr_aot_body *body, uint32_t index, uint32_t base, size_t first);
/* Finds out which functions can be. */
wr_status wr_aot_find_plain(wr_aot_emit *emit);
/* Makes emit->most_slots. (emit_call.c) */
wr_status wr_aot_find_frames(wr_aot_emit *emit);
/* Parts of a function: up to its instructions; its variables. */
wr_status wr_aot_begin(wr_aot_body *body, wr_aot_emit *emit, uint32_t index, wr_reader code);
void wr_aot_put_locals(const wr_aot_body *body, wr_text *out);
wr_aot_body *wr_aot_outermost(wr_aot_body *body);

/* One function, into emit->bodies. */
wr_status wr_aot_function(wr_aot_emit *emit, uint32_t index, wr_reader code, wr_aot_body *scratch);
void wr_aot_body_free(wr_aot_body *body);
void wr_aot_prototype(wr_text *text, const wr_type *type, const char *name);

#endif
