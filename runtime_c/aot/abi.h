/* What compiled modules and the engine know of each other. This text is in front of every module that the C emitter
 * writes, and the engine includes it: the structures named wra_ are those of runtime.h, as far as compiled code looks
 * into them; load.c asserts that they agree. Whoever changes one of them, what a function of wra_runtime does, or
 * the number of a trap's status raises WRA_ABI: older artefacts are then refused. */
#ifndef WR_AOT_ABI_H
#define WR_AOT_ABI_H
#include "wr.h"

enum { WRA_ABI = 5 };

enum { WRA_WORK_MAX = 128 * 1024 }; /* bytes of bulk work between two looks at the limits: some 10 us */

typedef struct wra_context wra_context;
typedef struct wra_func wra_func;
typedef void (*wra_code)(void); /* a compiled function: (context, frame, parameters...) -> result */
/* Calls it with the parameters in slots[0..], leaves the results there. One per function type. */
typedef void (*wra_thunk)(wra_context *x, wr_slot *slots, wra_code code);

/* ---- run-time objects ---- */

struct wra_func {
    const void *type;
    const void *instance;
    const void *interpreted;
    wra_code code;   /* of an instance that runs compiled code */
    wra_thunk thunk; /* ditto; NULL: interpreted, or with instance NULL the host's */
    uint32_t index;
    uint32_t frame_slots;
};

typedef struct wra_object {
    void *next;
    size_t size;
    void *destroy, *visit;
} wra_object;

typedef struct wra_global {
    wra_object object;
    struct {
        uint32_t type;
        bool is_mutable;
    } type;
    wr_slot value[2];
} wra_global;

typedef struct wra_table {
    wra_object object;
    void *store;
    struct {
        uint32_t elem;
        struct {
            uint64_t min, max;
            bool is64, shared;
        } limits;
    } type;
    uint64_t *elems;
    uint32_t size;
} wra_table;

typedef struct wra_memory {
    wra_object object;
    void *store;
    uint8_t *data;
    uint64_t size;
    uint64_t len;   /* accesses below this need no other check */
    uint64_t plain; /* below this nobody else has a part in it, and stores cannot fault */
} wra_memory;

/* What compiled code needs of its instance. */
typedef struct wra_instance {
    const void *instance;
    wra_memory **memories;
    wra_table **tables;
    wra_func **funcs;
    wra_global **globals;
    wra_global *cells; /* the globals it defines */
    const void *const *types;
    uint8_t *memory; /* data of memory 0; memories never move */
} wra_instance;

/* ---- the running call ---- */

/* Functions of the engine. Those that do not return in the C sense leave by a jump out of compiled code. The first ones
 * are told where they are called from: offset in the module, index in chains. */
typedef struct wra_runtime {
    /* The stack or the budget is used up. */
    void (*enter)(wra_context *x, const wr_slot *end, uint32_t offset, uint32_t chain);
    /* Ditto, in a loop that counts by itself; new allowance. */
    int64_t (*tick)(wra_context *x, uint32_t offset, uint32_t chain);
    /* So much work was done that the limits must be looked at. */
    void (*check)(wra_context *x, uint32_t offset, uint32_t chain);
    void (*call)(wra_context *x, const wra_func *func, wr_slot *args); /* any function */
    void (*finish)(wra_context *x, wr_slot *frame); /* runs x->tail and what it calls last, down to the results */
    uint64_t (*memory_size)(wra_context *x, uint32_t memory);
    uint64_t (*memory_grow)(wra_context *x, uint32_t memory, uint64_t pages);
    void (*memory_fill)(wra_context *x, uint32_t memory, uint64_t at, uint32_t value, uint64_t len);
    void (*memory_copy)(wra_context *x, uint32_t to, uint32_t from, uint64_t at, uint64_t source, uint64_t len);
    void (*memory_init)(wra_context *x, uint32_t memory, uint32_t segment, uint64_t at, uint64_t from, uint64_t len);
    void (*data_drop)(wra_context *x, uint32_t segment);
    uint64_t (*table_grow)(wra_context *x, uint32_t table, uint64_t value, uint64_t count);
    void (*table_fill)(wra_context *x, uint32_t table, uint64_t at, uint64_t value, uint64_t len);
    void (*table_copy)(wra_context *x, uint32_t to, uint32_t from, uint64_t at, uint64_t source, uint64_t len);
    void (*table_init)(wra_context *x, uint32_t table, uint32_t segment, uint64_t at, uint64_t from, uint64_t len);
    void (*elem_drop)(wra_context *x, uint32_t segment);
    uint32_t (*notify)(wra_context *x, uint32_t memory, uint64_t at, uint32_t count);
    uint32_t (*wait)(wra_context *x, uint32_t memory, uint64_t at, uint64_t expected, uint32_t bytes, int64_t timeout);
} wra_runtime;

struct wra_context {
    uint8_t *memory; /* memory 0 of the running instance */
    wra_global *cells;
    const wra_instance *self;
    const wr_slot *stack_end;
    uintptr_t native_limit; /* the C stack may not go below */
    int64_t budget;         /* back-edges and calls until the next check */
    int64_t allowance_mask; /* 0: fuel is counted, so loops may not run ahead of the budget; else all ones */
    uint64_t work;          /* done since the last check, as bytes of bulk work */
    const wra_func *tail;   /* what the function that just returned calls last; its arguments are in its frame */
    void (*trap)(wra_context *x, uint32_t status, uint32_t offset, uint32_t chain) __attribute__((noreturn));
    const wra_runtime *rt;
};

/* ---- a compiled module ---- */

typedef struct wra_entry {
    wra_code code; /* NULL: only called directly */
    wra_thunk thunk;
} wra_entry;

typedef struct wra_artefact {
    uint32_t abi;
    uint32_t layout; /* WRA_LAYOUT */
    uint32_t is_checked;
    uint32_t func_count;
    uint8_t hash[32]; /* SHA-256 of the module */
    const wra_entry *funcs;
    const int32_t *sites, *sites_end;     /* pairs: where the code is from here, offset in the module */
    const int32_t *inlined, *inlined_end; /* of inlined functions, threes: and an index in chains */
    const uint32_t (*chains)[2]; /* of inlined calls: offset of the call; index of the one it is in, 0: none */
    const char *thunks, *thunks_end;
} wra_artefact;

#define WRA_LAYOUT                                                                                       \
    ((uint32_t)(sizeof(wra_context) + 16 * sizeof(wra_instance) + 256 * sizeof(wra_runtime) +             \
                65536 * (sizeof(wra_func) + sizeof(wra_global)) + 4194304 * (sizeof(wra_table) + sizeof(wra_memory))))

#endif
