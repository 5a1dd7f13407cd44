/* Images from memory that an emulator has filled, report and outputs as text over the console.
 *
 * At IO_IMAGE_WINDOW (an address): a little-endian 32-bit count, 12 bytes unused, then the records. Outputs are
 * hexadecimal lines. */
#include "io.h"

const port_region io_region = {(uint32_t)IO_IMAGE_WINDOW, 1u << 24, PORT_READ_ONLY, 0};

static const uint8_t *window;

int32_t io_open(int32_t image_bytes)
{
    (void)image_bytes;
    (void)io_seek(0);
    return *(const volatile int32_t *)(uint32_t)IO_IMAGE_WINDOW;
}

int32_t io_read(uint8_t *to, int32_t bytes)
{
    for (int32_t i = 0; i < bytes; i++) {
        to[i] = window[i];
    }
    window += bytes;
    return 0;
}

int32_t io_seek(int32_t byte)
{
    window = (const uint8_t *)((uint32_t)IO_IMAGE_WINDOW + 16u + (uint32_t)byte);
    return 0;
}

uint32_t io_waited_ticks(void)
{
    return 0;
}

int32_t io_write_output(const uint8_t *from, int32_t bytes)
{
    io_print("output ");
    for (int32_t i = 0; i < bytes; i++) {
        port_putc("0123456789abcdef"[from[i] >> 4]);
        port_putc("0123456789abcdef"[from[i] & 15u]);
    }
    io_print("\n");
    return 0;
}

void io_print(const char *text)
{
    for (; *text != '\0'; text++) {
        port_putc(*text);
    }
}

void io_exit(int32_t code)
{
    io_print(code == 0 ? "exit 0\n" : "exit 1\n");
    for (;;) {
        __asm__ volatile("wfi");
    }
}
