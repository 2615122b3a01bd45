/* Answers what arrives on its ports and writes down what happens to it. Bytes of port p go back on port p; these are
 * orders instead:
 *   't'  timer 1 after 1000 us; it logs "timer" and arms itself again while its count is below 3
 *   'k'  counts up the value "n" and logs it as "kv=<n>"
 *   'm'  metric "orders" counts up
 *   'b'  fills the transmit buffer with 'x' until the host refuses, logs "full"
 *   '!'  traps      '~'  loops for ever */
#include "pen.h"

PEN_ABI_MARKER()

static uint32_t orders, fired;

static void say(const char *text) {
    int32_t len = 0;
    while (text[len] != '\0') len++;
    hal_log(PEN_INFO, text, len);
}

int32_t PEN_EXPORT(pen_init)(void) {
    say("init");
    return 0;
}

void PEN_EXPORT(pen_on_port)(int32_t port, int32_t up) {
    char text[] = "port 0 down";
    text[5] = (char)('0' + port);
    if (up) {
        text[7] = 'u';
        text[8] = 'p';
        text[9] = '\0';
    }
    say(text);
}

void PEN_EXPORT(pen_on_timer)(int32_t id) {
    if (++fired < 3) hal_timer(id, 1000);
    say("timer");
}

static void count_in_kv(void) {
    char text[] = "kv=0", n = 0;
    hal_kv_get("n", 1, &n, 1);
    n++;
    hal_kv_put("n", 1, &n, 1);
    text[3] = (char)('0' + n);
    say(text);
}

static void fill(int32_t port) {
    while (hal_tx(port, "xxxxxxxx", 8) == 8) continue;
    say("full");
}

static void handle(int32_t port, const char *bytes, int32_t len) {
    volatile int32_t spin = 1;
    switch (bytes[0]) {
    case 't': hal_timer(1, 1000); break;
    case 'k': count_in_kv(); break;
    case 'm': hal_metric("orders", 6, PEN_COUNTER, ++orders); break;
    case 'b': fill(port); break;
    case '!': __builtin_trap();
    case '~':
        while (spin) spin |= 1;
        break;
    default: hal_tx(port, bytes, len);
    }
}

void PEN_EXPORT(pen_on_rx)(int32_t port) {
    char bytes[256];
    int32_t len;
    while ((len = hal_rx(port, bytes, sizeof bytes)) > 0) handle(port, bytes, len);
}
