/* Run-time objects. Everything belongs to a store and is freed with it. */
#ifndef WR_RUNTIME_H
#define WR_RUNTIME_H
#include <stdatomic.h>

#include "../aot/abi.h"
#include "module.h"

struct wr_visitor;

typedef struct wr_object {
    struct wr_object *next;
    size_t size;
    void (*destroy)(struct wr_object *object); /* what the allocation does not cover; may be NULL */
    void (*visit)(struct wr_object *object, struct wr_visitor *visitor); /* shows references it holds; may be NULL */
} wr_object;

struct wr_store {
    wr_engine *engine;
    wr_object *objects; /* newest first: users are destroyed before what they use */
    struct wr_exn *exceptions; /* newest first */
    uint32_t exception_count;
    uint32_t exceptions_next; /* count at which unreachable ones are collected */
    uint32_t exception_pass;  /* number of that collection */
};

/* Zeroed, linked into the store; the object head comes first in every run-time struct. */
void *wr_store_object(wr_store *store, size_t size, void (*destroy)(wr_object *object));

struct wr_func {
    const wr_type *type;
    wr_instance *instance; /* NULL: host function */
    const wr_code *code;
    union {
        wr_host_fn host;
        wra_code compiled; /* of an instance that runs compiled code */
    };
    union {
        void *env;
        wra_thunk thunk; /* with instance: how to call it; NULL: interpreted, or only called by its own kind */
    };
    uint32_t index;
    uint32_t frame_slots;
};

struct wr_global {
    wr_object object;
    wr_global_type type;
    wr_slot value[2];
};

struct wr_table {
    wr_object object;
    wr_store *store;
    wr_table_type type;
    uint64_t *elems; /* references; 0 null */
    uint32_t size;
    uint32_t capacity;
    uint32_t max;
};

/* What all stores that know a shared memory have in common. */
typedef struct wr_shared {
    atomic_uint refs;
    pthread_mutex_t lock; /* growth and the waiting */
    _Atomic uint64_t size;
    struct wr_waiter *waiters;
} wr_shared;

struct wr_memory {
    wr_object object;
    wr_store *store;
    uint8_t *data;
    uint64_t size;      /* bytes in use; shared memories: see wr_memory_size */
    uint64_t len;       /* accesses below this need no other check: size, or the maximum of a shared memory */
    uint64_t plain;     /* accesses below this share with nobody and cannot fault: no mapped regions, no threads */
    struct wr_shared *shared; /* NULL: of one store only */
    uint64_t reserved;  /* bytes of address space behind data */
    uint64_t pages;     /* of the plugin's own, without mapped regions */
    uint64_t pages_max; /* ditto */
    uint64_t mapped;    /* bytes of mapped regions */
    uint64_t map_max;   /* ditto, at most */
    wr_limit_pair declared;
    bool guarded;
};

struct wr_tag {
    wr_object object;
    const wr_type *type;
    wr_engine *engine; /* of a tag the host made: it owns the type */
};

/* A thrown exception. exnref values point to it; those that nothing points to are collected (exception.c). */
typedef struct wr_exn {
    struct wr_exn *next;
    struct wr_exn *next_found;
    const wr_tag *tag;
    uint32_t pass; /* the last collection that reached it */
    wr_slot values[];
} wr_exn;

struct wr_instance {
    wr_object object;
    wr_store *store;
    const wr_module *module; /* retained */
    const wr_code *codes;    /* of defined functions, variant for its memories */
    wr_func **funcs;         /* whole index space */
    wr_func *own_funcs;      /* defined ones */
    wr_memory **memories;
    wr_table **tables;
    wr_global **globals;
    wr_tag **tags;
    wr_global *own_globals;
    bool *data_dropped;
    bool *elem_dropped;
    uint64_t **elems;        /* evaluated segments */
    void *user;
    bool is_compiled;
    wra_instance aot;        /* what compiled code knows of this */
};

/* A frame of a back-trace, of which it is still to be found out what it is in the module. */
typedef struct wr_spot {
    wr_module *module;
    union {
        struct { /* interpreted */
            const wr_code *code;
            const wr_insn *insn;
            uint32_t func_index;
        };
        struct { /* compiled */
            uintptr_t pc; /* or, if it is not 0: */
            uint32_t offset, chain;
        };
    };
    bool is_compiled;
} wr_spot;

struct wr_exec {
    void *fault;              /* where a memory fault continues (fault_call.c) */
    /* what handlers use most comes first */
    wr_instance *instance;
    const wr_code *codes;
    wr_global **globals;
    wr_slot *stack_end;
    int64_t budget;           /* back-edges and calls until the next check */
    const wr_insn *pc;        /* last known position, for traps */
    wr_slot *fp;
    wr_status status;
    const wr_func *callee;    /* of a call that leaves the instance */
    /* the rest */
    wr_slot *stack;
    wr_slot *top;             /* first free slot while a host function runs */
    size_t stack_size;
    wr_engine *engine;
    struct wr_exec *outer;    /* execution this thread was in before */
    int64_t granted;          /* budget at the last check */
    uint64_t fuel_left;
    bool fuel_limited;
    uint64_t deadline_us;
    uint8_t fine;             /* so many times twice as often as else the limits are looked at */
    uint8_t bulk_fine;        /* and so many times within bulk work */
    uint64_t deadline_ns;     /* monotonic, the earliest it can be; 0: none */
    uint64_t checked_ns;      /* time of the last check */
    uint64_t thread_ns;       /* processor time of the thread at the first check of the call; 0: none yet */
    uint64_t used_ns;         /* of the deadline: before that check, and asleep since */
    int64_t chunk;            /* budget between looks at the clock */
    uint32_t depth;           /* nested wr_call */
    int32_t exit_code;
    wr_exn *exception;        /* thrown and not caught by the call that just ended */
    atomic_bool interrupt;
    wra_context aot;           /* what compiled code knows of this */
    struct wr_aot_link *aot_link; /* innermost call between instances that compiled code takes part in */
    const void *native_thread; /* &wr_fault_exec of the thread whose C stack aot.native_limit is about */
    bool is_traced;            /* trap has its back-trace already */
    bool has_more;             /* frames than spots */
    uint32_t spot_count;       /* frames of the trap whose place is found out when somebody asks; modules retained */
    wr_spot spots[WR_BACKTRACE_MAX];
    wr_insn exit_insns[2];     /* [1] is what the outermost function returns to */
    wr_insn instance_insns[2]; /* [1] is what a function called across instances returns to */
    wr_trap trap;
};

wr_status wr_table_make(wr_store *store, const wr_table_type *type, uint64_t init, wr_table **out);
wr_status wr_memory_make(wr_store *store, const wr_limit_pair *limits, const wr_instance_limits *instance_limits,
                         wr_memory **out);
/* Pages before, or UINT64_MAX: refused. */
uint64_t wr_memory_grow(wr_memory *memory, uint64_t pages);
/* Out-of-line parts of bulk instructions; a trap status or WR_OK. Long ones look at the limits of the call; exec NULL
 * where there is none. */
wr_status wr_memory_fill(wr_exec *exec, wr_memory *memory, uint64_t at, uint8_t value, uint64_t len);
wr_status wr_memory_copy(wr_exec *exec, wr_memory *to, uint64_t at, wr_memory *from, uint64_t source, uint64_t len);
wr_status wr_memory_init(wr_exec *exec, wr_instance *instance, uint32_t memory, uint32_t segment, uint64_t at,
                         uint64_t from, uint64_t len);
/* *before: elements there were, or UINT64_MAX: refused. */
wr_status wr_table_grow(wr_exec *exec, wr_table *table, uint64_t delta, uint64_t value, uint64_t *before);
wr_status wr_table_fill(wr_exec *exec, wr_table *table, uint64_t at, uint64_t value, uint64_t len);
wr_status wr_table_copy(wr_exec *exec, wr_table *to, uint64_t at, wr_table *from, uint64_t source, uint64_t len);
wr_status wr_table_init(wr_exec *exec, wr_instance *instance, uint32_t table, uint32_t segment, uint64_t at,
                        uint64_t from, uint64_t len);

wr_shared *wr_shared_new(const wr_engine *engine, uint64_t size);
/* True: that was the last one, the memory is to be freed. */
bool wr_shared_release(const wr_engine *engine, wr_shared *shared);
/* Wait and notify (wait.c). *result: 0 woken, 1 another value, 2 timed out. */
wr_status wr_memory_notify(const wr_memory *memory, const void *cell, uint32_t count, wr_slot *result);
wr_status wr_memory_wait(wr_exec *exec, const wr_memory *memory, const void *cell, uint64_t expected, uint32_t bytes,
                         int64_t timeout_ns, wr_slot *result);

/* One back-edge or call can mean much work beside: bulk instructions count bytes, calls of the host as so many. Checks
 * when it adds up to some 10 us. */
enum { WR_WORK_MAX = WRA_WORK_MAX, WR_WORK_HOST = WR_WORK_MAX / 64 };
wr_status wr_exec_worked(wr_exec *exec, uint64_t bytes);
wr_status wr_exec_called(wr_exec *exec); /* a host function, or what takes as long */
/* With a deadline bulk work is cut finer: each page of memory may cost a page fault, however fast it was before. */
enum { WR_FINE_MAX = 3, WR_BULK_FINE = 2, WR_WORK_LEAST = WR_WORK_MAX >> (WR_FINE_MAX + WR_BULK_FINE) };
/* How many bytes may be worked on before the next check: WR_WORK_LEAST or more. */
static inline size_t wr_work_piece(const wr_exec *exec) { return WR_WORK_MAX >> (exec != NULL ? exec->bulk_fine : 0); }
/* wr_exec_check for an instruction that will charge again. */
wr_status wr_exec_refill(wr_exec *exec);
uint64_t wr_monotonic_ns(void);
struct wr_visitor;
void wr_visit_slots(struct wr_visitor *visitor, const wr_slot *slots, size_t count);
void wr_exceptions_free(wr_store *store);

/* Function an instruction belongs to. (trap.c) */
const wr_code *wr_code_find(const wr_instance *instance, const wr_insn *pc, uint32_t *index);
void wr_trap_record(wr_exec *exec, wr_status status); /* trap.c: fills exec->trap from exec->pc and fp */
/* Its parts. Functions from pc outwards up to where the interpreter was entered; a frame; what it is in the module. */
void wr_trap_begin(wr_exec *exec, wr_status status);
void wr_trap_walk(wr_exec *exec, const wr_insn *pc, const wr_slot *fp, const wr_instance *instance);
bool wr_trap_keep(wr_exec *exec, const wr_spot *spot); /* false: it is to be added at once */
bool wr_trap_is_hurried(const wr_exec *exec); /* the call ran out of time: the innermost frames must do */
void wr_trap_add(wr_trap *trap, const wr_module *module, uint32_t index, uint32_t offset);
void wr_trap_forget(wr_exec *exec); /* spots */

#endif
