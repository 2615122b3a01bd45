#include "integer.h"

enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1075, GAIN_BITS_LEFT_OUT = 23 /* of the 53 of a double */ };
static const int64_t value_max = 1ll << 46;  /* in 1/2^16 */
static const int64_t output_max = 1ll << 60; /* in 1/2^32: three of them still fit when added */

static int64_t clip(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* ---- conversions ---- */

int64_t integer_value(bool is_signed, uint64_t bits) {
    int64_t value = !is_signed && bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    return clip(value, -(value_max >> 16), value_max >> 16) * 65536;
}

int64_t integer_output_of(double number) {
    double units = number * 0x1p32;
    return units >= (double)output_max ? output_max : units <= -(double)output_max ? -output_max : (int64_t)units;
}

int64_t integer_value_of(double number) { return clip(integer_output_of(number) >> 16, -value_max, value_max); }

double integer_number(int64_t output) { return (double)output * 0x1p-32; }

static struct integer_gain gain_of(double gain) {
    union {
        double number;
        uint64_t bits;
    } pun = {.number = gain};
    uint64_t mantissa = (pun.bits & ((1ull << MANTISSA_BITS) - 1)) | 1ull << MANTISSA_BITS;
    if (gain == 0) return (struct integer_gain){0, 0};
    return (struct integer_gain){(int64_t)(mantissa >> GAIN_BITS_LEFT_OUT),
                                 EXPONENT_BIAS - GAIN_BITS_LEFT_OUT - (int32_t)(pun.bits >> MANTISSA_BITS)};
}

struct integer_gains integer_gains_of(const struct pid_tag *tag) {
    return (struct integer_gains){.kp = gain_of(tag->kp),
                                  .ki_per_ms = gain_of(tag->ki / 1000),
                                  .kd = gain_of(tag->kd),
                                  .setpoint = integer_value_of(tag->setpoint),
                                  .deadband = integer_value_of(tag->deadband),
                                  .out_min = integer_output_of(tag->out_min),
                                  .out_max = integer_output_of(tag->out_max),
                                  .is_direct = tag->acting == PID_TAG_ACTING_DIRECT};
}

/* ---- control ---- */

/* value * gain as an output: value in 1/2^16, at most 2^47 of them. */
static int64_t multiply(int64_t value, struct integer_gain gain) {
    int64_t product = (value >> 16) * gain.mantissa + ((value & 0xFFFF) * gain.mantissa >> 16);
    int32_t down = gain.shift - 32;
    if (down >= 62) return 0;
    if (down > 0) return clip((product + (1ll << (down - 1))) >> down, -output_max, output_max);
    return clip(product, -(output_max >> -down), output_max >> -down) * (1ll << -down);
}

int64_t integer_control(const struct integer_gains *gains, const struct integer_step *step, int64_t *integral) {
    int64_t sign = gains->is_direct ? -1 : 1;
    int64_t deviation = step->setpoint - step->value;
    if (deviation <= gains->deadband && -deviation <= gains->deadband) deviation = 0;
    deviation *= sign;
    int64_t proportional = multiply(deviation, gains->kp);
    int64_t derivative = 0;
    if (step->dt_ms > 0) {
        int64_t slope = clip((step->last - step->value) * 1000 / step->dt_ms, -value_max, value_max);
        derivative = multiply(slope * sign, gains->kd);
        int64_t per_ms = multiply(deviation, gains->ki_per_ms);
        int64_t more = clip(per_ms, -(output_max / step->dt_ms), output_max / step->dt_ms) * step->dt_ms;
        int64_t before = proportional + *integral + derivative;
        bool is_windup = (more > 0 && before >= gains->out_max) || (more < 0 && before <= gains->out_min);
        if (!is_windup) *integral = clip(*integral + more, gains->out_min, gains->out_max);
    }
    return proportional + *integral + derivative;
}
