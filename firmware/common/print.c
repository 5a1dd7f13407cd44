#include "print.h"

#include "io.h"

static void print_label(const char *label)
{
    io_print(" ");
    io_print(label);
    io_print(" ");
}

void print_field(const char *label, uint32_t value)
{
    char digits[11];
    int32_t at = 10;
    digits[at] = '\0';
    do {
        at--;
        digits[at] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0u);
    print_label(label);
    io_print(&digits[at]);
}

void print_hex_field(const char *label, uint32_t value)
{
    char digits[11] = "0x00000000";
    for (int32_t at = 9; at >= 2; at--) {
        digits[at] = "0123456789abcdef"[value & 15u];
        value >>= 4;
    }
    print_label(label);
    io_print(digits);
}
