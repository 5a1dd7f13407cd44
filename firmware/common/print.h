/* Numbers as text, for report lines; nothing of the C library's stdio. */
#ifndef PRINT_H
#define PRINT_H

#include <stdint.h>

/* " label 123" */
void print_field(const char *label, uint32_t value);
/* " label 0x0000007b" */
void print_hex_field(const char *label, uint32_t value);

#endif
