/* JSON text (RFC 8259) of strings, values and records. */
#ifndef JSON_H
#define JSON_H
#include "json_maker_config.h"
#include "pen_text.h"

/* With quotes; control characters escaped, UTF-8 as it is, each byte that is not UTF-8 as U+FFFD. */
void json_add_string(struct pen_text *text, const char *string, uint32_t len);
/* One entry of "samples". tag: NULL when the record's tag is not configured. */
void json_add_sample(struct pen_text *text, const struct pen_record *record, const struct json_maker_tag *tag);

#endif
