/* What can be told from the text of a loop: how often it jumps back, and where its accesses to memory will be. */
#ifndef WR_AOT_COUNT_H
#define WR_AOT_COUNT_H
#include "emit.h"
#include "form.h"

enum { AOT_COUNT_LOCALS = 128, AOT_COUNT_ACCESSES = 32, AOT_COUNT_GROUPS = 6, AOT_COUNT_BYTES_MAX = 1024 };

/* What a loop goes on for: first is the value that is compared at the end of the first round. */
typedef struct wr_aot_trips {
    bool is_below;    /* while first < limit; else while first != 0 */
    bool is_signed;
    bool is_flipped;  /* not ~first and ~limit but these are meant: what is above becomes below */
    bool with_limit;  /* <= */
    wr_aot_form first, limit;
    wr_aot_form step; /* of first, per round, before it is flipped */
} wr_aot_trips;

typedef struct wr_aot_access {
    uint32_t offset; /* of the instruction */
    uint32_t bytes;
    uint64_t displacement;
    bool stores;
    bool is_inner;   /* in the inner loop of a nest */
    uint32_t group;
    wr_aot_form at;    /* as the round begins; of the inner loop: its first one */
    wr_aot_form inner; /* change per round of the inner loop */
    uint64_t delta;    /* bytes behind the group's base */
} wr_aot_access;

/* Accesses whose addresses differ by numbers. */
typedef struct wr_aot_group {
    wr_aot_form base;        /* the lowest of them in the first round */
    wr_aot_form step, inner; /* per round, per round of the inner loop */
    uint64_t first;          /* bytes from base to the first of them */
    uint64_t span;           /* bytes from base to behind the last of them */
    bool stores, has_inner;
} wr_aot_group;

typedef struct wr_aot_count {
    bool is_counted;
    bool has_exits;   /* something in it leaves it other than its end */
    bool is_plain;    /* nothing in it leaves it but its end, and it has no loops but one that is plain and counted */
    bool is_nest;     /* it has that one */
    bool is_provable; /* all accesses are in groups */
    bool is_parallel; /* if groups do not overlap, no round needs what another one has stored */
    uint32_t number; /* of its variables; this and the next one are for emit_loop.c */
    uint8_t shift;   /* of what a round takes from the allowance */
    wr_aot_trips trips, inner_trips;
    uint32_t access_count, group_count;
    wr_aot_access accesses[AOT_COUNT_ACCESSES];
    wr_aot_group groups[AOT_COUNT_GROUPS];
    bool assigned[AOT_COUNT_LOCALS];
    wr_aot_form steps[AOT_COUNT_LOCALS]; /* known: what a round adds to the local; 0 for those it does not assign */
} wr_aot_count;

/* The loop whose body the reader is at. */
void wr_aot_count_loop(const wr_aot_body *body, wr_reader reader, bool in_nest, wr_aot_count *out);

#endif
