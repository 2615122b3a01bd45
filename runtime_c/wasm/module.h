/* A module: decoded, validated, translated; immutable but for the lazily made checked variant of its code. */
#ifndef WR_MODULE_H
#define WR_MODULE_H
#include <stdatomic.h>

#include "alloc.h"
#include "code.h"
#include "engine.h"

/* What an index counts takes two bytes or more of a module, which has 1 GiB at most. */
enum { WR_INDEX_BITS = 29, WR_INDEX_MOST = (1 << WR_INDEX_BITS) - 1 };

typedef struct wr_limit_pair {
    uint64_t min;
    uint64_t max; /* UINT64_MAX: none given */
    bool is64;
    bool shared;
} wr_limit_pair;

typedef struct wr_table_type {
    wr_vt elem;
    wr_limit_pair limits;
} wr_table_type;

typedef struct wr_global_type {
    wr_vt type;
    bool is_mutable;
} wr_global_type;

typedef struct wr_import {
    const char *module; /* names are copies that end with a zero */
    const char *name;
    uint32_t module_len;
    uint32_t name_len;
    uint32_t kind : 3; /* wr_extern_kind */
    uint32_t index : WR_INDEX_BITS; /* in the index space of its kind */
} wr_import;

typedef struct wr_export {
    uint32_t name_at; /* in the module's export_names */
    uint32_t name_len;
    uint32_t kind : 3; /* wr_extern_kind */
    uint32_t index : WR_INDEX_BITS;
} wr_export;

typedef enum wr_const_kind {
    WR_CONST_VALUE,
    WR_CONST_GLOBAL,
    WR_CONST_FUNC,
    WR_CONST_ADD32,
    WR_CONST_SUB32,
    WR_CONST_MUL32,
    WR_CONST_ADD64,
    WR_CONST_SUB64,
    WR_CONST_MUL64,
    WR_CONST_LIST
} wr_const_kind;

typedef struct wr_const_op {
    wr_const_kind kind;
    uint32_t count; /* LIST */
    union {
        uint64_t value;
        const struct wr_const_op *ops; /* LIST */
    };
} wr_const_op;

/* One operation, or a list of several in postfix order. All zero: null. */
typedef wr_const_op wr_const_expr;

static inline const wr_const_op *wr_const_ops(const wr_const_expr *expr, uint32_t *count) {
    const bool is_list = expr->kind == WR_CONST_LIST;
    *count = is_list ? expr->count : 1;
    return is_list ? expr->ops : expr;
}

typedef enum wr_segment_mode { WR_SEGMENT_ACTIVE, WR_SEGMENT_PASSIVE, WR_SEGMENT_DECLARATIVE } wr_segment_mode;

/* An element: the index of a function, NULL, or GLOBAL and the index of a global. */
#define WR_ELEM_GLOBAL 0x80000000u
#define WR_ELEM_NULL 0xFFFFFFFFu

typedef struct wr_elem {
    wr_const_expr offset;
    uint32_t *items;
    uint32_t count;
    wr_vt type;
    uint32_t mode : 2; /* wr_segment_mode */
    uint32_t table : 30;
} wr_elem;

typedef struct wr_data {
    wr_const_expr offset;
    const uint8_t *bytes;
    uint32_t size;
    uint32_t mode : 2; /* wr_segment_mode */
    uint32_t memory : 30;
} wr_data;

/* Its name follows, then its bytes. */
typedef struct wr_custom {
    struct wr_custom *next;
    uint32_t name_len;
    uint32_t size;
} wr_custom;

/* Index spaces: imported entries come first. */
struct wr_module {
    wr_engine *engine;
    wr_arena arena;
    const wr_type **types;
    wr_import *imports;
    uint16_t *func_types;
    wr_table_type *tables;
    wr_const_expr *table_inits; /* of defined tables */
    wr_limit_pair *memories;
    wr_global_type *globals;
    wr_const_expr *global_inits; /* of defined globals */
    const wr_type **tags;
    wr_export *exports;
    char *export_names; /* one after the other, each with a zero behind it */
    wr_elem *elems;
    wr_data *datas;
    wr_custom *customs;      /* in their order */
    const wr_custom *names;  /* the name section; NULL: none */
    uint32_t *func_names_at; /* where in it the name of each function is, length first; 0: it has none */
    /* Code of defined functions. Code with checked access fits every memory; code for guard pages gets a checked
     * variant when an instance's memory could not be guarded. */
    wr_code *code;
    _Atomic(wr_code *) code_checked;
    struct wr_aot *aot; /* compiled code; NULL: none */
    atomic_uint refs;
    uint32_t type_count;
    uint32_t import_count;
    uint32_t func_count;
    uint32_t func_imports;
    uint32_t table_count;
    uint32_t table_imports;
    uint32_t memory_count;
    uint32_t memory_imports;
    uint32_t global_count;
    uint32_t global_imports;
    uint32_t tag_count;
    uint32_t tag_imports;
    uint32_t export_count;
    uint32_t elem_count;
    uint32_t data_count;
    uint32_t start; /* UINT32_MAX: none */
    bool code_is_checked;
};

static inline const wr_type *wr_type_of_func(const wr_module *module, uint32_t index) {
    return module->types[module->func_types[index]];
}
static inline const char *wr_export_name(const wr_module *module, const wr_export *export) {
    return module->export_names + export->name_at;
}
/* Code for an instance whose memories are all guarded, or not. NULL: out of memory. */
const wr_code *wr_module_code(wr_module *module, bool guarded);
/* Text name of an instruction (prefixed: 0xFC00 + number, WR_CODE_SIMD + number), or NULL: there is none. */
const char *wr_opcode_name(uint32_t code);
/* Integers: it takes as long as many others. */
static inline bool wr_opcode_divides(uint32_t code) {
    return (code >= 0x6D && code <= 0x70) || (code >= 0x7F && code <= 0x82);
}
enum { WR_CODE_SIMD = 0xFD0000 }; /* numbers behind 0xFD need more than a byte */
/* Module offset of an instruction. */
uint32_t wr_code_offset(const wr_code *code, const wr_insn *insn);

#endif
