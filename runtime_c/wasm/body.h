/* Translation of one function body: types and places of operands, labels, and the code emitted so far.
 *
 * One pass types and translates. Each operand has a type and a place: its own temporary slot, a local it still equals,
 * or a constant; local.get and const emit nothing. Before a local changes, operands that stand for it are copied out;
 * at block entries all of them are, so that every path to a label finds values in the same slots. */
#ifndef WR_BODY_H
#define WR_BODY_H

/* Translation is most of what a load takes. */
#if defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include "loader.h"

typedef enum wr_place { WR_PLACE_TEMP, WR_PLACE_LOCAL, WR_PLACE_CONST } wr_place;

typedef struct wr_operand {
    wr_vt type;
    uint16_t slot; /* its temporary slot, wherever the value is now */
    uint8_t place; /* wr_place */
    union {
        uint64_t value; /* of a constant; v128: the address of its bytes in the body */
        uint32_t local_slot;
    };
} wr_operand;

typedef enum wr_label_kind {
    WR_LABEL_BLOCK,
    WR_LABEL_LOOP,
    WR_LABEL_IF,
    WR_LABEL_ELSE,
    WR_LABEL_TRY,
    WR_LABEL_FUNC
} wr_label_kind;

typedef struct wr_block_type {
    const wr_vt *values; /* of the parameters, then of the results; NULL: there is at most one result */
    uint16_t param_count;
    uint16_t result_count;
    wr_vt single;
} wr_block_type;

typedef struct wr_label {
    wr_block_type type;
    uint16_t height; /* operands below the parameters, which are not more than there are slots */
    uint16_t slot;   /* of the first parameter and of the first result */
    union {
        uint32_t start;      /* loop, try: first instruction */
        uint32_t else_fixup; /* if: the branch around it, chained like fixups */
    };
    uint32_t fixups;      /* branches to the end: the last, chained through their distances (emit.c) */
    uint16_t inits;       /* locals that were initialised before the block */
    uint8_t kind;         /* wr_label_kind */
    bool unreachable : 1; /* typing: the operand stack is polymorphic */
    bool dead_entry : 1;  /* no code is emitted for this block at all */
    bool catches : 1;     /* try: the last of body->pending are its own */
} wr_label;

/* What a br_table needs of a label whose values have to move. */
typedef struct wr_stub {
    uint32_t insn;  /* that moves them */
    uint32_t table; /* for which table: index + 1 of its targets */
} wr_stub;

typedef struct wr_local {
    wr_vt type;
    uint16_t slot;
    bool unset; /* not nullable and not assigned on the way here */
} wr_local;

struct wr_body {
    wr_loader *loader;
    wr_reader *reader;
    wr_vec operands; /* wr_operand */
    wr_vec labels;   /* wr_label */
    wr_vec stubs;    /* wr_stub, of as many labels as ever were open at a br_table with moves */
    wr_vec locals;   /* wr_local */
    wr_vec inits;    /* uint32_t: locals in the order they were initialised */
    wr_vec pending;  /* wr_catch of open try_tables; first: of the label */
    wr_vec catches;  /* wr_catch of closed ones, inner first */
    wr_arena_block *code; /* of all functions, in their order; becomes a part of the module */
    size_t code_used;     /* by functions that are finished */
    wr_insn *insns;       /* behind those */
    uint8_t *marks; /* distances of the instructions in the module's bytes (emit.c) */
    uint32_t insn_count;
    uint32_t insn_capacity;
    uint32_t mark_count;
    uint32_t mark_capacity;
    wr_status status;  /* first failure of emitting or pushing; checked once per instruction */
    uint32_t temp_base;
    uint32_t slot_max;
    uint32_t last;     /* index + 1 of the last instruction while its destination may still be changed, else 0 */
    uint32_t last_marks; /* marks before that instruction */
    uint32_t last_marked;
    uint32_t marked;   /* module offset of the last instruction emitted */
    uint32_t barrier;  /* control may arrive here from elsewhere: nothing before it may be merged with what follows */
    uint32_t flushed;  /* operands below this stand for no local */
    uint32_t offset;   /* of the instruction being translated */
    uint32_t weighed;  /* instructions up to here have been counted as work */
    uint32_t extra;    /* so many more are what those since then do that take longer */
    union {
        wr_insn scrap;            /* takes what is not to be emitted */
        wr_operand scrap_operand; /* or pushed */
    };
};

_Static_assert(sizeof(wr_label) <= 32, "open blocks may be many");

static inline wr_label *wr_label_at(const wr_body *body, uint32_t depth) {
    return (wr_label *)body->labels.items + (body->labels.count - 1 - depth);
}

/* operand.c */
wr_status wr_pop(wr_body *body, wr_vt type, wr_operand *out);
/* Any reference; WR_VT_BOTTOM in unreachable code. */
wr_status wr_pop_ref(wr_body *body, wr_operand *out);
/* Pushes a popped operand again, where it is. */
void wr_push_back(wr_body *body, const wr_operand *operand);
void wr_push_temp(wr_body *body, wr_vt type);
void wr_push_local(wr_body *body, wr_vt type, uint32_t slot);
void wr_push_const(wr_body *body, wr_vt type, uint64_t value);
void wr_push_const128(wr_body *body, const uint8_t *bytes);
uint32_t wr_next_slot(const wr_body *body);
/* Slot that holds the operand; loads a constant into its temporary first. */
uint16_t wr_operand_slot(wr_body *body, const wr_operand *operand);
/* Index of a 64-bit table: clamps it into 32 bits, in its own slot. */
uint16_t wr_index_slot(wr_body *body, const wr_operand *index, bool is64);
/* Copies a value to a slot, unless it is there. */
void wr_operand_move(wr_body *body, const wr_operand *operand, uint32_t slot);
/* Puts the last `count` operands into their temporaries. */
void wr_settle_top(wr_body *body, uint32_t count);
/* Copies out every operand that stands for a local / for the local at `slot`. */
void wr_settle_locals(wr_body *body);
void wr_preserve_local(wr_body *body, uint32_t slot);
/* The last `count` operands must have these types; missing ones are made up where code is unreachable. */
wr_status wr_check_top(wr_body *body, const wr_vt *types, uint32_t count, bool retype);
wr_status wr_mismatch(wr_body *body, wr_vt expected, wr_vt found);
/* Destination of a value popped from `operand` may become `slot` without a move. */
bool wr_retarget(wr_body *body, const wr_operand *operand, uint32_t slot);

/* emit.c */
static inline bool wr_is_dead(const wr_body *body) {
    const wr_label *label = wr_label_at(body, 0);
    return label->dead_entry || label->unreachable;
}
wr_insn *wr_emit(wr_body *body, wr_op op);                  /* no destination */
wr_insn *wr_emit_def(wr_body *body, wr_op op, uint32_t dst); /* destination may be changed by wr_retarget */
/* A word behind the definition just emitted, which stays open to wr_retarget. */
void wr_emit_wide(wr_body *body, uint64_t value);
void wr_emit_bytes(wr_body *body, const uint8_t bytes[16]); /* ditto, raw */
/* The instruction that computed the operand just now, if nothing else can see its result; or NULL. */
wr_insn *wr_producer(const wr_body *body, const wr_operand *operand);
/* Takes the last definition, and what follows it, back. */
void wr_unemit(wr_body *body);
uint32_t wr_here(const wr_body *body);
void wr_bind_here(wr_body *body);                           /* control may arrive from elsewhere */
void wr_link_branch(wr_body *body, wr_label *label, uint32_t insn);
/* Ditto for a target of a BR_TABLE: its number among the words of the code. */
void wr_link_target(wr_body *body, wr_label *label, uint32_t word);
void wr_set_target(wr_body *body, uint32_t word, uint32_t insn);
void wr_patch_here(wr_body *body, uint32_t chain);
/* Branch if the operand is (not) zero, fused with the comparison that made it; returns the branch's index. */
uint32_t wr_emit_condition(wr_body *body, const wr_operand *condition, bool sense);
void wr_emit_not(wr_body *body, const wr_operand *operand, wr_op equals_zero);
wr_status wr_finish_code(wr_body *body, wr_code *code);

/* fuse.c */
void wr_finish_ops(wr_insn *insns, size_t count, bool is_checked);

/* translate_try.c */
wr_status wr_translate_try_table(wr_body *body);
wr_status wr_translate_throw(wr_body *body, uint8_t opcode);
wr_status wr_end_try(wr_body *body, const wr_label *label);

/* translate_call.c */
wr_status wr_translate_call(wr_body *body, uint8_t opcode);

/* translate_atomic.c */
wr_status wr_translate_atomic(wr_body *body);

/* control.c */
wr_status wr_push_label(wr_body *body, wr_label_kind kind, const wr_block_type *type);
wr_status wr_translate_control(wr_body *body, uint8_t opcode);
void wr_set_unreachable(wr_body *body);
void wr_drop_to(wr_body *body, uint32_t height);
void wr_push_temps(wr_body *body, const wr_vt *types, uint32_t count);
wr_operand *wr_top_operands(const wr_body *body, uint32_t count);
wr_status wr_read_block_type(wr_body *body, wr_block_type *out);
wr_status wr_read_label(wr_body *body, wr_label **out);
/* Types a branch to the label carries. */
const wr_vt *wr_branch_types(const wr_label *label, uint32_t *count);
/* A branch with the values on top of the stack to where they are awaited; the operands stay. */
void wr_emit_branch(wr_body *body, wr_label *label, uint32_t count);
/* Locals initialised inside of a block count as such only there. */
void wr_forget_inits(wr_body *body, const wr_label *label);

/* translate_memory.c */
typedef struct wr_memarg {
    uint32_t memory;
    uint64_t offset;
} wr_memarg;
wr_status wr_translate_access(wr_body *body, uint8_t opcode);
/* Alignment, memory and offset of an access; atomics have exactly their natural alignment. */
wr_status wr_read_memarg(wr_body *body, uint8_t align_max, bool exact, wr_memarg *out);
wr_vt wr_address_type(const wr_body *body, uint32_t memory);
/* Slot of a 32-bit address; arg->offset is what is still to be added. */
uint16_t wr_address_slot(wr_body *body, const wr_operand *address, wr_memarg *arg);
/* Accesses in all forms of addresses (code.h); op is the first of them. */
void wr_emit_load(wr_body *body, wr_op op, const wr_memarg *arg, const wr_operand *address, uint32_t dst);
void wr_emit_store(wr_body *body, wr_op op, const wr_memarg *arg, const wr_operand *address, const wr_operand *value);
wr_status wr_translate_load(wr_body *body, wr_op op, wr_vt type, uint8_t align_max);
wr_status wr_translate_store(wr_body *body, wr_op op, wr_vt type, uint8_t align_max);
wr_status wr_translate_memory_size(wr_body *body, uint8_t opcode);
wr_status wr_translate_table_access(wr_body *body, uint8_t opcode);
wr_status wr_translate_bulk(wr_body *body, uint32_t code);

/* translate_simd.c */
wr_status wr_translate_simd(wr_body *body);

#endif
