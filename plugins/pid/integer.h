/* The controller for integers, without doubles.
 *
 * Values and setpoints count in 1/2^16, up to 2^30; outputs and the integral in 1/2^32, up to 2^28, which is more than
 * any limit of an output. Gains have 30 bits and an exponent, so that small ones keep their precision. */
#ifndef INTEGER_H
#define INTEGER_H
#include "pid_config.h"

struct integer_gain { /* mantissa * 2^-shift */
    int64_t mantissa; /* below 2^30 */
    int32_t shift;
};

struct integer_gains { /* settings of a tag */
    struct integer_gain kp;
    struct integer_gain ki_per_ms;
    struct integer_gain kd;
    int64_t setpoint;
    int64_t deadband;
    int64_t out_min;
    int64_t out_max;
    bool is_direct;
};

struct integer_step {
    int64_t setpoint;
    int64_t value;
    int64_t last;
    int64_t dt_ms; /* 0: there is no last value */
};

struct integer_gains integer_gains_of(const struct pid_tag *tag);
/* A value of a record in 1/2^16, clipped. */
int64_t integer_value(bool is_signed, uint64_t bits);
int64_t integer_value_of(double number);
/* An output in 1/2^32, clipped, and back. */
int64_t integer_output_of(double number);
double integer_number(int64_t output);
/* The output, not limited yet; moves the integral on. */
int64_t integer_control(const struct integer_gains *gains, const struct integer_step *step, int64_t *integral);

#endif
