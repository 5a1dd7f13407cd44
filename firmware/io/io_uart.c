/* Report over the console; outputs as hexadecimal lines.
 *
 * Images come over the console too, after the line "ready": a little-endian 32-bit count, then the
 * pixels. With IO_IMAGE_WINDOW (an address) they are read from memory an emulator has filled: the
 * same count, 12 bytes unused, then the pixels. */
#include "io.h"

#ifdef IO_IMAGE_WINDOW
const port_region io_region = {(uint32_t)IO_IMAGE_WINDOW, 1u << 24, PORT_READ_ONLY, 0};

static const uint8_t *window;

int32_t io_open(int32_t image_bytes)
{
    (void)image_bytes;
    window = (const uint8_t *)((uint32_t)IO_IMAGE_WINDOW + 16u);
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
#else
const port_region io_region = {0, 0, 0, 0};

int32_t io_read(uint8_t *to, int32_t bytes)
{
    for (int32_t i = 0; i < bytes; i++) {
        int32_t byte = port_getc();
        while (byte < 0) {
            byte = port_getc();
        }
        to[i] = (uint8_t)byte;
    }
    return 0;
}

int32_t io_seek(int32_t byte)
{
    (void)byte;
    return -1;
}

int32_t io_open(int32_t image_bytes)
{
    (void)image_bytes;
    uint8_t count[4];
    io_print("ready\n");
    (void)io_read(count, 4);
    return (int32_t)(count[0] | (uint32_t)count[1] << 8 | (uint32_t)count[2] << 16 | (uint32_t)count[3] << 24);
}
#endif

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
