/* Entry point calls: offer rings, call, publish; and what happens after a trap. */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "shadow.h"

enum { TRAP_TEXT_MAX = 320, FRAMES_SHOWN = 4 };

/* ---- one call ---- */

static void offer_rings(wr_stage *stage) {
    for (uint32_t i = 0; i < stage->in_count; i++) wr_ring_end_offer(&stage->ins[i]);
    for (uint32_t i = 0; i < stage->out_count; i++) wr_ring_end_offer(&stage->outs[i]);
}

/* Publishes what the plugin proposed, outputs before inputs. Every end is settled; the first complaint is returned. */
static wr_status settle_rings(wr_stage *stage) {
    wr_status first = WR_OK;
    for (uint32_t i = 0; i < stage->out_count + stage->in_count; i++) {
        bool is_output = i < stage->out_count;
        uint64_t records;
        wr_ring_end *end = is_output ? &stage->outs[i] : &stage->ins[i - stage->out_count];
        wr_status status = wr_ring_end_settle(end, &records);
        *(is_output ? &stage->stats.records_out : &stage->stats.records_in) += records;
        if (first == WR_OK) first = status;
    }
    return first;
}

static void add_frames(const wr_trap *trap, char *text, size_t size) {
    size_t used = strlen(text);
    for (uint32_t i = 0; i < trap->frame_count && i < FRAMES_SHOWN && used < size; i++) {
        const wr_frame *frame = &trap->frames[i];
        const char *link = i == 0 ? " in " : " < ";
        int wrote =
            frame->name[0] != '\0'
                ? snprintf(text + used, size - used, "%s%s@0x%x", link, frame->name, frame->offset)
                : snprintf(text + used, size - used, "%sfunction %u@0x%x", link, frame->func_index, frame->offset);
        if (wrote > 0) used += (size_t)wrote;
    }
}

/* Runs one entry point; slots hold the arguments and get the result. On a trap, error tells what and where: functions
 * innermost first, with their offset in the module. */
static wr_status call(wr_stage *stage, wr_entry entry, wr_slot *slots, wr_error *error) {
    if (stage->entries[entry] == NULL) return WR_OK;
    offer_rings(stage);
    if (stage->shadow != NULL) wr_shadow_see_inputs(stage->shadow, stage);
    wr_exec_set_limits(stage->env.exec, stage->deadline_us, stage->fuel);
    int64_t start = wr_mono_ns();
    wr_status status = wr_call(stage->env.exec, stage->entries[entry], slots, slots);
    uint64_t took = (uint64_t)(wr_mono_ns() - start);
    stage->stats.calls++;
    stage->stats.busy_ns += took;
    if (took > stage->stats.longest_ns) stage->stats.longest_ns = took;
    wr_status settled = settle_rings(stage);
    if (status == WR_OK && settled == WR_OK) return WR_OK;
    char text[TRAP_TEXT_MAX];
    snprintf(text, sizeof text, "%s", wr_status_text(status != WR_OK ? status : settled));
    if (wr_status_class_of(status) == WR_CLASS_TRAP) add_frames(wr_exec_trap(stage->env.exec), text, sizeof text);
    return wr_fail(error, status != WR_OK ? status : settled, "trap in stage %s: %.170s", stage->name, text);
}

/* ---- start and restart ---- */

wr_status wr_stage_init(wr_stage *stage, wr_error *error) {
    wr_slot slots[1] = {{0}};
    wr_status status = call(stage, WR_ENTRY_INIT, slots, error);
    if (status == WR_OK && slots[0].i32 != 0) {
        status = wr_fail(error, WR_BAD_STATE, "stage \"%s\": pen_init returned %d, it must return 0", stage->name,
                         slots[0].i32);
    }
    return status;
}

static wr_status init_with_ports(wr_stage *stage, wr_error *error) {
    wr_status status = wr_stage_init(stage, error);
    for (uint32_t i = 0; i < stage->port_count && status == WR_OK; i++) {
        wr_slot port[2] = {{.u32 = i}, {.u32 = 1}};
        if (stage->ports[i].up) status = call(stage, WR_ENTRY_PORT, port, error);
    }
    return status;
}

static void unpark(wr_stage *stage) { memset(stage->waits, 0, sizeof stage->waits); }

wr_status wr_stage_boot(wr_stage *stage, wr_error *error) {
    for (int i = 0; i < WR_STAGE_TIMERS; i++) stage->timers[i] = WR_NEVER;
    unpark(stage);
    wr_status status = wr_stage_load(stage, error);
    if (status != WR_OK) return status;
    status = init_with_ports(stage, error);
    if (status != WR_OK) wr_stage_unload(stage);
    return status;
}

static void post(wr_stage *stage, uint16_t kind, uint16_t level, const char *text) {
    wr_events_post(stage->env.events, kind, level, stage->env.number, stage->now.unix_ns, text, (uint32_t)strlen(text));
}

/* Counts a trap. False: one more than is allowed in the time. */
static bool note_trap(wr_stage *stage, const char *message) {
    int64_t now = stage->now.mono_ns, oldest = stage->trap_times[0];
    memmove(stage->trap_times, stage->trap_times + 1, sizeof stage->trap_times - sizeof stage->trap_times[0]);
    stage->trap_times[WR_STAGE_TRAPS_MAX - 1] = now;
    stage->stats.traps++;
    post(stage, WR_EVENT_TRAP, 3, message);
    return oldest == INT64_MIN || now - oldest > WR_STAGE_TRAPS_NS;
}

/* The rings it read go on without it: a stage that is gone must not stop the one before it. */
static void stop(wr_stage *stage) {
    wr_stage_unload(stage);
    stage->stats.state = WR_STAGE_STOPPED;
    for (int i = 0; i < WR_STAGE_TIMERS; i++) stage->timers[i] = WR_NEVER;
    for (uint32_t i = 0; i < stage->in_count; i++) wr_ring_abandon(stage->ins[i].ring, stage->ins[i].consumer);
    for (uint32_t i = 0; i < stage->port_count; i++) {
        wr_fifo_clear(&stage->ports[i].rx);
        wr_fifo_clear(&stage->ports[i].tx);
    }
    wr_events_postf(stage->env.events, WR_EVENT_STAGE, WR_STAGE_STOPPED, stage->env.number, stage->now.unix_ns,
                    "stage %s stopped: more than %d traps in 30 s", stage->name, WR_STAGE_TRAPS_MAX);
}

/* A new instance counts from 0: what was counted before is added from now on. */
void wr_stage_keep_counters(wr_stage *stage) {
    for (uint32_t i = 0; i < stage->metric_count; i++) {
        if (stage->metrics[i].kind == 0) stage->metric_bases[i] = stage->metrics[i].value;
    }
}

/* Whether the next trap stops the stage. */
static bool is_last_try(const wr_stage *stage) {
    return stage->trap_times[0] != INT64_MIN && stage->now.mono_ns - stage->trap_times[0] <= WR_STAGE_TRAPS_NS;
}

/* What the plugin keeps goes on to its next instance, but for the last try: it may be what makes it trap. */
static void save_kept(wr_stage *stage) {
    wr_keep *keep = &stage->keep;
    const void *bytes = stage->memory == NULL ? NULL : wr_memory_at(stage->memory, keep->address, keep->len);
    if (bytes != NULL && keep->len > 0) {
        memcpy(keep->bytes, bytes, keep->len);
        keep->kept = keep->len;
    }
    if (is_last_try(stage)) keep->kept = 0;
    keep->len = 0;
}

/* A new instance on the same rings, values and ports. Starting may trap as well, which counts like any other. */
static void restart(wr_stage *stage, const char *message) {
    wr_error error;
    memcpy(error.message, message, sizeof error.message);
    if (stage->shadow != NULL) wr_shadow_break(stage->shadow, "the running version trapped");
    while (note_trap(stage, error.message)) {
        save_kept(stage);
        wr_stage_unload(stage);
        wr_stage_keep_counters(stage);
        if (wr_stage_boot(stage, &error) == WR_OK) {
            stage->stats.restarts++;
            return;
        }
    }
    stop(stage);
}

/* An event for the plugin; argument 0 is what it is about: a port, timer or ring. After a trap the record that was
 * being read, or the bytes of the port, are not handled again. */
static void deliver(wr_stage *stage, wr_entry entry, wr_slot *slots, wr_instant now) {
    uint32_t about = slots[0].u32;
    wr_error error;
    stage->now = now;
    if (call(stage, entry, slots, &error) == WR_OK) return;
    if (entry == WR_ENTRY_RECORDS) wr_ring_end_skip(&stage->ins[about]);
    if (entry == WR_ENTRY_RX) wr_fifo_clear(&stage->ports[about].rx);
    restart(stage, error.message);
}

static bool is_running(const wr_stage *stage) { return stage->stats.state == WR_STAGE_RUNNING; }

/* ---- state ---- */

wr_status wr_stage_save(wr_stage *stage, wr_carry *carry, wr_instant now, wr_error *error) {
    wr_slot slots[1] = {{0}};
    wr_error why = {.message = ""};
    stage->now = now;
    stage->saving = carry;
    wr_status status = call(stage, WR_ENTRY_SAVE, slots, &why);
    stage->saving = NULL;
    carry->version = slots[0].i32;
    unpark(stage);
    if (status != WR_OK) {
        restart(stage, why.message);
        return wr_fail(error, status, "pen_save of the running version: %.190s", why.message);
    }
    if (carry->is_beyond) {
        return wr_fail(error, WR_FULL, "stage \"%s\": the state is larger than %u bytes; raise limits.state_bytes",
                       stage->name, carry->max);
    }
    if (carry->version >= 0) return WR_OK;
    return wr_fail(error, WR_BAD_STATE, "stage \"%s\": pen_save of the running version returned %d: not now",
                   stage->name, carry->version);
}

wr_status wr_stage_take_state(wr_stage *stage, wr_carry *carry, wr_instant now, wr_error *error) {
    wr_slot slots[1] = {{.i32 = carry->version}};
    wr_error why = {.message = ""};
    stage->now = now;
    stage->loading = carry;
    wr_status status = call(stage, WR_ENTRY_LOAD, slots, &why);
    stage->loading = NULL;
    if (status != WR_OK) return wr_fail(error, status, "pen_load of the new version: %.190s", why.message);
    if (slots[0].i32 == 0) return WR_OK;
    return wr_fail(error, WR_BAD_STATE, "stage \"%s\": pen_load returned %d: it does not take state of version %d",
                   stage->name, slots[0].i32, carry->version);
}

/* ---- ports ---- */

void wr_stage_announce_ports(wr_stage *stage, wr_instant now) {
    for (uint32_t i = 0; i < stage->port_count && is_running(stage); i++) {
        if (stage->ports[i].up) deliver(stage, WR_ENTRY_PORT, (wr_slot[]){{.u32 = i}, {.u32 = 1}}, now);
    }
}

void wr_stage_set_port(wr_stage *stage, uint32_t index, bool up, wr_instant now) {
    wr_stage_port *port = &stage->ports[index];
    if (port->up == up) return;
    port->up = up;
    wr_fifo_clear(&port->rx);
    wr_fifo_clear(&port->tx);
    if (!is_running(stage)) return;
    deliver(stage, WR_ENTRY_PORT, (wr_slot[]){{.u32 = index}, {.u32 = up}}, now);
    unpark(stage);
    if (stage->shadow == NULL) return;
    wr_stage_set_port(stage->shadow->stage, index, up, now);
    wr_shadow_compare(stage->shadow, stage);
}

void wr_stage_feed(wr_stage *stage, uint32_t index, const void *bytes, uint32_t len, wr_instant now) {
    wr_stage_port *port = &stage->ports[index];
    if (!is_running(stage) || !port->up) {
        port->rx_overflows += len;
        return;
    }
    if (!port->rx.datagram && len > port->rx.capacity) {
        uint32_t beyond = len - port->rx.capacity;
        port->rx_overflows += beyond;
        bytes = (const uint8_t *)bytes + beyond;
        len -= beyond;
    }
    port->rx_overflows += wr_fifo_make_room(&port->rx, len);
    if (!wr_fifo_put(&port->rx, bytes, len)) {
        port->rx_overflows += len;
        return;
    }
    deliver(stage, WR_ENTRY_RX, (wr_slot[]){{.u32 = index}}, now);
    unpark(stage);
    if (stage->shadow == NULL) return;
    wr_stage_feed(stage->shadow->stage, index, bytes, len, now);
    wr_shadow_compare(stage->shadow, stage);
}

const uint8_t *wr_stage_tx(const wr_stage *stage, uint32_t port, uint32_t *len) {
    return wr_fifo_peek(&stage->ports[port].tx, len);
}

void wr_stage_sent(wr_stage *stage, uint32_t port, uint32_t len) { wr_fifo_drop(&stage->ports[port].tx, len); }

/* ---- timers ---- */

static int earliest(const int64_t *timers) {
    int first = 0;
    for (int i = 1; i < WR_STAGE_TIMERS; i++) {
        if (timers[i] < timers[first]) first = i;
    }
    return first;
}

int64_t wr_stage_next_timer(const wr_stage *stage) {
    int64_t next = stage->timers[earliest(stage->timers)];
    if (stage->shadow == NULL) return next;
    int64_t shadows = wr_stage_next_timer(stage->shadow->stage);
    return shadows < next ? shadows : next;
}

/* Fires from a copy: a timer re-armed for now waits for the next turn, so that timers cannot starve the ports. */
void wr_stage_run_timers(wr_stage *stage, wr_instant now) {
    int64_t due[WR_STAGE_TIMERS];
    memcpy(due, stage->timers, sizeof due);
    for (int id = earliest(due); due[id] <= now.mono_ns; id = earliest(due)) {
        bool is_due = stage->timers[id] == due[id]; /* not re-armed by one that fired before */
        due[id] = WR_NEVER;
        if (!is_due) continue;
        stage->timers[id] = WR_NEVER;
        deliver(stage, WR_ENTRY_TIMER, (wr_slot[]){{.i32 = id}}, now);
        unpark(stage);
    }
    if (stage->shadow == NULL) return;
    wr_stage_run_timers(stage->shadow->stage, now);
    wr_shadow_compare(stage->shadow, stage);
}

/* ---- records ---- */

static uint64_t room_of_outputs(const wr_stage *stage) {
    uint64_t room = 0;
    for (uint32_t i = 0; i < stage->out_count; i++) room += wr_ring_end_room(&stage->outs[i]);
    return room;
}

static bool input_ready(const wr_stage *stage, uint32_t index) {
    const wr_stage_wait *wait = &stage->waits[index];
    uint64_t backlog = wr_ring_end_backlog(&stage->ins[index]);
    if (backlog == 0) return false;
    return !wait->parked || backlog != wait->backlog || room_of_outputs(stage) > wait->room;
}

bool wr_stage_ready(const wr_stage *stage) {
    if (!is_running(stage) || stage->entries[WR_ENTRY_RECORDS] == NULL) return false;
    for (uint32_t i = 0; i < stage->in_count; i++) {
        if (input_ready(stage, i)) return true;
    }
    return false;
}

/* An input that lost nothing in its call waits for more records, more room or another event. More than the call knew:
 * what came while it ran must wake it as well. */
static void park(wr_stage *stage, uint32_t index, uint64_t taken) {
    uint64_t backlog = wr_ring_end_backlog_offered(&stage->ins[index]), room = 0;
    bool stalled = taken == 0 && backlog > 0;
    for (uint32_t i = 0; i < stage->out_count; i++) room += wr_ring_end_room_offered(&stage->outs[i]);
    stage->stats.stalls += stalled;
    stage->waits[index] = (wr_stage_wait){.parked = stalled, .backlog = backlog, .room = room};
}

void wr_stage_run(wr_stage *stage, wr_instant now) {
    for (uint32_t i = 0; i < stage->in_count; i++) {
        if (!is_running(stage) || stage->entries[WR_ENTRY_RECORDS] == NULL) return;
        if (!input_ready(stage, i)) continue;
        uint64_t before = atomic_load_explicit(&stage->ins[i].consumer->next, memory_order_relaxed);
        deliver(stage, WR_ENTRY_RECORDS, (wr_slot[]){{.u32 = i}}, now);
        uint64_t taken = atomic_load_explicit(&stage->ins[i].consumer->next, memory_order_relaxed) - before;
        if (is_running(stage)) park(stage, i, taken);
        if (stage->shadow == NULL) continue;
        wr_stage_run(stage->shadow->stage, now);
        wr_shadow_compare(stage->shadow, stage);
    }
}
