/* A mix in the manner of CoreMark: linked lists searched and sorted, small integer matrices, a state machine that
 * classifies numbers in a text, and a CRC over the results of each. n rounds. */
#include "kernel.h"

enum { NODES = 128, SIZE = 10, STATES = 8 };

struct node {
    struct node *next;
    int16_t key, data;
};

static struct node nodes[NODES];
static int16_t left[SIZE][SIZE], right[SIZE][SIZE];
static int32_t product[SIZE][SIZE];

static uint16_t crc_add(uint16_t crc, uint32_t value) {
    return crc16_byte(crc16_byte(crc, (uint8_t)value), (uint8_t)(value >> 8));
}

/* ---- list ---- */

static struct node *build_list(uint32_t seed) {
    for (int i = 0; i < NODES; i++) {
        nodes[i].key = (int16_t)(next_random(&seed) & 0x7FFF);
        nodes[i].data = (int16_t)i;
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : 0;
    }
    return nodes;
}

static struct node *reverse(struct node *list) {
    struct node *done = 0;
    while (list) {
        struct node *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static int by_key(const struct node *a, const struct node *b) { return a->key - b->key; }
static int by_data(const struct node *a, const struct node *b) { return a->data - b->data; }

static struct node *merge(struct node *a, struct node *b, int (*compare)(const struct node *, const struct node *)) {
    struct node head = {0, 0, 0}, *tail = &head;
    while (a && b) {
        struct node **from = compare(a, b) <= 0 ? &a : &b;
        tail->next = *from;
        tail = *from;
        *from = (*from)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *sort(struct node *list, int (*compare)(const struct node *, const struct node *)) {
    if (!list || !list->next) return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next) {
        slow = slow->next;
        fast = fast->next->next;
    }
    struct node *second = slow->next;
    slow->next = 0;
    return merge(sort(list, compare), sort(second, compare), compare);
}

static const struct node *find(const struct node *list, int16_t data) {
    while (list && list->data != data) list = list->next;
    return list;
}

static uint16_t list_part(uint32_t seed) {
    struct node *list = build_list(seed);
    uint16_t crc = 0;
    list = reverse(list);
    for (int16_t i = 0; i < NODES; i += 8) {
        const struct node *found = find(list, i);
        crc = crc_add(crc, found ? (uint16_t)found->key : 0);
    }
    list = sort(list, by_key);
    for (const struct node *at = list; at; at = at->next) crc = crc_add(crc, (uint16_t)at->data);
    list = sort(list, by_data);
    return crc_add(crc, (uint16_t)list->key);
}

/* ---- matrix ---- */

static uint16_t matrix_part(uint32_t seed) {
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            left[i][j] = (int16_t)(next_random(&seed) & 0xFF);
            right[i][j] = (int16_t)(next_random(&seed) & 0xFF);
        }
    }
    uint16_t crc = 0;
    for (int pass = 0; pass < 4; pass++) {
        int32_t sum = 0;
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) {
                int32_t total = 0;
                for (int k = 0; k < SIZE; k++) {
                    int32_t term = left[i][k] * right[k][j];
                    total += pass & 1 ? (term >> 2 & 15) * (term >> 5 & 127) : term;
                }
                product[i][j] = total;
            }
        }
        for (int i = 0; i < SIZE; i++) {
            for (int j = 0; j < SIZE; j++) sum += product[i][j] > 4096 ? 10 : product[i][j] >> 4;
        }
        crc = crc_add(crc, (uint32_t)sum);
        for (int i = 0; i < SIZE; i++) left[i][pass] = (int16_t)(left[i][pass] + sum);
    }
    return crc;
}

/* ---- state machine ---- */

enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, SCIENTIFIC, INVALID };

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static enum state step(enum state state, char c) {
    switch (state) {
    case START: return is_digit(c) ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? POINT : INVALID;
    case SIGN: return is_digit(c) ? INTEGER : c == '.' ? POINT : INVALID;
    case INTEGER: return is_digit(c) ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case POINT: return is_digit(c) ? FRACTION : INVALID;
    case FRACTION: return is_digit(c) ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case EXPONENT: return is_digit(c) || c == '-' || c == '+' ? SCIENTIFIC : INVALID;
    case SCIENTIFIC: return is_digit(c) ? SCIENTIFIC : INVALID;
    default: return INVALID;
    }
}

static uint16_t state_part(uint32_t seed) {
    static char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,T0.3e-1F,-87e+832;";
    uint16_t crc = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t finals[STATES] = {0};
        enum state state = START;
        for (const char *at = text; *at; at++) {
            if (*at == ',' || *at == ';') {
                finals[state]++;
                state = START;
            } else {
                state = step(state, *at);
            }
        }
        for (int i = 0; i < STATES; i++) crc = crc_add(crc, finals[i]);
        text[next_random(&seed) % (sizeof text - 2)] ^= 1; /* spoils something, and mends it in a later round */
    }
    return crc;
}

int32_t run(int32_t n) {
    uint32_t crc = 0xFFFF;
    for (int32_t round = 0; round < n; round++) {
        uint32_t seed = (uint32_t)round * 2654435761u + crc;
        crc = crc_add((uint16_t)crc, list_part(seed));
        crc = crc_add((uint16_t)crc, matrix_part(seed));
        crc = crc_add((uint16_t)crc, state_part(seed));
    }
    return (int32_t)crc;
}
