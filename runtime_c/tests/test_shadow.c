/* A candidate runs along: what it puts out is compared, and nothing that it does or breaks is felt. */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "check.h"
#include "loop_rig.h"
#include "wr.h"

enum { RECORDS = 500 };
enum { TRAP = 100 /* a tag that tests/plugins/clerk.c knows */, CLERK_SILENT = 1 /* its configuration */ };
enum { KEEPER_FINE = 0, KEEPER_TRAPS = 8 }; /* configurations of tests/plugins/keeper.c */

static void read_out(loop_rig *f) {
    check_t *check = f->check;
    static wr_record records[RIG_RING_BYTES / sizeof(wr_record)];
    uint32_t got;
    CHECK_OK(wr_ring_read(f->out, f->consumer, records, sizeof records, &got));
    f->read += got / sizeof *records;
    CHECK_OK(wr_ring_release(f->out, f->consumer));
}

static void write_tags(loop_rig *f, uint32_t tag, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        wr_record record = {.size = sizeof record, .kind = WR_KIND_SAMPLE, .tag = tag, .seq = f->written++};
        while (wr_ring_write(f->in, &record, sizeof record) == WR_FULL) read_out(f);
    }
}

static void expect_out(loop_rig *f, uint64_t count) {
    check_t *check = f->check;
    while (f->read < count) {
        read_out(f);
        sched_yield();
    }
    CHECK_EQ_U64(f->read, count);
}

static wr_swap *candidate(loop_rig *f, uint32_t wrong, bool carries, uint32_t ignored) {
    check_t *check = f->check;
    wr_swap *swap = NULL;
    wr_error error = {.message = ""};
    wr_stage_config config = f->config;
    config.config = (const uint8_t *)&wrong;
    if (!CHECK_OK(wr_swap_new(f->loop, f->stage, &config, carries, &swap, &error))) CHECK_FAIL("%s", error.message);
    if (!CHECK_OK(wr_swap_shadow(swap, ignored, &error))) CHECK_FAIL("%s", error.message);
    return swap;
}

static wr_shadow_report report_of(loop_rig *f, wr_swap *swap) {
    check_t *check = f->check;
    wr_shadow_report report = {0};
    CHECK_OK(wr_swap_shadow_report(swap, &report));
    return report;
}

/* ---- tests ---- */

static void the_same_puts_out_the_same(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", KEEPER_FINE);
    write_tags(&f, 1, 7); /* before: its state goes to the candidate */
    expect_out(&f, 7);
    wr_swap *swap = candidate(&f, KEEPER_FINE, true, 0);
    write_tags(&f, 1, RECORDS);
    expect_out(&f, 7 + RECORDS); /* of the running version alone */
    wr_shadow_report report = report_of(&f, swap);
    CHECK_EQ_U64(report.compared, RECORDS);
    CHECK_EQ_U64(report.differences, 0);
    CHECK_EQ_U64(report.old_waiting_bytes + report.new_waiting_bytes, 0);
    CHECK_STR(report.broken, "");
    wr_swap_free(swap);
    write_tags(&f, 1, 1); /* without it the stage goes on */
    expect_out(&f, 8 + RECORDS);
    rig_close(&f);
}

static void what_differs_is_told_by_field(check_t *check) {
    static const uint32_t ignored[] = {0, WR_FIELD_VALUE, WR_FIELD_SEQ};
    for (size_t i = 0; i < 3; i++) {
        loop_rig f;
        rig_open(&f, check, "keeper", KEEPER_FINE);
        write_tags(&f, 1, 3);
        expect_out(&f, 3);
        wr_swap *swap = candidate(&f, KEEPER_FINE, false, ignored[i]); /* without state it counts from 0 */
        write_tags(&f, 1, 20);
        expect_out(&f, 23);
        wr_shadow_report report = report_of(&f, swap);
        CHECK_EQ_U64(report.compared, 20);
        CHECK_EQ_U64(report.differences, ignored[i] == WR_FIELD_VALUE ? 0 : 20);
        for (uint64_t k = 0; k < WR_DIFFERENCES_MAX && report.differences > 0; k++) {
            CHECK_EQ_U64(report.first[k].record, k + 1);
            CHECK_EQ_U64(report.first[k].output, 0);
            CHECK_EQ_U64(report.first[k].fields, WR_FIELD_VALUE);
            CHECK_EQ_U64(report.first[k].old_record.value, k + 3);
            CHECK_EQ_U64(report.first[k].new_record.value, k);
        }
        wr_swap_free(swap);
        rig_close(&f);
    }
}

static void a_trap_of_the_candidate_ends_the_comparison_alone(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", KEEPER_FINE);
    wr_swap *swap = candidate(&f, KEEPER_TRAPS, true, 0);
    write_tags(&f, 1, 10);
    expect_out(&f, 10);
    CHECK_STR(report_of(&f, swap).broken, "the new version trapped");
    wr_stage_stats stats;
    CHECK_OK(wr_loop_stage_stats(f.loop, f.stage, &stats));
    CHECK_EQ_U64(stats.traps, 0);
    CHECK_EQ_U64(stats.state, WR_STAGE_RUNNING);
    wr_swap_free(swap);
    rig_close(&f);
}

static void a_trap_of_the_running_version_ends_it_as_well(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "clerk", KEEPER_FINE);
    wr_swap *swap = candidate(&f, 0, true, 0);
    write_tags(&f, 1, 3);
    write_tags(&f, TRAP, 1);
    write_tags(&f, 1, 3);
    expect_out(&f, 7);
    CHECK_STR(report_of(&f, swap).broken, "the running version trapped");
    wr_swap_free(swap);
    rig_close(&f);
}

static void what_only_one_puts_out_waits_and_does_not_pile_up(check_t *check) {
    enum { PILE = (1 << 20) / (int)sizeof(wr_record) };
    loop_rig f;
    rig_open(&f, check, "clerk", KEEPER_FINE);
    wr_swap *swap = candidate(&f, CLERK_SILENT, true, 0);
    write_tags(&f, 1, 3);
    expect_out(&f, 3);
    wr_shadow_report report = report_of(&f, swap);
    CHECK_EQ_U64(report.compared, 0);
    CHECK_EQ_U64(report.old_waiting_bytes, 3 * sizeof(wr_record));
    CHECK_EQ_U64(report.new_waiting_bytes, 0);
    CHECK_STR(report.broken, "");
    write_tags(&f, 1, PILE - 3);
    expect_out(&f, PILE);
    CHECK_STR(report_of(&f, swap).broken, "");
    write_tags(&f, 1, 1);
    expect_out(&f, PILE + 1);
    CHECK_STR(report_of(&f, swap).broken, "one version puts out much more than the other");
    wr_swap_free(swap);
    rig_close(&f);
}

static void a_candidate_is_used_once(check_t *check) {
    loop_rig f;
    rig_open(&f, check, "keeper", KEEPER_FINE);
    wr_swap *swap = candidate(&f, KEEPER_FINE, true, 0), *second = NULL;
    wr_error error = {.message = ""};
    wr_swap_result result = {0};
    CHECK_STATUS(wr_swap_shadow(swap, 0, &error), WR_BAD_STATE);
    CHECK_CONTAINS(error.message, "this candidate has been used");
    CHECK_STATUS(wr_swap_commit(swap, &result, &error), WR_BAD_STATE);
    CHECK_OK(wr_swap_new(f.loop, f.stage, &f.config, true, &second, NULL));
    CHECK_STATUS(wr_swap_commit(second, &result, &error), WR_BAD_STATE);
    CHECK_CONTAINS(error.message, "a candidate runs along; free it first");
    wr_swap_free(swap);
    wr_swap_free(second);
    CHECK_OK(wr_swap_new(f.loop, f.stage, &f.config, true, &second, NULL));
    CHECK_OK(wr_swap_commit(second, &result, &error));
    wr_shadow_report report;
    CHECK_STATUS(wr_swap_shadow_report(second, &report), WR_BAD_STATE);
    wr_swap_free(second);
    write_tags(&f, 1, 1);
    expect_out(&f, 1);
    rig_close(&f);
}

/* Both get the bytes of a port; what the candidate sends is thrown away. */
static void only_one_version_answers(check_t *check) {
    loop_rig f;
    int line = rig_open_at_port(&f, check, "echo");
    wr_swap *swap = candidate(&f, 0, true, 0);
    for (int i = 0; i < 3; i++) rig_expect_echo(&f, line, "hello");
    wr_swap_free(swap);
    wr_port_stats stats;
    CHECK_OK(wr_loop_port_stats(f.loop, f.config.ports[0], &stats));
    CHECK_EQ_U64(stats.tx_bytes, 15);
    close(line);
    wr_loop_free(f.loop);
    wr_module_release(f.module);
    wr_engine_free(f.engine);
}

static const check_test TESTS[] = {
    CHECK_TEST(the_same_puts_out_the_same),
    CHECK_TEST(what_differs_is_told_by_field),
    CHECK_TEST(a_trap_of_the_candidate_ends_the_comparison_alone),
    CHECK_TEST(a_trap_of_the_running_version_ends_it_as_well),
    CHECK_TEST(what_only_one_puts_out_waits_and_does_not_pile_up),
    CHECK_TEST(a_candidate_is_used_once),
    CHECK_TEST(only_one_version_answers),
};
CHECK_MAIN(TESTS)
